"""Agents with certificates of a minute renew them by themselves, and no exchange is dropped."""

from pathlib import Path

import pytest

from shuqiao.demo.cast import HEALTH, POLICE
from shuqiao.demo.configurations import Settings
from tests.support.real_region import Load, RealRegion, real_region, until

pytestmark = pytest.mark.system
RENEWALS = 3
"""They come every 20 s: with the third the first certificate, and all that was signed with it, has ended."""


def _serials(region: RealRegion) -> tuple[int, int]:
    held = [region.world.held(agent).certificate().serial_number for agent in (HEALTH.agent, POLICE.agent)]
    return held[0], held[1]


@pytest.mark.timeout(300)
def test_renewal_drops_no_exchange(short_folder: Path) -> None:
    with real_region(short_folder, Settings(agent_lifetime="1m")) as region:
        seen = [{serial} for serial in _serials(region)]

        def renewed() -> bool:
            for known, serial in zip(seen, _serials(region), strict=True):
                known.add(serial)
            return all(len(known) > RENEWALS for known in seen)

        # At this pace some are under way at any time, and the machine still has time for others.
        with Load(region, in_flight=16, pause_s=0.005) as load:
            until(renewed, "both agents renewed", patience_s=200)
            after = len(load.answers)
            until(lambda: len(load.answers) > after + 50, "exchanges after the last renewal")
    assert [str(failure) for failure in load.failures] == []
