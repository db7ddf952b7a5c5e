"""Clocks of grants: which runs, until when, whose turn it is, and that what is overdue is told of once."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exchange.grants import Grant, read_grant
from exchange.region_rules import Clocks, RegionRules
from exchange.resources import Resource, parse_resource
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, reason_pb2
from gateway.access.supervised import Supervised
from gateway.audit.entries.alerts import Alerts
from gateway.clocks.escalation import Escalation
from gateway.clocks.grants import Clock, GrantClocks
from gateway.grant_rows import Numbers, Unpacker, pack, template, terms_of
from tests.support.granting import BUREAU, GovernedRegion, ms
from tests.support.region import HEALTH, ORIGIN, POLICE, YEAR_MS, Authority, grant_body, resource_body
from tests.support.sealing import numbered_random

G = grant_pb2
DAY_MS = 24 * 3600 * 1000
MONDAY = ms("2026-03-02T09:00")


def rests(grant: Grant) -> bool:
    assert grant.record is not None
    terms = terms_of(grant.record.grant.body)
    row = pack(replace(grant, record=None), Numbers(0, 1, 2, 0), template(terms), bytes(8))
    (head,) = Unpacker(names=["", "", ""], terms={0: terms}).heads([(0, row)])
    return head[-1]


class World:
    """One grant, the rules and the time."""

    def __init__(self, rules: RegionRules | None = None, **promised: int) -> None:
        self.grants: dict[bytes, Grant] = {}
        self.rules = rules or RegionRules()
        self.now_ms = MONDAY
        responsibility = directory_pb2.Responsibility(**promised)
        body = resource_body(MONDAY, responsibility=responsibility)
        self.resource: Resource | None = parse_resource(common_pb2.Statement(body=body))
        self.clocks = GrantClocks(
            grants=self,
            resource=lambda resource_id: self.resource,
            rules=lambda: self.rules,
            supervised=Supervised(),
            now_ms=lambda: self.now_ms,
        )

    def get(self, grant_id: bytes) -> Grant | None:
        return self.grants.get(grant_id)

    def opened(self) -> Iterator[Grant]:
        """Yield what a start would: grants that rest in their rows stay packed."""
        return (grant for grant in self.grants.values() if not rests(grant))

    def stands(self, state: int, told: dict[str, Any] | None = None, **changes: Any) -> Grant:
        body = common_pb2.Statement(body=grant_body(MONDAY, **(told or {})))
        held = {"state": state, "since_ms": MONDAY} | changes
        grant = replace(read_grant(body), **held)
        self.grants = {grant.grant_id: grant}
        self.clocks.open()
        return grant

    def clock(self) -> Clock | None:
        """Return the clock of the grant, as the list of what runs tells it as well."""
        (grant,) = self.grants.values()
        found = self.clocks.clock(grant)
        assert [clock for _, clock in self.clocks.running()] == ([found] if found else [])
        return found


@pytest.mark.parametrize(
    ("rules", "promised", "fields", "due"),
    [
        (None, {}, ["name"], "2026-03-17T00:00"),
        (None, {}, ["station"], "2026-03-04T00:00"),
        (None, {"decide_within_days": 3}, ["name"], "2026-03-06T00:00"),
        (Clocks(conditional_days=5, unconditional_days=2), {}, ["name"], "2026-03-10T00:00"),
        (Clocks(conditional_days=5, unconditional_days=2), {}, ["station"], "2026-03-05T00:00"),
        (Clocks(conditional_days=0), {"decide_within_days": 1}, ["name"], "2026-03-04T00:00"),
    ],
)
def test_an_application_is_decided_within_what_was_promised_or_the_rules_say(
    rules: Clocks | None, promised: dict[str, int], fields: list[str], due: str
) -> None:
    world = World(RegionRules(clocks=rules) if rules else None, **promised)
    world.stands(G.GRANT_STATE_PENDING, {"fields": fields})
    assert world.clock() == Clock("decide", MONDAY, ms(due), POLICE)


def test_a_clock_of_no_days_does_not_run() -> None:
    world = World(RegionRules(clocks=Clocks(conditional_days=0, supervise_days=0, attest_days=0)))
    for state in (G.GRANT_STATE_PENDING, G.GRANT_STATE_SUPERVISING):
        world.stands(state, supervisor=BUREAU)
        assert world.clock() is None
    world.stands(G.GRANT_STATE_REVOKED, {"data_life_days": 1}, used=True)
    world.now_ms += 90 * DAY_MS
    assert world.clock() is None


def test_an_application_whose_term_is_over_waits_for_nobody() -> None:
    world = World()
    for state in (G.GRANT_STATE_PENDING, G.GRANT_STATE_SUPERVISING):
        grant = world.stands(state, supervisor=BUREAU)
        world.now_ms = grant.not_after_ms - 1
        assert world.clock() is not None
        world.now_ms += 1
        assert world.clock() is None


def test_a_supervisor_has_its_own_clock_for_acceptances_and_extensions() -> None:
    world = World(RegionRules(clocks=Clocks(supervise_days=1)))
    world.stands(G.GRANT_STATE_SUPERVISING, supervisor=BUREAU)
    assert world.clock() == Clock("supervise", MONDAY, ms("2026-03-04T00:00"), BUREAU)
    asked_ms = MONDAY + 2 * DAY_MS
    world.stands(
        G.GRANT_STATE_ACTIVE, supervisor=BUREAU, extended_at_ms=asked_ms, extended_to_ms=MONDAY + 2 * YEAR_MS
    )
    assert world.clock() == Clock("supervise", asked_ms, ms("2026-03-06T00:00"), BUREAU)


@pytest.mark.parametrize("state", ["REJECTED", "ENDED", "REVOKED", "ACTIVE", "PAUSED"])
def test_nothing_runs_for_a_grant_without_a_data_life_that_is_decided(state: str) -> None:
    world = World()
    world.stands(G.GrantState.Value(f"GRANT_STATE_{state}"), since_ms=0, used=True)
    world.now_ms += 6 * YEAR_MS
    assert world.clock() is None


def test_deletion_is_attested_once_a_year_while_a_grant_is_in_force() -> None:
    world = World(RegionRules(clocks=Clocks(attest_days=1)))
    long = {"data_life_days": 30, "not_after": G.GrantBody().not_after}
    long["not_after"].FromMilliseconds(MONDAY + 4 * YEAR_MS)
    grant = world.stands(G.GRANT_STATE_ACTIVE, long)
    begins_ms = MONDAY + (30 + 365) * DAY_MS
    world.now_ms = begins_ms - 1
    assert world.clock() is None
    world.now_ms = begins_ms
    found = world.clock()
    assert found is not None and (found.name, found.since_ms, found.waits_for) == (
        "delete",
        begins_ms,
        HEALTH,
    )
    world.grants = {grant.grant_id: replace(grant, deleted_before_ms=begins_ms - DAY_MS)}
    world.clocks.open()
    assert world.clock() is None
    world.now_ms = begins_ms - DAY_MS + (30 + 365) * DAY_MS
    assert world.clock() is not None


@pytest.mark.parametrize("state", ["ENDED", "REVOKED", "ACTIVE"])
def test_after_the_end_everything_is_attested_once_its_life_is_over(state: str) -> None:
    world = World(RegionRules(clocks=Clocks(attest_days=1)))
    grant = world.stands(G.GrantState.Value(f"GRANT_STATE_{state}"), {"data_life_days": 30}, used=True)
    end_ms = grant.not_after_ms if state == "ACTIVE" else MONDAY
    world.now_ms = end_ms + 30 * DAY_MS - 1
    assert world.clock() is None
    world.now_ms += 1
    found = world.clock()
    assert found is not None and (found.name, found.since_ms) == ("delete", end_ms + 30 * DAY_MS)
    world.grants = {grant.grant_id: replace(grant, deleted_before_ms=end_ms)}
    world.clocks.open()
    assert world.clock() is None


def test_what_was_never_in_force_is_never_attested() -> None:
    world = World()
    world.stands(G.GRANT_STATE_REVOKED, {"data_life_days": 30}, since_ms=0, used=False)
    world.now_ms += 5 * YEAR_MS
    assert world.clock() is None


def test_a_term_that_ends_beyond_all_calendars_has_no_clock() -> None:
    world = World()
    far = {"not_before": G.GrantBody().not_before, "not_after": G.GrantBody().not_after, "data_life_days": 9}
    far["not_before"].seconds, far["not_after"].seconds = 253_402_200_000, 253_402_300_000
    world.stands(G.GRANT_STATE_ACTIVE, far)
    world.now_ms = 253_402_300_000_000 + 365 * DAY_MS
    assert world.clock() is None


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def escalation(region: GovernedRegion) -> Escalation:
    alerts = Alerts(
        append=region.log.append,
        gateway=region.officer.identity,
        origin=ORIGIN,
        clock=region.clock,
        random=numbered_random(b"alerts"),
    )
    return Escalation(
        sources=(region.clocks.due,),
        enter=partial(alerts.enter, severity="warning"),
        path=region.folder / "overdue.json",
        clock=region.clock,
    )


def alerts_in(region: GovernedRegion) -> list[str]:
    return [act.subject for act in region.log.acts() if act.alert.reason == reason_pb2.REASON_CLOCK_OVERDUE]


async def test_an_overdue_clock_is_one_alert_also_after_a_restart(
    tmp_path: Path, authority: Authority
) -> None:
    region = GovernedRegion(tmp_path, authority=authority)
    await region.settled()
    grant = await region.apply()
    decided = await region.apply()
    due_ms = ms("2026-10-13T00:00")
    region.clock.ms = due_ms - 1
    assert await escalation(region).turn() == 0
    renew_trust(region)
    await region.do(decided, "REJECT", region.police)
    region.clock.ms = due_ms
    running = escalation(region)
    assert [await running.turn(), await running.turn()] == [1, 0]
    subject = f"grant {grant[:8].hex()} decide {POLICE}"
    assert alerts_in(region) == [subject]
    (alert,) = [a.alert for a in region.log.acts() if a.act == audit_pb2.ACT_ALERT]
    assert alert.since_ms == due_ms
    await region.registrar.close()
    region.start()
    assert await escalation(region).turn() == 0
    assert alerts_in(region) == [subject]


async def test_an_alert_that_cannot_be_entered_is_entered_later(tmp_path: Path, authority: Authority) -> None:
    from exchange.errors import AuditUnavailable

    region = GovernedRegion(tmp_path, authority=authority)
    await region.settled()
    await region.apply()
    region.clock.ms = ms("2026-10-13T00:00")
    running = escalation(region)
    region.log.fails = AuditUnavailable("disk")
    with pytest.raises(AuditUnavailable):
        await running.turn()
    region.log.fails = None
    assert await running.turn() == 1 and len(alerts_in(region)) == 1


def renew_trust(region: GovernedRegion) -> None:
    """Bring a trust list of the day, without which no signature counts."""
    region.feed.offer(region.authority.trust_list(region.clock.ms))
