"""The rows that need a running region: one region for all of them, Envoy in the same run."""

import tempfile
from pathlib import Path

from tests.benchmarks import envoy, gateway_cost, path
from tests.benchmarks.measure import Scale
from tests.benchmarks.rows import Group, Row
from tests.benchmarks.world import running

IDS = (*gateway_cost.CASES, path.LATENCY, path.RATE)


async def run(scale: Scale) -> list[Row]:
    """Found a region, measure, end it."""
    with tempfile.TemporaryDirectory() as place:
        async with running(Path(place)) as world:
            forwarder = await envoy.start(world)
            rows = await gateway_cost.rows(world, forwarder, scale)
            parties = await path.open_departments(world)
            rows.append(await path.latency_row(parties, forwarder, scale))
            rows.append(await path.rate_row(world, parties, forwarder, scale))
            return rows


GROUP = Group(ids=IDS, run=run)
