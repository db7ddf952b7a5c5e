"""The gateway's CPU per audited, signed exchange, beside Envoy forwarding one unary mTLS gRPC call."""

import time

from tests.benchmarks import envoy
from tests.benchmarks.fleet import BATCH, BATCHES_IN_FLIGHT, Fleet, enlist, load, sizes
from tests.benchmarks.measure import Scale, median, process_cpu_s
from tests.benchmarks.rows import Row
from tests.benchmarks.world import World

ID = "gateway_cpu_us_per_exchange"
LINKS = {1: ID, 32: f"{ID}_32_links", 128: f"{ID}_128_links"}
EXCHANGES, CALLS = 8192, 4096


async def rows(world: World, forwarder: envoy.Forwarder, scale: Scale) -> list[Row]:
    """Measure the gateway with 1, 32 and 128 links, and Envoy in turns with it."""
    made = []
    for links, row_id in LINKS.items():
        agents = enlist(world, links)
        batches = max(4, scale.of(EXCHANGES) // (links * BATCH))
        costs, rates, besides = [], [], []
        async with (
            Fleet(world, agents) as fleet,
            envoy.callers(world, forwarder, forwarder.address, 32) as calls,
        ):
            load(world, agents, max(2, batches // 4))
            await fleet.run()
            await envoy.forwarded(forwarder, calls, scale.of(CALLS) // 4, 256)
            for _ in range(scale.repetitions):
                cost, rate = await _cost(world, fleet, load(world, agents, batches))
                costs.append(cost)
                rates.append(rate)
                besides.append((await envoy.forwarded(forwarder, calls, scale.of(CALLS), 256))[0])
        asked, answered = sizes(world, agents[0])
        made.append(
            Row(
                id=row_id,
                value=median(costs),
                unit="us",
                beside=median(besides),
                beside_what="Envoy's CPU per unary call of 600 B, HTTP/2, mTLS 1.3 on both sides",
                budget="<= 60 at 32 links" if links == 32 else "",
                note=f"{links} links, {BATCH} to {BATCH * BATCHES_IN_FLIGHT} in flight on each; request "
                f"{asked} B, answer {answered} B as signed; {median(rates):,.0f} exchanges/s",
            )
        )
    return made


async def _cost(world: World, fleet: Fleet, count: int) -> tuple[float, float]:
    """Return the gateway's CPU microseconds per exchange, and exchanges per second of wall clock."""
    cpu, begun = process_cpu_s(world.gateway.pid), time.perf_counter()
    await fleet.run()
    rate = count / (time.perf_counter() - begun)
    return (process_cpu_s(world.gateway.pid) - cpu) / count * 1e6, rate
