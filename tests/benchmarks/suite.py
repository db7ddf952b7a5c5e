"""All groups of rows, in the order of the table."""

from collections.abc import Sequence

from tests.benchmarks import (
    audit_append,
    audit_reading,
    evidence,
    faces,
    officers,
    region_rows,
    region_state,
    risk,
    sealing,
    search_page,
    signatures,
)
from tests.benchmarks.measure import Scale
from tests.benchmarks.rows import Group, Row

GROUPS: tuple[Group, ...] = (
    region_rows.GROUP,
    faces.GROUP,
    region_state.GROUP,
    sealing.GROUP,
    audit_append.GROUP,
    officers.GROUP,
    search_page.GROUP,
    audit_reading.GROUP,
    evidence.GROUP,
    signatures.GROUP,
    risk.GROUP,
)
ROW_IDS: tuple[str, ...] = tuple(row_id for group in GROUPS for row_id in group.ids)


async def measure(groups: Sequence[Group], scale: Scale) -> list[Row]:
    """Run groups one after the other.

    Raises:
        RuntimeError: a group yielded other rows than it promised.
    """
    rows: list[Row] = []
    for group in groups:
        made = await group.run(scale)
        if tuple(row.id for row in made) != group.ids:
            raise RuntimeError(f"{[row.id for row in made]} are not {group.ids}")
        rows += made
    return rows
