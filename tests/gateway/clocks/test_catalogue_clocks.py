"""A version of a catalogue entry that nobody reviews in time is told of."""

from pathlib import Path

from exchange.v1 import rules_pb2
from gateway.clocks.catalogue import CatalogueClocks
from gateway.clocks.escalation import Due
from tests.support.granting import BUREAU, GovernedRegion, ms, supervision
from tests.support.region import RESOURCE


def clocks_of(region: GovernedRegion) -> CatalogueClocks:
    return CatalogueClocks(entries=lambda: region.state.catalogue.entries(), rules=region.state.rules)


async def test_a_version_in_review_has_a_clock_and_one_in_force_has_none(tmp_path: Path) -> None:
    region = GovernedRegion(tmp_path)
    await region.settled()
    clocks = clocks_of(region)
    await region.rule(supervisions=[supervision(catalogue=True)], clocks=rules_pb2.Clocks(review_days=2))
    assert list(clocks.due()) == []
    await region.publish(version=2)
    due = Due(
        key=f"review/{RESOURCE}/2",
        subject=f"resource {RESOURCE} review {BUREAU}",
        due_ms=ms("2026-09-24T00:00"),
    )
    assert list(clocks.due()) == [due]
    await region.rule(clocks=rules_pb2.Clocks(review_days=0))
    assert list(clocks.due()) == []
