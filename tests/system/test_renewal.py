"""Processes with certificates of a minute renew them by themselves, and no exchange is dropped."""

from pathlib import Path

import pytest

from shuqiao.demo.cast import HEALTH, POLICE
from shuqiao.demo.configurations import Settings
from shuqiao.demo.world import GATEWAY_NAME
from tests.support.real_region import Load, RealRegion, ask, real_region, until

pytestmark = [pytest.mark.system, pytest.mark.alone]
RENEWALS = 3
"""They come every 20 s: with the third the first certificate, and all that was signed with it, has ended."""


def _serials(region: RealRegion) -> list[int]:
    names = (HEALTH.agent, POLICE.agent, GATEWAY_NAME)
    return [region.world.held(name).certificate().serial_number for name in names]


@pytest.mark.timeout(300)
def test_renewal_drops_no_exchange(short_folder: Path) -> None:
    with real_region(short_folder, Settings(lifetime="1m")) as region:
        seen = [{serial} for serial in _serials(region)]

        def renewed() -> bool:
            for known, serial in zip(seen, _serials(region), strict=True):
                known.add(serial)
            return all(len(known) > RENEWALS for known in seen)

        # At this pace some are under way at any time, and the machine still has time for others.
        with Load(region, in_flight=16, pause_s=0.005) as load:
            until(renewed, "agents and gateway renewed", patience_s=200)
            after = len(load.answers)
            until(lambda: len(load.answers) > after + 50, "exchanges after the last renewal")
        assert [str(failure) for failure in load.failures] == []
        region.world.processes[HEALTH.agent].stop()
        region.world.restart(HEALTH.agent)
        with region.client() as client:
            until(lambda: all(hop.ok for hop in client.status().hops), "linked by the new certificates")
            assert len(ask(client, region.person).records) == 1
