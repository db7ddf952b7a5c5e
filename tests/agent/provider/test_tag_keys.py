"""An agent's tag keys: fetched ahead, kept over restarts and outages, let go when their period is over."""

from dataclasses import dataclass, field

import pytest

from agent.provider.tag_keys import TagKeyRing
from exchange.errors import AuthorityAway, StoreDamaged
from exchange.keystore import MemoryKeyStore
from exchange.subject_tags import inner_tag, period_end_ms, period_start_ms
from exchange.v1 import trust_pb2

DAY_MS = 86_400_000
CITIZEN = "970102199001010011"
NOW_MS = period_start_ms("2026Q4") + 5 * DAY_MS
KEYS = {"2026Q3": b"3" * 32, "2026Q4": b"4" * 32, "2027Q1": b"5" * 32}


@dataclass
class Office:
    """An authority, and the clock."""

    told: dict[str, bytes] = field(default_factory=lambda: {"2026Q4": KEYS["2026Q4"]})
    away: bool = False
    asked: int = 0
    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    async def fetch(self) -> trust_pb2.GetTagKeysResponse:
        self.asked += 1
        if self.away:
            raise AuthorityAway("test")
        return trust_pb2.GetTagKeysResponse(
            keys=[trust_pb2.TagKey(period=period, key=key) for period, key in self.told.items()]
        )


def tag_of(held: TagKeyRing, at_ms: int) -> tuple[str, bytes] | None:
    """Return the period of a time and the tag of somebody in it."""
    present = held.present(at_ms)
    return present and (present[0], present[1].of("citizen_id", CITIZEN))


def due(period: str, key: bytes = b"") -> tuple[str, bytes]:
    return period, inner_tag(key or KEYS[period], "citizen_id", CITIZEN)


def ring(office: Office, keystore: MemoryKeyStore) -> TagKeyRing:
    return TagKeyRing(keystore=keystore, clock=office, fetch=office.fetch)


async def test_the_present_key_is_fetched_and_found_after_a_restart_without_the_authority() -> None:
    office, store = Office(), MemoryKeyStore()
    held = ring(office, store)
    assert held.present(NOW_MS) is None
    await held.refresh()
    assert tag_of(held, NOW_MS) == due("2026Q4")
    office.away = True
    again = ring(office, store)
    await again.refresh()
    assert tag_of(again, NOW_MS) == due("2026Q4")
    assert again.fault is not None and again.fault.name == "AUTHORITY_AWAY"


async def test_the_next_periods_key_is_there_when_the_period_begins_although_the_authority_is_away() -> None:
    office, store = Office(), MemoryKeyStore()
    held = ring(office, store)
    await held.refresh()
    office.ms = period_end_ms("2026Q4") - 10 * DAY_MS
    office.told["2027Q1"] = KEYS["2027Q1"]
    await held.refresh()
    office.away, office.ms = True, period_end_ms("2026Q4")
    assert tag_of(held, office.ms - 1) == due("2026Q4")
    assert tag_of(held, office.ms) == due("2027Q1")


async def test_keys_of_the_past_are_deleted_within_a_day() -> None:
    office, store = Office(told=dict(KEYS)), MemoryKeyStore()
    held = ring(office, store)
    office.ms = period_end_ms("2026Q4") - 10 * DAY_MS
    await held.refresh()
    assert store.names() == ["tags-2026q4", "tags-2027q1"]
    office.ms = period_end_ms("2026Q4") + DAY_MS
    office.away = True
    await held.refresh()
    assert store.names() == ["tags-2027q1"]


async def test_the_authority_is_asked_at_once_while_there_is_no_key_and_hourly_otherwise() -> None:
    office = Office(away=True)
    held = ring(office, MemoryKeyStore())
    for asked in (1, 2, 3):
        await held.refresh()
        assert office.asked == asked
    office.away = False
    await held.refresh()
    await held.refresh()
    assert office.asked == 4
    office.ms += 3_600_000
    await held.refresh()
    assert office.asked == 5


@pytest.mark.parametrize(
    "told",
    [
        {"2026Q4": b"short"},
        {"2026Q5": b"x" * 32},
        {"now": b"x" * 32},
        {f"2026Q{n % 4 + 1}" if n < 4 else f"203{n}Q1": b"x" * 32 for n in range(5)},
    ],
)
async def test_malformed_keys_are_a_fault_and_not_used(told: dict[str, bytes]) -> None:
    office, store = Office(told=told), MemoryKeyStore()
    held = ring(office, store)
    await held.refresh()
    assert held.fault is not None and held.fault.name == "MALFORMED"
    assert held.present(NOW_MS) is None and store.names() == []


async def test_keys_of_other_times_are_not_kept() -> None:
    office, store = Office(told=KEYS | {"2031Q1": b"6" * 32}), MemoryKeyStore()
    await ring(office, store).refresh()
    assert store.names() == ["tags-2026q4"]


async def test_a_key_that_the_authority_changed_is_taken_over() -> None:
    office, store = Office(), MemoryKeyStore()
    held = ring(office, store)
    await held.refresh()
    office.told["2026Q4"], office.ms = b"9" * 32, NOW_MS + 3_600_000
    await held.refresh()
    assert tag_of(held, NOW_MS) == due("2026Q4", b"9" * 32) and store.get("tags-2026q4") == b"9" * 32


async def test_a_key_that_cannot_be_kept_is_not_used() -> None:
    class Full(MemoryKeyStore):
        def put(self, name: str, secret: bytes) -> None:
            raise StoreDamaged(name)

    held = ring(Office(), Full())
    await held.refresh()
    assert held.fault is not None and held.present(NOW_MS) is None
