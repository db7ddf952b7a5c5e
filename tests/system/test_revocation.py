"""A revocation is effective on open links, by the authority's word alone."""

import pytest

from exchange.errors import ExchangeError, Revoked
from shuqiao.demo.cast import CIVIL, GRANTED, INSURANCE, POLICE
from tests.support.real_region import RealRegion, ask, until

pytestmark = pytest.mark.system
EFFECTIVE_S = 5.0


def test_an_open_link_is_closed_and_asking_is_refused(world: RealRegion) -> None:
    agent = world.world.held(INSURANCE.agent).identity().uri
    until(lambda: agent in world.stage.linked(), "linked")
    with world.client(INSURANCE.agent) as client:
        assert len(ask(client, world.person, GRANTED[:1]).records) == 1
        world.stage.revoke(agent)
        until(lambda: agent not in world.stage.linked(), "link closed", patience_s=EFFECTIVE_S)
        until(
            lambda: {hop.hop: hop.reason for hop in client.status().hops}["link"] == "REVOKED",
            "agent told why",
            patience_s=EFFECTIVE_S,
        )
        with pytest.raises(Revoked):
            ask(client, world.person, GRANTED[:1])


def test_nobody_else_notices(world: RealRegion) -> None:
    others = {world.world.held(agent).identity().uri for agent in ("health", POLICE.agent, CIVIL.agent)}
    assert others <= world.stage.linked()
    with world.client() as client:
        assert len(ask(client, world.person).records) == 1


def test_a_revoked_person_is_turned_away_by_the_gateway(world: RealRegion) -> None:
    steward = world.world.held(CIVIL.steward)
    world.stage.revoke(steward.identity().uri)

    def refused() -> bool:
        try:
            world.stage.apply(CIVIL, GRANTED[:1])
        except Revoked:
            return True
        except ExchangeError:
            return False
        return False

    until(refused, "steward turned away", patience_s=EFFECTIVE_S)
