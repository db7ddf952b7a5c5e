"""The audit log alone, durable entries per second, beside plain SQLite: same rows, same groups."""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner
from gateway.audit.log.logged import Logged
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.high_water import HighWaterFile
from gateway.storage.ports import Group as StoredGroup
from gateway.storage.sqlite import SqliteAuditStore
from tests.benchmarks.measure import Scale, median
from tests.benchmarks.rows import Group, Row

LEAF_BYTES, SUBMISSION, IN_FLIGHT = 600, 32, 512
ORIGIN = "970100.yunchuan.example/gateway-1"


class _CountingStore(SqliteAuditStore):
    """The store, with a note of the groups' sizes."""

    def __init__(self, *, folder: Path) -> None:
        super().__init__(folder=folder)
        self.groups: list[int] = []

    def stage(self, group: StoredGroup) -> None:
        self.groups.append(len(group.leaves))
        super().stage(group)


async def _append(folder: Path, leaves: Sequence[bytes]) -> tuple[float, list[int]]:
    """Return the seconds it took until all were durable, and the sizes of the groups."""
    store = _CountingStore(folder=folder)
    signer = LogSigner(origin=ORIGIN, key=SigningKey.generate())
    sequencer = Sequencer(store=store, high_water=HighWaterFile(path=folder / "high-water"), signer=signer)
    await sequencer.open()
    done, finished, at = 0, asyncio.Event(), 0

    def submit() -> None:
        nonlocal at
        part = leaves[at : at + SUBMISSION]
        at += len(part)
        if part:
            sequencer.submit(part, logged)

    def logged(outcome: object) -> None:
        nonlocal done
        assert isinstance(outcome, Sequence) and isinstance(outcome[0], Logged), outcome
        done += len(outcome)
        submit()
        if done == len(leaves):
            finished.set()

    begun = time.perf_counter()
    for _ in range(IN_FLIGHT // SUBMISSION):
        submit()
    await finished.wait()
    elapsed = time.perf_counter() - begun
    await sequencer.close()
    return elapsed, store.groups


def _plain(folder: Path, leaves: Sequence[bytes], groups: Sequence[int]) -> float:
    """Return the seconds that SQLite alone takes for the same rows in the same groups."""
    db = sqlite3.connect(folder / "plain.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE entry (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT")
    begun, first = time.perf_counter(), 0
    for size in groups:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO entry (idx, leaf) VALUES (?, ?)", enumerate(leaves[first : first + size], first)
        )
        db.execute("COMMIT")
        first += size
    elapsed = time.perf_counter() - begun
    db.close()
    return elapsed


async def run(scale: Scale) -> list[Row]:
    """Measure both, alternating."""
    count = scale.of(40_000, least=512)
    leaves = [os.urandom(LEAF_BYTES) for _ in range(count)]
    rates, plain, sizes = [], [], []
    for turn in range(scale.repetitions + 1):
        with tempfile.TemporaryDirectory() as place:
            elapsed, groups = await _append(Path(place), leaves)
            beside = _plain(Path(place), leaves, groups)
        if turn:
            rates.append(count / elapsed)
            plain.append(count / beside)
            sizes.append(count / len(groups))
    return [
        Row(
            id="audit_append_per_s",
            value=median(rates),
            unit="1/s",
            beside=median(plain),
            beside_what="SQLite alone (WAL, FULL), the same rows in the same groups",
            budget=">= 25,000",
            note=f"entries of {LEAF_BYTES} B, {IN_FLIGHT} in flight, groups of {median(sizes):.0f}; "
            "wall clock; with tree, proofs, signed checkpoints and the high-water copy",
        )
    ]


GROUP = Group(ids=("audit_append_per_s",), run=run)
