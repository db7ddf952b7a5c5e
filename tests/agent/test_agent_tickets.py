"""Disputes and corrections at the agents: verified, opened where they belong, kept, and done."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.consumer.correction_view import CorrectionView
from agent.consumer.receipts import ReceiptShelf
from agent.corrections import AgentCorrections
from agent.disputes import FOR_ANOTHER, NONE, OPENED, TEXT, UNOPENED, AgentDisputes, show_disputes
from agent.region import RegionView
from exchange import canonical
from exchange import errors as e
from exchange.identity import Role
from exchange.keystore import FileKeyStore
from exchange.own_keys import OwnKeys
from exchange.sealed_text import seal_text
from exchange.tickets import CORRECT, WITHDRAW, WITHDRAWN
from exchange.v1 import agent_pb2, audit_pb2, common_pb2, directory_pb2, ticket_pb2
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, RESOURCE, moment, nonce
from tests.support.review_region import refused
from tests.support.tickets import (
    AUTHORITY,
    CHEN,
    FATHER,
    LI,
    MOTHER,
    WU,
    TicketRegion,
    dispute,
    event,
    ticket_region,
)

POLICE_AGENT = AUTHORITY.person(Role.AGENT, "police-1", POLICE)
DETAIL = "应为 97010219900101002X".encode()


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[TicketRegion]:
    (tmp_path / "region").mkdir()
    async with ticket_region(tmp_path / "region") as made:
        made.tell_on()
        yield made


class AgentSide:
    """What an agent takes over of a region's log."""

    def __init__(self, region: TicketRegion, folder: Path, organisation: str) -> None:
        self.region, self.folder, self.organisation = region, folder, organisation
        folder.mkdir(exist_ok=True)
        self.keystore = FileKeyStore(folder=folder / "keys", passphrase=b"words")
        self.keys: OwnKeys | None = None
        self.start()

    def start(self) -> None:
        self.view = RegionView(
            path=self.folder / "region.db",
            origin=ORIGIN,
            anchor=self.region.anchor,
            trust=lambda: self.region.feed.current,
            clock=self.region.clock,
        )
        self.corrections = AgentCorrections(
            region=self.view, organisation=self.organisation, clock=self.region.clock
        )
        self.disputes = AgentDisputes(
            region=self.view,
            keystore=self.keystore,
            organisation=self.organisation,
            agent="police-1",
            private=lambda kid: self.keys.sealing_private(kid) if self.keys else None,
        )
        self.disputes.erase_ended()

    def catch_up(self) -> None:
        for one in self.region.registrar.events(self.view.cursor, 500, self.organisation).events:
            self.view.take_event(one)

    def shown(self) -> list[tuple[str, str | None]]:
        return [(one.dispute.detail, one.detail) for one in show_disputes(self.folder, self.keystore)]


def contents(folder: Path) -> list[bytes]:
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(found) > 5
    return found


async def provider(region: TicketRegion, folder: Path) -> AgentSide:
    side = AgentSide(region, folder, POLICE)
    side.keys = region.own_keys(POLICE_AGENT, side.keystore)  # type: ignore[arg-type]
    await region.enter(audit_pb2.ACT_BUNDLE, POLICE_AGENT, side.keys.bundle)
    return side


def sealed_dispute(side: AgentSide, exchange_id: bytes, **changes: Any) -> ticket_pb2.TicketBody:
    assert side.keys is not None
    body = dispute(exchange_id)
    bundle = directory_pb2.KeyBundleBody.FromString(side.keys.bundle.body)
    (key,) = [one for one in bundle.keys if one.use == directory_pb2.KEY_USE_SEAL]
    told: dict[str, Any] = {
        "suite_id": key.suite,
        "public": key.public_key,
        "kid": key.kid,
        "agent": "police-1",
        "raised_by": HEALTH,
        "provider": POLICE,
        "nonce": body.nonce,
        "exchange_id": exchange_id,
    }
    body.dispute.sealed.CopyFrom(seal_text(DETAIL, **(told | changes)))
    return body


async def test_the_provider_s_agent_opens_what_was_sealed_to_it_and_shows_it_on_its_machine_alone(
    region: TicketRegion, tmp_path: Path
) -> None:
    side = await provider(region, tmp_path / "police-1")
    ticket_id = await region.raised(CHEN, sealed_dispute(side, await region.exchange(MOTHER)))
    side.catch_up()
    assert side.shown() == [(OPENED, DETAIL.decode())]
    # In no file of the agent's nor of the gateway's does it stand in the clear.
    assert not [content for content in contents(tmp_path) if DETAIL in content]
    assert all(DETAIL not in leaf for leaf in region.log.leaves(0, region.log.head.size))
    # Shown again after a restart, and no longer once the dispute has ended.
    side.view.close()
    side.start()
    assert side.shown() == [(OPENED, DETAIL.decode())]
    await region.act(CHEN, ticket_id, WITHDRAW)
    side.catch_up()
    (held,) = show_disputes(side.folder, side.keystore)
    assert (held.dispute.state, held.detail) == (WITHDRAWN, None)
    assert not [name for name in side.keystore.names() if name.startswith(TEXT)]


async def test_a_sealed_text_that_was_moved_from_another_ticket_is_not_opened(
    region: TicketRegion, tmp_path: Path
) -> None:
    side = await provider(region, tmp_path / "police-1")
    exchange_id = await region.exchange(MOTHER)
    stolen = sealed_dispute(side, exchange_id).dispute.sealed
    body = dispute(exchange_id)
    body.dispute.sealed.CopyFrom(stolen)
    await region.raised(CHEN, body)
    side.catch_up()
    assert side.shown() == [(UNOPENED, None)]


async def test_a_key_that_the_provider_does_not_have_is_refused_when_it_is_handed_in(
    region: TicketRegion, tmp_path: Path
) -> None:
    side = await provider(region, tmp_path / "police-1")
    exchange_id = await region.exchange(MOTHER)
    for changes in ({"kid": b"k" * 16}, {"agent": "police-2"}):
        body = sealed_dispute(side, exchange_id, **changes)
        assert isinstance(await refused(region.raised(CHEN, body)), e.BundleStale)


async def test_an_agent_that_comes_back_without_the_key_says_that_it_could_not_open_it(
    region: TicketRegion, tmp_path: Path
) -> None:
    side = await provider(region, tmp_path / "police-1")
    await region.raised(CHEN, sealed_dispute(side, await region.exchange(MOTHER)))
    side.keys = None
    side.catch_up()
    assert side.shown() == [(UNOPENED, None)]


async def test_disputes_without_a_text_and_with_one_for_another_agent_are_kept_too(
    region: TicketRegion, tmp_path: Path
) -> None:
    side = await provider(region, tmp_path / "police-1")
    await region.raised(CHEN, dispute(await region.exchange(MOTHER)))
    await region.raised(CHEN, sealed_dispute(side, await region.exchange(MOTHER)))
    side.disputes._agent = "police-2"
    side.catch_up()
    assert sorted(side.shown()) == sorted([(NONE, None), (FOR_ANOTHER, None)])
    consumer = AgentSide(region, tmp_path / "health-1", HEALTH)
    consumer.catch_up()
    assert consumer.shown() == []


async def test_a_correction_reaches_the_recipient_s_agent_with_its_own_exchanges(
    region: TicketRegion, tmp_path: Path
) -> None:
    first = await region.exchange(MOTHER)
    civil = await region.exchange(MOTHER, FATHER, step=4, consumer_organisation=CIVIL)
    ticket_id = await region.raised(CHEN, dispute(first))
    await region.act(LI, ticket_id, CORRECT, text="登记有误，已更正")
    await region.told_all(ticket_id)
    side = AgentSide(region, tmp_path / "civil-1", CIVIL)
    side.catch_up()
    (told,) = side.corrections.listed()
    assert (told.ticket, told.resource, told.provider) == (ticket_id.hex(), RESOURCE, POLICE)
    assert (told.text, list(told.fields)) == ("登记有误，已更正", ["name"])
    assert [one.replace("-", "") for one in told.exchanges] == [civil.hex()]
    assert side.corrections.listed(lambda resource: False) == []
    side.catch_up()
    assert len(side.corrections.listed()) == 1
    with pytest.raises(e.UnknownTicket):
        side.corrections.mark_done(ticket_id.hex(), lambda resource: False)
    (done,) = side.corrections.mark_done(ticket_id.hex())
    side.view.close()
    side.start()
    assert side.corrections.listed() == [done] and done.done_ms == region.clock.ms
    with pytest.raises(e.UnknownTicket):
        side.corrections.mark_done("ab" * 32)


async def test_a_correction_arrives_though_the_resource_was_withdrawn_meanwhile(
    region: TicketRegion, tmp_path: Path
) -> None:
    ticket_id = await region.raised(CHEN, dispute(await region.exchange(MOTHER)))
    side = AgentSide(region, tmp_path / "health-1", HEALTH)
    state = directory_pb2.ResourceStateBody(
        nonce=nonce(),
        id=RESOURCE,
        version=1,
        revision=1,
        action=directory_pb2.RESOURCE_ACTION_WITHDRAW,
        issued_at=moment(region.clock.ms),
    )
    statement = LI.sign(canonical.RESOURCE_STATE, state.SerializeToString())
    await region.enter(audit_pb2.ACT_RESOURCE_STATE, LI, statement)
    side.catch_up()
    side.view.close()
    side.start()
    await region.act(LI, ticket_id, CORRECT, text="登记有误，已更正")
    await region.told_all(ticket_id)
    side.catch_up()
    (told,) = side.corrections.listed()
    assert (told.resource, told.provider) == (RESOURCE, POLICE)


async def test_the_face_shows_what_is_not_done_first_with_what_is_known_of_each_exchange(
    region: TicketRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await region.exchange(one, consumer_organisation=CIVIL) for one in (MOTHER, FATHER)]
    tickets = []
    for one in (MOTHER, FATHER):
        tickets.append(await region.raised(CHEN, dispute(await region.exchange(one))))
        await region.act(LI, tickets[-1], CORRECT)
        await region.told_all(tickets[-1])
    side = AgentSide(region, tmp_path / "civil-1", CIVIL)
    side.catch_up()
    shelf = ReceiptShelf()
    entry = audit_pb2.AuditEntry()
    entry.exchange.operator = "op-1"
    receipt = agent_pb2.VerifiedReceipt()
    receipt.receipt.leaf = entry.SerializeToString()
    shelf.keep(ids[1], receipt)
    view = CorrectionView(corrections=side.corrections, shelf=shelf)
    first = view.corrections(lambda resource: True)["corrections"][0]  # type: ignore[index]
    assert view.done(first["ticket"], lambda resource: True)["done"] is True
    shown = view.corrections(lambda resource: True)
    assert [one["done"] for one in shown["corrections"]] == [False, True]  # type: ignore[attr-defined]
    operators = {
        one["exchanges"][0]["exchange_id"].replace("-", ""): one["exchanges"][0]["operator"]
        for one in shown["corrections"]  # type: ignore[attr-defined]
    }
    assert operators == {ids[0].hex(): "", ids[1].hex(): "op-1"}
    monkeypatch.setattr("agent.consumer.correction_view.MOST_DISPUTES", 1)
    assert view.corrections(lambda resource: True)["more"] is True


@pytest.mark.parametrize("change", ["signer", "ticket", "fields", "resource", "body"])
async def test_a_correction_that_the_provider_did_not_sign_is_left_out(
    region: TicketRegion, tmp_path: Path, change: str
) -> None:
    side = AgentSide(region, tmp_path / "civil-1", CIVIL)
    side.catch_up()
    step = event(b"t" * 32, CORRECT, 1)
    signer = WU if change == "signer" else LI
    statement = signer.sign(canonical.TICKET_EVENT, step.SerializeToString())
    told: dict[str, Any] = {"ticket_id": b"t" * 32, "resource": RESOURCE, "fields": ["name"]}
    told |= {"ticket": {"ticket_id": b"u" * 32}, "fields": {"fields": ["address"]}}.get(change, {})
    told |= {"resource": "970100/police/other"} if change == "resource" else {}
    if change == "body":
        step.text = "其他"
        statement = common_pb2.Statement(
            body=step.SerializeToString(), signature=statement.signature, chain=statement.chain
        )
    act = audit_pb2.AdministrativeEntry(act=audit_pb2.ACT_CORRECTION, statement=statement)
    act.correction.CopyFrom(audit_pb2.CorrectionRecord(recipient=CIVIL, exchange_ids=[b"e" * 16], **told))
    with pytest.raises(e.ExchangeError):
        side.corrections.take(act, 7, region.clock.ms)
    assert side.corrections.listed() == []


async def test_of_too_many_corrections_those_that_are_done_go_first(
    region: TicketRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.corrections.MOST", 2)
    side = AgentSide(region, tmp_path / "civil-1", CIVIL)
    side.catch_up()
    names = []
    for place in range(3):
        step = event(bytes([place]) * 32, CORRECT, 1)
        act = audit_pb2.AdministrativeEntry(
            act=audit_pb2.ACT_CORRECTION,
            statement=LI.sign(canonical.TICKET_EVENT, step.SerializeToString()),
        )
        act.correction.CopyFrom(
            audit_pb2.CorrectionRecord(
                recipient=CIVIL, ticket_id=step.ticket_id, resource=RESOURCE, fields=["name"]
            )
        )
        side.corrections.take(act, place, region.clock.ms)
        names.append(step.ticket_id.hex())
        if place == 1:
            side.corrections.mark_done(names[1])
    assert [one.ticket for one in side.corrections.listed()] == [names[0], names[2]]
