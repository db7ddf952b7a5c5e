"""kill -9 of a writer of the log. This tests ordering, not fsync: the page cache outlives the process."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.verification.verify import verify_folder
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import KEYS, SIGNER

ROOT = Path(__file__).parents[2]


def run_until_killed(folder: Path, lines: int) -> dict[int, bytes]:
    """Start a writer, kill it after so many acknowledged entries, and return all that it acknowledged."""
    command = [sys.executable, "-m", "tests.support.audit_child", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            said = [child.stdout.readline() for _ in range(lines)]
        finally:
            child.kill()
        said += child.stdout.readlines()
    whole = [line.split() for line in said if line.endswith(b"\n")]
    assert whole, "the writer did not start"
    return {int(index): bytes.fromhex(leaf.decode()) for index, leaf in whole}


async def kill_many(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[int, bytes] = {}
    for _ in range(times):
        said = run_until_killed(folder, chance.randint(1, 1500))
        assert not acknowledged.keys() & said.keys(), "an index was given out twice"
        acknowledged |= said
        report = verify_folder(folder, KEYS)
        assert report.whole, report.faults
        assert report.size > max(acknowledged)
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    leaves = log.leaves(0, log.head.size)
    assert all(leaves[index] == leaf for index, leaf in acknowledged.items())
    await log.close()


async def test_every_acknowledged_entry_is_in_the_log_after_any_kill(tmp_path: Path) -> None:
    await kill_many(tmp_path, 10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_every_acknowledged_entry_is_in_the_log_after_200_kills(tmp_path: Path) -> None:
    await kill_many(tmp_path, 200, seed=2)
