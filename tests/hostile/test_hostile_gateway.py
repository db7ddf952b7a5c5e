"""A hostile gateway between agents: what it swaps, strips, repeats or forges is caught by an agent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from agent.heads import Seen, extend
from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.merkle import leaf_hash
from exchange.resources import DEFAULT_PADDING
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, exchange_pb2, link_pb2, reason_pb2
from gateway.audit.entries.exchange_entry import exchange_leaf
from tests.support.hostile import NAME, World, outcome, until
from tests.support.hostile_requests import provider_reason, signed_request
from tests.support.region import ORIGIN

Released = exchange_pb2.Released
Change = Callable[[Released], None]


def on_released(change: Change) -> Callable[[link_pb2.LinkResponse], link_pb2.LinkResponse]:
    """Return a hand that changes every answer on its way to the consumer."""

    def hand(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        for item in frame.items:
            if item.HasField("released"):
                change(item.released)
        return frame

    return hand


def on_body(change: Callable[[exchange_pb2.ResponseBody], None]) -> Change:
    def hand(released: Released) -> None:
        body = exchange_pb2.ResponseBody.FromString(released.response.body)
        change(body)
        released.response.body = body.SerializeToString()

    return hand


def on_leaf(change: Callable[[audit_pb2.AuditEntry], None]) -> Change:
    def hand(released: Released) -> None:
        entry = audit_pb2.AuditEntry.FromString(released.receipt.leaf)
        change(entry)
        released.receipt.leaf = entry.SerializeToString()

    return hand


def swap_cells(body: exchange_pb2.ResponseBody) -> None:
    first, second = body.sealed.columns[0].cells, body.sealed.columns[1].cells
    first[0], second[0] = second[0], first[0]


def swap_columns(body: exchange_pb2.ResponseBody) -> None:
    columns = list(body.sealed.columns)[::-1]
    copies = [exchange_pb2.Column.FromString(column.SerializeToString()) for column in columns]
    del body.sealed.columns[:]
    body.sealed.columns.extend(copies)


def strip_column(body: exchange_pb2.ResponseBody) -> None:
    del body.sealed.columns[1]


def mark_as_failed(body: exchange_pb2.ResponseBody) -> None:
    body.failure = reason_pb2.REASON_NO_GRANT


async def test_an_answer_altered_in_any_part_breaks_against_its_receipt(world: World) -> None:
    for change in (swap_cells, swap_columns, strip_column, mark_as_failed):
        world.health.wire.down = on_released(on_body(change))
        response = await world.ask()
        assert outcome(response) == "RECEIPT_BROKEN", change.__name__
        assert not response.HasField("receipt")
    await world.still_works()


async def test_a_receipt_that_says_something_else_than_what_came_is_refused(world: World) -> None:
    def other_purpose(entry: audit_pb2.AuditEntry) -> None:
        entry.exchange.purpose = "other"

    def refused(entry: audit_pb2.AuditEntry) -> None:
        entry.exchange.decision = audit_pb2.DECISION_REFUSED

    for change in (other_purpose, refused):
        world.health.wire.down = on_released(on_leaf(change))
        assert outcome(await world.ask()) == "RECEIPT_BROKEN", change.__name__
    await world.still_works()


@pytest.mark.parametrize(
    "lie",
    [
        {"decision": audit_pb2.DECISION_REFUSED},
        {"decision": audit_pb2.DECISION_FAILED},
        {"consumer_organisation": "11980000MB1A0001X9"},
        {"consumer_agent": "health-2"},
        {"provider_organisation": "11980000MB1A0001X9"},
        {"provider_agent": "police-2"},
        {"operator": "somebody"},
        {"resource": "970100/police/stations"},
        {"fields": ["name"]},
        {"kind": common_pb2.KIND_VERIFY},
        {"purpose": "other"},
        {"matter": "other"},
        {"case_number": "C-2"},
        {"grant_id": b"g" * 32},
        {"request_digest": b"d" * 32},
        {"response_digest": b"d" * 32},
        {"exchange_id": b"e" * 16},
        {"step": "other"},
        {"application": "other"},
        {"metering": exchange_pb2.METERING_MORE},
        {"data_as_of_ms": 1},
        {"case_standing": audit_pb2.CASE_STANDING_OPEN},
        {"case_standing": audit_pb2.CASE_STANDING_NOT_OPEN},
        {"case_standing": audit_pb2.CASE_STANDING_UNSPECIFIED},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_an_entry_the_gateway_logged_with_a_lie_in_it_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:

    honest = exchange_leaf

    def lying(*args: Any, **kwargs: Any) -> bytes:
        entry = audit_pb2.AuditEntry.FromString(honest(*args, **kwargs))
        told = audit_pb2.ExchangeEntry(**lie)
        for name in lie:
            entry.exchange.ClearField(name)  # type: ignore[arg-type]
        entry.exchange.MergeFrom(told)
        return entry.SerializeToString()

    with monkeypatch.context() as patch:
        patch.setattr("gateway.path.exchange_leaf", lying)
        response = await world.ask()
    assert outcome(response) == "RECEIPT_BROKEN"
    await until(lambda: world.police.provider.fault is not None or not world.police.journal.open_items)
    world.police.provider.fault = None
    await world.still_works()


@pytest.mark.parametrize("lie", [{"gateway": "970100.yunchuan.example/other"}, {"version": 2}])
async def test_an_entry_of_another_log_or_version_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:

    honest = exchange_leaf

    def lying(*args: Any, **kwargs: Any) -> bytes:
        entry = audit_pb2.AuditEntry.FromString(honest(*args, **kwargs))
        entry.MergeFrom(audit_pb2.AuditEntry(**lie))
        return entry.SerializeToString()

    with monkeypatch.context() as patch:
        patch.setattr("gateway.path.exchange_leaf", lying)
        assert outcome(await world.ask()) == "RECEIPT_BROKEN"
        # The provider's receipt follows a few milliseconds later.
        await until(lambda: world.police.provider.fault is not None)
    world.police.provider.fault = None
    await world.still_works()


async def test_a_receipt_for_another_entry_is_refused(world: World) -> None:
    other, note = world.sequencer.entry(3)
    assert note

    def swap(released: Released) -> None:
        released.receipt.leaf, released.receipt.index = other.leaf, other.index
        released.receipt.proof = other.proof

    world.health.wire.down = on_released(swap)
    assert outcome(await world.ask()) == "RECEIPT_BROKEN"
    await world.still_works()


async def test_an_answer_without_a_receipt_is_not_opened(world: World) -> None:
    world.health.wire.down = on_released(lambda released: released.ClearField("receipt"))
    assert outcome(await world.ask()) == "RECEIPT_BROKEN"

    def beyond(released: Released) -> None:
        released.receipt.checkpoint = 7

    world.health.wire.down = on_released(beyond)
    assert outcome(await world.ask()) == "RECEIPT_BROKEN"
    await world.still_works()


async def test_answers_swapped_between_two_exchanges_are_both_refused(world: World) -> None:
    def hand(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        released = [item.released for item in frame.items if item.HasField("released")]
        if len(released) == 2:
            first, second = released
            kept = common_pb2.Signed.FromString(first.response.SerializeToString())
            first.response.CopyFrom(second.response)
            second.response.CopyFrom(kept)
        return frame

    world.health.wire.down = hand
    await world.ask()  # the bundle is known from here on, so that two questions share a frame
    both = await asyncio.gather(world.ask(), world.ask(world.question(fields=["address", "name"])))
    assert [outcome(one) for one in both] == ["RECEIPT_BROKEN", "RECEIPT_BROKEN"]
    await world.still_works()


async def test_an_earlier_answer_to_the_same_consumer_is_no_answer(world: World) -> None:
    earlier: list[link_pb2.LinkResponse] = []
    dropped = asyncio.Event()

    def keep(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if any(item.HasField("released") for item in frame.items):
            earlier.append(link_pb2.LinkResponse.FromString(frame.SerializeToString()))
        return frame

    def replace(frame: link_pb2.LinkResponse) -> Any:
        if not any(item.HasField("released") for item in frame.items):
            return frame
        dropped.set()
        old = link_pb2.LinkResponse.FromString(frame.SerializeToString())
        old.items[0].CopyFrom(earlier[0].items[0])
        return old

    world.health.wire.down = keep
    assert outcome(await world.ask()) == "ANSWER"
    world.health.wire.down = replace
    assert outcome(await world.ask_lost(dropped)) == "DEADLINE_PASSED"
    await world.still_works()


async def test_a_stripped_answer_ends_by_its_deadline(world: World) -> None:
    dropped = asyncio.Event()

    def strip(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if any(item.HasField("released") for item in frame.items):
            del frame.items[:]
            dropped.set()
        return frame

    world.health.wire.down = strip
    assert outcome(await world.ask_lost(dropped)) == "DEADLINE_PASSED"
    await world.still_works()


async def test_a_garbled_answer_ends_by_its_deadline(world: World) -> None:
    for garbled in (b"\xff\xff", exchange_pb2.ResponseBody(header=b"\xff").SerializeToString()):
        dropped = asyncio.Event()

        def garble(released: Released, raw: bytes = garbled, seen: asyncio.Event = dropped) -> None:
            released.response.body = raw
            seen.set()

        world.health.wire.down = on_released(garble)
        assert outcome(await world.ask_lost(dropped)) == "DEADLINE_PASSED"
    await world.still_works()


async def test_a_repeated_answer_is_delivered_once(world: World) -> None:
    delivered: list[agent_pb2.AskResponse] = []

    def repeat(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        frame.items.extend([link_pb2.Delivery.FromString(i.SerializeToString()) for i in frame.items])
        return frame

    world.health.wire.down = repeat
    world.health.consumer.submit([world.question(tag=5)], delivered.append)
    await until(lambda: bool(delivered))
    assert [outcome(one) for one in delivered] == ["ANSWER"]
    assert world.health.consumer._pending == {}
    await world.still_works()
    assert len(delivered) == 1


async def test_an_answer_signed_by_a_key_of_the_gateway_is_refused(world: World) -> None:
    """Even where the log is made to agree with it."""
    from exchange import canonical
    from exchange.signing import BatchSigner

    enemy = BatchSigner(kid=b"k" * 16, key=SigningKey.generate())
    known = BatchSigner(kid=world.police.keys.signing_kid, key=SigningKey.generate())
    for signer in (enemy, known):
        original = world.path._.requests.check_answer
        world.path._.requests.check_answer = lambda exchange, answer: canonical.digest(  # type: ignore[method-assign]
            canonical.RESPONSE, answer.body
        )

        def resign(frame: link_pb2.LinkRequest, signer: BatchSigner = signer) -> link_pb2.LinkRequest:
            for item in frame.items:
                if item.HasField("response"):
                    digest = canonical.digest(canonical.RESPONSE, item.response.body)
                    item.response.signature.CopyFrom(signer.sign([digest])[0])
            return frame

        world.police.wire.up = resign
        response = await world.ask()
        assert outcome(response) == "RESPONSE_SIGNATURE"
        assert response.HasField("receipt"), "what was logged is kept as evidence"
        world.path._.requests.check_answer = original  # type: ignore[method-assign]
    await world.still_works()


async def test_a_forged_refusal_must_agree_with_its_entry(world: World) -> None:
    """A refusal whose receipt is that of an answer, or of another refusal, is no refusal of the log."""

    def turn(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        for item in frame.items:
            if item.HasField("released"):
                receipt = audit_pb2.Receipt.FromString(item.released.receipt.SerializeToString())
                header = exchange_pb2.ResponseBody.FromString(item.released.response.body).header
                exchange_id = exchange_pb2.ResponseHeader.FromString(header).exchange_id
                item.failure.CopyFrom(
                    exchange_pb2.Failure(exchange_id=exchange_id, reason=reason_pb2.REASON_NO_GRANT)
                )
                item.failure.receipt.CopyFrom(receipt)
        return frame

    world.health.wire.down = turn
    assert outcome(await world.ask()) == "RECEIPT_BROKEN"

    def other_reason(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        for item in frame.items:
            if item.HasField("failure"):
                item.failure.reason += 1  # type: ignore[assignment]
        return frame

    world.health.wire.down = other_reason
    assert outcome(await world.ask(world.question(case_number=""))) == "RESPONSE_MISMATCH"
    await world.still_works()


# -- the log ---------------------------------------------------------------------------------------------


def forked_note(world: World, note: str, key: SigningKey | None = None) -> str:
    """Return a checkpoint of the same size with another root, signed by the log's key or another."""
    seen = open_checkpoint(note, origin=ORIGIN, log_keys=[bytes(world.log_key.verify_key)])
    signer = LogSigner(origin=ORIGIN, key=key or world.log_key)
    return signer.sign(Checkpoint(ORIGIN, seen.size, leaf_hash(b"another history")))


async def test_a_forked_log_ends_the_link_and_fails_what_is_under_way(world: World) -> None:
    def fork(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if frame.checkpoints:
            frame.checkpoints[0] = forked_note(world, frame.checkpoints[0])
        return frame

    world.health.wire.down = fork
    assert outcome(await world.ask()) == "LOG_FORKED"
    assert await world.health.fault() == "LOG_FORKED"
    await world.still_works()


async def test_a_checkpoint_signed_by_another_key_ends_the_link(world: World) -> None:
    def forge(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if frame.checkpoints:
            frame.checkpoints[0] = forked_note(world, frame.checkpoints[0], SigningKey.generate())
        return frame

    world.health.wire.down = forge
    assert outcome(await world.ask()) == "RECEIPT_BROKEN"
    assert await world.health.fault() == "RECEIPT_BROKEN"
    await world.still_works()


async def test_a_checkpoint_without_its_proof_ends_the_link(world: World) -> None:
    def strip(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        del frame.consistency[:]
        return frame

    world.health.wire.down = strip
    assert outcome(await world.ask()) == "LOG_FORKED"
    await world.still_works()


async def test_a_forked_log_at_the_welcome_is_found_from_the_head_on_disk(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    await world.health.hang_up()

    def fork(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if frame.HasField("welcome"):
            frame.welcome.checkpoint = forked_note(world, frame.welcome.checkpoint)
        return frame

    world.health.wire.down = fork
    assert not await world.health.dial()
    assert world.health.link.fault is not None
    assert world.health.link.fault.name == "LOG_FORKED"
    await world.still_works()


@pytest.mark.parametrize(("more", "up"), [(1, True), (0, False)])
async def test_an_older_stream_may_see_more_of_the_log_meanwhile_but_not_another_log(
    world: World, more: int, up: bool
) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    await world.health.hang_up()

    def meanwhile(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if frame.HasField("welcome"):
            note = frame.welcome.checkpoint
            offered = open_checkpoint(note, origin=ORIGIN, log_keys=[bytes(world.log_key.verify_key)])
            head = Checkpoint(ORIGIN, offered.size + more, leaf_hash(b"seen on the older stream"))
            world.health.heads._heads[ORIGIN] = Seen(head, note)
        return frame

    world.health.wire.down = meanwhile
    assert await world.health.dial() == up
    if not up:
        assert world.health.link.fault is not None
        assert world.health.link.fault.name == "LOG_FORKED"


async def test_a_log_set_back_is_found_from_the_head_on_disk(world: World) -> None:
    old = world.sequencer.checkpoint
    assert outcome(await world.ask()) == "ANSWER"
    await world.health.hang_up()

    def set_back(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if frame.HasField("welcome"):
            frame.welcome.checkpoint, frame.welcome.consistency = old, b""
        return frame

    world.health.wire.down = set_back
    assert not await world.health.dial()
    assert world.health.link.fault is not None
    assert world.health.link.fault.name == "LOG_FORKED"
    await world.still_works()


async def test_a_welcome_of_another_gateway_is_refused(world: World) -> None:
    await world.health.hang_up()

    def other(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        frame.welcome.gateway = "970100.yunchuan.example/other"
        return frame

    world.health.wire.down = other
    assert not await world.health.dial()
    assert world.health.link.fault is not None
    assert world.health.link.fault.name == "MALFORMED"
    await world.still_works()


async def test_a_frame_with_too_many_items_ends_the_link(world: World) -> None:
    def flood(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        frame.items.extend(link_pb2.Delivery() for _ in range(40))
        return frame

    world.health.wire.down = flood
    assert outcome(await world.ask()) == "LINK_LOST"
    assert await world.health.fault() == "MALFORMED"
    await world.still_works()


async def test_a_log_that_was_empty_at_the_welcome_may_grow(world: World) -> None:
    empty = Checkpoint(ORIGIN, 0, b"\0" * 32)
    grown = Checkpoint(ORIGIN, 4, leaf_hash(b"x"))
    assert extend(empty, grown, b"") == grown


# -- requests ----------------------------------------------------------------------------------------------


def on_request(
    change: Callable[[exchange_pb2.RequestBody, exchange_pb2.RequestHeader], None],
) -> Callable[[link_pb2.LinkResponse], link_pb2.LinkResponse]:
    """Return a hand that changes requests on their way to the provider."""

    def hand(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        for item in frame.items:
            if item.HasField("request"):
                body = exchange_pb2.RequestBody.FromString(item.request.body)
                header = exchange_pb2.RequestHeader.FromString(body.header)
                change(body, header)
                body.header = header.SerializeToString()
                item.request.body = body.SerializeToString()
        return frame

    return hand


def _wrap(body: exchange_pb2.RequestBody, header: exchange_pb2.RequestHeader) -> None:
    body.wrap = bytes(len(body.wrap))


def _cell(body: exchange_pb2.RequestBody, header: exchange_pb2.RequestHeader) -> None:
    body.sealed.columns[0].cells[0] = bytes(DEFAULT_PADDING + 16)


def _purpose(body: exchange_pb2.RequestBody, header: exchange_pb2.RequestHeader) -> None:
    header.purpose = "other"


def _fields(body: exchange_pb2.RequestBody, header: exchange_pb2.RequestHeader) -> None:
    header.fields.append("station")


def _provider_key(body: exchange_pb2.RequestBody, header: exchange_pb2.RequestHeader) -> None:
    header.provider_kid = b"k" * 16


@pytest.mark.parametrize("change", [_wrap, _cell, _purpose, _fields, _provider_key])
async def test_a_request_altered_on_its_way_is_refused_by_the_provider(world: World, change: Any) -> None:
    world.police.wire.down = on_request(change)
    response = await world.ask()
    # The provider signs its refusal to what came; that is not what was asked.
    assert outcome(response) in ("BAD_SIGNATURE", "RESPONSE_MISMATCH")
    assert world.table.reads == 0
    await world.still_works()


async def test_a_request_forwarded_twice_is_answered_once(world: World) -> None:
    def twice(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        requests = [item for item in frame.items if item.HasField("request")]
        frame.items.extend([link_pb2.Delivery.FromString(one.SerializeToString()) for one in requests])
        return frame

    world.police.wire.down = twice
    await world.ask()
    assert world.table.reads == 1
    await world.still_works()


async def test_a_request_replayed_later_is_refused_and_disturbs_no_other(world: World) -> None:
    seen: list[link_pb2.Delivery] = []

    def keep(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        seen.extend(item for item in frame.items if item.HasField("request"))
        return frame

    world.police.wire.down = keep
    assert outcome(await world.ask()) == "ANSWER"
    reads = world.table.reads

    def beside(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        if any(item.HasField("request") for item in frame.items):
            frame.items.insert(0, link_pb2.Delivery.FromString(seen[0].SerializeToString()))
        return frame

    world.police.wire.down = beside
    failures: list[Any] = []

    def watch(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        failures.extend(item.failure for item in frame.items if item.HasField("failure"))
        return frame

    world.police.wire.up = watch
    assert outcome(await world.ask()) == "ANSWER", "the honest one in the same frame is answered"
    assert world.table.reads == reads + 1
    await until(lambda: bool(failures))
    assert [one.reason for one in failures] == [reason_pb2.REASON_REPLAYED]
    await world.still_works()


async def test_a_replay_beside_a_refusal_leaves_the_refusal_its_reason(world: World) -> None:
    first = signed_request(world)
    assert await provider_reason(world, first) == ""
    world.police.provider.fault = None
    seen: list[link_pb2.LinkItem] = []

    def watch(frame: link_pb2.LinkRequest) -> None:
        seen.extend(frame.items)

    world.police.wire.up = watch
    requests = [first, signed_request(world, case_number="")]
    deliveries = [link_pb2.Delivery(request=signed) for signed in requests]
    world.police.wire.push(link_pb2.LinkResponse(items=deliveries))
    await until(lambda: len(seen) == 2)
    reasons = {item.failure.reason for item in seen if item.HasField("failure")}
    bodies = [exchange_pb2.ResponseBody.FromString(i.response.body) for i in seen if i.HasField("response")]
    assert reasons == {reason_pb2.REASON_REPLAYED}
    assert [body.failure for body in bodies] == [reason_pb2.REASON_CASE_REQUIRED]
    await world.still_works()


async def test_a_request_forwarded_to_another_department_is_refused_there(world: World) -> None:
    seen: list[link_pb2.Delivery] = []

    def divert(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        for item in frame.items:
            if item.HasField("request"):
                seen.append(link_pb2.Delivery.FromString(item.SerializeToString()))
        return frame

    world.police.wire.down = divert
    await world.ask()
    answers: list[Any] = []

    def watch(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        answers.extend(item.response for item in frame.items if item.HasField("response"))
        return frame

    world.civil.wire.up = watch
    world.civil.wire.push(link_pb2.LinkResponse(items=[seen[0]]))
    await until(lambda: bool(answers))
    body = exchange_pb2.ResponseBody.FromString(answers[0].body)
    assert body.failure == reason_pb2.REASON_WRONG_AUDIENCE
    assert not body.sealed.columns and not body.clear
    await world.still_works()


async def test_what_the_gateway_sees_holds_no_sealed_value(world: World) -> None:
    assert outcome(await world.ask()) == "ANSWER"
    seen = b"".join(frame.SerializeToString() for d in (world.health, world.police) for frame in d.wire.sent)
    log = b"".join(world.sequencer.leaves(0, world.sequencer.head.size))
    for value in (NAME, "东桥区示范路", "970102199001010011"):
        assert value.encode() not in seen
        assert value.encode() not in log
