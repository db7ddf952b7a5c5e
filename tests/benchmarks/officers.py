"""What officers get and cost while exchanges run: the stream's delivery, and searches beside the load."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from exchange.clock import SystemClock
from exchange.identity import Role
from exchange.tls import CHANNEL_OPTIONS
from exchange.v1 import audit_pb2, audit_pb2_grpc
from tests.benchmarks.fleet import BATCH, Fleet, LightAgent, enlist, load
from tests.benchmarks.measure import Scale, median
from tests.benchmarks.rows import Group, Row
from tests.benchmarks.world import HEALTH, POLICE, World, resource_of, running

TAIL_ID = "tail_delivery_ms_p99"
ROUND_ID, FULL_ID = "exchange_ms_with_searches", "exchanges_per_s_with_searches"
RATE, QUIET_RATE = 2000, 100
TICK_S = 0.02
SECONDS = 20.0
LINKS, EXCHANGES = 8, 16_384
SEARCHES_PER_S = 5
FILTERS = (
    audit_pb2.EntryFilter(),
    audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_RELEASED], resource=resource_of(POLICE)),
    audit_pb2.EntryFilter(organisation=HEALTH, purpose="newborn"),
)
QUESTIONS = (
    audit_pb2.EntryFilter(case_number="CASE-2026-000001"),
    audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_REFUSED]),
    audit_pb2.EntryFilter(organisation=HEALTH, matter="none"),
    audit_pb2.EntryFilter(purpose="newborn", resource="970100/police/*"),
)


class Officers:
    """Follow the log, and note how long after it was made each exchange's entry came.

    Args:
        stub: as an officer.
    """

    def __init__(self, stub: audit_pb2_grpc.AuditServiceStub) -> None:
        self._stub = stub
        self.delays_ms: list[int] = []

    async def follow(self, wanted: audit_pb2.EntryFilter, first: int) -> None:
        clock = SystemClock()
        call = self._stub.Tail(audit_pb2.TailRequest(from_index=first, follow=True, filter=wanted))
        try:
            async for frame in call:
                now_ms = clock.now_ms()
                entries = [audit_pb2.AuditEntry.FromString(leaf) for leaf in frame.leaves]
                self.delays_ms += [now_ms - one.time_ms for one in entries if one.HasField("exchange")]
        finally:
            call.cancel()


async def paced(
    world: World, fleet: Fleet, agents: Sequence[LightAgent], rate: int, seconds: float
) -> tuple[float, list[float]]:
    """Run exchanges at a rate, a burst every 20 ms or so.

    Returns:
        How many there were per second, and the milliseconds that each burst took.
    """
    per_tick = max(1, round(rate * TICK_S / BATCH / len(agents)))
    tick_s = per_tick * BATCH * len(agents) / rate
    ticks = max(2, round(seconds / tick_s))
    load(world, agents, per_tick * ticks)
    waiting = [list(agent.batches) for agent in agents]
    for agent in agents:
        agent.batches = []
    begun, done = time.perf_counter(), 0
    took_ms = []
    for tick in range(ticks):
        for agent, batches in zip(agents, waiting, strict=True):
            agent.batches, batches[:] = batches[:per_tick], batches[per_tick:]
            done += len(agent.batches) * BATCH
        burst = time.perf_counter()
        await fleet.run()
        took_ms.append((time.perf_counter() - burst) * 1000)
        await asyncio.sleep(max(0.0, begun + (tick + 1) * tick_s - time.perf_counter()))
    return done / (time.perf_counter() - begun), took_ms


@asynccontextmanager
async def office(world: World) -> AsyncIterator[audit_pb2_grpc.AuditServiceStub]:
    """Open the audit service as an officer."""
    officer = world.issue(Role.OFFICER, "officer-1")
    credentials = world.credentials(officer)
    async with grpc.aio.secure_channel(world.address, credentials, options=CHANNEL_OPTIONS) as channel:
        yield audit_pb2_grpc.AuditServiceStub(channel)


async def tail_row(world: World, scale: Scale) -> Row:
    """Measure three officers' delivery while 2,000 exchanges a second run, and while 100 do."""
    agents = enlist(world, 2, "tail")
    found: dict[int, tuple[float, float, float]] = {}
    async with Fleet(world, agents) as fleet, office(world) as stub:
        await paced(world, fleet, agents, QUIET_RATE, 1.0)
        for rate in (QUIET_RATE, RATE):
            officers = Officers(stub)
            size = int((await stub.GetCheckpoint(audit_pb2.GetCheckpointRequest())).checkpoint.split("\n")[1])
            following = [asyncio.create_task(officers.follow(wanted, size)) for wanted in FILTERS]
            ran, _ = await paced(world, fleet, agents, rate, SECONDS * max(scale.share, 0.05))
            await asyncio.sleep(1.0)
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            delays = sorted(officers.delays_ms)
            found[rate] = delays[len(delays) * 99 // 100], delays[len(delays) // 2], ran
    p99, p50, ran = found[RATE]
    return Row(
        id=TAIL_ID,
        value=p99,
        unit="ms",
        beside=max(found[QUIET_RATE][0], 1),
        beside_what=f"the same while {QUIET_RATE} exchanges/s run",
        budget="<= 200",
        note=f"from the making of the entry to its arrival, {ran:,.0f} exchanges/s, 3 officers with "
        f"different filters; median {p50:.0f} ms",
    )


async def _search(stub: audit_pb2_grpc.AuditServiceStub, took_ms: list[float]) -> None:
    number = 0
    while True:
        begun = time.perf_counter()
        asked = audit_pb2.SearchRequest(
            filter=QUESTIONS[number % len(QUESTIONS)], newest_first=bool(number & 4), page_size=100
        )
        await stub.Search(asked)
        took_ms.append((time.perf_counter() - begun) * 1000)
        number += 1
        await asyncio.sleep(max(0.0, 1 / SEARCHES_PER_S - (time.perf_counter() - begun)))


@asynccontextmanager
async def searching(
    stub: audit_pb2_grpc.AuditServiceStub, wanted: bool, took_ms: list[float]
) -> AsyncIterator[None]:
    """Search as long as the context lasts, if that is wanted."""
    task = asyncio.create_task(_search(stub, took_ms)) if wanted else None
    yield
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def search_rows(world: World, scale: Scale) -> list[Row]:
    """Measure exchanges at 2,000 a second and at full load, in turns with and without officers' searches."""
    agents = enlist(world, LINKS, "search")
    batches = max(4, scale.of(EXCHANGES) // (LINKS * BATCH))
    seconds = SECONDS * max(scale.share, 0.05) / scale.repetitions
    bursts: dict[bool, list[float]] = {False: [], True: []}
    rates: dict[bool, list[float]] = {False: [], True: []}
    took_ms: list[float] = []
    async with Fleet(world, agents) as fleet, office(world) as stub:
        load(world, agents, max(2, batches // 4))
        await fleet.run()
        for _ in range(scale.repetitions):
            for wanted in (False, True):
                async with searching(stub, wanted, took_ms):
                    bursts[wanted] += (await paced(world, fleet, agents, RATE, seconds))[1]
                count = load(world, agents, batches)
                async with searching(stub, wanted, []):
                    begun = time.perf_counter()
                    await fleet.run()
                    rates[wanted].append(count / (time.perf_counter() - begun))
    return [
        Row(
            id=ROUND_ID,
            value=median(bursts[True]),
            unit="ms",
            beside=median(bursts[False]),
            beside_what="the same without searches",
            note=f"bursts of exchanges, {RATE:,} exchanges/s, up to {SEARCHES_PER_S} searches/s, each "
            f"an entry; a page took {median(took_ms):.0f} ms; a ratio of 1 means that exchanges feel nothing",
        ),
        Row(
            id=FULL_ID,
            value=median(rates[True]),
            unit="1/s",
            beside=median(rates[False]),
            beside_what="the same without searches",
            note=f"everything at full load on the same cores, up to {SEARCHES_PER_S} filtered searches/s",
        ),
    ]


async def run(scale: Scale) -> list[Row]:
    """Found a region, measure, end it."""
    with tempfile.TemporaryDirectory() as place:
        async with running(Path(place)) as world:
            return [await tail_row(world, scale), *await search_rows(world, scale)]


GROUP = Group(ids=(TAIL_ID, ROUND_ID, FULL_ID), run=run)
