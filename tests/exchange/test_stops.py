"""Emergency stops: what is well formed, who must sign, and what they catch."""

import pytest

from exchange import errors as e
from exchange.identity import Identity, Role
from exchange.stop_set import StopSet
from exchange.stops import (
    MAX_ALONE_MS,
    NEVER_MS,
    Stop,
    check_lift_signers,
    check_stop_signers,
    ends_ms,
    read_lift,
    read_stop,
)
from exchange.v1 import exchange_pb2, stop_pb2
from tests.support.region import DIVISION, DOMAIN, HEALTH, POLICE, RESOURCE, moment
from tests.support.sealing import NOW_MS
from tests.support.stopping import lift_body, stop_body

FIELD, GRANT = stop_pb2.STOP_SCOPE_FIELD, stop_pb2.STOP_SCOPE_GRANT
OF_RESOURCE, ORGANISATION = stop_pb2.STOP_SCOPE_RESOURCE, stop_pb2.STOP_SCOPE_ORGANISATION
AGENT, REGION = stop_pb2.STOP_SCOPE_AGENT, stop_pb2.STOP_SCOPE_REGION
GRANT_ID = bytes(range(32))
ONE, TWO = (Identity(DOMAIN, DIVISION, Role.OFFICER, "", name) for name in ("one", "two"))
ADMIN = Identity(DOMAIN, DIVISION, Role.ADMIN, "", "one")


def a_stop(scope: int = OF_RESOURCE, target: str = RESOURCE, **changes: object) -> Stop:
    return read_stop(stop_body(NOW_MS, scope, target, **changes))  # type: ignore[arg-type]


def a_header(**changes: object) -> exchange_pb2.RequestHeader:
    held: dict[str, object] = {
        "consumer_organisation": HEALTH,
        "consumer_agent": "health-1",
        "provider_organisation": POLICE,
        "provider_agent": "police-1",
        "grant_id": GRANT_ID,
        "fields": ["name", "address"],
    }
    return exchange_pb2.RequestHeader(**(held | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        (FIELD, RESOURCE),
        (FIELD, f"{RESOURCE}#Name"),
        (FIELD, f"{RESOURCE}#name#name"),
        (GRANT, "ab" * 31),
        (GRANT, "AB" * 32),
        (OF_RESOURCE, "household"),
        (ORGANISATION, HEALTH[:-1] + "0"),
        (AGENT, HEALTH),
        (AGENT, f"{HEALTH}/Health 1"),
        (REGION, "9701"),
    ],
)
def test_a_target_that_has_not_its_scopes_form_is_refused(scope: int, target: str) -> None:
    with pytest.raises(e.BadIdentifier):
        a_stop(scope, target)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"short"},
        {"scope": 0},
        {"scope": 9},
        {"issued_at": None},
        {"until": moment(NOW_MS)},
        {"note": "two\nlines"},
    ],
)
def test_a_stop_that_is_not_well_formed_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(e.Malformed):
        a_stop(**changes)


def test_bodies_beyond_their_bound_or_of_another_kind_are_refused() -> None:
    with pytest.raises(e.Oversized):
        read_stop(b"x" * 5000)
    with pytest.raises(e.Oversized):
        read_lift(b"x" * 5000)
    with pytest.raises(e.Malformed):
        read_stop(b"\xff")
    with pytest.raises(e.Malformed):
        read_lift(lift_body(NOW_MS, b"short"))


@pytest.mark.parametrize("scope_target", [(FIELD, f"{RESOURCE}#name"), (OF_RESOURCE, RESOURCE)])
def test_one_officer_stops_a_field_or_resource_without_end(scope_target: tuple[int, str]) -> None:
    stop = a_stop(*scope_target)
    check_stop_signers(stop, [ONE])
    check_lift_signers(stop, [ONE])
    assert ends_ms(stop, 1, NOW_MS) == NEVER_MS


@pytest.mark.parametrize("scope_target", [(ORGANISATION, HEALTH), (REGION, DIVISION)])
def test_organisation_and_region_need_two_officers_or_an_hours_limit(scope_target: tuple[int, str]) -> None:
    endless, hour, longer = (a_stop(*scope_target, minutes=minutes) for minutes in (0, 60, 61))
    for stop in (endless, longer):
        check_stop_signers(stop, [ONE, TWO])
        with pytest.raises(e.SecondPersonRequired):
            check_stop_signers(stop, [ONE])
    check_stop_signers(hour, [ONE])
    with pytest.raises(e.SecondPersonRequired):
        check_lift_signers(hour, [ONE])
    check_lift_signers(hour, [ONE, TWO])


def test_a_clock_that_is_ahead_buys_one_officer_no_more_than_an_hour() -> None:
    stop = a_stop(REGION, DIVISION, minutes=60)
    behind = NOW_MS - 4 * 60_000
    assert ends_ms(stop, 1, behind) == behind + MAX_ALONE_MS < stop.until_ms
    assert ends_ms(stop, 2, behind) == stop.until_ms


def test_one_person_twice_and_whoever_is_no_officer_does_not_count() -> None:
    stop = a_stop(REGION, DIVISION)
    for check in (check_stop_signers, check_lift_signers):
        with pytest.raises(e.SecondPersonRequired):
            check(stop, [ONE, ONE])
        with pytest.raises(e.RoleNotAllowed):
            check(stop, [ONE, ADMIN])
        with pytest.raises(e.Malformed):
            check(stop, [])
        with pytest.raises(e.Malformed):
            check(stop, [ONE, TWO, ONE])


@pytest.mark.parametrize(
    ("scope", "target", "other"),
    [
        (FIELD, f"{RESOURCE}#name", {"fields": ["address"]}),
        (GRANT, GRANT_ID.hex(), {"grant_id": bytes(32)}),
        (ORGANISATION, HEALTH, {"consumer_organisation": POLICE}),
        (ORGANISATION, POLICE, {"provider_organisation": HEALTH}),
        (AGENT, f"{HEALTH}/health-1", {"consumer_agent": "health-2"}),
        (AGENT, f"{POLICE}/police-1", {"provider_agent": "police-2"}),
    ],
)
def test_a_stop_catches_what_it_names_and_nothing_else(
    scope: int, target: str, other: dict[str, object]
) -> None:
    stops, stop = StopSet(), a_stop(scope, target)
    stops.add(stop, NEVER_MS)
    assert stops.find(a_header(), RESOURCE, NOW_MS) == stop
    assert stops.catches(stop, a_header(), RESOURCE)
    assert stops.find(a_header(**other), RESOURCE, NOW_MS) is None
    assert not stops.catches(stop, a_header(**other), RESOURCE)


def test_a_resource_and_the_region_are_caught_whatever_the_header_says() -> None:
    stops, stop = StopSet(), a_stop()
    stops.add(stop, NEVER_MS)
    assert stops.find(a_header(resource="970101/police/household"), RESOURCE, NOW_MS) == stop
    assert stops.find(a_header(), "970100/police/stations", NOW_MS) is None
    everything = a_stop(REGION, DIVISION)
    stops.add(everything, NEVER_MS)
    assert stops.find(a_header(), "970100/police/stations", NOW_MS) == everything


def test_of_two_stops_of_one_thing_the_other_holds_when_one_is_lifted_or_ends() -> None:
    stops, first, second = StopSet(), a_stop(), a_stop()
    stops.add(first, NOW_MS + 1)
    stops.add(second, NEVER_MS)
    assert stops.find(a_header(), RESOURCE, NOW_MS) == first
    assert stops.find(a_header(), RESOURCE, NOW_MS + 1) == second
    assert stops.sweep(NOW_MS + 1) == [first]
    stops.remove(second.stop_id)
    assert stops.find(a_header(), RESOURCE, NOW_MS) is None
    assert stops.quiet


def test_a_rehearsal_counts_and_refuses_nothing() -> None:
    stops, rehearsal = StopSet(), a_stop(rehearsal=True)
    stops.add(rehearsal, NEVER_MS)
    assert not stops.quiet
    for _ in range(3):
        stops.check(a_header(), RESOURCE, NOW_MS)
    assert stops.caught(rehearsal.stop_id) == 3
    stop = a_stop()
    stops.add(stop, NEVER_MS)
    with pytest.raises(e.Stopped) as refused:
        stops.check(a_header(), RESOURCE, NOW_MS)
    assert refused.value.subject == stop.name == stop.rule.removeprefix("stop/")
    assert (stops.caught(stop.stop_id), stops.caught(rehearsal.stop_id)) == (1, 3)
