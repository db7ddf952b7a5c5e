"""An agent puts no version in force that the region's rules put in review, whatever a gateway shows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange.errors import UnknownResource, Withdrawn
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, rules_pb2
from tests.support.catalogue import APPROVE, REJECT, WITHDRAW, ReviewRegion
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, RESOURCE, Authority, item, nonce
from tests.support.sealing import NOW_MS

AUTHORITY = Authority()
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)


class Agent:
    """An agent's view of the region, and a gateway that shows it whatever it likes."""

    def __init__(self, region: ReviewRegion) -> None:
        self.region = region
        self.told = 0
        self.start()

    def start(self) -> None:
        self.view = RegionView(
            path=self.region.folder / "region.db",
            origin=ORIGIN,
            anchor=self.region.anchor,
            trust=lambda: self.region.feed.current,
            clock=self.region.clock,
        )
        self.rules = AgentRules(region=self.view)

    def restart(self) -> None:
        self.view.close()
        self.start()

    def follow(self) -> None:
        """Be told of everything in the log that was not told yet."""
        for index in range(self.told, len(self.region.log.entries)):
            self.view.take_event(directory_pb2.Event(index=index, leaf=self.region.log.entries[index]))
        self.told = len(self.region.log.entries)

    def show(self, act: int, statement: common_pb2.Statement) -> None:
        """Be told of something that is not in the log."""
        entry = audit_pb2.AuditEntry(salt=nonce(), version=1, gateway=ORIGIN, time_ms=NOW_MS)
        entry.administrative.act = act  # type: ignore[assignment]
        entry.administrative.statement.CopyFrom(statement)
        self.view.take_event(directory_pb2.Event(index=self.told, leaf=entry.SerializeToString()))

    def version(self) -> int:
        """Return which version is in force; 0 for none."""
        try:
            return self.view.resource(RESOURCE).version
        except (UnknownResource, Withdrawn):
            return 0


@pytest.fixture
async def region(tmp_path: Path) -> ReviewRegion:
    made = ReviewRegion(tmp_path, authority=AUTHORITY)
    for code, short in ((HEALTH, "health"), (POLICE, "police"), (CIVIL, "civil")):
        await made.add(code, short)
    return made


@pytest.fixture
def agent(region: ReviewRegion) -> Iterator[Agent]:
    made = Agent(region)
    yield made
    made.view.close()


async def test_a_version_is_in_force_here_once_its_approval_was_shown(
    region: ReviewRegion, agent: Agent
) -> None:
    await region.publish()
    await region.set_rules()
    await region.publish(version=2)
    agent.follow()
    assert agent.version() == 1, "the version before the rules needs no review"
    agent.restart()
    assert agent.version() == 1
    await region.act(region.second, APPROVE, version=2)
    agent.follow()
    assert agent.version() == 2
    agent.restart()
    assert agent.version() == 2


@pytest.mark.parametrize("approver", ["nobody", "the same", "a stranger", "an agent", "an administrator"])
async def test_a_gateway_cannot_have_an_unapproved_version_taken(
    region: ReviewRegion, agent: Agent, approver: str
) -> None:
    await region.publish()
    await region.set_rules()
    agent.follow()
    statement = region.resource(version=2)
    agent.show(audit_pb2.ACT_RESOURCE, statement)
    signers: dict[str, StatementSigner] = {
        "the same": region.police,
        "a stranger": CIVIL_STEWARD,
        "an agent": region.police_agent,
        "an administrator": region.admin,
    }
    if approver in signers:
        forged = region.state_of(signers[approver], APPROVE, version=2)
        agent.show(audit_pb2.ACT_RESOURCE_STATE, forged)
    assert agent.view.take_resource(statement).version == 1, "nor where it is served on request"
    assert agent.version() == 1
    agent.restart()
    assert agent.version() == 1


async def test_an_approval_of_one_version_is_none_of_another(region: ReviewRegion, agent: Agent) -> None:
    await region.set_rules()
    agent.follow()
    agent.show(audit_pb2.ACT_RESOURCE, region.resource(version=1))
    agent.show(audit_pb2.ACT_RESOURCE_STATE, region.state_of(region.second, APPROVE, version=2))
    assert agent.version() == 0
    with pytest.raises(UnknownResource):
        agent.view.take_resource(region.resource(version=2))


async def test_an_approval_told_out_of_order_brings_no_older_version_back(
    region: ReviewRegion, agent: Agent
) -> None:
    await region.publish()
    await region.set_rules()
    await region.publish(version=2)
    agent.follow()
    late = region.state_of(region.second, APPROVE, version=2)
    await region.enter(audit_pb2.ACT_RESOURCE_STATE, region.second, late)
    await region.set_rules(catalogue_review=False)
    await region.publish(version=3)
    held_back, agent.told = agent.told, agent.told + 1
    agent.follow()
    assert agent.version() == 3
    leaf = region.log.entries[held_back]
    agent.view.take_event(directory_pb2.Event(index=held_back, leaf=leaf))
    assert agent.version() == 3


async def test_the_supervisor_of_the_rules_approves(region: ReviewRegion, agent: Agent) -> None:
    named = rules_pb2.Supervision(provider="*", supervisor=CIVIL, catalogue=True)
    await region.set_rules(catalogue_review=False, supervisions=[named])
    await region.publish()
    agent.follow()
    agent.show(audit_pb2.ACT_RESOURCE_STATE, region.state_of(region.second, APPROVE))
    assert agent.version() == 0
    await region.act(CIVIL_STEWARD, APPROVE)
    agent.follow()
    assert agent.version() == 1


async def test_what_was_rejected_or_withdrawn_does_not_come_back(region: ReviewRegion, agent: Agent) -> None:
    await region.set_rules()
    first = region.resource()
    await region.enter(audit_pb2.ACT_RESOURCE, region.police, first)
    await region.act(region.second, REJECT)
    agent.follow()
    agent.show(audit_pb2.ACT_RESOURCE_STATE, region.state_of(region.second, APPROVE, revision=2))
    assert agent.version() == 0
    await region.publish(version=2)
    await region.act(region.second, APPROVE, version=2, revision=2)
    agent.follow()
    assert agent.version() == 2
    await region.act(region.police, WITHDRAW, version=2, revision=3)
    agent.follow()
    assert agent.version() == 0
    for _ in range(2):
        agent.show(audit_pb2.ACT_RESOURCE, region.resource(version=3))
        with pytest.raises(Withdrawn):
            agent.view.resource(RESOURCE)
        assert agent.view.provider(RESOURCE) == POLICE, "who corrects data that were given before"
        agent.restart()


async def test_a_suspension_holds_whatever_version_comes(region: ReviewRegion, agent: Agent) -> None:
    await region.publish()
    await region.suspend()
    await region.publish(version=2)
    agent.follow()
    assert agent.version() == 2 and agent.view.resource(RESOURCE).suspended
    agent.restart()
    assert agent.view.resource(RESOURCE).suspended


async def test_core_data_are_not_taken_over(region: ReviewRegion, agent: Agent) -> None:
    agent.follow()
    core = region.resource(fields=[item("plans", data_class=directory_pb2.DATA_CLASS_CORE)])
    agent.show(audit_pb2.ACT_RESOURCE, core)
    assert agent.version() == 0


async def test_the_kind_of_an_organisation_is_known_and_an_unknown_one_is_no_government(
    region: ReviewRegion, agent: Agent
) -> None:
    agent.follow()
    assert agent.view.government(POLICE) and not agent.view.government("unknown")
    region.clock.ms += 1000
    await region.add(CIVIL, "civil", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    agent.follow()
    assert not agent.view.government(CIVIL)
    region.clock.ms += 1000
    back = region.organisation(CIVIL, "civil", kind=directory_pb2.ORGANISATION_KIND_GOVERNMENT)
    agent.show(audit_pb2.ACT_ORGANISATION, back)
    agent.restart()
    assert not agent.view.government(CIVIL)
