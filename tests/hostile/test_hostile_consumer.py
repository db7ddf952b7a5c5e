"""A hostile consumer: what it alters, pastes, forges or repeats is refused at the gateway or the provider.

Every request has one outcome, every refusal an entry within its rate; nothing is read or released.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uuid_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from agent.provider.inspection import parse
from exchange import canonical
from exchange.envelope import ColumnPlan
from exchange.errors import ExchangeError, QueueFull
from exchange.resources import DEFAULT_PADDING
from exchange.signing import BatchSigner
from exchange.trust import Verified
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, directory_pb2, exchange_pb2, grant_pb2, reason_pb2
from gateway.routing.links import MAX_LINKS_PER_AGENT
from tests.support.hostile import PERSON, Table, World, error_of, outcome, until
from tests.support.hostile_requests import (
    gateway_reason,
    provider_reason,
    session_of,
    signed_request,
)
from tests.support.region import CIVIL, HEALTH, moment


def names(**changes: Any) -> Callable[[World], dict[str, Any]]:
    return lambda world: changes


def clock(issued_ms: int, deadline_ms: int) -> Callable[[World], dict[str, Any]]:
    return lambda world: {
        "issued_at_ms": world.clock.ms + issued_ms,
        "deadline_ms": world.clock.ms + deadline_ms,
    }


REFUSED = [
    ("NO_IDENTITY", names(consumer_organisation=CIVIL)),
    ("NO_IDENTITY", names(consumer_agent="health-2")),
    ("WRONG_AUDIENCE", names(gateway="970100.yunchuan.example/other")),
    ("WRONG_AUDIENCE", names(division="980000")),
    ("CLOCK_SKEW", clock(-61_000, 10_000)),
    ("CLOCK_SKEW", clock(61_000, 70_000)),
    ("DEADLINE_PASSED", clock(0, 0)),
    ("DEADLINE_PASSED", clock(-20_000, -1)),
    ("MALFORMED", clock(0, 300_001)),
    ("WRONG_SUITE", names(suite=1)),
    ("WRONG_SUITE", names(suite=0)),
    ("WRONG_SUITE", names(suite=0x0101)),
    ("BUNDLE_STALE", names(consumer_bundle=b"b" * 32)),
    ("BUNDLE_STALE", names(consumer_bundle=b"")),
    ("BUNDLE_STALE", names(consumer_kid=b"k" * 16)),
    ("BUNDLE_STALE", names(provider_bundle=b"b" * 32)),
    ("BUNDLE_STALE", names(provider_kid=b"k" * 16)),
    ("BUNDLE_STALE", names(provider_agent="police-2")),
    ("BUNDLE_STALE", names(resource_digest=b"d" * 32)),
    ("MALFORMED", names(nonce=b"n")),
    ("MALFORMED", names(exchange_id=b"e" * 17)),
    ("MALFORMED", names(exchange_id=b"")),
    ("MALFORMED", names(grant_id=b"")),
    ("MALFORMED", names(kind=common_pb2.KIND_UNSPECIFIED)),
    ("MALFORMED", names(kind=3)),
    ("MALFORMED", names(kind=77)),
    ("MALFORMED", names(fields=[])),
    ("MALFORMED", names(fields=["name"] * 65)),
    ("MALFORMED", names(fields=["name", "name"])),
    ("OVERSIZED", names(case_number="9" * 201)),
    ("OVERSIZED", names(traceparent="x" * 20_000)),
    ("UNKNOWN_RESOURCE", names(resource="970100/police/nothing")),
    ("BAD_IDENTIFIER", names(resource="../../etc/passwd")),
    ("NO_GRANT", names(grant_id=b"g" * 32)),
    ("FIELD_NOT_GRANTED", names(fields=["name", "station"])),
    ("NOT_SHARED", names(fields=["name", "secret"])),
    ("UNKNOWN_FIELD", names(fields=["name", "anything"])),
    ("PURPOSE_NOT_GRANTED", names(purpose="curiosity")),
    ("MATTER_NOT_GRANTED", names(matter="other")),
    ("CASE_REQUIRED", names(case_number="")),
    ("CASE_REQUIRED", names(case_number="   ")),
]


@pytest.mark.parametrize(
    ("reason", "changes"), REFUSED, ids=[f"{reason}-{at}" for at, (reason, _) in enumerate(REFUSED)]
)
async def test_the_gateway_refuses(
    world: World, reason: str, changes: Callable[[World], dict[str, Any]]
) -> None:
    before = len(world.entries())
    assert await gateway_reason(world, signed_request(world, **changes(world))) == reason
    entry = world.entries()[before]
    assert entry.decision != audit_pb2.DECISION_RELEASED
    assert entry.reason == reason_pb2.Reason.Value(f"REASON_{reason}")
    assert world.table.reads == 0
    await world.still_works()


PROVIDER_REFUSES = [one for one in REFUSED if one[0] not in ("NO_IDENTITY", "OVERSIZED", "BAD_IDENTIFIER")]
NOT_ITS_OWN = {
    "MALFORMED",  # bounds that protect the gateway alone, or refused under another name below
    "BUNDLE_STALE",
}


@pytest.mark.parametrize(
    ("reason", "changes"),
    [one for one in PROVIDER_REFUSES if one[0] not in NOT_ITS_OWN],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_provider_refuses_the_same_of_a_gateway_that_lets_it_pass(
    world: World, reason: str, changes: Callable[[World], dict[str, Any]]
) -> None:
    assert await provider_reason(world, signed_request(world, **changes(world))) == reason
    assert world.table.reads == 0
    await world.still_works()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"consumer_organisation": CIVIL}, "BUNDLE_STALE"),
        ({"consumer_bundle": b"b" * 32}, "BUNDLE_STALE"),
        ({"consumer_kid": b"k" * 16}, "BUNDLE_STALE"),
        ({"resource_digest": b"d" * 32}, "BUNDLE_STALE"),
        ({"provider_kid": b"k" * 16}, "BUNDLE_STALE"),
        ({"provider_agent": "police-2"}, "WRONG_AUDIENCE"),
        ({"provider_organisation": CIVIL}, "WRONG_AUDIENCE"),
        ({"kind": 77}, "KIND_NOT_GRANTED"),
        ({"fields": []}, "MALFORMED"),
        ({"fields": ["name", "name"]}, "MALFORMED"),
        ({"session_expiry_ms": 0}, "SEAL_BROKEN"),
        ({"session_id": b"s" * 16}, "SEAL_BROKEN"),
    ],
)
async def test_the_provider_refuses(world: World, changes: dict[str, Any], reason: str) -> None:
    assert await provider_reason(world, signed_request(world, **changes)) == reason
    assert world.table.reads == 0
    await world.still_works()


async def test_a_body_altered_after_signing_is_refused_by_both(world: World) -> None:
    altered = []
    for _ in range(2):
        signed = signed_request(world)
        body = exchange_pb2.RequestBody.FromString(signed.body)
        header = exchange_pb2.RequestHeader.FromString(body.header)
        header.case_number = "C-2"
        body.header = header.SerializeToString()
        signed.body = body.SerializeToString()
        altered.append(signed)
    assert await gateway_reason(world, altered[0]) == "BAD_SIGNATURE"
    assert await provider_reason(world, altered[1]) == "BAD_SIGNATURE"
    await world.still_works()


async def test_a_signature_of_another_key_or_form_is_refused(world: World) -> None:
    enemy = BatchSigner(kid=world.health.keys.signing_kid, key=SigningKey.generate())
    assert await gateway_reason(world, signed_request(world, signer=enemy)) == "BAD_SIGNATURE"
    for part, value in (("size", 2), ("index", 1), ("path", b"p" * 32), ("signature", b""), ("kid", b"")):
        signed = signed_request(world)
        setattr(signed.signature, part, value)
        assert await gateway_reason(world, signed) == "BAD_SIGNATURE", part
    await world.still_works()


async def test_a_signature_too_large_for_the_log_is_refused_and_entered_without_it(world: World) -> None:
    for part in ("path", "signature", "kid"):
        signed = signed_request(world)
        setattr(signed.signature, part, b"x" * 100_000)
        before = len(world.entries())
        assert await gateway_reason(world, signed) == "BAD_SIGNATURE", part
        (entry,) = world.entries()[before:]
        assert entry.request_digest == canonical.digest(canonical.REQUEST, signed.body)
        assert not entry.HasField("request_signature")
    await world.still_works()


async def test_a_body_too_large_is_refused_and_entered_with_its_digest(world: World) -> None:
    def swell(body: exchange_pb2.RequestBody) -> None:
        body.wrap = b"w" * 70_000

    signed = signed_request(world, change=swell)
    before = len(world.entries())
    assert await gateway_reason(world, signed) == "OVERSIZED"
    assert world.entries()[before].request_digest == canonical.digest(canonical.REQUEST, signed.body)
    await world.still_works()


async def test_a_stale_revision_is_no_way_round_a_pause(world: World) -> None:
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
    assert await gateway_reason(world, signed_request(world, grant_revision=1)) == "GRANT_PAUSED"
    await world.region.decide(world.grant, grant_pb2.GRANT_ACTION_RESUME, 3)
    await until(lambda: world.police.view.grant(world.grant).revision == 3)  # type: ignore[union-attr]
    await world.still_works()


async def test_another_departments_grant_gives_nothing(world: World) -> None:
    signed = signed_request(world, who=world.civil)
    assert await gateway_reason(world, signed, caller=world.collector(world.civil)) == "GRANT_FOREIGN"
    # A bundle is known to a provider once it was fetched: the refusal is the grant's, not the keys'.
    assert await provider_reason(world, signed_request(world, who=world.civil)) == "GRANT_FOREIGN"
    assert world.table.reads == 0
    await world.still_works()


async def test_a_body_that_is_no_governments_gets_no_record_from_gateway_or_provider(world: World) -> None:
    world.region.clock.ms += 1
    await world.region.add(HEALTH, "health", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    await until(lambda: not world.police.view.government(HEALTH))
    assert await gateway_reason(world, signed_request(world)) == "NON_GOVERNMENT"
    assert await provider_reason(world, signed_request(world)) == "NON_GOVERNMENT"
    assert world.table.reads == 0


async def test_a_request_in_anothers_name_is_refused_whoever_signs_it(world: World) -> None:
    caller = world.collector(world.civil)
    assert await gateway_reason(world, signed_request(world), caller=caller) == "NO_IDENTITY"
    enemy = BatchSigner(kid=world.civil.keys.signing_kid, key=world.civil.keys.signing_key)
    assert await gateway_reason(world, signed_request(world, signer=enemy)) == "BAD_SIGNATURE"
    assert await provider_reason(world, signed_request(world, signer=enemy)) == "BAD_SIGNATURE"
    await world.still_works()


async def test_anothers_wrap_pasted_into_an_own_request_does_not_open(world: World) -> None:
    """Civil affairs has a grant now, and replays what it saw of the health department's session."""
    grant = await civil_grant(world)
    stolen = session_of(world, world.health)

    def paste(body: exchange_pb2.RequestBody) -> None:
        body.wrap = stolen.wrap

    as_stolen: dict[str, Any] = {"session_id": stolen.id, "session_expiry_ms": stolen.expiry_ms}
    for changes in ({}, as_stolen):
        signed = signed_request(world, who=world.civil, change=paste, grant_id=grant, **changes)
        assert await provider_reason(world, signed) == "SEAL_BROKEN"
    assert world.table.reads == 0
    await world.still_works()


async def test_anothers_sealed_parameters_pasted_into_an_own_request_do_not_open(world: World) -> None:
    grant = await civil_grant(world)
    victim = exchange_pb2.RequestBody.FromString(signed_request(world).body)

    def paste(body: exchange_pb2.RequestBody) -> None:
        body.sealed.CopyFrom(victim.sealed)

    def paste_cells(body: exchange_pb2.RequestBody) -> None:
        body.sealed.columns[0].cells[0] = victim.sealed.columns[0].cells[0]

    for change in (paste, paste_cells):
        signed = signed_request(world, who=world.civil, change=change, grant_id=grant)
        assert await provider_reason(world, signed) == "SEAL_BROKEN"
    assert world.table.reads == 0
    await world.still_works()


async def test_an_own_earlier_request_pasted_into_a_new_one_does_not_open(world: World) -> None:
    session = session_of(world, world.health)
    earlier = exchange_pb2.RequestBody.FromString(signed_request(world, session=session).body)

    def paste(body: exchange_pb2.RequestBody) -> None:
        body.sealed.CopyFrom(earlier.sealed)

    assert await provider_reason(world, signed_request(world, session=session, change=paste)) == "SEAL_BROKEN"
    await world.still_works()


async def test_a_request_repeated_is_refused_by_both(world: World) -> None:
    signed = signed_request(world)
    assert await gateway_reason(world, signed) == ""
    assert await gateway_reason(world, signed) == "REPLAYED"
    assert await provider_reason(world, signed) == "REPLAYED"
    again = signed_request(world)
    both = world.collector(world.health)
    assert await gateway_reason(world, again, again, caller=both) == ""
    assert sorted(error_of(exchange) for exchange, *_ in both.outcomes) == ["", "REPLAYED"]
    await world.still_works()


async def test_an_exchange_id_used_again_while_it_waits_loses_no_outcome(world: World) -> None:
    """The longest deadline outlives the replay window: the id is refused for as long as it waits."""
    exchange_id = uuid_utils.uuid7().bytes
    world.police.wire.down = lambda frame: None
    caller = world.collector(world.health)
    first = signed_request(world, exchange_id=exchange_id, deadline_ms=world.clock.ms + 299_000)
    world.path.admit(caller, [first])
    for _ in range(4):
        world.clock.ms += 61_000
        world.tell_trust()
        second = signed_request(world, exchange_id=exchange_id)
        assert await gateway_reason(world, second) == "REPLAYED"
    world.clock.ms += 61_000
    world.path.expire()
    await until(lambda: len(caller.outcomes) == 1)
    assert error_of(caller.outcomes[0][0]) == "DEADLINE_PASSED"
    assert caller.in_flight == 0


async def test_short_deadlines_do_not_silence_a_provider(world: World) -> None:
    """An answer that comes too late is entered and receipted: else the provider would stop answering."""
    late: list[Any] = []

    def hold(frame: Any) -> Any:
        if any(item.HasField("response") for item in frame.items):
            late.append(frame)
            return None
        return frame

    world.police.wire.up = hold
    caller = world.collector(world.health)
    world.path.admit(caller, [signed_request(world, deadline_ms=world.clock.ms + 1)])
    await until(lambda: bool(late))
    world.clock.ms += 2
    world.path.expire()
    await until(lambda: len(caller.outcomes) == 1)
    assert error_of(caller.outcomes[0][0]) == "DEADLINE_PASSED"
    assert world.police.journal.open_items == 1
    for _ in range(2):
        world.police.wire._to_gateway.put_nowait(late[0])
    await until(lambda: not world.police.journal.open_items)
    entry = world.entries()[-1]
    assert (entry.decision, bool(entry.response_digest)) == (audit_pb2.DECISION_FAILED, True)
    assert len(caller.outcomes) == 1, "nothing is released"
    world.clock.ms += 31_000
    world.tell_trust()
    world.police.provider.watch()
    assert world.police.provider.fault is None
    await world.still_works()


async def test_more_than_the_window_is_refused_at_once(world: World) -> None:
    caller = world.collector(world.health, consumer_window=2)
    signed = [signed_request(world) for _ in range(4)]
    await gateway_reason(world, *signed, caller=caller)
    reasons = sorted(error_of(exchange) for exchange, *_ in caller.outcomes)
    assert reasons == ["", "", "QUEUE_FULL", "QUEUE_FULL"]
    await world.still_works()


async def test_a_revoked_or_expired_consumer_is_told_so_and_entered(world: World) -> None:
    caller = world.collector(world.health, not_after_ms=world.clock.ms)
    signed = signed_request(world)
    assert await gateway_reason(world, signed, caller=caller) == "CERTIFICATE_EXPIRED"
    exchange_id = caller.outcomes[0][0].exchange_id
    assert exchange_id and world.entries()[-1].exchange_id == exchange_id
    world.tell_trust(revoked_serials=[caller.serial.to_bytes(20).lstrip(b"\0")])
    late = world.collector(world.health)
    assert await gateway_reason(world, signed_request(world), caller=late) == "REVOKED"
    assert world.table.reads == 0


@pytest.mark.parametrize(
    "columns",
    [
        [ColumnPlan("other", [b"x"], DEFAULT_PADDING)],
        [ColumnPlan("id", [b"970102199001010011", b"970102199001010011"], DEFAULT_PADDING)],
        [ColumnPlan("id", [None], DEFAULT_PADDING)],
        [ColumnPlan("id", [b"' OR 1=1 --"], DEFAULT_PADDING)],
        [ColumnPlan("id", [b"970102199001010012"], DEFAULT_PADDING)],
        [ColumnPlan("id", [b"\xff\xfe"], DEFAULT_PADDING)],
        [ColumnPlan("claim:nothing", [b"x"], DEFAULT_PADDING)],
        [ColumnPlan("id", [PERSON.encode()], DEFAULT_PADDING)] * 2,
    ],
)
async def test_parameters_out_of_shape_are_refused_by_the_provider(
    world: World, columns: list[ColumnPlan]
) -> None:
    reason = await provider_reason(world, signed_request(world, parameters=columns))
    assert reason in ("BAD_PARAMETER", "BAD_IDENTIFIER", "MALFORMED", "SEAL_BROKEN")
    assert world.table.reads == 0
    await world.still_works()


async def test_a_source_that_fails_unforeseen_spoils_no_other_question_of_its_frame(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Table.read

    async def fail(self: Table, keys: Any, *, timeout_s: float) -> list[Any]:
        if "id" in keys[0]:
            raise RuntimeError("unforeseen")
        await asyncio.sleep(0)
        return await read(self, keys, timeout_s=timeout_s)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "read", fail)
        failed, answered = await asyncio.gather(world.ask(), world.ask(world.open_question()))
    assert (outcome(failed), outcome(answered)) == ("INTERNAL", "ANSWER")
    await world.still_works()


async def test_a_sealed_parameter_sent_in_the_clear_is_refused_by_the_provider(world: World) -> None:
    def bare(body: exchange_pb2.RequestBody) -> None:
        body.ClearField("sealed")
        body.clear.add(name="id", cells=[b"\x02" + PERSON.encode()])

    assert await provider_reason(world, signed_request(world, change=bare)) == "BAD_PARAMETER"
    await world.still_works()


async def test_a_refusal_of_what_cannot_be_read_still_reaches_whoever_asked(world: World) -> None:
    """Through the whole way: the receipt of the refusal verifies, and the reason is the gateway's."""
    response = await world.ask(world.question(case_number="9" * 300))
    assert outcome(response) == "OVERSIZED"
    assert response.HasField("receipt")
    claims = [agent_pb2.NamedValue(name="name", value="x")]
    response = await world.ask(world.question(kind=common_pb2.KIND_VERIFY, claims=claims, case_number=""))
    assert outcome(response) == "CASE_REQUIRED"
    await world.still_works()


async def test_refusals_in_a_flood_are_answered_and_counted(world: World) -> None:
    caller = world.collector(world.health, consumer_window=1000)
    signed = [signed_request(world, case_number="") for _ in range(90)]
    before = len(world.entries())
    await gateway_reason(world, *signed, caller=caller)
    assert {error_of(exchange) for exchange, *_ in caller.outcomes} == {"CASE_REQUIRED"}
    entered = len(world.entries()) - before
    counted = sum(count.count for count in world.path._.refusals.drain(world.clock.ms))
    assert entered + counted == 90 and entered < 90
    await world.still_works()


# -- bytes ------------------------------------------------------------------------------------------------

RAW = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda header, rest: exchange_pb2.RequestBody(header=header).SerializeToString() + rest,
        st.binary(max_size=120),
        st.binary(max_size=20),
    ),
)
SIGNATURE = st.builds(
    common_pb2.Signature,
    kid=st.binary(max_size=20),
    signature=st.binary(max_size=70),
    size=st.integers(0, 2**32 - 1),
    index=st.integers(0, 2**32 - 1),
    path=st.binary(max_size=500),
)
TEXT = st.text(max_size=30)
HEADER = st.fixed_dictionaries(
    {},
    optional={
        "nonce": st.binary(max_size=20),
        "exchange_id": st.binary(max_size=20),
        "issued_at_ms": st.integers(-(2**63), 2**63 - 1),
        "deadline_ms": st.integers(-(2**63), 2**63 - 1),
        "kind": st.integers(0, 2**31 - 1),
        "consumer_kid": st.binary(max_size=20),
        "provider_kid": st.binary(max_size=20),
        "provider_agent": TEXT,
        "resource": TEXT,
        "resource_digest": st.binary(max_size=40),
        "fields": st.lists(TEXT, max_size=70),
        "grant_id": st.binary(max_size=40),
        "grant_revision": st.integers(0, 2**64 - 1),
        "purpose": TEXT,
        "matter": TEXT,
        "case_number": TEXT,
        "suite": st.integers(0, 2**32 - 1),
        "consumer_bundle": st.binary(max_size=40),
        "session_id": st.binary(max_size=20),
        "session_expiry_ms": st.integers(-(2**63), 2**63 - 1),
    },
)
MODEST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


async def test_no_bytes_break_the_path_and_each_has_one_outcome(world: World) -> None:
    caller = world.collector(world.health)
    asked = [0]

    @MODEST
    @given(st.lists(st.builds(common_pb2.Signed, body=RAW, signature=SIGNATURE), min_size=1, max_size=4))
    def admit(requests: list[common_pb2.Signed]) -> None:
        asked[0] += len(requests)
        world.path.admit(caller, requests)

    admit()
    await until(lambda: len(caller.outcomes) == asked[0])
    assert caller.in_flight == 0
    assert all(exchange.error is not None for exchange, *_ in caller.outcomes)
    assert world.sequencer.fault is None
    await world.still_works()


async def test_no_signed_header_breaks_the_path_and_each_has_one_outcome(world: World) -> None:
    caller = world.collector(world.health)
    asked = [0]

    @MODEST
    @given(HEADER)
    def admit(changes: dict[str, Any]) -> None:
        asked[0] += 1
        world.path.admit(caller, [signed_request(world, **changes)])

    world.police.wire.down = lambda frame: None
    admit()
    world.clock.ms += 301_000
    world.path.expire()
    await until(lambda: len(caller.outcomes) == asked[0])
    assert caller.in_flight == 0
    assert world.table.reads == 0
    assert world.sequencer.fault is None


async def test_no_signed_header_breaks_the_provider(world: World) -> None:
    """Whatever a gateway lets pass: an error of the tree, never another exception."""
    keys = world.region.state.bundles.newest(HEALTH, "health-1")
    assert keys is not None
    passed = []

    @MODEST
    @given(HEADER)
    def inspect(changes: dict[str, Any]) -> None:
        try:
            job = parse(signed_request(world, **changes))
            world.police.inspector.inspect(job, keys, world.clock.ms)
            passed.append(changes)
        except ExchangeError:
            return

    inspect()
    harmless = {"grant_revision", "session_id", "session_expiry_ms", "nonce", "exchange_id", "case_number"}
    # The keys are handed in here: by their digest they are looked up before.
    harmless |= {"issued_at_ms", "deadline_ms", "consumer_bundle"}
    assert all(set(changes) <= harmless for changes in passed), passed


@MODEST
@given(st.builds(common_pb2.Signed, body=RAW, signature=SIGNATURE))
def test_no_bytes_break_the_provider(signed: common_pb2.Signed) -> None:
    try:
        job = parse(signed)
    except ExchangeError:
        return
    assert len(job.header.exchange_id) == 16


@MODEST
@given(
    st.builds(
        exchange_pb2.RequestBody,
        wrap=st.binary(max_size=1200),
        clear=st.lists(
            st.builds(exchange_pb2.Column, name=TEXT, cells=st.lists(st.binary(max_size=9))), max_size=3
        ),
        sealed=st.builds(
            exchange_pb2.Envelope,
            commit=st.binary(max_size=40),
            columns=st.lists(
                st.builds(
                    exchange_pb2.Column,
                    name=st.sampled_from(["id", "claim:name", "claim:", "", "x"]),
                    cells=st.lists(st.binary(max_size=100), max_size=5),
                ),
                max_size=4,
            ),
        ),
    )
)
def test_no_envelope_of_the_right_type_breaks_the_provider(body: exchange_pb2.RequestBody) -> None:
    from exchange.envelope import direction_key, open_
    from exchange.suites import suite

    key = direction_key(suite(2), b"s" * 32, b"header", "request")
    body.sealed.commit = key.commit
    try:
        open_(key, body.sealed, [(column.name, DEFAULT_PADDING) for column in body.sealed.columns])
    except ExchangeError:
        return
    assert not body.sealed.columns


async def civil_grant(world: World) -> bytes:
    """Give civil affairs a grant of its own, known to the provider."""
    from exchange.identity import Role

    civil = world.authority.person(Role.STEWARD, "wu", CIVIL)
    grant = await world.region.apply(civil, consumer=CIVIL)
    await world.region.decide(grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
    await until(lambda: getattr(world.police.view.grant(grant), "revision", 0) == 1)
    return grant


async def test_streams_that_never_say_hello_take_few_places(world: World) -> None:
    class Silent:
        """A stream on which nothing comes."""

        def __init__(self, verified: Verified) -> None:
            self.verified = verified

        async def send_initial_metadata(self, metadata: Any) -> None:
            return None

        async def read(self) -> None:
            await asyncio.Event().wait()

    service = world.services["LinkService"]
    health, civil = (world.verified(who.signer) for who in (world.health, world.civil))
    waiting = [asyncio.ensure_future(service._open(Silent(health))) for _ in range(MAX_LINKS_PER_AGENT + 20)]
    await asyncio.sleep(0.05)
    refused = [task for task in waiting if task.done()]
    assert len(refused) == 20
    assert all(isinstance(task.exception(), QueueFull) for task in refused)
    other = asyncio.ensure_future(service._open(Silent(civil)))
    await asyncio.sleep(0.05)
    assert not other.done()
    for task in (*waiting, other):
        task.cancel()
    await asyncio.gather(*waiting, other, return_exceptions=True)
    await world.still_works()


@pytest.mark.parametrize("name", ["case_number", "operator"])
async def test_an_agent_sends_no_citizen_id_as_a_number_or_pseudonym(world: World, name: str) -> None:
    """The gateway and its log would keep it for good."""
    before = len(world.entries())
    assert outcome(await world.ask(world.question(**{name: f"LJ {PERSON}"}))) == "MALFORMED"
    assert len(world.entries()) == before
    await world.still_works()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (grant_pb2.GRANT_ACTION_PAUSE, "GRANT_PAUSED"),
        (grant_pb2.GRANT_ACTION_REVOKE, "GRANT_REVOKED"),
        (None, "GRANT_EXPIRED"),
    ],
)
async def test_a_grant_that_is_not_in_force_gives_nothing_and_the_entry_says_why(
    world: World, action: "grant_pb2.GrantAction.ValueType | None", reason: str
) -> None:
    grant_id = world.grant
    if action is None:
        grant_id = await world.region.apply(not_after=moment(world.clock.ms + 60_000))
        await world.region.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1)
        world.clock.ms += 61_000
        world.tell_trust()
    else:
        await world.region.decide(grant_id, action, 2)
    signed = signed_request(world, grant_id=grant_id)
    before = len(world.entries())
    assert await gateway_reason(world, signed) == reason
    assert world.entries()[before].reason == reason_pb2.Reason.Value(f"REASON_{reason}")
    assert world.entries()[before].grant_id == grant_id
    index = world.region.registrar.next_index
    await until(lambda: world.police.view.cursor >= index)
    assert await provider_reason(world, signed_request(world, grant_id=grant_id)) == reason
    assert world.table.reads == 0
