import os
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.errors import StoreDamaged, WitnessAway, WrongState
from tests.support.witnesses import FailingStore
from witness.store import DATABASE, NOTHING, Held, SqliteWitnessStore, read_all

FIRST = Held(3, b"\1" * 32, 100, "note 3")
SECOND = Held(7, b"\2" * 32, 200, "note 7")

CHILD = """
import os, sys
from pathlib import Path
from witness.store import Held, SqliteWitnessStore

class Dying(SqliteWitnessStore):
    def _commit(self, db):
        if sys.argv[2] == "before":
            os._exit(9)
        super()._commit(db)
        if sys.argv[2] == "after":
            os._exit(9)

store = Dying(folder=Path(sys.argv[1]))
print(store.replace("log", store.held("log"), Held(7, bytes([2]) * 32, 200, "note 7")))
"""


def test_what_was_replaced_is_held_by_the_next_process_too(tmp_path: Path) -> None:
    store = SqliteWitnessStore(folder=tmp_path, make=True)
    assert store.held("log") == NOTHING
    assert store.replace("log", NOTHING, FIRST)
    assert store.replace("log", FIRST, SECOND)
    store.close()
    again = SqliteWitnessStore(folder=tmp_path)
    assert again.held("log") == SECOND
    assert again.held("other") == NOTHING
    again.close()
    assert read_all(tmp_path) == [("log", SECOND)]


def test_only_the_expected_head_is_replaced(tmp_path: Path) -> None:
    store = SqliteWitnessStore(folder=tmp_path, make=True)
    assert store.replace("log", NOTHING, FIRST)
    assert not store.replace("log", NOTHING, SECOND)
    assert not store.replace("log", SECOND, FIRST)
    assert not store.replace("log", Held(3, b"\1" * 32, 101, "note 3"), SECOND)
    assert not store.replace("other", FIRST, SECOND)
    assert store.held("log") == FIRST
    store.close()


@pytest.mark.parametrize(("fault", "held"), [("lost", FIRST), ("kept", SECOND)])
def test_after_a_failed_commit_what_is_on_the_disk_is_held(tmp_path: Path, fault: str, held: Held) -> None:
    store = FailingStore(folder=tmp_path, make=True)
    store.replace("log", NOTHING, FIRST)
    store.fault = fault
    with pytest.raises(WitnessAway):
        store.replace("log", FIRST, SECOND)
    assert store.held("log") == held
    store.close()


@pytest.mark.parametrize(("where", "held"), [("before", FIRST), ("after", SECOND), ("", SECOND)])
def test_a_process_that_dies_at_the_commit_leaves_either_head(tmp_path: Path, where: str, held: Held) -> None:
    store = SqliteWitnessStore(folder=tmp_path, make=True)
    store.replace("log", NOTHING, FIRST)
    store.close()
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), where],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == ((9, "") if where else (0, "True\n")), ran.stderr
    again = SqliteWitnessStore(folder=tmp_path)
    assert again.held("log") == held
    again.close()


def test_one_process_at_a_time_has_the_folder(tmp_path: Path) -> None:
    store = SqliteWitnessStore(folder=tmp_path, make=True)
    with pytest.raises(WrongState):
        SqliteWitnessStore(folder=tmp_path)
    store.close()
    SqliteWitnessStore(folder=tmp_path).close()


def test_a_database_that_vanished_is_not_made_anew_in_silence(tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged):
        SqliteWitnessStore(folder=tmp_path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreDamaged):
        SqliteWitnessStore(folder=tmp_path)
    with pytest.raises(StoreDamaged):
        read_all(tmp_path)


def test_an_operator_reads_beside_the_running_witness(tmp_path: Path) -> None:
    store = SqliteWitnessStore(folder=tmp_path, make=True)
    store.replace("log", NOTHING, FIRST)
    assert read_all(tmp_path) == [("log", FIRST)]
    store.close()
