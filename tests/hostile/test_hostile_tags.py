"""Lies about the tags of subjects: a provider's are caught by the gateway, a gateway's by both parties."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from exchange import canonical
from exchange.errors import AuditUnavailable
from exchange.signing import BatchSigner
from exchange.subject_tags import InnerTags, OuterTags, period_of, split_tags, tag_root
from exchange.v1 import audit_pb2, exchange_pb2, link_pb2
from gateway.audit.entries.exchange_entry import exchange_leaf
from tests.support.hostile import PERSON, TAG_KEY, World, outcome, until

Change = Callable[[exchange_pb2.ResponseBody], None]


def lie_in_answers(world: World, change: Change) -> None:
    """Have the provider change its answers after they were made, and sign what it sends."""
    signer = BatchSigner(kid=world.police.keys.signing_kid, key=world.police.keys.signing_key)

    def hand(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        for item in frame.items:
            if item.HasField("response"):
                body = exchange_pb2.ResponseBody.FromString(item.response.body)
                change(body)
                item.response.body = body.SerializeToString()
                digest = canonical.digest(canonical.RESPONSE, item.response.body)
                item.response.signature.CopyFrom(signer.sign([digest])[0])
        return frame

    world.police.wire.up = hand


async def test_an_answer_about_a_person_bears_the_persons_tag_beside_its_entry(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    index = world.sequencer.head.size - 1
    entry = audit_pb2.AuditEntry.FromString(world.sequencer.leaves(index, 1)[0]).exchange
    tags = split_tags(world.sequencer.beside(index, 1)[index])
    key = world.gateway_keys.get(f"tags-{entry.tag_period.lower()}")
    assert key is not None and entry.tag_period == period_of(world.clock.now_ms())
    assert tags == [OuterTags(key).of(InnerTags(TAG_KEY).of("citizen_id", PERSON))]
    assert (entry.tag_count, entry.tag_root) == (1, tag_root(tags))


def _short(body: exchange_pb2.ResponseBody) -> None:
    body.subject_tags[0] = body.subject_tags[0][:31]


def _long(body: exchange_pb2.ResponseBody) -> None:
    body.subject_tags[0] += bytes(1 << 16)


def _many(body: exchange_pb2.ResponseBody) -> None:
    del body.subject_tags[:]
    body.subject_tags.extend(number.to_bytes(32, "big") for number in range(1024))


def _odd(body: exchange_pb2.ResponseBody) -> None:
    body.subject_tags.append(b"\xff" * 32)


def _twice(body: exchange_pb2.ResponseBody) -> None:
    body.subject_tags.extend([body.subject_tags[0]] * 3)


def _none(body: exchange_pb2.ResponseBody) -> None:
    del body.subject_tags[:]
    body.tag_period = ""


def _without_period(body: exchange_pb2.ResponseBody) -> None:
    body.tag_period = ""


def _of_another_time(body: exchange_pb2.ResponseBody) -> None:
    body.tag_period = "2020Q1"


def _of_no_time(body: exchange_pb2.ResponseBody) -> None:
    body.tag_period = "Q" * 5000


@pytest.mark.parametrize(
    "change",
    [_short, _long, _many, _odd, _twice, _none, _without_period, _of_another_time, _of_no_time],
)
async def test_an_answer_with_tags_of_a_wrong_form_is_not_released_and_its_tags_are_not_kept(
    world: World, change: Change
) -> None:
    lie_in_answers(world, change)
    assert outcome(await world.ask()) == "RESPONSE_MISMATCH"
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule) == (audit_pb2.DECISION_FAILED, "match")
    assert (entry.tag_period, entry.tag_count, entry.tag_root) == ("", 0, b"")
    assert world.sequencer.beside(world.sequencer.head.size - 1, 1) == {}


@pytest.mark.parametrize(
    "lie",
    [{"tag_count": 0}, {"tag_count": 4}, {"tag_period": "2020Q1"}, {"tag_period": ""}, {"tag_root": b""}],
    ids=lambda lie: f"{next(iter(lie))}",
)
async def test_an_entry_with_other_tags_than_the_answers_is_refused_by_both_parties(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    honest = exchange_leaf

    def lying(*args: Any, **kwargs: Any) -> bytes:
        entry = audit_pb2.AuditEntry.FromString(honest(*args, **kwargs))
        for name, value in lie.items():
            setattr(entry.exchange, name, value)
        return entry.SerializeToString()

    with monkeypatch.context() as patch:
        patch.setattr("gateway.path.exchange_leaf", lying)
        assert outcome(await world.ask()) == "RECEIPT_BROKEN"
        # The provider's receipt follows a few milliseconds later.
        await until(lambda: world.police.provider.fault is not None)
    fault = world.police.provider.fault
    assert fault is not None and fault.name == "RECEIPT_BROKEN"
    world.police.provider.fault = None
    await world.still_works()


async def test_an_answer_withheld_while_the_log_was_down_is_entered_with_its_tags_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(leaves: Any, done: Any, beside: Any, charges: Any) -> None:
        assert [len(one) for one in beside] == [32]
        raise AuditUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(world.sequencer, "submit", fails)
        assert outcome(await world.ask()) == "AUDIT_UNAVAILABLE"
    world.path.expire()
    await until(lambda: not world.police.journal.open_items)
    entry, index = world.entries()[-1], world.sequencer.head.size - 1
    assert (entry.decision, entry.rule, entry.tag_count) == (audit_pb2.DECISION_FAILED, "append", 1)
    assert tag_root(split_tags(world.sequencer.beside(index, 1)[index])) == entry.tag_root
    assert world.police.provider.fault is None


async def test_an_answer_that_came_too_late_is_entered_with_its_tags(world: World) -> None:
    held: list[Any] = []
    waiting = asyncio.Event()

    def hold(frame: link_pb2.LinkRequest) -> Any:
        if any(item.HasField("response") for item in frame.items):
            held.append(frame)
            waiting.set()
            return None
        return frame

    world.police.wire.up = hold
    asking = asyncio.create_task(world.ask())
    await waiting.wait()
    world.clock.ms += 10_001
    world.path.expire()
    assert outcome(await asking) == "DEADLINE_PASSED"
    assert world.entries()[-1].tag_count == 0
    world.police.wire._to_gateway.put_nowait(held[0])
    await until(lambda: not world.police.journal.open_items)
    assert world.entries()[-1].tag_count == 1 and world.police.provider.fault is None
