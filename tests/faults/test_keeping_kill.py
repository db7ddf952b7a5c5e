"""kill -9 of a process that appends, seals and erases. This tests ordering, not fsync."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.errors import EntryErased
from exchange.v1 import audit_pb2
from gateway.audit.keeping.terms import DAY_MS, stays
from gateway.audit.verification.verify import verify_folder
from tests.support.audit import KEYS
from tests.support.keeping import START_MS, KeptLog, child_keys
from tests.support.keeping_child import TERMS

ROOT = Path(__file__).parents[2]


def run_until_killed(folder: Path, now_ms: int, lines: int) -> dict[int, bytes]:
    """Start a keeper, kill it after so many acknowledged entries, and return all that it acknowledged."""
    command = [sys.executable, "-m", "tests.support.keeping_child", str(folder), str(now_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            said: list[bytes] = []
            while len(said) < lines:
                line = child.stdout.readline()
                assert line, "the keeper ended by itself"
                said.append(line)
        finally:
            child.kill()
        said += child.stdout.readlines()
    whole = [line.split() for line in said if line.endswith(b"\n")]
    return {int(index): bytes.fromhex(leaf.decode()) for index, leaf in whole}


async def look(folder: Path, acknowledged: dict[int, bytes]) -> int:
    """Open the log and find every acknowledged entry, save for those that its own entries say are erased."""
    kept = KeptLog(folder, keys=child_keys(folder), terms=TERMS)
    await kept.log.open()
    erased = {
        index
        for _, act in kept.acts(audit_pb2.ACT_SEGMENT_ERASED)
        for index in range(act.segment.first, act.segment.end)
    }
    for index, leaf in acknowledged.items():
        try:
            assert kept.log.leaves(index, 1) == [leaf]
        except EntryErased:
            assert index in erased and not stays(audit_pb2.AuditEntry.FromString(leaf))
    await kept.log.close()
    return len(erased)


async def kill_many(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[int, bytes] = {}
    now_ms, erased = START_MS, 0
    for _ in range(times):
        said = run_until_killed(folder, now_ms, chance.randint(1, 3000))
        assert not acknowledged.keys() & said.keys(), "an index was given out twice"
        acknowledged |= said
        now_ms = audit_pb2.AuditEntry.FromString(said[max(said)]).time_ms
        for keys in (None, child_keys(folder)):
            report = verify_folder(folder, KEYS, keys=keys)
            assert report.whole, report.faults
            assert report.size > max(acknowledged)
        erased = await look(folder, acknowledged)
        now_ms += chance.randint(0, 40) * DAY_MS
    assert erased, "the runs were long enough to erase something"


@pytest.mark.timeout(180)
async def test_every_acknowledged_entry_is_there_or_rightly_erased_after_any_kill(tmp_path: Path) -> None:
    await kill_many(tmp_path, 10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_every_acknowledged_entry_is_there_or_rightly_erased_after_200_kills(tmp_path: Path) -> None:
    await kill_many(tmp_path, 200, seed=2)
