import asyncio
import sqlite3

import pytest

from agent.provider.connectors import sql as sql_module
from agent.provider.connectors.sql import SqlConnector
from exchange.errors import BadConfiguration, BadParameter, RowCap, SourceDown, SourceTimeout
from tests.support.people import household_db

COLUMNS = ("name", "birth_date", "address")
INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE household; --",
    "970102' UNION SELECT name, name, name, name FROM household --",
    '" OR 1=1 --',
    "%",
    "_" * 18,
    "\\' OR 1=1 #",
    ":k0_0",
    "?",
    "1); DELETE FROM household; --",
)


def connector(path, **changes):
    options = {
        "name": "household",
        "url": f"sqlite:///{path}",
        "table": "household",
        "keys": ("citizen_id",),
        "columns": COLUMNS,
        "row_cap": 10,
        "timeout_s": 5.0,
        "pool": 2,
    }
    return SqlConnector(**(options | changes))


@pytest.fixture
def register(tmp_path):
    return household_db(tmp_path)


async def test_a_batch_finds_each_persons_record_in_order(register):
    path, persons = register
    source = connector(path)
    await source.check()
    found = await source.read([{"citizen_id": p.citizen_id} for p in persons], timeout_s=5)
    assert found == [[(p.name, p.birth_date.isoformat(), p.address)] for p in persons]
    await source.close()


@pytest.mark.parametrize("count", [1, 2, 4, 5, 16, 17, 31, 32, 33, 63, 64, 65, 130])
async def test_every_batch_size_finds_exactly_what_was_asked(register, count):
    path, persons = register
    source = connector(path)
    found = await source.read([{"citizen_id": p.citizen_id} for p in persons[:count]], timeout_s=5)
    assert [rows[0][0] for rows in found] == [p.name for p in persons[:count]]
    await source.close()


async def test_a_batch_of_64_keys_is_one_round_trip(register):
    path, persons = register
    source = connector(path)
    await source.check()
    seen = []
    from sqlalchemy import event

    event.listen(source._engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    await source.read([{"citizen_id": p.citizen_id} for p in persons[:64]], timeout_s=5)
    assert len(seen) == 1
    assert persons[0].citizen_id not in seen[0]
    await source.close()


async def test_equal_keys_unknown_keys_and_no_keys_are_answered(register):
    path, persons = register
    source = connector(path)
    key = {"citizen_id": persons[3].citizen_id}
    first, second, none = await source.read([key, key, {"citizen_id": "970102199001010011x"}], timeout_s=5)
    assert first == second != []
    assert none == []
    assert await source.read([], timeout_s=5) == []
    await source.close()


@pytest.mark.parametrize("text", INJECTIONS)
async def test_an_injection_attempt_is_a_value_that_finds_nothing(register, text):
    path, persons = register
    source = connector(path)
    found = await source.read([{"citizen_id": text}, {"citizen_id": persons[0].citizen_id}], timeout_s=5)
    assert found[0] == []
    assert len(found[1]) == 1
    assert sqlite3.connect(path).execute("SELECT count(*) FROM household").fetchone() == (240,)
    await source.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"table": "nowhere"},
        {"table": "household; DROP TABLE household"},
        {"columns": ("name", "nothing")},
        {"columns": ("name, address",)},
        {"keys": ("citizen_id = '' OR 1",)},
    ],
)
async def test_a_name_that_the_database_does_not_confirm_is_a_fault_of_configuration(register, changes):
    source = connector(register[0], **changes)
    with pytest.raises(BadConfiguration):
        await source.check()
    with pytest.raises(SourceDown):
        await source.read([{"citizen_id": "1"}], timeout_s=5)
    await source.close()


async def test_a_connection_can_write_nothing(register):
    source = connector(register[0])
    with source._engine.connect() as connection:
        for attempt in (
            "DELETE FROM household",
            "CREATE TABLE other (x)",
            "UPDATE household SET name = 'x'",
            "CREATE TEMP TABLE other (x)",
        ):
            with pytest.raises(Exception, match=r"readonly|query_only"):
                connection.exec_driver_sql(attempt)
    await source.close()


async def test_a_missing_database_is_down_and_is_not_created(tmp_path):
    path = tmp_path / "absent.db"
    source = connector(path)
    for attempt in (source.check(), source.read([{"citizen_id": "1"}], timeout_s=5)):
        with pytest.raises(SourceDown):
            await attempt
    assert not path.exists()
    await source.close()


async def test_a_database_that_comes_back_is_read_again(tmp_path):
    source = connector(tmp_path / "household.db")
    with pytest.raises(SourceDown):
        await source.read([{"citizen_id": "1"}], timeout_s=5)
    _, persons = household_db(tmp_path)
    assert len((await source.read([{"citizen_id": persons[0].citizen_id}], timeout_s=5))[0]) == 1
    await source.close()


async def test_a_file_that_is_no_database_is_down(tmp_path):
    path = tmp_path / "household.db"
    path.write_bytes(b"not a database at all" * 100)
    source = connector(path)
    with pytest.raises(SourceDown):
        await source.check()
    await source.close()


async def test_a_locked_database_fails_in_time_and_works_when_it_is_free(register):
    path, persons = register
    source = connector(path, timeout_s=0.2)
    await source.check()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceTimeout):
        await source.read([{"citizen_id": persons[0].citizen_id}], timeout_s=0.2)
    holder.execute("ROLLBACK")
    assert len((await source.read([{"citizen_id": persons[0].citizen_id}], timeout_s=5))[0]) == 1
    await source.close()


class DriversError(Exception):
    sqlstate = None


@pytest.mark.parametrize(
    ("error", "timed_out"),
    [
        (type("Canceled", (DriversError,), {"sqlstate": "57014"})("canceled"), True),
        (type("Missing", (DriversError,), {"sqlstate": "42P01"})("no table"), False),
        (DriversError(3024, "too slow"), True),
        (DriversError(1045, "denied"), False),
        (DriversError(), False),
        (None, False),
    ],
)
def test_a_databases_own_time_out_is_told_from_other_failures(error, timed_out):
    assert sql_module._ran_out_of_time(error) == timed_out


@pytest.fixture
def crowded(tmp_path):
    path = tmp_path / "crowded.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE visit (person TEXT, nth INTEGER, note TEXT)")
    rows = [("many", n, "x") for n in range(1000)] + [("some", n, "x") for n in range(5)] + [("one", 1, "x")]
    database.executemany("INSERT INTO visit VALUES (?, ?, ?)", rows)
    database.commit()
    return path


@pytest.mark.parametrize("keys", [("many", "some", "one", "none"), ("one", "many"), ("many",)])
async def test_the_row_cap_is_the_outcome_of_the_key_that_exceeds_it_alone(crowded, keys):
    source = connector(crowded, table="visit", keys=("person",), columns=("nth",), row_cap=5)
    found = await source.read([{"person": key} for key in keys], timeout_s=5)
    for key, outcome in zip(keys, found, strict=True):
        if key == "many":
            assert isinstance(outcome, RowCap)
        else:
            assert len(outcome) == {"some": 5, "one": 1, "none": 0}[key]
    await source.close()


async def test_the_database_is_never_asked_for_much_more_than_the_cap(crowded):
    source = connector(crowded, table="visit", keys=("person",), columns=("nth",), row_cap=5)
    await source.check()
    for size, statement in source._lookup._statements.items():
        assert statement.limit == size * 5 + 1
        assert "LIMIT" in statement.sql
    await source.close()


async def test_several_columns_find_together(crowded):
    source = connector(crowded, table="visit", keys=("person", "nth"), columns=("nth", "note"))
    keys = [
        {"person": "some", "nth": "3"},
        {"nth": "1", "person": "one"},
        {"person": "one", "nth": "3"},
        {"person": "some", "nth": "0"},
        {"person": "many", "nth": "999"},
    ]
    found = await source.read(keys, timeout_s=5)
    assert found == [[(3, "x")], [(1, "x")], [], [(0, "x")], [(999, "x")]]
    await source.close()


@pytest.mark.parametrize("bad", ["x", "1.5", "", "1 OR 1=1", "9" * 40, "１"])
async def test_a_key_that_is_not_of_its_columns_type_spoils_only_itself(crowded, bad):
    source = connector(crowded, table="visit", keys=("nth",), columns=("person",), row_cap=10)
    found = await source.read([{"nth": bad}, {"nth": "4"}], timeout_s=5)
    assert isinstance(found[0], BadParameter)
    assert sorted(found[1]) == [("many",), ("some",)]
    await source.close()


async def test_a_slow_statement_is_interrupted_and_its_thread_is_free_again(tmp_path):
    path = tmp_path / "slow.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE base (k TEXT)")
    database.executemany("INSERT INTO base VALUES (?)", [("a",)] * 2000)
    database.execute(
        "CREATE VIEW endless AS SELECT a.k AS k, count(*) AS n FROM base a, base b, base c, base d"
        " GROUP BY a.k"
    )
    database.commit()
    source = connector(path, table="endless", keys=("k",), columns=("n",), pool=1)
    fast = connector(path, table="base", keys=("k",), columns=("k",), row_cap=1000, pool=1)
    for _ in range(3):
        with pytest.raises(SourceTimeout):
            await source.read([{"k": "a"}], timeout_s=0.1)
    assert source._workers.threads == 1
    # The thread is idle again: were it stuck, this would not be served by the same, only thread.
    assert await source._workers.run(lambda: "free", timeout_s=20) == "free"
    await source.close()
    await fast.close()


async def test_many_batches_at_once_use_no_more_threads_than_the_pool_has(register):
    path, persons = register
    source = connector(path, pool=2)
    batches = [source.read([{"citizen_id": p.citizen_id}], timeout_s=5) for p in persons[:50]]
    assert all(len(found[0]) == 1 for found in await asyncio.gather(*batches))
    assert source._workers.threads <= 2
    await source.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "oracle+nothere://u:geheim@h/d",
        "sqlite:///file:x?mode=rw",
    ],
)
def test_a_bad_url_is_refused_without_being_shown(url):
    with pytest.raises(BadConfiguration) as caught:
        connector("", url=url)
    assert "geheim" not in str(caught.value)
