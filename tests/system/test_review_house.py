"""A whole review by real certificates and the real command, over a gateway that is restarted in between."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.identity import Role
from exchange.v1 import audit_pb2
from gateway.audit.verification.verify import verify_folder
from shuqiao import views
from shuqiao.cli.app import run
from tests.support.house import House, house_at, question
from tests.support.running_authority import HEALTH

pytestmark = pytest.mark.system

Do = Callable[..., Awaitable[Any]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(tmp_path) as found:
        for role, name in ((Role.OFFICER, "zhao"), (Role.OFFICER, "qian"), (Role.AUDITOR, "sun")):
            await found.enrol(role, name)
        yield found


def command(house: House) -> Do:
    """Return what runs `shuqiao audit review …` as a person and returns its exit code and JSON."""

    async def do(name: str, *arguments: str, code: int = 0) -> Any:
        file = house.folder / f"{name}.toml"
        where = house.region.addresses
        file.write_text(
            f'gateway = "127.0.0.1:{house.port}"\nenrolment = "{where["enrolment_address"]}"\n'
            f'identity = "{name}/identity"\nkeys = "{name}/keys"\npassphrase_file = "passphrase"\n'
        )
        out = io.StringIO()

        def act() -> int:
            told = ("audit", "review", *arguments, "--json")
            return run(told, stdout=out, stderr=out, environ={"SHUQIAO_CONTEXT": str(file)})

        assert await asyncio.to_thread(act) == code, out.getvalue()
        return json.loads(out.getvalue())

    return do


async def test_a_sample_is_drawn_justified_and_closed_by_two_and_the_log_tells_it_all(house: House) -> None:
    do = command(house)
    for person in house.people[:6]:
        response = await house.consumer.consumer.ask(question(person))
        assert response.HasField("answer")
    drawn = await do("sun", "draw", "-n", "3", "--organisation", HEALTH, "--resource", "970100/*")
    review = drawn["review_id"]
    shown = await do("sun", "show", review)
    items = [str(item["entry"]["index"]) for item in shown["items"]]
    assert len(items) == 3 and {item["entry"]["type"] for item in shown["items"]} == {"exchange"}

    await do("sun", "assign", review, "--all", "--to", "officer/zhao", "-t", "请说明")
    seen = await do("health-steward", "show", review[:10])
    assert [str(item["entry"]["index"]) for item in seen["items"]] == items
    assert (await do("police-steward", "show", review, code=1))["error"]["code"] == "UNKNOWN_ENTRY"
    refused = await do("zhao", "close", review, items[0], "--verdict", "in-order", code=1)
    assert refused["error"]["code"] == "WRONG_STATE"
    await do("health-steward", "justify", review, "--all", "-t", "出生一件事")

    await do("zhao", "close", review, items[0], "--verdict", "finding", "-t", "办件编号不符")
    await do("zhao", "close", review, *items[1:], "--verdict", "in-order")
    alone = await do("zhao", "confirm", review, items[0], code=1)
    assert alone["error"]["code"] == "SECOND_PERSON_REQUIRED"
    await do("qian", "confirm", review, "--all")

    listed = await do("qian", "list")
    assert [(one["items"], one["closed"], one["findings"]) for one in listed["reviews"]] == [(3, 3, 1)]
    checked = await do("sun", "verify", review)
    assert checked["ok"] and (checked["missing"], checked["extra"]) == ([], [])
    assert checked["drawn"] == 3 and checked["log"]["size"] > checked["range"]["end"]

    log = house.gateway.sequencer
    entries = [audit_pb2.AuditEntry.FromString(leaf) for leaf in log.leaves(0, log.head.size)]
    acts = [entry.administrative for entry in entries]
    steps = [told for told in acts if told.act == audit_pb2.ACT_REVIEW_EVENT]
    assert sum(told.act == audit_pb2.ACT_REVIEW_DRAW for told in acts) == 1
    assert len(steps) == 1 + 4 * 3
    found = [one for one in map(views.finding, entries) if one is not None]
    assert [(str(one.item), one.text) for one in found] == [(items[0], "办件编号不符")]
    assert found[0].confirmed_by.endswith("/officer/qian")
    assert not verify_folder(house.folder / "gateway-1", house.gateway.feed.current).faults


async def test_a_review_goes_on_where_it_was_after_the_gateway_was_started_again(tmp_path: Path) -> None:
    async with house_at(tmp_path) as house:
        for role, name in ((Role.OFFICER, "zhao"), (Role.AUDITOR, "sun")):
            await house.enrol(role, name)
        do = command(house)
        await house.consumer.consumer.ask(question(house.people[0]))
        drawn = await do("sun", "draw", "-n", "500", "-s", "risk")
        review = drawn["review_id"]
        await do("sun", "assign", review, "--all", "--to", "officer/zhao")
        before = (await do("zhao", "show", review))["items"]
        assert before and {item["state"] for item in before} == {"assigned"}
        assert all(item["rules"] for item in before)

        await house.stop_gateway()
        await house.start_gateway()
        assert (await do("zhao", "show", review))["items"] == before
        assert (await do("sun", "verify", review))["ok"]
