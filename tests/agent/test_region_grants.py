"""What an agent makes of grants that a supervisor has to approve, and of what kind of body asks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange.v1 import audit_pb2, directory_pb2, grant_pb2
from tests.support.granting import GovernedRegion, supervision
from tests.support.region import CIVIL, HEALTH, ORIGIN, YEAR_MS, moment
from tests.support.sealing import NOW_MS

G = grant_pb2


class Watched(GovernedRegion):
    """A region whose log an agent follows."""

    def watch(self) -> RegionView:
        view = RegionView(
            path=self.folder / "region.db",
            origin=ORIGIN,
            anchor=self.anchor,
            trust=lambda: self.feed.current,
            clock=self.clock,
        )
        AgentRules(region=view)
        return view

    def told(self, view: RegionView, *, but: int | None = None) -> None:
        """Tell an agent of every entry it has not seen, except for one act."""
        for index in range(view.cursor, len(self.log.entries)):
            leaf = self.log.entries[index]
            if audit_pb2.AuditEntry.FromString(leaf).administrative.act != but:
                view.take_event(directory_pb2.Event(index=index, leaf=leaf))


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    await made.settled()
    yield made
    await made.registrar.close()


async def test_an_agent_waits_for_the_supervisor_as_the_gateway_does_also_after_a_restart(
    region: Watched,
) -> None:
    view = region.watch()
    await region.rule(supervisions=[supervision()])
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    region.told(view)
    await region.rule()  # later rules change nothing that waits
    region.told(view)
    view.close()
    view = region.watch()
    held = view.grant(grant)
    assert held is not None and held.state == G.GRANT_STATE_SUPERVISING
    await region.do(grant, "SUPERVISE", region.bureau)
    await region.rule(supervisions=[supervision()])
    end_ms = NOW_MS + 2 * YEAR_MS
    await region.do(grant, "EXTEND", region.police, not_after=moment(end_ms))
    region.told(view)
    view.close()
    view = region.watch()
    held = view.grant(grant)
    mine = region.state.grants.one(grant)
    assert held is not None and (held.state, held.extended_to_ms) == (G.GRANT_STATE_ACTIVE, end_ms)
    assert (held.not_after_ms, held.supervisor) == (mine.not_after_ms, mine.supervisor)
    view.close()


async def test_an_agent_that_was_not_told_of_the_rules_takes_an_end_all_the_same(region: Watched) -> None:
    view = region.watch()
    await region.rule(supervisions=[supervision()])
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    await region.do(grant, "SUPERVISE", region.bureau)
    await region.do(grant, "REVOKE", region.police)
    region.told(view, but=audit_pb2.ACT_RULES)
    held = view.grant(grant)
    assert held is not None and (held.state, held.revision) == (G.GRANT_STATE_REVOKED, 3)
    view.close()
    again = region.watch()
    assert again.grant(grant) is not None
    assert again.grant(grant).state == G.GRANT_STATE_REVOKED  # type: ignore[union-attr]
    again.close()


async def test_an_agent_knows_which_bodies_are_no_governments(region: Watched) -> None:
    view = region.watch()
    assert not view.government(HEALTH)
    bank = "11970100MB1A0009XJ"
    await region.add(bank, "bank", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    region.told(view)
    assert [view.government(code) for code in (HEALTH, CIVIL, bank, "nobody")] == [True, True, False, False]
    view.close()
    again = region.watch()
    assert [again.government(code) for code in (HEALTH, bank)] == [True, False]
    again.close()
