"""Verifying a folder offline finds what was done to it, and says where."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from exchange import merkle
from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.errors import BadConfiguration
from exchange.merkle import leaf_hash
from exchange.trust import TrustedGateway, TrustList
from exchange.v1 import common_pb2
from gateway.audit.verification.verify import Report, verify_folder
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import KEYS, ORIGIN, OTHER_SIGNER, SIGNER, entry, submit, write_log

SIZE = 600


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await write_log(tmp_path, SIZE)
    return tmp_path


def change(folder: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(folder / "audit.db")
    with db:
        db.execute(sql, values)
    db.close()


def places(report: Report) -> list[str]:
    return [fault.place for fault in report.faults]


def trust_list(key: bytes, origin: str = ORIGIN) -> TrustList:
    gateway = TrustedGateway(name="gateway-1", origin=origin, log_keys=(key,), addresses=())
    return TrustList(
        number=1,
        division="970100",
        trust_domain="yunchuan.example",
        issued_at_ms=0,
        max_age_s=60,
        suite=2,
        gateways={origin: gateway},
        revoked_serials=frozenset(),
        revoked_kids=frozenset(),
        least_seq={},
        statement=common_pb2.Statement(),
    )


async def test_a_whole_log_verifies_by_its_own_key_a_given_one_or_a_trust_list(folder: Path) -> None:
    root = merkle.root_of([leaf_hash(entry(number)) for number in range(SIZE)])
    for trust, source in ((None, "folder"), (KEYS, "trust"), (trust_list(SIGNER.public_key), "trust")):
        report = verify_folder(folder, trust)
        assert report.whole, report.faults
        assert (report.size, report.root, report.origin, report.key_source) == (SIZE, root, ORIGIN, source)


async def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    await write_log(tmp_path, 0)
    report = verify_folder(tmp_path)
    assert report.whole, report.faults
    assert (report.size, report.root, report.origin) == (0, merkle.EMPTY_ROOT, ORIGIN)


async def test_a_running_gateways_log_verifies_and_goes_on(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    await submit(log, [entry(number) for number in range(300)]).places()
    report = verify_folder(tmp_path)
    assert report.whole, report.faults
    assert report.size == 300
    assert (await log.append(entry(300))).index == 300
    await log.close()
    assert verify_folder(tmp_path).size == 301


@pytest.mark.parametrize("index", [0, 300, 599])
async def test_an_edited_entry_is_found(folder: Path, index: int) -> None:
    change(folder, "UPDATE entry SET leaf = ? WHERE idx = ?", entry(9999), index)
    report = verify_folder(folder)
    # The last entries are in no full tile yet: that one of them differs shows in the root.
    assert places(report)[:1] == ([f"entry {index}"] if index < 512 else ["head"])
    assert "head" in places(report)


@pytest.mark.parametrize("index", [0, 300, 590])
async def test_a_deleted_entry_is_found(folder: Path, index: int) -> None:
    change(folder, "DELETE FROM entry WHERE idx = ?", index)
    report = verify_folder(folder)
    assert places(report)[0] == f"entry {index}"
    assert report.size == SIZE - 1


async def test_a_deleted_range_is_one_fault(folder: Path) -> None:
    change(folder, "DELETE FROM entry WHERE idx BETWEEN 100 AND 199")
    assert places(verify_folder(folder)) == ["entries 100 to 199"]


async def test_a_log_without_its_last_entries_is_found(folder: Path) -> None:
    change(folder, "DELETE FROM entry WHERE idx >= 550")
    assert "entries 550 to 599" in places(verify_folder(folder))


async def test_reordered_entries_are_found_where_they_are(folder: Path) -> None:
    for old, new in ((10, -1), (11, 10), (-1, 11)):
        change(folder, "UPDATE entry SET idx = ? WHERE idx = ?", new, old)
    assert places(verify_folder(folder))[:2] == ["entry 10", "entry 11"]


async def test_reordered_entries_beyond_the_last_tile_are_found(folder: Path) -> None:
    for old, new in ((598, -1), (599, 598), (-1, 599)):
        change(folder, "UPDATE entry SET idx = ? WHERE idx = ?", new, old)
    assert "head" in places(verify_folder(folder))


async def test_an_entry_beyond_the_head_is_found(folder: Path) -> None:
    change(folder, "INSERT INTO entry VALUES (600, ?)", entry(600))
    assert places(verify_folder(folder)) == ["entry 600"]


async def test_a_history_cut_back_to_an_older_head_is_found_by_the_high_water_copy(tmp_path: Path) -> None:
    folder, copy = tmp_path / "log", tmp_path / "copy.db"
    await write_log(folder, 100)
    shutil.copy(folder / "audit.db", copy)
    await write_log(folder, 10, first=100)
    shutil.copy(copy, folder / "audit.db")
    report = verify_folder(folder)
    assert places(report) == ["high-water"]
    assert "ends at 100, but 110" in str(report.faults[0])


async def test_another_history_of_the_same_length_is_found_by_the_high_water_copy(tmp_path: Path) -> None:
    await write_log(tmp_path / "one", 100)
    await write_log(tmp_path / "two", 100, first=1000)
    shutil.copy(tmp_path / "two" / "audit.db", tmp_path / "one" / "audit.db")
    assert places(verify_folder(tmp_path / "one")) == ["high-water"]


async def test_an_edit_with_tile_and_root_made_to_fit_is_found_by_the_checkpoint(folder: Path) -> None:
    leaves = [entry(number) for number in range(SIZE)]
    leaves[10] = entry(9999)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    change(folder, "UPDATE entry SET leaf = ? WHERE idx = 10", leaves[10])
    change(folder, "UPDATE tile SET data = ? WHERE level = 0 AND n = 0", b"".join(hashes[:256]))
    root = merkle.root_of(hashes)
    change(folder, "UPDATE head SET root = ?", root)
    assert "head" in places(verify_folder(folder))
    forged = OTHER_SIGNER.sign(Checkpoint(ORIGIN, SIZE, root))
    change(folder, "UPDATE head SET checkpoint = ?", forged)
    report = verify_folder(folder, KEYS)
    assert set(places(report)) == {"head", "high-water"}
    assert "does not verify" in str(report.faults[0])


async def test_a_tile_that_was_edited_or_deleted_is_found(folder: Path) -> None:
    change(folder, "UPDATE tile SET data = zeroblob(8192) WHERE n = 1")
    assert places(verify_folder(folder))[0] == "entry 256"
    change(folder, "DELETE FROM tile WHERE n = 1")
    assert places(verify_folder(folder)) == ["tile 0/1"]


async def test_a_tile_above_that_differs_from_those_below_is_found(tmp_path: Path) -> None:
    await write_log(tmp_path, 256 * 256, group=4096)
    assert verify_folder(tmp_path).whole
    edited = "CAST(substr(data, 1, 64) || zeroblob(32) || substr(data, 97) AS BLOB)"
    change(tmp_path, f"UPDATE tile SET data = {edited} WHERE level = 1")
    assert places(verify_folder(tmp_path)) == ["tile 1/0"]
    assert "tile 0/2" in str(verify_folder(tmp_path).faults[0])


async def test_the_wrong_key_is_told(folder: Path) -> None:
    for trust in ({ORIGIN: (OTHER_SIGNER.public_key,)}, trust_list(OTHER_SIGNER.public_key)):
        assert set(places(verify_folder(folder, trust))) == {"head", "high-water"}
    unknown = verify_folder(folder, trust_list(SIGNER.public_key, "another"))
    assert "no key is trusted" in str(unknown.faults[0])
    assert verify_folder(folder, {}).faults


async def test_a_key_file_that_is_missing_or_of_another_log_is_told(folder: Path) -> None:
    (folder / "log-key.pub").write_text(OTHER_SIGNER.verifier_key + "\n")
    assert set(places(verify_folder(folder))) == {"head", "high-water"}
    (folder / "log-key.pub").unlink()
    assert "log-key.pub" in places(verify_folder(folder))
    assert verify_folder(folder, KEYS).whole


async def test_a_missing_high_water_copy_or_head_is_told(folder: Path) -> None:
    note = open_checkpoint_of(folder)
    (folder / "high-water").unlink()
    assert places(verify_folder(folder)) == ["high-water"]
    (folder / "high-water").write_text(note)
    change(folder, "DELETE FROM head")
    assert places(verify_folder(folder)) == ["head"]


def open_checkpoint_of(folder: Path) -> str:
    db = sqlite3.connect(folder / "audit.db")
    note = str(db.execute("SELECT checkpoint FROM head").fetchone()[0])
    db.close()
    assert open_checkpoint(note, origin=ORIGIN, log_keys=KEYS[ORIGIN]).size == SIZE
    return note


async def test_an_entry_of_another_log_is_found(tmp_path: Path) -> None:
    log = sequencer_in(tmp_path, signer=SIGNER)
    await log.open()
    await submit(log, [entry(0), b"\xff no entry"]).places()
    await log.close()
    assert places(verify_folder(tmp_path)) == ["entry 1"]


async def test_many_faults_are_told_up_to_a_bound(folder: Path) -> None:
    change(folder, "UPDATE entry SET leaf = ?", entry(9999))
    assert len(verify_folder(folder).faults) == 101


async def test_a_head_or_index_of_absurd_size_does_not_keep_it_busy(folder: Path) -> None:
    change(folder, "UPDATE head SET size = ?", 2**62)
    change(folder, "INSERT INTO entry VALUES (?, ?)", 2**61, entry(0))
    assert not verify_folder(folder).whole


async def test_a_damaged_file_is_a_fault_and_a_missing_one_a_wrong_argument(folder: Path) -> None:
    content = bytearray((folder / "audit.db").read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    (folder / "audit.db").write_bytes(content)
    assert not verify_folder(folder).whole
    (folder / "audit.db").write_bytes(b"nothing of the kind" * 100)
    assert places(verify_folder(folder)) == ["audit.db"]
    (folder / "audit.db").unlink()
    with pytest.raises(BadConfiguration):
        verify_folder(folder)
