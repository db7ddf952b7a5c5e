"""A gateway whose log was set back goes on under a new epoch that two people opened, and agents follow it."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.app import Agent
from exchange import own_keys
from exchange.errors import (
    BadSignature,
    LogBehind,
    LogForked,
    Malformed,
    SecondPersonRequired,
    StoreDamaged,
    WrongState,
)
from exchange.receipt import ReceiptVerifier
from exchange.v1 import agent_pb2, audit_pb2, reason_pb2
from gateway.audit.verification.verify import verify_folder
from tests.support.epochs import opened, proposed, signed
from tests.support.house import House, house_at, question, until

pytestmark = pytest.mark.system
Stop = Callable[[], Awaitable[None]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as region:
        yield region


async def asked(house: House, count: int = 1) -> list[agent_pb2.VerifiedReceipt]:
    """Ask, and return the receipts."""
    receipts = []
    for _ in range(count):
        response = await house.consumer.consumer.ask(question(house.people[0]))
        assert response.HasField("answer"), response.failure
        receipts.append(response.receipt)
    return receipts


def home(house: House) -> Path:
    return house.folder / "gateway-1"


async def set_back(house: House, lost: int) -> int:
    """Lose the newest entries: put a copy of the database in place that was made before them."""
    await house.stop_gateway()
    copy = house.folder / "copy.db"
    shutil.copy(home(house) / "audit.db", copy)
    await house.start_gateway()
    kept = house.log_size
    await linked(house)
    await asked(house, lost)
    await house.stop_gateway()
    shutil.copy(copy, home(house) / "audit.db")
    return kept


async def linked(house: House, origin: str = "") -> None:
    def up(agent: Agent) -> bool:
        return agent.link.fault is None and agent.origin == (origin or agent.origin)

    await until(lambda: up(house.provider) and up(house.consumer), "agents are linked")


def verifier(house: House, origin: str) -> ReceiptVerifier:
    trust = house.consumer.feed.current
    assert trust is not None
    keys = trust.gateways[origin].log_keys
    return ReceiptVerifier(origin=origin, log_keys=keys, lineage=trust.lineage(origin))


def verify(house: House, receipts: list[agent_pb2.VerifiedReceipt]) -> None:
    """Verify receipts against the newest trust list alone."""
    for receipt in receipts:
        origin = receipt.checkpoint.partition("\n")[0]
        verifier(house, origin).verify(receipt.receipt, receipt.checkpoint)


async def test_two_people_let_a_log_that_was_set_back_go_on_and_agents_follow(house: House) -> None:
    before = await asked(house)
    origin = house.gateway.origin
    kept = await set_back(house, lost=3)
    with pytest.raises(LogBehind) as refused:
        await house.start_gateway()
    assert "shuqiao gateway epoch propose" in refused.value.sentence.remedy_en
    body = await proposed(house)
    epoch = await opened(house, signed(house, body, "wang", "li"))
    assert (epoch.kept_size, epoch.previous_origin) == (kept, origin)
    assert epoch.lost_size >= kept + 3
    await house.start_gateway()
    await linked(house, f"{origin}/epoch-2")
    after = await asked(house, 3)
    verify(house, [*before, *after])
    await house.stop_gateway()
    trust = house.consumer.feed.current
    assert trust is not None
    old, new = trust.gateways[origin], trust.gateways[f"{origin}/epoch-2"]
    assert (old.closed, old.addresses, new.closed) == (True, (), False)
    assert (new.first_entry, new.lost_size) == (kept, epoch.lost_size)
    report = verify_folder(home(house), trust, anchor=house.region.anchor)
    assert report.faults == []
    (found,) = report.epochs
    assert found.index == kept and found.epoch.lost_size == epoch.lost_size
    assert [uri.rpartition("/")[2] for uri in found.people] == ["wang", "li"]
    assert verify_folder(home(house)).faults == []


async def test_whatever_two_people_have_not_signed_as_it_is_opens_nothing(house: House) -> None:
    await set_back(house, lost=1)
    body = await proposed(house)
    one, two = signed(house, body, "wang", "li")
    told = audit_pb2.LogEpochBody.FromString(body)
    told.kept_root = bytes(32)
    other_root = told.SerializeToString()
    told.ParseFromString(body)
    told.log_key = bytes(32)
    elsewhere = told.SerializeToString()
    altered = audit_pb2.LogEpochBody.FromString(body)
    altered.lost_size += 1
    with pytest.raises(Malformed):
        await opened(house, signed(house, altered.SerializeToString(), "wang"))
    altered.ParseFromString(body)
    altered.note = "another note"
    forged = type(one)(body=altered.SerializeToString(), signature=one.signature, chain=one.chain)
    for refused, statements in (
        (SecondPersonRequired, []),
        (SecondPersonRequired, [one]),
        (SecondPersonRequired, [one, one]),
        (SecondPersonRequired, [one, type(two)(body=body)]),
        (BadSignature, [one, forged]),
        (BadSignature, [forged, forged]),
        (LogForked, signed(house, other_root, "wang", "li")),
        (StoreDamaged, signed(house, elsewhere, "wang", "li")),
    ):
        with pytest.raises(refused):
            await opened(house, statements)
        assert not (home(house) / "log-state.json").exists()
    with pytest.raises(SecondPersonRequired):
        signed(house, body, "wang", "wang")
    rival = signed(house, await proposed(house), "wang", "li")
    await opened(house, [two, one])
    with pytest.raises(WrongState):
        await opened(house, rival)
    await house.start_gateway()
    with pytest.raises(WrongState):
        await proposed(house)


async def test_an_old_opening_opens_nothing_after_a_later_one(house: House) -> None:
    origin = house.gateway.origin
    kept = await set_back(house, lost=2)
    first = signed(house, await proposed(house), "wang", "li")
    await opened(house, first)
    await house.start_gateway()
    await linked(house, f"{origin}/epoch-2")
    await asked(house, 2)
    again = await set_back(house, lost=2)
    with pytest.raises(LogBehind):
        await house.start_gateway()
    second = signed(house, await proposed(house), "wang", "li")
    await opened(house, second)
    with pytest.raises(WrongState):
        await opened(house, first)
    await house.start_gateway()
    await linked(house, f"{origin}/epoch-3")
    verify(house, await asked(house))
    await house.stop_gateway()
    report = verify_folder(home(house), house.consumer.feed.current, anchor=house.region.anchor)
    assert (report.faults, [found.index for found in report.epochs]) == ([], [kept, again])


async def test_an_edited_entry_and_what_follows_is_given_up_and_kept_aside(house: House) -> None:
    receipts = await asked(house, 3)
    place = receipts[1].index
    await house.stop_gateway()
    with sqlite3.connect(home(house) / "audit.db") as db:
        db.execute("UPDATE entry SET leaf = x'0a00' WHERE idx = ?", (place,))
    db.close()
    with pytest.raises((StoreDamaged, LogForked)):
        await house.start_gateway()
    with pytest.raises(StoreDamaged):
        await proposed(house)
    epoch = await opened(house, signed(house, await proposed(house, keep=place), "wang", "li"))
    assert epoch.kept_size == place < epoch.lost_size
    assert (home(house) / "audit.db.epoch-1").exists()
    await house.start_gateway()
    await linked(house, epoch.origin)
    verify(house, [receipts[0], *await asked(house)])
    await house.stop_gateway()
    assert verify_folder(home(house), house.consumer.feed.current).faults == []


async def test_an_agent_that_saw_more_than_is_recorded_as_lost_refuses_the_log(house: House) -> None:
    origin = house.gateway.origin
    kept = await set_back(house, lost=3)
    # Whoever hides the loss takes away what is beside the log, too.
    (home(house) / "high-water").unlink()
    heads = house.folder / "heads.json"
    house.consumer.heads.save()
    shutil.copy(house.folder / "health-1" / "heads.json", heads)
    hidden = await opened(house, signed(house, await proposed(house), "wang", "li"))
    assert hidden.lost_size == kept
    await house.start_gateway()
    await until(lambda: isinstance(house.consumer.link.fault, LogForked), "the consumer refuses the log")
    response = await house.consumer.consumer.ask(question(house.people[0]))
    assert reason_pb2.Reason.Name(response.failure.reason) == "REASON_LOG_FORKED"
    await house.stop_gateway()
    body = await proposed(house, heads=[heads])
    shown = await opened(house, signed(house, body, "wang", "li"))
    assert shown.lost_size > kept
    await house.start_gateway()
    await linked(house, f"{origin}/epoch-3")
    verify(house, await asked(house))


async def test_a_bundle_that_was_lost_is_published_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.stop_gateway()
    shutil.copy(home(house) / "audit.db", house.folder / "copy.db")
    await house.start_gateway()
    await linked(house)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(own_keys, "SEALING_RENEWAL_MS", 0)
            assert house.provider.keys.rotate_if_due()
        await house.provider.duties.publish_keys()
    seq = house.provider.keys.seq
    await asked(house)
    await house.stop_gateway()
    shutil.copy(house.folder / "copy.db", home(house) / "audit.db")
    epoch = await opened(house, signed(house, await proposed(house), "wang", "li"))
    await house.start_gateway()
    await linked(house, epoch.origin)
    verify(house, await asked(house))
    assert house.provider.keys.seq == seq
