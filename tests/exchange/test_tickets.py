"""Tickets, steps and reports as they are read: bounded, refused by name, and nothing else ever raised."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import errors as e
from exchange.identity import Role
from exchange.quality_report import read_quality
from exchange.ticket_body import MAX_CIPHERTEXT
from exchange.tickets import (
    ACKNOWLEDGE,
    ANSWER,
    ASSIGN,
    CORRECT,
    CORRECTED,
    DECLINE,
    SUPPLEMENT,
    WITHDRAW,
    Standing,
    raised,
    read_event,
    read_ticket,
    step,
)
from exchange.v1 import common_pb2, ticket_pb2
from tests.support.region import CIVIL, HEALTH, POLICE, RESOURCE
from tests.support.reviewing import person
from tests.support.tickets import demand, dispute, event, quality

READERS = (read_ticket, read_event, read_quality)
PEOPLE = [person(Role.STEWARD, "x", code) for code in (HEALTH, POLICE, CIVIL)] + [
    person(Role.ADMIN, "wang"),
    person(Role.OFFICER, "zhao"),
]


def statement(body: Any) -> common_pb2.Statement:
    return common_pb2.Statement(body=body.SerializeToString())


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    for read in READERS:
        try:
            read(common_pb2.Statement(body=body))
        except e.ExchangeError:
            continue


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_body_with_any_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    bodies = dispute(b"e" * 16), demand(), event(b"t" * 32, CORRECT, 1), quality()
    body = bytearray(data.draw(st.sampled_from(bodies)).SerializeToString())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for read in READERS:
        try:
            read(common_pb2.Statement(body=bytes(body)))
        except e.ExchangeError:
            continue


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (ticket_pb2.TicketBody(), e.Malformed),
        (dispute(b"e" * 15), e.Malformed),
        (dispute(b"e" * 16, resource="x"), e.BadIdentifier),
        (dispute(b"e" * 16, provider="x"), e.BadIdentifier),
        (dispute(b"e" * 16, fields=["a b"]), e.BadIdentifier),
        (dispute(b"e" * 16, fields=[f"a{n}" for n in range(65)]), e.Malformed),
        (dispute(b"e" * 16, text="x" * 501), e.Oversized),
        (dispute(b"e" * 16, sealed=ticket_pb2.SealedText(agent="a", kid=b"k" * 15)), e.Malformed),
        (
            dispute(
                b"e" * 16,
                sealed=ticket_pb2.SealedText(
                    agent="a", kid=b"k" * 16, wrap=b"w", ciphertext=bytes(MAX_CIPHERTEXT + 1)
                ),
            ),
            e.Oversized,
        ),
        (demand(title=""), e.Malformed),
        (demand(title="户主 970102199001010011"), e.Malformed),
        (demand(wanted=[]), e.Malformed),
        (demand(wanted=["x"] * 33), e.Malformed),
        (demand(wanted=["970102199001010011"]), e.Malformed),
        (demand(division="97010"), e.BadIdentifier),
        (demand(addressed_to="x"), e.BadIdentifier),
        (demand(purpose="x" * 81), e.Oversized),
    ],
)
def test_a_ticket_that_is_out_of_bounds_is_refused(body: Any, error: type[e.ExchangeError]) -> None:
    with pytest.raises(error):
        read_ticket(statement(body))


@pytest.mark.parametrize(
    ("action", "changes"),
    [
        (CORRECT, {"revision": 0}),
        (CORRECT, {"fields": []}),
        (CORRECT, {"text": ""}),
        (DECLINE, {"text": ""}),
        (DECLINE, {"fields": ["name"]}),
        (DECLINE, {"text": "970102199001010011 无误"}),
        (ASSIGN, {}),
        (ASSIGN, {"assigned_to": POLICE, "fields": ["name"]}),
        (ANSWER, {}),
        (WITHDRAW, {"assigned_to": POLICE}),
        (ACKNOWLEDGE, {"revision": 1}),
        (SUPPLEMENT, {"revision": 0}),
        (SUPPLEMENT, {"fields": ["name"]}),
        (WITHDRAW, {"revision": 51}),
        (WITHDRAW, {"ticket_id": b"t"}),
        (0, {}),
        (99, {}),
    ],
)
def test_a_step_that_does_not_fit_its_action_is_refused(action: int, changes: dict[str, Any]) -> None:
    told = {"revision": 1, "ticket_id": b"t" * 32} | changes
    with pytest.raises(e.ExchangeError):
        read_event(statement(event(told.pop("ticket_id"), action, told.pop("revision"), **told)))


STEPS = st.tuples(
    st.sampled_from(PEOPLE),
    st.sampled_from([ASSIGN, ANSWER, DECLINE, CORRECT, WITHDRAW, ACKNOWLEDGE, SUPPLEMENT]),
)


@given(st.booleans(), st.lists(STEPS, max_size=12))
@settings(max_examples=200, deadline=None)
def test_no_sequence_of_steps_lets_anybody_act_out_of_turn(demands: bool, steps: list[Any]) -> None:
    ticket = read_ticket(statement(demand() if demands else dispute(b"e" * 16)))
    held: Standing = raised(ticket)
    for who, action in steps:
        before = held
        revision = 0 if action == ACKNOWLEDGE else held.revision + 1
        more = {ASSIGN: {"assigned_to": POLICE}, ANSWER: {"resource": RESOURCE}}.get(action, {})
        try:
            held = step(held, read_event(statement(event(ticket.ticket_id, action, revision, **more))), who)
        except (e.RoleNotAllowed, e.WrongState):
            assert held == before
            continue
        assert who.role is (Role.ADMIN if action == ASSIGN else Role.STEWARD)
        if action == SUPPLEMENT:
            # It changes nothing but the revision.
            assert (who.organisation, before.state) == (POLICE, CORRECTED)
            assert held == replace(before, revision=before.revision + 1)
            continue
        if action == WITHDRAW:
            assert who.organisation == HEALTH
        elif action in (ANSWER, DECLINE, CORRECT):
            assert who.organisation == before.waits_for == POLICE
        assert action != ACKNOWLEDGE and (action == CORRECT) <= (not demands)
        assert held.revision == before.revision + 1 and before.waits_for
    assert bool(held.waits_for) == (held.state in (1, 2)) and (held.state == CORRECTED) == bool(
        held.corrected
    )
