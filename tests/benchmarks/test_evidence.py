"""The benchmark of evidence yields its row; no speed is asserted."""

from tests.benchmarks.evidence import GROUP
from tests.benchmarks.measure import TINY


async def test_evidence_is_measured_by_entry_beside_inclusion_alone() -> None:
    (row,) = await GROUP.run(TINY)
    assert (row.id,) == GROUP.ids
    assert row.value > 0
    assert row.beside
