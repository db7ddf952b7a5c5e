"""A page of an officer's search over a log of a million entries, beside reading its entries from the log."""

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from exchange.v1 import audit_pb2, reason_pb2
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import SEARCH, Searches, read
from gateway.audit.projections.search_rows import SearchContent
from gateway.storage.ports import Group as StoredGroup
from gateway.storage.ports import StoredHead
from gateway.storage.sqlite import SqliteAuditStore
from tests.benchmarks.measure import Scale, median
from tests.benchmarks.rows import Group, Row

PAGE_ID, CATCH_UP_ID = "search_page_ms", "projection_entries_per_s"
ENTRIES, GROUP_SIZE, PAGE = 1_000_000, 2000, 100
ORGANISATIONS, RESOURCES, OPERATORS, CASES = 50, 200, 2000, 100_000
START_MS, STEP_MS = 1_790_000_000_000, 50


@dataclass(frozen=True)
class Head:
    size: int


class StoredLog:
    """The entries alone, as the store keeps them."""

    def __init__(self, store: SqliteAuditStore, size: int) -> None:
        self._store = store
        self.head = Head(size)

    def leaves(self, first: int, count: int) -> list[bytes]:
        return self._store.leaves(first, count)


def organisation(number: int) -> str:
    return f"1197{number:04d}MB1A0001X5"


def entry(chance: random.Random, number: int) -> bytes:
    """Return an entry as a region has them: 2% refused, a few busy departments, many cases."""
    provider = min(int(chance.expovariate(0.1)), ORGANISATIONS - 1)
    refused = chance.random() < 0.02
    made = audit_pb2.AuditEntry(
        salt=chance.randbytes(16), version=1, gateway="970100.yunchuan.example/gateway-1"
    )
    made.time_ms = START_MS + number * STEP_MS + chance.randrange(2000)
    told = made.exchange
    told.exchange_id = number.to_bytes(8, "big") + chance.randbytes(8)
    told.consumer_organisation = organisation(chance.randrange(ORGANISATIONS))
    told.provider_organisation = organisation(provider)
    told.operator = f"op-{chance.randrange(OPERATORS)}"
    told.resource = f"970100/dept-{provider}/item-{chance.randrange(RESOURCES // ORGANISATIONS)}"
    told.purpose = told.matter = f"matter-{min(int(chance.expovariate(0.5)), 40)}"
    told.case_number = f"LJ-2026-{chance.randrange(CASES):06d}"
    told.grant_id = (provider * 1000 + chance.randrange(100)).to_bytes(32, "big")
    told.decision = audit_pb2.DECISION_REFUSED if refused else audit_pb2.DECISION_RELEASED
    told.reason = reason_pb2.REASON_NO_GRANT if refused else 0
    told.request_digest = told.response_digest = chance.randbytes(32)
    told.request_signature.signature = told.response_signature.signature = chance.randbytes(64)
    return made.SerializeToString()


def fill(store: SqliteAuditStore, count: int) -> None:
    """Write entries as groups are written; without a tree, which nothing here asks for."""
    chance = random.Random(1)
    store.open()
    for first in range(0, count, GROUP_SIZE):
        leaves = [entry(chance, number) for number in range(first, min(first + GROUP_SIZE, count))]
        head = StoredHead(size=first + len(leaves), root=bytes(32), checkpoint="")
        store.stage(StoredGroup(first=first, leaves=leaves, tiles=(), head=head))
        store.commit()


def questions(count: int) -> dict[str, audit_pb2.EntryFilter]:
    """Return what officers ask for: by much, by little, by nothing that is there."""
    busy, middle = organisation(3), START_MS + count * STEP_MS // 2
    refused = [audit_pb2.DECISION_REFUSED]
    return {
        "a case": audit_pb2.EntryFilter(case_number="LJ-2026-000017"),
        "an operator": audit_pb2.EntryFilter(operator="op-17"),
        "a department": audit_pb2.EntryFilter(organisation=busy),
        "its refusals": audit_pb2.EntryFilter(organisation=busy, decisions=refused),
        "its refusals of a day": audit_pb2.EntryFilter(
            organisation=busy, decisions=refused, since_ms=middle, until_ms=middle + 86_400_000
        ),
        "a rare matter": audit_pb2.EntryFilter(matter="matter-15"),
        "a matter that is not there": audit_pb2.EntryFilter(matter="none"),
        "a resource for a purpose": audit_pb2.EntryFilter(
            resource="970100/dept-3/item-1", purpose="matter-7"
        ),
        "below a prefix": audit_pb2.EntryFilter(resource="970100/dept-30/*"),
        "two departments' nothing": audit_pb2.EntryFilter(
            organisation=busy, grant_id=(49 * 1000 + 5).to_bytes(32, "big")
        ),
        "a day": audit_pb2.EntryFilter(since_ms=middle, until_ms=middle + 86_400_000),
        "everything": audit_pb2.EntryFilter(),
    }


async def run(scale: Scale) -> list[Row]:
    """Fill a log, let the projection catch up, and ask."""
    count = scale.of(ENTRIES, least=2000)
    with tempfile.TemporaryDirectory() as place:
        store = SqliteAuditStore(folder=Path(place))
        await asyncio.to_thread(fill, store, count)
        log = StoredLog(store, count)
        projection = Projection(path=Path(place) / SEARCH, log=log, content=SearchContent())
        begun = time.perf_counter()
        projection.start()
        await projection.caught_up(count, timeout_s=600)
        rate = count / (time.perf_counter() - begun)
        searches = Searches(projection=projection, log=log, witnessed=lambda: 0)
        worst, slowest, beside = 0.0, "", 0.0
        for name, asked in questions(count).items():
            for newest_first in (False, True):
                took, alone = await _page(searches, log, asked, newest_first, scale)
                if took > worst:
                    worst, slowest, beside = took, f"{name}{', newest first' if newest_first else ''}", alone
        whole, shown = await _whole(searches, log)
        parsing = _parse_rate(log, count)
        size_mib = (Path(place) / SEARCH).stat().st_size / 2**20
        await projection.close()
        store.close()
    return [
        Row(
            id=PAGE_ID,
            value=worst,
            unit="ms",
            beside=beside,
            beside_what=f"reading {PAGE} entries of the log by index",
            budget="<= 50",
            note=f"the slowest of {2 * len(questions(count))} filtered pages of {PAGE}, {count:,} entries: "
            f"{slowest}; a page whose time is over is short: to find nothing in the whole log takes {shown} "
            f"pages, {whole:.0f} ms; search.db {size_mib:,.0f} MiB",
        ),
        Row(
            id=CATCH_UP_ID,
            value=rate,
            unit="1/s",
            beside=parsing,
            beside_what="parsing the same entries alone",
            note="from nothing, while nothing else runs",
        ),
    ]


async def _page(
    searches: Searches, log: StoredLog, asked: audit_pb2.EntryFilter, newest_first: bool, scale: Scale
) -> tuple[float, float]:
    """Return the median milliseconds of the first page, and of reading as many entries by index."""
    request = audit_pb2.SearchRequest(filter=asked, newest_first=newest_first, page_size=PAGE)
    pages, alone = [], []
    for _ in range(max(3, scale.repetitions)):
        begun = time.perf_counter()
        await searches.answer(read(request), log.head.size)
        pages.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        for index in range(0, log.head.size, max(1, log.head.size // PAGE)):
            log.leaves(index, 1)
        alone.append((time.perf_counter() - begun) * 1000)
    return median(pages), median(alone)


async def _whole(searches: Searches, log: StoredLog) -> tuple[float, int]:
    """Return the milliseconds and pages that it takes to find that nothing fits, along no index."""
    request = audit_pb2.SearchRequest(filter=audit_pb2.EntryFilter(matter="none"))
    begun, shown = time.perf_counter(), 0
    while not shown or request.page_token:
        answer = await searches.answer(read(request), log.head.size)
        request.page_token, shown = answer.next_page_token, shown + 1
    return (time.perf_counter() - begun) * 1000, shown


def _parse_rate(log: StoredLog, count: int) -> float:
    leaves = log.leaves(0, min(count, 20_000))
    begun = time.perf_counter()
    for leaf in leaves:
        audit_pb2.AuditEntry.FromString(leaf)
    return len(leaves) / (time.perf_counter() - begun)


GROUP = Group(ids=(PAGE_ID, CATCH_UP_ID), run=run)
