"""Grants under the region's rules: what the registrar takes, what it refuses, who sees what."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2, rules_pb2
from tests.support.granting import (
    BUREAU,
    CIVIL,
    HEALTH,
    POLICE,
    GovernedRegion,
    Refusal,
    ms,
    supervision,
)
from tests.support.region import YEAR_MS, Authority, item, moment
from tests.support.sealing import NOW_MS

G = grant_pb2
DAY_MS = 24 * 3600 * 1000
BANK, NOBODY = "11970100MB1A0009XJ", "11970100MB1A0008XH"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def region(tmp_path: Path, authority: Authority) -> GovernedRegion:
    made = GovernedRegion(tmp_path, authority=authority)
    await made.settled()
    return made


async def test_a_conditional_grant_waits_for_the_supervisor_and_a_restart_finds_it_so(
    region: GovernedRegion,
) -> None:
    await region.rule(supervisions=[supervision()])
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    # Rules that come later change nothing that waits already, neither now nor when the log is folded again.
    await region.rule()
    await region.registrar.close()
    region.start()
    assert region.standing(grant) == "SUPERVISING"
    with pytest.raises(e.RoleNotAllowed):
        await region.do(grant, "SUPERVISE", region.police)
    await region.do(grant, "SUPERVISE", region.bureau)
    assert region.standing(grant) == "ACTIVE"
    other = await region.apply()
    await region.do(other, "ACCEPT", region.police)
    assert region.standing(other) == "ACTIVE"


async def test_an_unconditional_grant_is_accepted_by_the_agent_whoever_supervises(
    region: GovernedRegion,
) -> None:
    await region.rule(supervisions=[supervision()])
    grant = await region.apply(fields=["station"])
    await region.do(grant, "ACCEPT", region.police_agent)
    assert region.standing(grant) == "ACTIVE"


async def test_the_consumers_steward_does_not_accept_and_no_organisation_supervises_itself(
    region: GovernedRegion,
) -> None:
    grant = await region.apply()
    for signer in (region.health, region.civil, region.bureau):
        with pytest.raises(e.RoleNotAllowed):
            await region.do(grant, "ACCEPT", signer)
    await region.rule(supervisions=[supervision(provider="*", supervisor=HEALTH)])
    with pytest.raises(e.SecondPersonRequired):
        await region.do(grant, "ACCEPT", region.police)
    assert region.standing(grant) == "PENDING"


async def test_of_two_stewards_who_race_on_one_revision_exactly_one_wins(region: GovernedRegion) -> None:
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    colleague = region.authority.person(Role.STEWARD, "ma", POLICE)
    outcomes = await asyncio.gather(
        region.decide(grant, G.GRANT_ACTION_PAUSE, 2, region.police),
        region.decide(grant, G.GRANT_ACTION_EXTEND, 2, colleague, not_after=moment(NOW_MS + 2 * YEAR_MS)),
        region.decide(grant, G.GRANT_ACTION_EXIT, 2, region.health),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["WrongState", "WrongState", "int"]
    assert region.state.grants.one(grant).revision == 2


async def test_a_replayed_event_is_one_entry_and_an_altered_one_is_none(region: GovernedRegion) -> None:
    grant = await region.apply()
    event = region.event(grant, G.GRANT_ACTION_ACCEPT, 1)
    first = await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, event)
    size = len(region.log.entries)
    assert await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, event) == first
    body = G.GrantEventBody.FromString(event.body)
    body.revision, body.action = 2, G.GRANT_ACTION_REVOKE
    altered = common_pb2.Statement(
        body=body.SerializeToString(), signature=event.signature, chain=event.chain
    )
    with pytest.raises(e.BadSignature):
        await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, altered)
    again = region.event(grant, G.GRANT_ACTION_ACCEPT, 1)
    with pytest.raises(e.WrongState):
        await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, again)
    kept_back = region.event(grant, G.GRANT_ACTION_PAUSE, 2)
    region.clock.ms += 300_001
    with pytest.raises(e.ClockSkew):
        await region.enter(audit_pb2.ACT_GRANT_EVENT, region.police, kept_back)
    assert len(region.log.entries) == size and region.standing(grant) == "ACTIVE"


def purpose(code: str = "birth", **changes: Any) -> rules_pb2.Purpose:
    return rules_pb2.Purpose(code=code, title_zh="出生", title_en="Birth", legal_basis="Act 1", **changes)


async def test_purposes_are_those_of_the_rules_and_bound_extensions_too(region: GovernedRegion) -> None:
    await region.rule(purposes=[purpose(matters=["newborn"], max_term_days=400)])
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    for changes in ({"purposes": ["curiosity"]}, {"matters": ["marriage"]}, {"matters": []}):
        with pytest.raises(e.PurposeUnknown):
            await region.apply(**changes)
    with pytest.raises(e.PurposeUnknown):
        await region.do(grant, "EXTEND", region.police, not_after=moment(NOW_MS + 401 * DAY_MS))
    await region.do(grant, "EXTEND", region.police, not_after=moment(NOW_MS + 399 * DAY_MS))
    assert region.state.grants.one(grant).not_after_ms == NOW_MS + 399 * DAY_MS


async def test_a_body_that_is_no_governments_applies_for_verdicts_and_derived_fields_only(
    region: GovernedRegion,
) -> None:
    await region.add(BANK, "bank", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    bank = region.authority.person(Role.STEWARD, "qian", BANK)
    mine = {"consumer": BANK}
    with pytest.raises(e.NonGovernment):
        await region.apply(bank, **mine)
    await region.apply(bank, **mine, kinds=[common_pb2.KIND_VERIFY])
    with pytest.raises(e.NonGovernment):
        await region.apply(bank, **mine, fields=["station"])
    secret = item("secret", share=3, legal_basis="Act 5")
    fields = [item("name"), item("address"), item("station", 2, 1), secret, item("adult", 2, derived=True)]
    await region.publish(version=2, fields=fields)
    await region.apply(bank, **mine, fields=["adult"])
    with pytest.raises(e.Redisclosure):
        await region.apply(redisclosure_to=[BANK])
    with pytest.raises(e.UnknownOrganisation):
        await region.apply(redisclosure_to=[NOBODY])
    await region.apply(redisclosure_to=[CIVIL])


async def test_who_supervises_sees_the_grant_and_nobody_else_besides_its_parties(
    region: GovernedRegion,
) -> None:
    await region.rule(supervisions=[supervision()])
    grant = await region.apply()
    assert await region.list(region.bureau) == []
    await region.do(grant, "ACCEPT", region.police)
    for signer in (region.health, region.police, region.bureau, region.officer):
        assert await region.list(signer) == [grant]
        assert (await region.get(grant, signer)).grant_id == grant
    assert await region.list(region.civil) == []
    with pytest.raises(Refusal):
        await region.get(grant, region.civil)
    await region.registrar.close()
    region.start()
    assert await region.list(region.bureau) == [grant]


async def test_grants_are_listed_by_state_resource_consumer_and_clock(region: GovernedRegion) -> None:
    grants = [await region.apply() for _ in range(5)]
    await region.apply(region.civil, consumer=CIVIL)
    await region.do(grants[0], "ACCEPT", region.police)
    await region.do(grants[1], "REJECT", region.police)
    assert await region.list(region.health, state=G.GRANT_STATE_ACTIVE) == [grants[0]]
    assert await region.list(region.police, state=G.GRANT_STATE_PENDING, consumer=HEALTH) == grants[2:]
    assert len(await region.list(region.officer, page_size=2)) == 6
    assert await region.list(region.health, resource="970100/police/other") == []
    assert set(await region.list(region.health, timed=True, page_size=1)) == set(grants[2:])
    assert await region.list(region.health, overdue=True) == []
    region.clock.ms = ms("2026-10-13T00:00")
    assert set(await region.list(region.police, overdue=True, page_size=3)) >= set(grants[2:])


async def test_a_token_of_one_list_is_none_of_another(region: GovernedRegion) -> None:
    for _ in range(3):
        await region.apply()
    pages = {}
    for timed in (False, True):
        request = G.ListGrantsRequest(page_size=1, timed=timed)
        lists = region.service._lists
        pages[timed] = lists.page(request, HEALTH, 1).next_place
    assert pages[False] != pages[True]
    from gateway import pages as tokens

    for timed, place in ((True, pages[False]), (False, pages[True]), (False, "p-1"), (True, "tzz")):
        request = G.ListGrantsRequest(timed=timed, page_token=tokens.token("grants", place))
        with pytest.raises(e.Malformed):
            lists.page(request, HEALTH, 1)


async def test_a_record_tells_its_clock_its_term_and_whose_turn_it_is(region: GovernedRegion) -> None:
    await region.rule(
        supervisions=[supervision()], clocks=rules_pb2.Clocks(conditional_days=10, supervise_days=3)
    )
    grant = await region.apply()
    told = await region.get(grant, region.health)
    assert (told.clock, told.waits_for) == ("decide", POLICE)
    assert told.applied_at.ToMilliseconds() == NOW_MS
    # From Monday 21 September: 25 to 27 September and 1 to 7 October are off.
    assert told.due_at.ToMilliseconds() == ms("2026-10-13T00:00")
    region.clock.ms += 1000
    await region.do(grant, "ACCEPT", region.police)
    told = await region.get(grant, region.bureau)
    assert (told.clock, told.waits_for, told.state) == ("supervise", BUREAU, G.GRANT_STATE_SUPERVISING)
    assert told.due_at.ToMilliseconds() == ms("2026-09-25T00:00")
    await region.do(grant, "SUPERVISE", region.bureau)
    await region.do(grant, "EXTEND", region.police, not_after=moment(NOW_MS + 2 * YEAR_MS))
    told = await region.get(grant, region.health)
    assert (told.clock, told.not_after.ToMilliseconds()) == ("supervise", NOW_MS + YEAR_MS)
    await region.do(grant, "SUPERVISE", region.bureau)
    told = await region.get(grant, region.health)
    assert (told.clock, told.HasField("due_at")) == ("", False)
    assert told.not_after.ToMilliseconds() == NOW_MS + 2 * YEAR_MS
