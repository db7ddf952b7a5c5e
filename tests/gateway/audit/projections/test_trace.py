"""Traces: whose data went where, and the course of a case; nobody else's, and nothing before its time."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exchange.clock import system_random
from exchange.errors import AuditUnavailable, Malformed, StoreDamaged
from exchange.identity import Identity, Role
from exchange.keystore import MemoryKeyStore
from exchange.subject_tags import inner_tag, padded, period_of, period_start_ms, tag_root
from exchange.v1 import audit_pb2
from gateway.audit.keeping.tag_terms import TagTerms
from gateway.audit.keeping.terms import trusted_now
from gateway.audit.projections.projection import Projection
from gateway.audit.projections.search import Searches
from gateway.audit.projections.search_rows import SearchContent
from gateway.audit.projections.trace import Traces
from gateway.audit.projections.trace_rows import TRACE, TraceContent
from gateway.audit.writing.sequencer import Sequencer
from gateway.subject_tags import GatewayTagKeys
from tests.support.audit import ORIGIN, MemoryAuditStore, MemoryHighWater, Outcome, memory_sequencer
from tests.support.region import CIVIL, HEALTH, POLICE

DAY_MS = 86_400_000
NOW_MS = period_start_ms("2026Q4") + 20 * DAY_MS
OLDER_MS = period_start_ms("2026Q3") + 20 * DAY_MS
MOTHER, FATHER = "970102199001010011", "97010219900101002X"
OFFICER = Identity("yunchuan.example", "970100", Role.OFFICER, "", "zhao")
AUDITOR = Identity("yunchuan.example", "970100", Role.AUDITOR, "", "sun")
GATEWAY = Identity("yunchuan.example", "970100", Role.GATEWAY, "", "gateway-1")


@dataclass
class Turned:
    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Desk:
    """A log with tagged exchanges, and traces over it."""

    folder: Path
    store: MemoryAuditStore = field(default_factory=MemoryAuditStore)
    high_water: MemoryHighWater = field(default_factory=MemoryHighWater)
    clock: Turned = field(default_factory=Turned)
    keystore: MemoryKeyStore = field(default_factory=MemoryKeyStore)
    reads: list[tuple[Identity, str]] = field(default_factory=list)
    delayed: dict[str, int] = field(default_factory=dict)
    number: int = 0
    # The authority's: this gateway has neither these keys nor any inner tag.
    providers: dict[str, bytes] = field(default_factory=lambda: {"2026Q3": b"3" * 32, "2026Q4": b"4" * 32})

    async def open(self) -> None:
        self.keys = GatewayTagKeys(keystore=self.keystore)
        self.log: Sequencer = memory_sequencer(self.store, self.high_water)
        await self.log.open()
        self.tagged = Projection(path=self.folder / TRACE, log=self.log, content=TraceContent(self.log))
        self.found = Projection(path=self.folder / "search.db", log=self.log, content=SearchContent())
        for projection in (self.tagged, self.found):
            projection.start()
        self.traces = Traces(
            projection=self.tagged,
            searches=Searches(projection=self.found, log=self.log, witnessed=lambda: 0),
            log=self.log,
            keys=self.keys,
            delayed_days=self.delayed,
            mark_key=b"m" * 32,
            record_read=self.record,
            clock=self.clock,
        )

    async def close(self) -> None:
        await self.tagged.close()
        await self.found.close()
        await self.log.close()

    async def make_anew(self, change: Callable[[], None] = lambda: None) -> None:
        """Stop, throw the projection away, and start again."""
        await self.close()
        (self.folder / TRACE).unlink()
        change()
        await self.open()

    async def record(self, who: Identity, words: str) -> None:
        self.reads.append((who, words))

    async def exchange(
        self,
        *subjects: str,
        step: int = 1,
        at_ms: int = NOW_MS,
        decision: audit_pb2.Decision = audit_pb2.DECISION_RELEASED,
        **said: Any,
    ) -> int:
        """Enter an exchange about some subjects; return its index."""
        self.number += 1
        entry = audit_pb2.AuditEntry(salt=system_random(16), version=1, gateway=ORIGIN, time_ms=at_ms)
        told: dict[str, Any] = {"consumer_organisation": HEALTH, "provider_organisation": POLICE}
        for name, value in (told | {"purpose": "newborn", "case_number": "LJ-1"} | said).items():
            setattr(entry.exchange, name, value)
        entry.exchange.exchange_id = self.number.to_bytes(16, "big")
        entry.exchange.decision = decision
        beside = b""
        if subjects:
            period = period_of(at_ms)
            outer = self.keys.present(period)
            tags = [outer.of(self.inner(period, one)) for one in subjects]
            tags = padded(tags, step, system_random)
            entry.exchange.tag_period, entry.exchange.tag_count = period, len(tags)
            entry.exchange.tag_root, beside = tag_root(tags), b"".join(tags)
        outcome = Outcome()
        self.log.submit([entry.SerializeToString()], outcome, [beside])
        return (await outcome.places())[0].index

    def inner(self, period: str, subject: str) -> bytes:
        return inner_tag(self.providers[period], "citizen_id", subject)

    def subject(self, who: str, *periods: str) -> audit_pb2.SubjectTags:
        """Return what the authority gives an officer."""
        chosen = periods or tuple(self.providers)
        return audit_pb2.SubjectTags(
            tags=[audit_pb2.SubjectTag(period=one, tag=self.inner(one, who)) for one in chosen]
        )

    async def trace(self, who: str, caller: Identity = OFFICER, **more: Any) -> list[int]:
        answer = await self.ask(caller, subject=self.subject(who), **more)
        return [one.index for one in answer.entries]

    async def ask(self, caller: Identity = OFFICER, **told: Any) -> audit_pb2.TraceResponse:
        told = {"justification": "complaint 17"} | told
        return await self.traces.answer(audit_pb2.TraceRequest(**told), caller)


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


@asynccontextmanager
async def desk_at(folder: Path, **more: Any) -> AsyncIterator[Desk]:
    made = Desk(folder, **more)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as made:
        yield made


async def test_every_exchange_about_a_person_is_found_across_organisations_and_nobody_elses(
    desk: Desk,
) -> None:
    mothers = []
    for consumer, provider in ((HEALTH, POLICE), (CIVIL, POLICE), (HEALTH, CIVIL), (CIVIL, HEALTH)):
        parties = {"consumer_organisation": consumer, "provider_organisation": provider}
        mothers.append(await desk.exchange(MOTHER, **parties))
        await desk.exchange(FATHER, **parties)
        await desk.exchange(**parties)
    assert await desk.trace(MOTHER) == mothers
    both = await desk.exchange(MOTHER, FATHER, step=4)
    assert await desk.trace(MOTHER) == [*mothers, both]
    assert both in await desk.trace(FATHER)
    assert await desk.trace("970102199001010038") == []


async def test_the_log_s_own_bytes_are_answered(desk: Desk) -> None:
    index = await desk.exchange(MOTHER)
    (found,) = (await desk.ask(subject=desk.subject(MOTHER))).entries
    assert (found.index, found.leaf) == (index, desk.log.leaves(index, 1)[0])


async def test_refused_and_failed_exchanges_are_found_too(desk: Desk) -> None:
    indexes = [
        await desk.exchange(MOTHER, decision=decision)
        for decision in (audit_pb2.DECISION_REFUSED, audit_pb2.DECISION_FAILED)
    ]
    assert await desk.trace(MOTHER) == indexes


async def test_a_subject_is_followed_through_the_periods_in_the_order_of_the_log(desk: Desk) -> None:
    indexes = [await desk.exchange(MOTHER, at_ms=at_ms) for at_ms in (OLDER_MS, NOW_MS, OLDER_MS, NOW_MS)]
    assert await desk.trace(MOTHER) == indexes
    one = await desk.ask(subject=desk.subject(MOTHER, "2026Q3"))
    assert [found.index for found in one.entries] == [indexes[0], indexes[2]]


async def test_a_tag_of_one_period_finds_nothing_in_another(desk: Desk) -> None:
    await desk.exchange(MOTHER, at_ms=OLDER_MS)
    await desk.exchange(FATHER)
    swapped = audit_pb2.SubjectTags(
        tags=[audit_pb2.SubjectTag(period="2026Q4", tag=desk.inner("2026Q3", MOTHER))]
    )
    assert not (await desk.ask(subject=swapped)).entries


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_follow_each_other_without_a_gap_and_the_last_one_says_so(desk: Desk, size: int) -> None:
    indexes = []
    for _ in range(6):
        indexes.append(await desk.exchange(MOTHER))
        await desk.exchange(FATHER)
    found: list[int] = []
    token, pages = "", 0
    while True:
        answer = await desk.ask(subject=desk.subject(MOTHER), page_size=size, page_token=token)
        found += [one.index for one in answer.entries]
        token, pages = answer.next_page_token, pages + 1
        if not token:
            break
        assert len(answer.entries) == size
    assert found == indexes and pages == -(-6 // size)


async def test_a_page_token_is_good_for_its_own_subject_alone(desk: Desk) -> None:
    for _ in range(3):
        await desk.exchange(MOTHER)
    token = (await desk.ask(subject=desk.subject(MOTHER), page_size=1)).next_page_token
    for told in ({"subject": desk.subject(FATHER)}, {"case_number": "LJ-1"}):
        with pytest.raises(Malformed):
            await desk.ask(page_token=token, **told)


async def test_a_trace_is_entered_before_it_is_answered_without_tag_or_case(desk: Desk) -> None:
    await desk.exchange(MOTHER, case_number="LJ-2026-77")
    await desk.ask(subject=desk.subject(MOTHER))
    await desk.ask(subject=desk.subject(MOTHER, "2026Q4"))
    await desk.ask(subject=desk.subject(FATHER))
    await desk.ask(AUDITOR, case_number="LJ-2026-77")
    words = [told for _, told in desk.reads]
    assert [who for who, _ in desk.reads] == [OFFICER, OFFICER, OFFICER, AUDITOR]
    assert all(told.endswith(" complaint 17") for told in words)
    assert words[0] == words[1] != words[2] and words[0].startswith("Trace subject ")
    assert words[3].startswith("Trace case_number ")
    for period in desk.providers:
        inner = desk.inner(period, MOTHER)
        for tag in (inner, desk.keys.outer(period, inner) or inner):
            assert not any(tag.hex()[:16] in told for told in words)
    assert not any("LJ-2026-77" in told for told in words)


async def test_nothing_is_answered_where_the_trace_cannot_be_entered(desk: Desk) -> None:
    async def fails(who: Identity, words: str) -> None:
        raise AuditUnavailable("test")

    desk.traces._record_read = fails
    with pytest.raises(AuditUnavailable):
        await desk.trace(MOTHER)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"subject": audit_pb2.SubjectTags()},
        {"case_number": ""},
        {"case_number": "x" * 201},
        {"case_number": "LJ-1", "justification": ""},
        {"case_number": "LJ-1", "justification": "x" * 201},
        {"case_number": "LJ-1", "justification": f"about {MOTHER}"},
        {"case_number": "LJ-1", "justification": "two\nlines"},
        {"case_number": "LJ-1", "page_size": 501},
        {"case_number": "LJ-1", "page_token": "x"},
        {"subject": audit_pb2.SubjectTags(tags=[audit_pb2.SubjectTag(period="2026Q4", tag=bytes(31))])},
        {"subject": audit_pb2.SubjectTags(tags=[audit_pb2.SubjectTag(period="2026", tag=bytes(32))])},
        {"subject": audit_pb2.SubjectTags(tags=[audit_pb2.SubjectTag(period="2026Q4", tag=bytes(32))] * 2)},
    ],
)
async def test_a_malformed_trace_is_refused_before_it_is_entered(desk: Desk, told: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        await desk.ask(**told)
    assert desk.reads == []


async def test_a_case_is_told_whole_and_in_order_page_by_page(desk: Desk) -> None:
    course = []
    for number in range(5):
        decision = audit_pb2.DECISION_REFUSED if number % 2 else audit_pb2.DECISION_RELEASED
        course.append(await desk.exchange(*([MOTHER] * (number % 2)), case_number="LJ-9", decision=decision))
        await desk.exchange(MOTHER, case_number="LJ-8")
    found: list[int] = []
    token = ""
    while True:
        answer = await desk.ask(case_number="LJ-9", page_size=2, page_token=token)
        found += [one.index for one in answer.entries]
        token = answer.next_page_token
        if not token:
            break
    assert found == course


async def test_a_marked_purpose_shows_to_officers_only_after_its_days_and_to_auditors_at_once(
    tmp_path: Path,
) -> None:
    async with desk_at(tmp_path, delayed={"investigation": 30}) as desk:
        plain = await desk.exchange(MOTHER)
        marked = await desk.exchange(MOTHER, purpose="investigation")
        other = await desk.exchange(MOTHER)
        assert await desk.trace(MOTHER) == [plain, other]
        assert await desk.trace(MOTHER, AUDITOR) == [plain, marked, other]
        desk.clock.ms = NOW_MS + 30 * DAY_MS - 1
        assert await desk.trace(MOTHER) == [plain, other]
        desk.clock.ms += 1
        assert await desk.trace(MOTHER) == [plain, marked, other]


def flat(told: list[list[int]]) -> list[int]:
    return [index for page in told for index in page]


async def test_the_course_of_a_case_holds_back_what_a_subjects_trace_does(tmp_path: Path) -> None:
    async with desk_at(tmp_path, delayed={"investigation": 30}) as desk:
        plain, marked = [], []
        for _ in range(7):
            marked += [await desk.exchange(purpose="investigation", case_number="LJ-9") for _ in range(3)]
            plain.append(await desk.exchange(case_number="LJ-9"))

        async def course(who: Identity, size: int) -> list[list[int]]:
            told, token = [], ""
            while True:
                answer = await desk.ask(who, case_number="LJ-9", page_size=size, page_token=token)
                told.append([one.index for one in answer.entries])
                token = answer.next_page_token
                if not token:
                    return told

        assert (await course(OFFICER, 3))[:2] == [plain[:3], plain[3:6]]
        assert flat(await course(OFFICER, 1)) == flat(await course(OFFICER, 100)) == plain
        assert flat(await course(AUDITOR, 5)) == sorted(plain + marked)
        desk.clock.ms = NOW_MS + 30 * DAY_MS
        assert flat(await course(OFFICER, 5)) == sorted(plain + marked)


async def test_what_is_held_back_leaves_no_sign_in_pages_or_words(tmp_path: Path) -> None:
    async with desk_at(tmp_path, delayed={"investigation": 30}) as desk:
        for _ in range(3):
            await desk.exchange(MOTHER, purpose="investigation")
            await desk.exchange(MOTHER)
            await desk.exchange(FATHER)
        hidden = await desk.ask(subject=desk.subject(MOTHER), page_size=3)
        never = await desk.ask(subject=desk.subject(FATHER), page_size=3)
        for answer in (hidden, never):
            assert len(answer.entries) == 3 and answer.next_page_token == ""
            assert dict(answer.delayed_purpose_days) == {"investigation": 30}
            assert answer.searched_size == hidden.searched_size


async def test_decoys_fill_the_list_and_find_nobody(desk: Desk) -> None:
    one = await desk.exchange(MOTHER, step=16)
    many = await desk.exchange(*[f"{n}" for n in range(9)], MOTHER, step=16)
    entries = [audit_pb2.AuditEntry.FromString(desk.log.leaves(n, 1)[0]).exchange for n in (one, many)]
    assert [entry.tag_count for entry in entries] == [16, 16]
    assert {len(data) for data in desk.store.kept_beside.values()} == {16 * 32}
    assert await desk.trace(MOTHER) == [one, many] and await desk.trace(FATHER) == []


async def test_the_gateways_key_ends_with_the_term_of_its_entries_and_its_tags_find_nothing(
    desk: Desk,
) -> None:
    old, new = await desk.exchange(MOTHER, at_ms=OLDER_MS), await desk.exchange(MOTHER)
    terms = TagTerms(
        keys=desk.keys, append=desk.log.append, gateway=GATEWAY, origin=ORIGIN, keep_days=90,
        clock=desk.clock, random=system_random, now=desk.clock.now_ms,
    )  # fmt: skip
    assert await desk.trace(MOTHER) == [old, new] and await terms.turn() == []
    desk.clock.ms = period_start_ms("2026Q4") + 90 * DAY_MS + 600_000
    assert await terms.turn() == ["2026Q3"] and await terms.turn() == []
    assert desk.keystore.names() == ["tags-2026q4"]
    answer = await desk.ask(subject=desk.subject(MOTHER))
    assert [one.index for one in answer.entries] == [new]
    assert list(answer.erased_periods) == ["2026Q3"]
    act = audit_pb2.AuditEntry.FromString(desk.log.leaves(2, 1)[0]).administrative
    assert (act.act, act.subject, act.actor) == (audit_pb2.ACT_TAG_KEY_ERASED, "2026Q3", GATEWAY.uri)
    periods = await desk.tagged.query(lambda db: db.execute("SELECT DISTINCT period FROM tag").fetchall())
    assert periods == [("2026Q4",)]


async def test_a_clock_that_nobody_vouches_for_ends_no_key(desk: Desk) -> None:
    await desk.exchange(MOTHER, at_ms=OLDER_MS)
    terms = TagTerms(
        keys=desk.keys, append=desk.log.append, gateway=GATEWAY, origin=ORIGIN, keep_days=90,
        clock=desk.clock, random=system_random, now=lambda: trusted_now(desk.clock, None),
    )  # fmt: skip
    desk.clock.ms += 10 * 365 * DAY_MS
    assert await terms.turn() == [] and desk.keys.periods == ["2026Q3"]


async def test_a_key_stands_while_its_end_cannot_be_entered(desk: Desk) -> None:
    await desk.exchange(MOTHER, at_ms=OLDER_MS)

    async def fails(leaf: bytes) -> None:
        raise AuditUnavailable("test")

    terms = TagTerms(
        keys=desk.keys, append=fails, gateway=GATEWAY, origin=ORIGIN, keep_days=1,
        clock=desk.clock, random=system_random, now=desk.clock.now_ms,
    )  # fmt: skip
    with pytest.raises(AuditUnavailable):
        await terms.turn()
    assert desk.keys.periods == ["2026Q3"]


async def test_a_period_whose_providers_key_is_gone_is_named(desk: Desk) -> None:
    await desk.exchange(MOTHER, at_ms=OLDER_MS)
    await desk.exchange(MOTHER)
    answer = await desk.ask(subject=desk.subject(MOTHER, "2026Q4"))
    assert list(answer.erased_periods) == ["2026Q3"]


@pytest.mark.parametrize("how", ["removed", "altered"])
async def test_a_list_that_somebody_changed_is_told_instead_of_an_answer(desk: Desk, how: str) -> None:
    index = await desk.exchange(MOTHER, step=4)

    def change() -> None:
        kept = desk.store.kept_beside.pop(index)
        if how == "altered":
            desk.store.kept_beside[index] = bytes(32) + kept[32:]

    await desk.make_anew(change)
    with pytest.raises(StoreDamaged, match=f"entry {index}"):
        await desk.trace(FATHER)


async def test_the_projection_is_made_anew_from_the_log_and_what_is_beside_it(desk: Desk) -> None:
    indexes = [await desk.exchange(MOTHER) for _ in range(3)]
    assert await desk.trace(MOTHER) == indexes
    await desk.make_anew()
    assert await desk.trace(MOTHER) == indexes


async def test_nothing_that_the_gateway_keeps_is_or_makes_an_inner_tag(desk: Desk, tmp_path: Path) -> None:
    """The structure by which neither side can enumerate: here outer tags only, and no provider's key."""
    await desk.exchange(MOTHER, FATHER, step=4)
    await desk.trace(MOTHER)
    await desk.tagged.query(lambda db: None)
    held = [*desk.store.entries, *desk.store.kept_beside.values()]
    held += files_of(tmp_path)
    held += [desk.keystore.get(name) or b"" for name in desk.keystore.names()]
    secrets: Sequence[bytes] = [
        *desk.providers.values(),
        *(desk.inner(period, who) for period in desk.providers for who in (MOTHER, FATHER)),
        MOTHER.encode(),
    ]
    for content in held:
        assert not any(secret in content for secret in secrets)
    # Whoever has the lists and the providers' keys, but not the gateway's, matches nobody either.
    tags = {row[0] for row in sqlite3.connect(tmp_path / TRACE).execute("SELECT tag FROM tag")}
    guesses = {desk.inner(period, who) for period in desk.providers for who in (MOTHER, FATHER)}
    assert len(tags) == 4 and not tags & guesses


async def test_traces_go_on_while_exchanges_come(desk: Desk) -> None:
    async def enter() -> list[int]:
        return [await desk.exchange(MOTHER) for _ in range(40)]

    first = await desk.exchange(MOTHER)
    entering = asyncio.ensure_future(enter())
    seen = await desk.trace(MOTHER)
    indexes = [first, *await entering]
    assert seen == indexes[: len(seen)] and await desk.trace(MOTHER) == indexes
