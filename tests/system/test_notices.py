"""What the region decides reaches the agents while exchanges go on, and disturbs none."""

import pytest

from shuqiao.demo.cast import CIVIL, GRANTED, HEALTH
from tests.support.real_region import Load, RealRegion, until

pytestmark = [pytest.mark.system, pytest.mark.alone]
GRANTS = 15


def test_grants_that_are_decided_under_load_disturb_no_exchange(world: RealRegion) -> None:
    with world.client(HEALTH.agent) as client:

        def in_force() -> int:
            return int({hop.hop: hop.detail for hop in client.status().hops}["grants"].split()[0])

        before = in_force()
        with Load(world, in_flight=200) as load:
            until(lambda: len(load.answers) > 200, "exchanges before")
            for number in range(GRANTS):
                world.stage.accept(world.stage.apply((HEALTH, CIVIL)[number % 2], GRANTED[: 1 + number % 4]))
            until(lambda: in_force() == before + (GRANTS + 1) // 2, "grants known")
            after = len(load.answers)
            until(lambda: len(load.answers) > after + 400, "exchanges after")
    assert [str(failure) for failure in load.failures] == []
