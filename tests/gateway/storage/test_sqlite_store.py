"""What is SQLite's own in the store of the audit log."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable, StoreDamaged, WrongState
from gateway.storage.ports import Group, StoredHead
from gateway.storage.sqlite import SqliteAuditStore


def group(first: int, count: int, leaf: bytes = b"leaf") -> Group:
    head = StoredHead(size=first + count, root=bytes(32), checkpoint="note\n")
    return Group(first=first, leaves=[leaf] * count, tiles=(), head=head)


def opened(folder: Path) -> SqliteAuditStore:
    store = SqliteAuditStore(folder=folder)
    store.open()
    return store


def attempt(folder: Path, results: "multiprocessing.Queue[str]") -> None:
    try:
        opened(folder).close()
        results.put("opened")
    except WrongState as error:
        results.put(error.name)


def test_a_second_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    store = opened(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = spawn.Queue()
    outcomes = []
    for _ in range(2):
        process = spawn.Process(target=attempt, args=(tmp_path, results))
        process.start()
        outcomes.append(results.get(timeout=60))
        process.join(60)
        store.close()
    assert outcomes == ["WRONG_STATE", "opened"]


def test_a_second_store_in_the_same_process_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(WrongState):
        SqliteAuditStore(folder=tmp_path).open()
    store.close()


def test_commits_are_synced_and_the_journal_is_a_wal(tmp_path: Path) -> None:
    store = opened(tmp_path)
    writer = store._open_writer
    assert writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert writer.execute("PRAGMA synchronous").fetchone()[0] == 2
    store.close()


def test_a_large_group_stays_in_memory_until_it_is_committed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    before = sum(path.stat().st_size for path in tmp_path.glob("audit.db*"))
    store.stage(group(0, 400, bytes(65_535)))
    assert sum(path.stat().st_size for path in tmp_path.glob("audit.db*")) == before
    store.commit()
    assert len(store.leaves(0, 1000)) == 400
    store.close()


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreDamaged):
        SqliteAuditStore(folder=tmp_path).open()


def test_a_log_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "audit.db") as db:
        db.execute("INSERT INTO schema VALUES (99)")
    db.close()
    with pytest.raises(StoreDamaged):
        SqliteAuditStore(folder=tmp_path).open()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditUnavailable):
        SqliteAuditStore(folder=tmp_path / "file" / "log").open()


def test_a_full_disk_fails_the_commit_and_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.stage(group(0, 2))
    store.commit()
    store._open_writer.execute("PRAGMA max_page_count = 16")
    with pytest.raises(AuditUnavailable):
        store.stage(group(2, 10, bytes(65_535)))
        store.commit()
    found = store.open()
    assert found is not None and found.size == 2
    assert len(store.leaves(0, 100)) == 2
    store.stage(group(2, 1))
    store.commit()
    store.close()


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close()
    with pytest.raises(AuditUnavailable):
        store.stage(group(0, 1))
    with pytest.raises(AuditUnavailable):
        store.leaves(0, 1)
