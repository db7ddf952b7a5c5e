"""A hostile provider: what it answers wrongly is caught by the gateway or by the consumer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from agent.provider.inspection import Job
from agent.provider.respond import Responder
from exchange import canonical
from exchange.link import MAX_RESPONSE_BYTES
from exchange.signing import BatchSigner
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, exchange_pb2, link_pb2, reason_pb2
from gateway.audit.entries.exchange_entry import exchange_leaf
from tests.support.hostile import ADDRESS, NAME, World, outcome, until
from tests.support.region import CIVIL, POLICE

HeaderChange = Callable[[exchange_pb2.ResponseHeader], None]
BodyChange = Callable[[exchange_pb2.ResponseBody], None]


def lie(
    world: World, monkeypatch: pytest.MonkeyPatch, *, header: HeaderChange | None = None, table: Any = None
) -> None:
    """Have the provider make its answers so, sealed and signed as if they were right."""
    honest, answer = Responder._header, Responder._answer

    def lying(self: Responder, job: Job, columns: Any, now_ms: int) -> exchange_pb2.ResponseHeader:
        made = honest(self, job, columns, now_ms)
        if header is not None:
            header(made)
        return made

    def answering(self: Responder, job: Job, columns: Any, records: int, version: str, now_ms: int) -> bytes:
        if table is not None:
            columns, records = table(columns, records)
        return answer(self, job, columns, records, version, now_ms)

    monkeypatch.setattr(Responder, "_header", lying)
    monkeypatch.setattr(Responder, "_answer", answering)


def on_answer(world: World, change: BodyChange, signer: BatchSigner | None = None) -> None:
    """Have the provider change its answers after they were made, and sign what it sends."""
    keys = world.police.keys
    chosen = signer or BatchSigner(kid=keys.signing_kid, key=keys.signing_key)

    def hand(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        for item in frame.items:
            if item.HasField("response"):
                body = exchange_pb2.ResponseBody.FromString(item.response.body)
                change(body)
                item.response.body = body.SerializeToString()
                digest = canonical.digest(canonical.RESPONSE, item.response.body)
                item.response.signature.CopyFrom(chosen.sign([digest])[0])
        return frame

    world.police.wire.up = hand


async def recover(world: World) -> None:
    """A provider that answered what it did not journal has alarmed itself; start it afresh."""
    await until(lambda: world.police.provider.fault is not None)
    world.police.provider.fault = None
    await world.still_works()


def _set(**values: Any) -> HeaderChange:
    def change(header: exchange_pb2.ResponseHeader) -> None:
        for name, value in values.items():
            setattr(header, name, value)

    return change


def _drop_field(header: exchange_pb2.ResponseHeader) -> None:
    del header.fields[1]


def _rename_field(header: exchange_pb2.ResponseHeader) -> None:
    header.fields[0].name = "station"


def _retype_field(header: exchange_pb2.ResponseHeader) -> None:
    header.fields[0].type = "bytes"


def _repad_field(header: exchange_pb2.ResponseHeader) -> None:
    header.fields[0].padding = 16


@pytest.mark.parametrize(
    "change",
    [
        _set(consumer_organisation=CIVIL),
        _set(consumer_agent="health-2"),
        _set(consumer_kid=b"k" * 16),
        _set(provider_organisation=CIVIL),
        _set(provider_agent="police-2"),
        _set(provider_kid=b"k" * 16),
        _set(resource="970100/police/stations"),
        _set(resource_digest=b"d" * 32),
        _set(purpose="other"),
        _set(grant_id=b"g" * 32),
        _set(suite=1),
        _set(issued_at_ms=0),
        _set(expires_at_ms=1),
        _drop_field,
        _rename_field,
        _retype_field,
        _repad_field,
    ],
)
async def test_an_answer_whose_header_is_not_the_questions_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, change: HeaderChange
) -> None:
    with monkeypatch.context() as patch:
        lie(world, patch, header=change)
        response = await world.ask()
    assert outcome(response) == "RESPONSE_MISMATCH"
    assert response.HasField("receipt"), "what was logged is kept as evidence"
    await world.still_works()


async def test_an_answer_to_another_requests_digest_is_refused_by_the_gateway(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lie(world, patch, header=_set(request_digest=b"d" * 32))
        response = await world.ask()
    assert outcome(response) == "RESPONSE_MISMATCH"
    assert response.failure.hop == "provider/police-1"
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule) == (audit_pb2.DECISION_FAILED, "match")
    await world.still_works()


async def test_an_answer_signed_with_an_unknown_or_wrong_key_is_refused_by_the_gateway(world: World) -> None:
    kid = world.police.keys.signing_kid
    civil = world.civil.keys
    for signer in (
        BatchSigner(kid=b"k" * 16, key=SigningKey.generate()),
        BatchSigner(kid=kid, key=SigningKey.generate()),
        BatchSigner(kid=civil.signing_kid, key=civil.signing_key),
    ):
        on_answer(world, lambda body: None, signer)
        assert outcome(await world.ask()) == "RESPONSE_SIGNATURE"
        assert world.entries()[-1].rule == "match"
    await world.still_works()


async def test_another_department_cannot_answer(world: World) -> None:
    """Its own signed answer, on its own link, to an exchange that waits for public security."""
    waiting = asyncio.Event()
    held: list[Any] = []

    def hold(frame: link_pb2.LinkRequest) -> Any:
        if any(item.HasField("response") for item in frame.items):
            held.append(frame)
            waiting.set()
            return None
        return frame

    world.police.wire.up = hold
    asking = asyncio.create_task(world.ask())
    await waiting.wait()
    stolen = link_pb2.LinkRequest.FromString(held[0].SerializeToString())
    world.civil.wire._to_gateway.put_nowait(stolen)
    await until(lambda: world.metrics.unmatched._value.get() >= 1)
    assert not asking.done()
    world.police.wire._to_gateway.put_nowait(held[0])
    assert outcome(await asking) == "ANSWER"
    await world.still_works()


async def test_an_answer_to_nothing_asked_is_dropped(world: World) -> None:
    header = exchange_pb2.ResponseHeader(exchange_id=b"n" * 16).SerializeToString()
    item = link_pb2.LinkItem()
    keys = world.police.keys
    item.response.body = exchange_pb2.ResponseBody(header=header).SerializeToString()
    digest = canonical.digest(canonical.RESPONSE, item.response.body)
    item.response.signature.CopyFrom(
        BatchSigner(kid=keys.signing_kid, key=keys.signing_key).sign([digest])[0]
    )
    garbage = link_pb2.LinkItem(response=common_pb2.Signed(body=b"\xff\xff"))
    nothing = [garbage, link_pb2.LinkItem(), link_pb2.LinkItem(failure=exchange_pb2.Failure())]
    before = len(world.entries())
    world.police.wire._to_gateway.put_nowait(link_pb2.LinkRequest(items=[item, *nothing]))
    await until(lambda: world.metrics.unmatched._value.get() >= 4)
    assert len(world.entries()) == before
    await world.still_works()


async def test_an_exchange_answered_twice_is_released_once(world: World) -> None:
    def twice(frame: link_pb2.LinkRequest) -> list[link_pb2.LinkRequest]:
        return [frame, link_pb2.LinkRequest.FromString(frame.SerializeToString())]

    world.police.wire.up = twice
    before = len(world.entries())
    assert outcome(await world.ask()) == "ANSWER"
    await until(lambda: world.metrics.unmatched._value.get() >= 1)
    assert len(world.entries()) == before + 1
    await world.still_works()


async def test_an_answer_after_the_deadline_is_not_released(world: World) -> None:
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
    world.police.wire._to_gateway.put_nowait(held[0])
    await until(lambda: not world.police.journal.open_items)
    assert [entry.decision for entry in world.entries()[-2:]] == [audit_pb2.DECISION_FAILED] * 2
    await world.still_works()


async def test_an_answer_that_comes_two_hours_late_is_entered_and_disturbs_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its microseconds are more than an entry can hold."""
    held: list[Any] = []

    def hold(frame: link_pb2.LinkRequest) -> Any:
        if any(item.HasField("response") for item in frame.items):
            held.append(frame)
            return None
        return frame

    world.police.wire.up = hold
    asking = asyncio.create_task(world.ask())
    await until(lambda: bool(held))
    world.clock.ms += 10_001
    world.path.expire()
    assert outcome(await asking) == "DEADLINE_PASSED"
    (late,) = world.links.newest(POLICE, "police-1").late.values()
    late.admitted_ns, late.forwarded_ns = (at - 7200 * 10**9 for at in (late.admitted_ns, late.forwarded_ns))
    world.police.wire._to_gateway.put_nowait(held[0])
    await until(lambda: not world.police.journal.open_items)
    assert world.entries()[-1].provider_us == (1 << 32) - 1
    world.police.wire.up = lambda frame: frame
    await world.still_works()


@pytest.mark.parametrize("told", [{"metering": -1}, {"metering": 99}, {"as_of": -1}, {"as_of": 1 << 62}])
async def test_an_answer_that_tells_what_no_entry_can_repeat_fails_alone(
    world: World, told: dict[str, int]
) -> None:
    """Its entry could not be made, and with it those of every answer of the same frame would be lost."""
    bare = exchange_pb2.ResponseBody(data_as_of_ms=told.get("as_of", 0)).SerializeToString()
    if "metering" in told:
        # Only on the wire: the library sets no step that it does not know.
        number = exchange_pb2.ResponseBody.METERING_FIELD_NUMBER
        bare += bytes([number << 3]) + _varint(told["metering"] % (1 << 64))

    def overstate(body: exchange_pb2.ResponseBody) -> None:
        body.MergeFromString(bare)

    on_answer(world, overstate)
    assert outcome(await world.ask()) == "RESPONSE_MISMATCH"
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule) == (audit_pb2.DECISION_FAILED, "match")
    await world.still_works()


def _varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


async def test_an_oversized_answer_is_refused_by_the_gateway(world: World) -> None:
    def swell(body: exchange_pb2.ResponseBody) -> None:
        body.data_version = "v" * (MAX_RESPONSE_BYTES + 1)

    on_answer(world, swell)
    assert outcome(await world.ask()) == "OVERSIZED"
    assert world.entries()[-1].rule == "match"
    await world.still_works()


async def test_an_honest_provider_says_itself_that_its_answer_is_too_large(world: World) -> None:
    """Else the gateway would drop it, its receipt would never come, and the provider would stop answering."""
    world.table.records = [("n" * 60_000, "a" * 60_000, "s")] * 10
    response = await world.ask()
    assert outcome(response) == "OVERSIZED"
    assert response.HasField("receipt")
    await until(lambda: not world.police.journal.open_items)
    world.table.records = [(NAME, ADDRESS, "s")]
    await world.still_works()


async def test_more_records_than_the_cap_are_refused_by_the_consumer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more(columns: Any, records: int) -> Any:
        return [(name, kind, padding, list(values) * 11) for name, kind, padding, values in columns], 11

    with monkeypatch.context() as patch:
        lie(world, patch, table=more)
        assert outcome(await world.ask()) == "RESPONSE_MISMATCH"
        assert outcome(await world.ask(world.open_question())) == "RESPONSE_MISMATCH"
    await world.still_works()


async def test_more_records_than_the_cap_in_the_source_are_refused_by_the_provider(world: World) -> None:
    world.table.records = [(NAME, ADDRESS, "s")] * 11
    assert outcome(await world.ask()) == "ROW_CAP"
    world.table.records = [(NAME, ADDRESS, "s")]
    await world.still_works()


def _clear_beside(body: exchange_pb2.ResponseBody) -> None:
    body.clear.add(name="name", cells=[b"\x02" + NAME.encode()])


def _clear_instead(body: exchange_pb2.ResponseBody) -> None:
    body.ClearField("sealed")
    body.clear.add(name="name", cells=[b"\x02x"])
    body.clear.add(name="address", cells=[b"\x02x"])


def _no_columns(body: exchange_pb2.ResponseBody) -> None:
    body.ClearField("sealed")


def _commit(body: exchange_pb2.ResponseBody) -> None:
    body.sealed.commit = bytes(32)


def _cell(body: exchange_pb2.ResponseBody) -> None:
    body.sealed.columns[0].cells[0] = bytes(len(body.sealed.columns[0].cells[0]))


def _short(body: exchange_pb2.ResponseBody) -> None:
    body.sealed.columns[0].cells[0] = b""


def _repeat(body: exchange_pb2.ResponseBody) -> None:
    body.sealed.columns[0].cells.append(body.sealed.columns[0].cells[0])


def _rename(body: exchange_pb2.ResponseBody) -> None:
    body.sealed.columns[0].name = "station"


def _many(body: exchange_pb2.ResponseBody) -> None:
    for _ in range(100):
        body.sealed.columns.add(name="x", cells=[b"x" * 80])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_clear_beside, "RESPONSE_MISMATCH"),
        (_clear_instead, "RESPONSE_MISMATCH"),
        (_no_columns, "SEAL_BROKEN"),
        (_commit, "SEAL_BROKEN"),
        (_cell, "SEAL_BROKEN"),
        (_short, "SEAL_BROKEN"),
        (_repeat, "SEAL_BROKEN"),
        (_rename, "SEAL_BROKEN"),
        (_many, "SEAL_BROKEN"),
    ],
)
async def test_malformed_sealed_columns_are_refused_by_the_consumer(
    world: World, change: BodyChange, reason: str
) -> None:
    on_answer(world, change)
    assert outcome(await world.ask()) == reason
    await recover(world)


def _untagged(body: exchange_pb2.ResponseBody) -> None:
    body.clear[0].cells[0] = b"x"


def _not_utf8(body: exchange_pb2.ResponseBody) -> None:
    body.clear[0].cells[0] = b"\x02\xff\xfe"


def _other_name(body: exchange_pb2.ResponseBody) -> None:
    body.clear[0].name = "name"


def _none(body: exchange_pb2.ResponseBody) -> None:
    del body.clear[:]


def _long(body: exchange_pb2.ResponseBody) -> None:
    body.clear[0].cells[0] = b"\x02" + b"x" * 70_000


@pytest.mark.parametrize("change", [_untagged, _not_utf8, _other_name, _none, _long])
async def test_malformed_clear_columns_are_refused_by_the_consumer(world: World, change: BodyChange) -> None:
    on_answer(world, change)
    assert outcome(await world.ask(world.open_question())) == "RESPONSE_MISMATCH"
    await recover(world)


async def test_a_failure_of_an_unknown_reason_is_an_internal_error_and_no_answer(world: World) -> None:
    def unknown(body: exchange_pb2.ResponseBody) -> None:
        body.failure = 9999  # type: ignore[assignment]

    on_answer(world, unknown)
    response = await world.ask()
    assert outcome(response) == "INTERNAL"
    assert not response.HasField("answer")
    await recover(world)


async def test_an_unsigned_failure_never_carries_a_text_of_the_provider_into_the_log(world: World) -> None:
    def fail(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        for item in frame.items:
            if item.HasField("response"):
                body = exchange_pb2.ResponseBody.FromString(item.response.body)
                header = exchange_pb2.ResponseHeader.FromString(body.header)
                failure = exchange_pb2.Failure(
                    exchange_id=header.exchange_id, reason=reason_pb2.REASON_NO_GRANT, subject=NAME * 50
                )
                item.failure.CopyFrom(failure)
        return frame

    world.police.wire.up = fail
    response = await world.ask()
    assert response.HasField("failure")
    log = b"".join(world.sequencer.leaves(0, world.sequencer.head.size))
    assert NAME.encode() not in log
    await world.still_works()


async def test_a_verdict_that_is_no_boolean_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = [agent_pb2.NamedValue(name="name", value=NAME)]
    question = world.question(kind=common_pb2.KIND_VERIFY, fields=[], claims=claims)
    assert outcome(await world.ask(question)) == "ANSWER"

    def text(columns: Any, records: int) -> Any:
        return [(name, "text", padding, ["perhaps"]) for name, _, padding, _ in columns], 1

    with monkeypatch.context() as patch:
        lie(world, patch, table=text)
        assert outcome(await world.ask(question)) == "RESPONSE_MISMATCH"

        def posing(header: exchange_pb2.ResponseHeader) -> None:
            header.fields[0].type = "boolean"

    with monkeypatch.context() as patch:
        lie(world, patch, table=text, header=posing)
        assert outcome(await world.ask(question)) == "RESPONSE_MISMATCH"
    await world.still_works()


async def test_a_provider_without_receipts_alarms_and_stops_answering(world: World) -> None:
    """The other side of the coin: a gateway that keeps receipts back loses its providers."""

    def keep(frame: link_pb2.LinkResponse) -> link_pb2.LinkResponse:
        kept = [item for item in frame.items if not item.HasField("receipt")]
        del frame.items[:]
        frame.items.extend(kept)
        return frame

    world.police.wire.down = keep
    assert outcome(await world.ask()) == "ANSWER"
    world.clock.ms += 31_000
    world.tell_trust()
    world.police.provider.watch()
    assert world.police.provider.fault is not None
    reads = world.table.reads
    assert outcome(await world.ask()) == "RECEIPT_OVERDUE"
    assert world.table.reads == reads


async def test_a_receipt_that_lies_about_an_answer_alarms_its_provider(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    honest = exchange_leaf

    def lying(*args: Any, **kwargs: Any) -> bytes:
        entry = audit_pb2.AuditEntry.FromString(honest(*args, **kwargs))
        entry.exchange.purpose = "other"
        return entry.SerializeToString()

    with monkeypatch.context() as patch:
        patch.setattr("gateway.path.exchange_leaf", lying)
        await world.ask()
        await until(lambda: world.police.provider.fault is not None)
    fault = world.police.provider.fault
    assert fault is not None and fault.name == "RECEIPT_BROKEN"


async def test_a_log_that_fails_releases_nothing_and_owes_the_provider_its_receipt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exchange.errors import AuditUnavailable

    def fails(leaves: Any, done: Any, beside: Any, charges: Any) -> None:
        raise AuditUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(world.sequencer, "submit", fails)
        response = await world.ask()
        assert outcome(response) == "AUDIT_UNAVAILABLE"
        world.path.expire()
    assert world.police.journal.open_items == 1
    world.path.expire()
    await until(lambda: not world.police.journal.open_items)
    entry = world.entries()[-1]
    assert (entry.decision, entry.rule) == (audit_pb2.DECISION_FAILED, "append")
    await world.still_works()
