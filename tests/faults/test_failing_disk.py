"""Disks that fail under a real writer of the log, and kills on top: nothing acknowledged is unlogged.

Calls fail before or after they were done, always or now and then. What a killed kernel loses is not tested
here: the page cache outlives the process.
"""

import errno
import random
from pathlib import Path

import pytest

from tests.support.failing_writer import check, writer
from tests.support.fault_disk import FaultDisk

FAULTS = {
    "disk full": ("write", errno.ENOSPC),
    "read only": ("any", errno.EROFS),
    "fsync error": ("sync", errno.EIO),
    "write error": ("write", errno.EIO),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_while_the_disk_fails_nothing_is_acknowledged_and_afterwards_the_log_goes_on(
    tmp_path: Path, fault: str, when: str
) -> None:
    folder = tmp_path / "log"
    disk = FaultDisk(folder=folder, plan=tmp_path / "plan")
    with writer(folder, disk) as child:
        child.take(500)
        disk.fail(*FAULTS[fault], when=when)
        child.until("fault AUDIT_UNAVAILABLE")
        acknowledged = len(child.acknowledged)
        while_down = child.said.count("well")
        disk.mend()
        child.until("well")
        assert child.said.count("well") == while_down + 1, "it did not say that it was well in between"
        child.take(500)
        assert len(child.acknowledged) > acknowledged
    assert check(folder, child.acknowledged) > max(child.acknowledged)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_log_on_a_disk_that_takes_no_writes_does_not_open_and_says_why(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "log"
    disk = FaultDisk(folder=folder, plan=tmp_path / "plan")
    with writer(folder, disk) as child:
        child.take(10)
    before = check(folder, child.acknowledged)
    disk.fail(*FAULTS[fault])
    with writer(folder, disk, first=10**6) as refused:
        assert refused.until("refused") == "refused AUDIT_UNAVAILABLE"
    assert check(folder, child.acknowledged) == before


def run_at_random(folder: Path, plan: Path, times: int, seed: int) -> tuple[int, int]:
    """Let the disk fail and kill the writer at random; return how many entries and failures there were."""
    chance = random.Random(seed)
    acknowledged: dict[int, bytes] = {}
    failures = 0
    for run in range(times):
        disk = FaultDisk(folder=folder, plan=plan, seed=seed * 100_000 + run)
        with writer(folder, disk, first=run * 10**7) as child:
            child.take(chance.randint(1, 400))
            for _ in range(chance.randint(0, 3)):
                call, number = chance.choice(list(FAULTS.values()))
                one_in = chance.choice([1, 20, 200])
                disk.fail(call, number, when=chance.choice(["before", "after"]), one_in=one_in)
                if one_in == 1:
                    # It may be down still from the fault before, and then says nothing new.
                    if not child.down:
                        child.until("fault")
                else:
                    child.take(chance.randint(1, 1000), complaints=20)
                if chance.random() < 0.3:
                    break
                disk.mend()
                child.take(chance.randint(1, 400))
        assert not acknowledged.keys() & child.acknowledged.keys(), "an index was given out twice"
        acknowledged |= child.acknowledged
        failures += sum(said.startswith("failed") for said in child.said)
        if run % 50 == 49 or run == times - 1:
            check(folder, acknowledged)
    return len(acknowledged), failures


def test_after_any_mixture_of_faults_and_kills_everything_acknowledged_is_in_the_log(tmp_path: Path) -> None:
    entries, failures = run_at_random(tmp_path / "log", tmp_path / "plan", 12, seed=1)
    assert entries > 1000 and failures > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_after_1000_random_faults_and_kills_everything_acknowledged_is_in_the_log(tmp_path: Path) -> None:
    entries, failures = run_at_random(tmp_path / "log", tmp_path / "plan", 1000, seed=2)
    print(f"1000 runs: {entries} entries acknowledged, {failures} submissions failed")
    assert failures > 100
