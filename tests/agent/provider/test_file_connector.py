import asyncio
import csv
import sys

import duckdb
import pytest

from agent.provider.connectors.file import FileConnector, confined_database
from exchange.errors import BadConfiguration, BadParameter, RowCap, SourceDown, SourceTimeout
from tests.support.people import townsfolk

HEADER = ("citizen_id", "name", "birth_date", "household_no")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path.resolve() / "data"
    place.mkdir()
    rows = [(p.citizen_id, p.name, p.birth_date.isoformat(), p.household_no) for p in townsfolk()]
    with (place / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    database = duckdb.connect()
    database.execute("CREATE TABLE p (citizen_id TEXT, name TEXT, birth_date DATE, household_no BIGINT)")
    database.executemany("INSERT INTO p VALUES (?, ?, ?, ?)", rows)
    database.execute("COPY p TO ? (FORMAT parquet)", [str(place / "people.parquet")])
    (tmp_path.resolve() / "outside.csv").write_text("citizen_id,name,birth_date,household_no\n1,secret,x,1\n")
    return place


def connector(folder, **changes):
    options = {
        "name": "people",
        "folder": folder,
        "file": "people.csv",
        "format": "csv",
        "keys": ("citizen_id",),
        "columns": ("name", "birth_date"),
        "row_cap": 5,
        "timeout_s": 20.0,
    }
    return FileConnector(**(options | changes))


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_a_batch_finds_each_persons_record_in_order(folder, format):
    source = connector(folder, file=f"people.{format}", format=format)
    await source.check()
    found = await source.read([{"citizen_id": p.citizen_id} for p in townsfolk()], timeout_s=20)
    assert [[(n, str(b)) for n, b in rows] for rows in found] == [
        [(p.name, p.birth_date.isoformat())] for p in townsfolk()
    ]
    assert source.data_version
    await source.close()


async def test_leading_zeros_survive_in_a_csv(folder):
    (folder / "codes.csv").write_text("code,word\n007,agent\n7,week\n")
    source = connector(folder, file="codes.csv", keys=("code",), columns=("code", "word"))
    found = await source.read([{"code": "007"}, {"code": "7"}], timeout_s=20)
    assert found == [[("007", "agent")], [("7", "week")]]
    await source.close()


@pytest.mark.parametrize(
    "text", ["' OR '1'='1", "'; ATTACH '/tmp/x.db'; --", "'; COPY records TO '/tmp/x.csv'; --", "$1", "?"]
)
async def test_an_injection_attempt_is_a_value_that_finds_nothing(folder, text):
    source = connector(folder)
    found = await source.read([{"citizen_id": text}, {"citizen_id": townsfolk()[0].citizen_id}], timeout_s=20)
    assert found[0] == []
    assert len(found[1]) == 1
    await source.close()


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_the_row_cap_is_the_outcome_of_the_key_that_exceeds_it_alone(folder, format):
    persons = townsfolk()
    homes = [p.household_no for p in persons]
    large = max(homes, key=homes.count)
    small = min(homes, key=homes.count)
    source = connector(folder, file=f"people.{format}", format=format, keys=("household_no",), row_cap=2)
    found = await source.read([{"household_no": large}, {"household_no": small}], timeout_s=20)
    assert isinstance(found[0], RowCap)
    assert len(found[1]) == homes.count(small)
    await source.close()


async def test_a_key_that_is_not_of_its_columns_type_spoils_only_itself(folder):
    source = connector(folder, file="people.parquet", format="parquet", keys=("household_no",))
    good = {"household_no": townsfolk()[0].household_no}
    found = await source.read([{"household_no": "x"}, good, {"household_no": "9" * 50}], timeout_s=20)
    assert isinstance(found[0], BadParameter)
    assert len(found[1]) >= 1
    assert isinstance(found[2], BadParameter)
    await source.close()


@pytest.mark.parametrize(
    "file",
    ["../outside.csv", "/etc/passwd", "a/../../outside.csv", "./people.csv", "*.csv", "a//b", "s3://b", ""],
)
def test_a_file_that_is_no_plain_path_inside_the_folder_is_refused(folder, file):
    with pytest.raises(BadConfiguration):
        connector(folder, file=file)


async def test_a_symbolic_link_to_a_file_is_refused(folder):
    (folder / "link.csv").symlink_to(folder.parent / "outside.csv")
    source = connector(folder, file="link.csv")
    with pytest.raises(BadConfiguration):
        await source.check()
    with pytest.raises(SourceDown):
        await source.read([{"citizen_id": "1"}], timeout_s=20)
    await source.close()


async def test_a_symbolic_link_anywhere_on_the_way_is_refused(folder):
    (folder.parent / "way").symlink_to(folder)
    source = connector(folder.parent / "way")
    with pytest.raises(BadConfiguration):
        await source.check()
    await source.close()


async def test_a_file_replaced_by_a_link_between_batches_is_no_longer_read(folder):
    source = connector(folder)
    await source.check()
    (folder / "people.csv").unlink()
    (folder / "people.csv").symlink_to(folder.parent / "outside.csv")
    with pytest.raises(SourceDown):
        await source.read([{"citizen_id": "1"}], timeout_s=20)
    await source.close()


async def test_a_file_that_changes_is_read_anew(folder):
    source = connector(folder)
    await source.check()
    before = source.data_version
    (folder / "people.csv").write_text("name,citizen_id,birth_date\nnew,1,2000-01-01\n")
    assert await source.read([{"citizen_id": "1"}], timeout_s=20) == [[("new", "2000-01-01")]]
    assert source.data_version != before
    await source.close()


async def test_a_missing_file_a_missing_column_and_a_folder_are_told_apart(folder):
    absent = connector(folder, file="absent.csv")
    with pytest.raises(SourceDown):
        await absent.check()
    with pytest.raises(BadConfiguration):
        await connector(folder, columns=("nothing",)).check()
    (folder / "dir.csv").mkdir()
    with pytest.raises(BadConfiguration):
        await connector(folder, file="dir.csv").check()


async def test_a_file_that_is_no_parquet_is_down(folder):
    (folder / "bad.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(SourceDown):
        await connector(folder, file="bad.parquet", format="parquet").check()


@pytest.mark.parametrize(
    "escape",
    [
        "SELECT * FROM read_csv('{up}/outside.csv')",
        "SELECT * FROM read_csv('{here}/../outside.csv')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '{up}/outside.csv'",
        "ATTACH '{up}/x.db'",
        "ATTACH '{here}/x.db'",
        "COPY (SELECT 1) TO '{up}/x.csv'",
        "COPY (SELECT 1) TO '{here}/x.csv'",
        "COPY (SELECT 1) TO '{here}/people.csv'",
        "EXPORT DATABASE '{here}/x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('https://127.0.0.1/x.csv')",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/etc/passwd']",
        "RESET allowed_paths",
        "SELECT getenv('HOME')",
    ],
)
def test_the_database_itself_lets_nothing_out_of_its_file(folder, escape):
    before = {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*")}
    database = confined_database(duckdb, folder / "people.csv", memory_mb=64)
    with pytest.raises(duckdb.Error):
        database.execute(escape.format(up=folder.parent, here=folder)).fetchall()
    assert {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*")} == before


async def test_a_slow_scan_is_interrupted_and_its_thread_is_free_again(folder):
    with (folder / "large.csv").open("w") as file:
        file.write("k,v\n")
        for part in range(40):
            file.writelines(f"{part}-{n},{n}\n" for n in range(10_000))
    source = connector(folder, file="large.csv", keys=("k",), columns=("v",))
    with pytest.raises(SourceTimeout):
        await source.read([{"k": "1-1"}], timeout_s=0.001)
    assert await source.read([{"k": "1-1"}], timeout_s=60) == [[("1",)]]
    assert source._workers.threads == 1
    await source.close()


async def test_batches_at_once_share_the_threads(folder):
    source = connector(folder, pool=2)
    keys = [{"citizen_id": p.citizen_id} for p in townsfolk()[:8]]
    found = await asyncio.gather(*(source.read([key], timeout_s=60) for key in keys))
    assert all(len(rows[0]) == 1 for rows in found)
    assert source._workers.threads <= 2
    await source.close()


def test_without_the_extra_the_refusal_names_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(BadConfiguration, match=r"\[files\]"):
        connector(folder)
