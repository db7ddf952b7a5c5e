"""While the log has been unwitnessed for too long nothing is released, what is under way included."""

import asyncio

from exchange.errors import LogUnwitnessed
from exchange.v1 import audit_pb2, link_pb2, reason_pb2
from tests.support.hostile import World, outcome, until


class Hold:
    """Whether exchanges are held back."""

    on = False

    def __call__(self) -> LogUnwitnessed | None:
        return LogUnwitnessed("entries from 0 on") if self.on else None


async def test_a_question_is_turned_away_and_no_provider_is_asked(world: World) -> None:
    hold = Hold()
    world.sequencer.hold_exchanges_back(hold)
    hold.on = True
    size = world.sequencer.head.size
    asked: list[link_pb2.LinkRequest] = []
    world.police.wire.up = lambda frame: asked.append(frame) or frame  # type: ignore[func-returns-value]
    assert outcome(await world.ask()) == "LOG_UNWITNESSED"
    assert not any(item.HasField("response") for frame in asked for item in frame.items)
    assert world.sequencer.head.size == size
    hold.on = False
    await world.still_works()


async def test_an_answer_under_way_is_withheld_and_its_provider_gets_its_receipt_later(world: World) -> None:
    hold = Hold()
    world.sequencer.hold_exchanges_back(hold)

    def hand(frame: link_pb2.LinkRequest) -> link_pb2.LinkRequest:
        hold.on = hold.on or any(item.HasField("response") for item in frame.items)
        return frame

    world.police.wire.up = hand
    before = len(world.entries())
    response = await world.ask()
    assert outcome(response) == "LOG_UNWITNESSED"
    assert not response.HasField("receipt")
    world.path.expire()
    await asyncio.sleep(0)
    assert len(world.entries()) == before
    hold.on = False
    world.path.expire()
    await until(lambda: len(world.entries()) > before)
    entry = world.entries()[-1]
    assert entry.decision == audit_pb2.DECISION_FAILED
    assert entry.reason == reason_pb2.REASON_LOG_UNWITNESSED
    assert entry.response_digest != b""
    await world.still_works()
