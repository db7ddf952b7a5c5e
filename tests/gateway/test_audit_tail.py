"""Officers follow the log: filtered, with progress, resumable; nothing is missed, nothing is repeated."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import errors as e
from exchange.checkpoint import open_checkpoint
from exchange.rpc_errors import from_rpc_error
from exchange.v1 import audit_pb2
from gateway import pages
from gateway.audit.entries.filters import Facts, Filter, facts_of
from gateway.audit.following import past, recent, tail
from gateway.audit.following.recent import Recent
from tests.support.audit import ORIGIN, SIGNER
from tests.support.callers import by
from tests.support.officers import AUDITOR, AUTHORITY, MAX_TAILS, OFFICER, Office, exchange
from tests.support.region import HEALTH

REFUSED = audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_REFUSED])
PATIENCE_S = 30.0


def refusal(number: int) -> bytes:
    return exchange(number, decision=audit_pb2.DECISION_REFUSED)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(tmp_path)
    await office.open()
    yield office
    await office.close()


class Follower:
    """Reads a tail and keeps what it said."""

    def __init__(self, office: Office, **asked: Any) -> None:
        self.call = office.audit.Tail(audit_pb2.TailRequest(**asked), metadata=by(OFFICER))
        self.indexes: list[int] = []
        self.leaves: list[bytes] = []
        self.frames: list[audit_pb2.TailResponse] = []
        self.next_index = asked.get("from_index", 0)

    async def read(self) -> bool:
        """Take one frame; False at the end."""
        frame = await asyncio.wait_for(self.call.read(), PATIENCE_S)
        if not isinstance(frame, audit_pb2.TailResponse):
            return False
        assert all(self.next_index <= index < frame.next_index for index in frame.indexes)
        assert sorted(set(frame.indexes)) == list(frame.indexes)
        self.indexes += frame.indexes
        self.leaves += frame.leaves
        self.frames.append(frame)
        self.next_index = frame.next_index
        return True

    async def until(self, next_index: int) -> "Follower":
        while self.next_index < next_index:
            assert await self.read()
        return self

    async def to_the_end(self) -> "Follower":
        while await self.read():
            pass
        return self


async def refused(call: Any) -> e.ExchangeError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read() is not grpc.aio.EOF:
            pass
    return from_rpc_error(caught.value, hop="gateway")


async def test_only_entries_that_fit_are_sent_and_progress_covers_the_others(office: Office) -> None:
    await office.enter(*(refusal(n) if n % 100 == 5 else exchange(n) for n in range(1000)))
    read = await Follower(office, filter=REFUSED).to_the_end()
    assert read.indexes == list(range(5, 1000, 100))
    assert read.leaves == [office.sequencer.leaves(index, 1)[0] for index in read.indexes]
    # The tail's own entry is the last.
    assert read.next_index == 1001


async def test_what_is_there_is_read_and_what_comes_is_followed_with_one_filter(office: Office) -> None:
    await office.enter(*(refusal(n) if n % 2 else exchange(n) for n in range(600)))
    follower = Follower(office, filter=REFUSED, follow=True)
    await follower.until(601)
    for number in range(50):
        await office.enter(refusal(number), exchange(number))
    await follower.until(701)
    assert follower.indexes == [*range(1, 600, 2), *range(601, 701, 2)]
    follower.call.cancel()


async def test_progress_is_told_though_nothing_fits(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "BEAT_S", 1000.0)
    monkeypatch.setattr(tail, "SKIPPED", 512)
    await office.enter(*(exchange(number) for number in range(2000)))
    follower = Follower(office, filter=REFUSED, follow=True)
    await follower.until(1500)
    assert follower.indexes == []
    steps = [b.next_index - a.next_index for a, b in zip(follower.frames, follower.frames[1:], strict=False)]
    assert max(steps) <= 512 + tail.FRAME
    follower.call.cancel()


async def test_a_follower_hears_every_second_though_nothing_comes(office: Office) -> None:
    follower = Follower(office, filter=REFUSED, follow=True)
    for _ in range(3):
        assert await follower.read()
    head = open_checkpoint(follower.frames[-1].checkpoint, origin=ORIGIN, log_keys=[SIGNER.public_key])
    assert (follower.indexes, follower.next_index, head.size) == ([], 1, 1)
    follower.call.cancel()


async def test_a_limit_counts_the_entries_that_fit(office: Office) -> None:
    await office.enter(*(refusal(n) if n % 10 == 0 else exchange(n) for n in range(1000)))
    read = await Follower(office, filter=REFUSED, follow=True, limit=7).to_the_end()
    assert read.indexes == list(range(0, 70, 10)) and read.next_index == 61


@pytest.mark.parametrize(
    "state",
    [
        audit_pb2.ENTRY_STATE_UNSPECIFIED,
        audit_pb2.ENTRY_STATE_COMMITTED,
        audit_pb2.ENTRY_STATE_CHECKPOINTED,
    ],
)
async def test_what_is_sent_is_covered_by_the_checkpoint_beside_it(office: Office, state: int) -> None:
    follower = Follower(office, follow=True, state=state)
    for number in range(30):
        await office.enter(exchange(number))
    await follower.until(31)
    for frame in follower.frames:
        head = open_checkpoint(frame.checkpoint, origin=ORIGIN, log_keys=[SIGNER.public_key])
        assert head.size >= frame.next_index and frame.witnessed_size == 0
    follower.call.cancel()


async def test_a_witnessed_tail_sends_an_entry_once_it_is_covered(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(10)))
    follower = Follower(office, follow=True, state=audit_pb2.ENTRY_STATE_WITNESSED)
    assert await follower.read() and await follower.read()
    assert (follower.indexes, follower.next_index) == ([], 0)
    office.witnessed = 4
    office.tails.wake()
    await follower.until(4)
    assert follower.indexes == [0, 1, 2, 3] and follower.frames[-1].witnessed_size == 4
    office.witnessed = 9
    await follower.until(9)
    assert follower.indexes == list(range(9))
    follower.call.cancel()


async def test_a_reader_that_resumes_after_restarts_misses_and_repeats_nothing(tmp_path: Path) -> None:
    office = Office(tmp_path)
    seen: list[int] = []
    resume_at, entered = 0, 0
    for _ in range(3):
        await office.open()
        follower = Follower(office, from_index=resume_at, follow=True, filter=REFUSED)

        async def load() -> None:
            nonlocal entered
            for number in range(40):
                await office.enter(refusal(number), exchange(number))
                entered += 2

        loading = asyncio.create_task(load())
        await follower.until(resume_at + 30)
        seen += follower.indexes
        resume_at = follower.next_index
        follower.call.cancel()
        await loading
        await office.close()
    await office.open()
    seen += (await Follower(office, from_index=resume_at, filter=REFUSED).to_the_end()).indexes
    leaves = office.sequencer.leaves(0, office.sequencer.head.size)
    assert seen == [index for index, leaf in enumerate(leaves) if Filter(REFUSED).fits(facts_of(leaf))]
    assert len(seen) == 120
    await office.close()


async def test_a_first_index_beyond_the_log_is_refused(office: Office) -> None:
    call = office.audit.Tail(audit_pb2.TailRequest(from_index=5, follow=True), metadata=by(OFFICER))
    assert isinstance(await refused(call), e.UnknownEntry)


async def test_a_filter_or_state_that_is_none_is_refused_and_not_entered(office: Office) -> None:
    for asked in (
        audit_pb2.TailRequest(state=9),  # type: ignore[arg-type]
        audit_pb2.TailRequest(filter=audit_pb2.EntryFilter(resource="*")),
    ):
        assert isinstance(await refused(office.audit.Tail(asked, metadata=by(OFFICER))), e.Malformed)
    assert office.sequencer.head.size == 0


async def test_a_tail_is_one_entry_in_words(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(600)))
    asked = audit_pb2.TailRequest(
        from_index=3, filter=audit_pb2.EntryFilter(organisation=HEALTH, operator="op-17")
    )
    call = office.audit.Tail(asked, metadata=by(AUDITOR))
    while await call.read() is not grpc.aio.EOF:
        pass
    (told,) = office.reads()
    assert told.actor == AUDITOR.identity.uri
    assert (
        told.subject.startswith(f"Tail from 3: organisation={HEALTH} operator=#")
        and "op-17" not in told.subject
    )


async def test_erased_entries_are_passed_over(office: Office) -> None:
    await office.enter(*(exchange(number) for number in range(900)))
    office.log.erased = range(200, 700)
    read = await Follower(office).to_the_end()
    assert read.indexes == [*range(200), *range(700, 901)]


async def test_a_slow_reader_keeps_nobody_waiting_and_reads_on_at_its_own_pace(office: Office) -> None:
    slow = Follower(office, follow=True)
    fast = Follower(office, follow=True)
    await slow.read()
    await fast.until(2)
    for start in range(0, 3000, 100):
        await office.enter(*(exchange(start + n, rule="x" * 2000) for n in range(100)))
        await fast.until(office.sequencer.head.size)
    assert len(fast.indexes) == 3002
    assert office.tails._recent._bytes <= recent.MAX_BYTES
    await slow.until(3002)
    assert slow.indexes == fast.indexes
    slow.call.cancel()
    fast.call.cancel()


async def test_a_frame_is_bounded_in_bytes_and_nothing_is_lost(office: Office) -> None:
    large = [exchange(number, rule="x" * 60_000) for number in range(90)]
    await office.enter(*large)
    behind = await Follower(office, limit=90).to_the_end()
    live = Follower(office, from_index=office.sequencer.head.size, follow=True)
    await live.read()
    await office.enter(*large)
    await live.until(office.sequencer.head.size)
    assert behind.leaves == large and live.leaves[1:] == large
    for told in (*behind.frames, *live.frames):
        assert sum(map(len, told.leaves)) <= pages.MAX_BYTES
    live.call.cancel()


async def test_what_is_committed_is_parsed_once_for_all_who_follow(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []

    def counting(leaf: bytes) -> Facts:
        parsed.append(leaf)
        return facts_of(leaf)

    followers = [Follower(office, filter=REFUSED, follow=True) for _ in range(4)]
    for follower in followers:
        await follower.until(1)
    await asyncio.gather(*(follower.until(4) for follower in followers))
    monkeypatch.setattr(recent, "facts_of", counting)
    monkeypatch.setattr(past, "facts_of", counting)
    for number in range(20):
        await office.enter(refusal(number), exchange(number))
    await asyncio.gather(*(follower.until(44) for follower in followers))
    assert all(follower.indexes == list(range(4, 44, 2)) for follower in followers)
    assert len(parsed) == len(set(parsed)) == 40
    for follower in followers:
        follower.call.cancel()


async def test_places_are_few_and_given_back(office: Office) -> None:
    followers = [Follower(office, follow=True) for _ in range(MAX_TAILS)]
    for follower in followers:
        await follower.read()
    call = office.audit.Tail(audit_pb2.TailRequest(), metadata=by(OFFICER))
    assert isinstance(await refused(call), e.TooMany)
    for follower in followers:
        follower.call.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while office.tails._followers:  # noqa: ASYNC110  the service has no event for it
            await asyncio.sleep(0)
    assert (await Follower(office).to_the_end()).indexes


async def test_who_follows_is_told_to_come_again_when_the_gateway_stops(office: Office) -> None:
    follower = Follower(office, follow=True)
    await follower.read()
    office.tails.drain()
    error = await refused(follower.call)
    assert isinstance(error, e.Draining) and error.retryable


async def test_a_tail_ends_when_its_certificate_is_revoked(office: Office) -> None:
    follower = Follower(office, follow=True)
    await follower.read()
    office.region.feed.subscribe(office.tails.trust_changed)
    office.region.feed.offer(AUTHORITY.trust_list(revoked_serials=[b"\2"]))
    await office.enter(exchange(0))
    await follower.until(2)
    office.region.feed.offer(AUTHORITY.trust_list(revoked_serials=[b"\1", b"\2"]))
    await office.enter(exchange(1))
    assert isinstance(await refused(follower.call), e.Revoked)
    assert follower.indexes[-1] == 1


async def test_a_tail_ends_when_its_certificate_expires(office: Office) -> None:
    follower = Follower(office, follow=True)
    await follower.read()
    (held,) = office.tails._followers
    held.caller = replace(held.caller, not_after_ms=1)
    assert isinstance(await refused(follower.call), e.CertificateExpired)


def test_the_newest_entries_are_kept_within_bounds_and_without_gaps() -> None:
    held = Recent(max_entries=10, max_bytes=1000)
    held.add(5, [b"x" * 50] * 8)
    assert 5 in held and 12 in held and 13 not in held
    held.add(13, [b"x" * 50] * 4)
    assert 6 not in held and 7 in held and 16 in held
    held.add(17, [b"x" * 900])
    assert 14 not in held and 17 in held
    held.add(40, [b"y"])
    assert 17 not in held and 40 in held
    everything = Filter(audit_pb2.EntryFilter())
    taken = held.take(40, 99, everything, 256)
    assert (taken.indexes, taken.leaves, taken.position) == ([40], [b"y"], 41)
