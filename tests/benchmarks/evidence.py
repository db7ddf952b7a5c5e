"""Verifying a bundle of evidence: that entries lie in the log, and everything else about them."""

import asyncio
import io
import tempfile
from pathlib import Path

from exchange.checkpoint import Checkpoint
from exchange.evidence.blocks import proven_entries
from exchange.evidence.findings import Findings
from exchange.evidence.records import Kind, Record, parse
from exchange.evidence.verify import verify_bundle
from exchange.v1 import evidence_pb2, grant_pb2
from tests.benchmarks.measure import Scale, per_second
from tests.benchmarks.rows import Group, Row
from tests.support.evidence import POLICY, SmallLog, records_of, signed_file
from tests.support.region import ORIGIN, Region

BATCH = 32
ENTRIES = 20_000


async def _log(folder: Path, exchanges: int) -> SmallLog:
    """Return a log of answered exchanges, both parties' signatures in batches of 32."""
    log = SmallLog(Region(folder))
    log.leaves = log.region.log.entries
    await log.tell_trust()
    await log.region.settled()
    log.grant = await log.region.apply()
    await log.region.decide(log.grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await log.publish_bundles(2)
    for _ in range(0, exchanges, BATCH):
        log.exchanges(BATCH, revision=1, batch=BATCH)
    await log.region.registrar.close()
    log.kept.clear()
    log.sign_head()
    return log


async def run(scale: Scale) -> list[Row]:
    """Measure by entry."""
    with tempfile.TemporaryDirectory() as folder:
        log = await _log(Path(folder), scale.of(ENTRIES, least=256))
    return await asyncio.to_thread(_rows, log, scale)


def _rows(log: SmallLog, scale: Scale) -> list[Row]:
    items = records_of(log, block=256)
    content, trusted = signed_file(log, items), log.trusted(policy=POLICY)
    blocks = [raw for kind, raw in items if kind is Kind.ENTRIES]
    head = Checkpoint(ORIGIN, log.size, log.root(log.size))

    def placed() -> int:
        findings = Findings()
        for number, raw in enumerate(blocks):
            assert Record(number, Kind.ENTRIES, raw).hash
            for _ in proven_entries(parse(raw, evidence_pb2.EvidenceBlock), head, findings):
                continue
        assert not findings.faults
        return log.size

    def verified() -> int:
        assert verify_bundle(io.BytesIO(content), trusted).ok
        return log.size

    inclusion, everything = per_second(placed, scale), per_second(verified, scale)
    return [
        Row(
            id="evidence_entries_per_s",
            value=everything,
            unit="1/s",
            beside=inclusion,
            beside_what="inclusion of the same entries alone, by ranges of 256",
            note=f"CPU, one core; both parties' signatures in batches of {BATCH}, grant and keys of the time",
        )
    ]


GROUP = Group(ids=("evidence_entries_per_s",), run=run)
