"""Agents with certificates of a minute renew them by themselves, and no exchange is dropped."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.errors import ExchangeError
from shuqiao.demo.cast import HEALTH, MATTER, POLICE, PURPOSE, RESOURCE
from shuqiao.demo.configurations import Settings
from shuqiao.questions import Answer, Query
from tests.support.real_region import CASE, RealRegion, real_region, until

pytestmark = pytest.mark.system
RENEWALS = 3
"""They come every 20 s: with the third the first certificate, and all that was signed with it, has ended."""


def _serials(region: RealRegion) -> tuple[int, int]:
    held = [region.world.held(agent).certificate().serial_number for agent in (HEALTH.agent, POLICE.agent)]
    return held[0], held[1]


@pytest.mark.timeout(300)
def test_renewal_drops_no_exchange(short_folder: Path) -> None:
    stop = threading.Event()
    outcomes: list[Answer | ExchangeError] = []

    def queries(region: RealRegion) -> Iterator[Query]:
        while not stop.is_set():
            for person in region.stage.persons:
                # A pace at which many are under way at any time and the machine still has time for others.
                stop.wait(0.005)
                yield Query(
                    resource=RESOURCE,
                    fields=["name"],
                    parameters={"citizen_id": person.citizen_id},
                    purpose=PURPOSE,
                    matter=MATTER,
                    case=CASE,
                )

    def ask(region: RealRegion) -> None:
        with region.client() as client:
            for outcome in client.query_many(queries(region), in_flight=16):
                outcomes.append(outcome)
                if stop.is_set():
                    return

    with real_region(short_folder, Settings(agent_lifetime="1m")) as region:
        seen = [{serial} for serial in _serials(region)]
        asking = threading.Thread(target=ask, args=(region,))
        asking.start()
        try:

            def renewed() -> bool:
                for known, serial in zip(seen, _serials(region), strict=True):
                    known.add(serial)
                return all(len(known) > RENEWALS for known in seen)

            until(renewed, "both agents renewed", patience_s=200)
            after = len(outcomes)
            until(lambda: len(outcomes) > after + 50, "exchanges after the last renewal")
        finally:
            stop.set()
            asking.join()
    failed = [str(outcome) for outcome in outcomes if isinstance(outcome, ExchangeError)]
    assert failed == []
    assert len(outcomes) > 100
