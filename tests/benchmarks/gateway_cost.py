"""The gateway's CPU per audited, signed exchange, beside Envoy forwarding one unary mTLS gRPC call."""

import time

from tests.benchmarks import envoy
from tests.benchmarks.fleet import BATCH, BATCHES_IN_FLIGHT, Fleet, enlist, load, sizes
from tests.benchmarks.measure import Scale, median, process_cpu_s
from tests.benchmarks.rows import Row
from tests.benchmarks.world import World

ID = "gateway_cpu_us_per_exchange"
FRAME = 32
CASES = {
    ID: (1, BATCH),
    f"{ID}_32_links": (32, BATCH),
    f"{ID}_128_links": (128, BATCH),
    f"{ID}_32_links_32_in_flight": (32, FRAME),
}
"""Row by row: how many links, and how many requests in each signed frame."""
EXCHANGES, CALLS = 8192, 4096


async def rows(world: World, forwarder: envoy.Forwarder, scale: Scale) -> list[Row]:
    """Measure the gateway with 1, 32 and 128 links, and Envoy in turns with it."""
    return [await _row(world, forwarder, scale, row_id, *case) for row_id, case in CASES.items()]


async def _row(
    world: World, forwarder: envoy.Forwarder, scale: Scale, row_id: str, links: int, size: int
) -> Row:
    agents = enlist(world, links, row_id[-12:].strip("_").replace("_", "-"))
    batches = max(4, scale.of(EXCHANGES) // (links * size))
    costs, rates, besides = [], [], []
    async with (
        Fleet(world, agents, size) as fleet,
        envoy.callers(world, forwarder, forwarder.address, 32) as calls,
    ):
        load(world, agents, max(2, batches // 4), size)
        await fleet.run()
        await envoy.forwarded(forwarder, calls, scale.of(CALLS) // 4, 256)
        for _ in range(scale.repetitions):
            cost, rate = await _cost(world, fleet, load(world, agents, batches, size))
            costs.append(cost)
            rates.append(rate)
            besides.append((await envoy.forwarded(forwarder, calls, scale.of(CALLS), 256))[0])
    asked, answered = sizes(world, agents[0])
    flight = f"{size} to {BATCH * BATCHES_IN_FLIGHT}" if size == BATCH else f"up to {size}"
    return Row(
        id=row_id,
        value=median(costs),
        unit="us",
        beside=median(besides),
        beside_what="Envoy's CPU per unary call of 600 B, HTTP/2, mTLS 1.3 on both sides",
        budget="<= 60" if links == 32 else "",
        note=f"{links} link{'s' if links > 1 else ''}, {flight} in flight on each; request {asked} B, answer "
        f"{answered} B as signed; {median(rates):,.0f} exchanges/s",
    )


async def _cost(world: World, fleet: Fleet, count: int) -> tuple[float, float]:
    """Return the gateway's CPU microseconds per exchange, and exchanges per second of wall clock."""
    cpu, begun = process_cpu_s(world.gateway.pid), time.perf_counter()
    await fleet.run()
    rate = count / (time.perf_counter() - begun)
    return (process_cpu_s(world.gateway.pid) - cpu) / count * 1e6, rate
