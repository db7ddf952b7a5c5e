"""A dispute from its raising to its acknowledgement, and a demand, with real certificates and commands."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.subject_tags import inner_tag, period_of, period_start_ms, tag_root
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.verification.verify import verify_folder
from shuqiao.cli.app import run
from shuqiao.demo.people import Person
from tests.support.audit import Outcome
from tests.support.house import HOUSEHOLD, House, house_at, question, until
from tests.support.running_authority import HEALTH, POLICE

pytestmark = pytest.mark.system

Do = Callable[..., Awaitable[Any]]
WRONG = "登记的住址应为 云川市 幸福路 7 号，户主 970102199001010011"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as found:
        yield found


def command(house: House) -> Do:
    """Return what runs `shuqiao` as a person and returns its JSON."""

    async def do(name: str, *arguments: str, code: int = 0) -> Any:
        file = house.folder / f"{name}.toml"
        where = house.region.addresses
        file.write_text(
            f'gateway = "127.0.0.1:{house.port}"\nenrolment = "{where["enrolment_address"]}"\n'
            f'authority = "{where["service_address"]}"\n'
            f'identity = "{house.identities[name].folder}"\nkeys = "{name}/keys"\n'
            'passphrase_file = "passphrase"\n'
        )
        out = io.StringIO()

        def act() -> int:
            environ = {"SHUQIAO_CONTEXT": str(file)}
            return run((*arguments, "--json"), stdout=out, stderr=out, environ=environ)

        assert await asyncio.to_thread(act) == code, out.getvalue()
        return json.loads(out.getvalue())

    return do


def agent_file(house: House, name: str) -> str:
    """Write the configuration of an agent as far as its people need it; return its path."""
    file = house.folder / f"{name}-agent.toml"
    file.write_text(f'folder = "{name}"\npassphrase_file = "passphrase"\n')
    return str(file)


def written(house: House, text: str) -> str:
    file = house.folder / "detail.txt"
    file.write_text(text, encoding="utf-8")
    return str(file)


def subject(house: House, person: Person) -> str:
    """Write whom a correction is about; return how the command is told where that is."""
    file = house.folder / "subject.txt"
    file.write_text(f"{person.citizen_id}\n")
    return f"@{file}"


async def received_last_quarter(house: House) -> str:
    """Enter an exchange of the quarter before about the third person, as it would be there; return its id."""
    start_ms = period_start_ms(period_of(house.region.clock.now_ms()))
    period = period_of(start_ms - 1)
    key = b"q" * 32
    house.region.running.authority.tags._keystore.put(f"tags-{period.lower()}", key)
    inner = inner_tag(key, "citizen_id", house.people[2].citizen_id)
    tag = house.gateway.tag_keys.present(period).of(inner)
    exchange = audit_pb2.ExchangeEntry(
        exchange_id=uuid.uuid4().bytes,
        consumer_organisation=HEALTH,
        provider_organisation=POLICE,
        resource=HOUSEHOLD,
        fields=["address"],
        kind=common_pb2.KIND_QUERY,
        decision=audit_pb2.DECISION_RELEASED,
        tag_period=period,
        tag_count=1,
        tag_root=tag_root([tag]),
    )
    log = house.gateway.sequencer
    entry = audit_pb2.AuditEntry(
        salt=bytes(16), version=1, gateway=log.origin, time_ms=start_ms - 1, exchange=exchange
    )
    outcome = Outcome()
    log.submit([entry.SerializeToString()], outcome, [tag])
    await outcome.places()
    return str(uuid.UUID(bytes=exchange.exchange_id))


async def demanded(house: House, do: Do) -> None:
    """Have a demand assigned by an administrator and answered by a resource."""
    raised = await do(
        "health-steward", "demand", "raise", "--title", "户籍住址", "--want", "住址", "--division", "970100",
        "--text", "出生一件事需要",
    )  # fmt: skip
    ticket = raised["ticket_id"]
    (demand,) = (await do("police-steward", "demand", "list"))["tickets"]
    assert (demand["ticket_id"], demand["state"], demand["waits_for"]) == (ticket, "open", "admin")
    await do("wang", "demand", "assign", ticket[:8], "--to", POLICE)
    other = await do("police-steward", "demand", "answer", ticket, "--resource", "970100/x/y", code=1)
    assert other["error"]["code"] == "UNKNOWN_RESOURCE"
    answered = await do("police-steward", "demand", "answer", ticket, "--resource", HOUSEHOLD)
    assert answered["state"] == "answered"
    shown = await do("health-steward", "demand", "show", ticket)
    assert [one["action"] for one in shown["events"]] == ["assign", "answer"]


async def test_a_dispute_is_sealed_corrected_told_and_acknowledged_a_demand_answered_and_quality_summed(
    house: House,
) -> None:
    do = command(house)
    for person in house.people[:3]:
        response = await house.consumer.consumer.ask(question(person, fields=["name", "address"]))
        assert response.HasField("answer")
    exchange = str(uuid.UUID(bytes=response.exchange_id))

    earlier = await received_last_quarter(house)
    raised = await do(
        "health-steward", "dispute", "raise", "--exchange", exchange, "--resource", HOUSEHOLD,
        "--field", "address", "--text", "住址与证件不符", "--detail-file", written(house, WRONG),
    )  # fmt: skip
    ticket = raised["ticket_id"]
    await until(lambda: house.provider.governance.disputes._held, "the provider's agent knows of the dispute")
    (held,) = (await do("police-steward", "agent", "disputes", "--config", agent_file(house, "police-1")))[
        "disputes"
    ]
    assert (held["ticket"], held["state"], held["detail"]) == (ticket, "assigned", WRONG)
    listed = await do("police-steward", "dispute", "list", "--state", "assigned")
    assert [one["waits_for"] for one in listed["tickets"]] == [POLICE]
    refused = await do(
        "health-steward", "dispute", "correct", ticket[:12], "--field", "address", "--text", "x",
        "--without-subject", code=1,
    )  # fmt: skip
    assert refused["error"]["code"] == "ROLE_NOT_ALLOWED"

    somebody_else = await do(
        "police-steward", "dispute", "correct", ticket[:12], "--field", "address", "--text", "已更正",
        "--subject", subject(house, house.people[0]), code=1,
    )  # fmt: skip
    assert somebody_else["error"]["code"] == "MALFORMED"
    corrected = await do(
        "police-steward", "dispute", "correct", ticket[:12], "--field", "address", "--text", "已更正",
        "--subject", subject(house, house.people[2]),
    )  # fmt: skip
    assert (corrected["state"], corrected["told"]) == ("corrected", 1)
    assert (len(corrected["told_periods"]), corrected["erased_periods"]) == (2, [])
    await until(house.consumer.governance.corrections.listed, "the consumer's agent knows of the correction")
    told = await do("health-steward", "agent", "corrections", "--config", agent_file(house, "health-1"))
    (correction,) = told["corrections"]
    assert (sorted(correction["exchanges"]), correction["done"]) == (sorted([earlier, exchange]), False)
    assert correction["text"] == "已更正"
    house.consumer.governance.corrections.mark_done(ticket)
    await do("health-steward", "dispute", "acknowledge", ticket[:12])
    shown = await do("police-steward", "dispute", "show", ticket)
    assert (shown["told"], shown["acknowledged"], shown["told_all"]) == ([HEALTH], [HEALTH], True)
    # Nothing of what was wrong is with the gateway, nor with the provider once the dispute is over.
    await until(
        lambda: house.provider.governance.disputes._held[ticket].ended,
        "the provider's agent knows of the end",
    )
    ended = await do("police-steward", "agent", "disputes", "--config", agent_file(house, "police-1"))
    assert ended["disputes"][0]["detail"] is None
    log = [house.gateway.registrar.leaf(index) for index in range(house.log_size)]
    assert not [leaf for leaf in log if WRONG.encode() in leaf]
    assert not list((house.folder / "gateway-1").rglob("correction-*"))

    await house.consumer.governance.quality.report(house.consumer.duties.report_quality, all_=True)
    await demanded(house, do)
    (quality,) = (await do("police-steward", "quality", "list"))["resources"]
    assert (quality["resource"], quality["exchanges"], quality["upheld"]) == (HOUSEHOLD, 3, 1)
    assert (quality["complete_permille"], quality["accurate_permille"]) == (1000, 666)

    await house.stop_gateway()
    assert verify_folder(house.folder / "gateway-1").size == house.log_size
    await house.start_gateway()
    again = await do("police-steward", "dispute", "show", ticket)
    assert again == shown
    assert (await do("police-steward", "quality", "list"))["resources"] == [quality]


async def test_what_a_resource_brought_is_disputed_corrected_told_and_supplemented_after_it_was_withdrawn(
    house: House,
) -> None:
    do = command(house)
    response = await house.consumer.consumer.ask(question(house.people[2], fields=["name", "address"]))
    exchange = str(uuid.UUID(bytes=response.exchange_id))
    earlier = await received_last_quarter(house)
    await do("police-steward", "catalog", "withdraw", HOUSEHOLD, "--yes")
    refused = await do("police-steward", "catalog", "show", HOUSEHOLD, code=1)
    assert refused["error"]["code"] == "WITHDRAWN"

    raised = await do(
        "health-steward", "dispute", "raise", "--exchange", exchange, "--resource", HOUSEHOLD,
        "--field", "address", "--text", "住址与证件不符", "--detail-file", written(house, WRONG),
    )  # fmt: skip
    ticket = raised["ticket_id"]
    await until(lambda: house.provider.governance.disputes._held, "the provider's agent knows of the dispute")
    (held,) = (await do("police-steward", "agent", "disputes", "--config", agent_file(house, "police-1")))[
        "disputes"
    ]
    assert (held["ticket"], held["detail"]) == (ticket, WRONG)
    corrected = await do(
        "police-steward", "dispute", "correct", ticket[:12], "--field", "address", "--text", "已更正",
        "--without-subject",
    )  # fmt: skip
    assert (corrected["state"], corrected["told"]) == ("corrected", 1)
    assert (len(corrected["told_periods"]), len(corrected["unsearched_periods"])) == (1, 1)
    await until(house.consumer.governance.corrections.listed, "the consumer's agent knows of the correction")
    (correction,) = (
        await do("health-steward", "agent", "corrections", "--config", agent_file(house, "health-1"))
    )["corrections"]
    assert (correction["resource"], correction["exchanges"]) == (HOUSEHOLD, [exchange])
    await do("health-steward", "dispute", "acknowledge", ticket[:12])

    supplemented = await do(
        "police-steward", "dispute", "supplement", ticket[:12], "--subject", subject(house, house.people[2])
    )
    assert (supplemented["state"], len(supplemented["told_periods"])) == ("corrected", 2)
    assert supplemented["unsearched_periods"] == []
    await until(
        lambda: len(house.consumer.governance.corrections.listed()) == 2, "the consumer's agent knows of more"
    )
    more = house.consumer.governance.corrections.listed()[1]
    assert (more.ticket, list(more.exchanges)) == (ticket, [earlier])
    await do("health-steward", "dispute", "acknowledge", ticket[:12])
    shown = await do("health-steward", "dispute", "show", ticket)
    assert (shown["told"], shown["acknowledged"], shown["told_all"]) == ([HEALTH], [HEALTH], True)
    await house.stop_gateway()
    assert verify_folder(house.folder / "gateway-1").size == house.log_size
