"""kill -9 of whoever releases within quotas: what is used is what the log says was released."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from exchange.v1 import audit_pb2
from gateway.access.quota_periods import span
from gateway.audit.writing.folder import sequencer_in
from gateway.storage.ports import QuotaKey
from tests.support.audit import SIGNER
from tests.support.quota_child import GRANTS

ROOT = Path(__file__).parents[2]


def run_until_killed(folder: Path, groups: int) -> None:
    """Start a process, and kill it after it has released so many submissions."""
    command = [sys.executable, "-m", "tests.support.quota_child", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            said = [child.stdout.readline() for _ in range(groups)]
        finally:
            child.kill()
    assert all(said), "it did not start"


async def check(folder: Path) -> Counter[QuotaKey]:
    """Count the log's released entries and compare what is used; return the counts."""
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    released: Counter[QuotaKey] = Counter()
    for leaf in log.leaves(0, log.head.size):
        entry = audit_pb2.AuditEntry.FromString(leaf)
        if entry.exchange.decision == audit_pb2.DECISION_RELEASED:
            for rule in GRANTS[entry.exchange.grant_id]:
                start_ms = span(rule.period, entry.time_ms).start_ms
                released[QuotaKey(entry.exchange.grant_id, rule.period, start_ms)] += 1
    assert released
    for key, count in released.items():
        assert log.used(key) == count
    for grant_id, rules in GRANTS.items():
        for rule in rules:
            counts = [n for key, n in released.items() if key[:2] == (grant_id, rule.period)]
            assert max(counts) <= rule.exchanges
    await log.close()
    return released


async def kill_many(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        run_until_killed(folder, chance.randint(1, 30))
        released = await check(folder)
    spent = [key for key, count in released.items() if count in (40, 300)]
    assert len(spent) >= 2, "the quotas that can be were used up to the last place"


async def test_what_is_used_is_what_was_released_after_any_kill(tmp_path: Path) -> None:
    await kill_many(tmp_path, 6, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_what_is_used_is_what_was_released_after_100_kills(tmp_path: Path) -> None:
    await kill_many(tmp_path, 100, seed=2)
