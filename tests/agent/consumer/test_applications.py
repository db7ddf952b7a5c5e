"""What an application may ask, over every face: its own resources, purposes, matters, operators."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import shuqiao
from agent.consumer.credentials import ApplicationSettings, new_token
from agent.consumer.local_api import LocalApi, LocalApiSettings
from exchange import errors as e
from exchange.cases import Case
from exchange.v1 import agent_pb2, common_pb2
from shuqiao.questions import Query
from tests.support.faces import Faces
from tests.support.fake_asker import FakeAsker

TAX, POLICE = "970100/tax/premium", "970100/public-security/household"


def _settings(name: str, token_hash: str, **parts: Any) -> ApplicationSettings:
    told = {"purposes": [name], "resources": [f"970100/{name}/*"], "operators": [f"op-{name}"]}
    return ApplicationSettings(name=name, token_hash=token_hash, **(told | {"matters": [name]} | parts))


class FakeCases:
    """Opens and closes cases of one department."""

    def __init__(self) -> None:
        self.held: dict[str, Case] = {}

    def case(self, number: str) -> Case | None:
        return self.held.get(number)

    async def open_case(self, request: agent_pb2.OpenCaseRequest) -> agent_pb2.OpenCaseResponse:
        if request.case_number in self.held:
            raise e.Replayed(request.case_number)
        self.held[request.case_number] = Case(
            request.case_number, 1, 1, "lead", request.matter, frozenset(request.participants), 0, 0, b""
        )
        return agent_pb2.OpenCaseResponse(index=7)

    async def close_case(self, request: agent_pb2.CloseCaseRequest) -> agent_pb2.CloseCaseResponse:
        if self.held.pop(request.case_number, None) is None:
            raise e.UnknownCase("case")
        return agent_pb2.CloseCaseResponse(index=8)


class Two:
    """Running faces with the applications "tax" and "public-security"."""

    def __init__(self, folder: Path, parts: dict[str, dict[str, Any]]) -> None:
        self.asker, self.cases = FakeAsker(), FakeCases()
        self.tokens: dict[str, Path] = {}
        applications = []
        for name in ("tax", "public-security"):
            token, token_hash = new_token()
            self.tokens[name] = folder / name
            self.tokens[name].write_text(token)
            applications.append(_settings(name, token_hash, **parts.get(name, {})))
        self.api = LocalApi(
            settings=LocalApiSettings(
                application=applications, http="127.0.0.1:0", grpc=f"unix://{folder}/a.sock"
            ),
            asker=self.asker,
            hop="consumer/health-1",
            cases=self.cases,
        )

    async def __aenter__(self) -> "Two":
        self.at = await self.api.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.api.stop(grace_s=0)

    def client(self, name: str) -> shuqiao.AsyncClient:
        return shuqiao.connect_async(self.at.grpc, token_file=self.tokens[name])

    def http(self, name: str) -> Any:
        token = self.tokens[name].read_text()
        return Faces(api=self.api, at=self.at, token=token, token_file=self.tokens[name]).http()


def _query(own: str, other: str, wrong: Sequence[str]) -> Query:
    """Return a question of one application, with some parts of another's."""
    of = {part: other if part in wrong else own for part in ("resource", "purpose", "matter", "operator")}
    return Query(
        resource=f"970100/{of['resource']}/x",
        purpose=of["purpose"],
        matter=of["matter"],
        operator=f"op-{of['operator']}",
        parameters={"id": "1"},
    )


@pytest.mark.parametrize("wrong", ["resource", "purpose", "matter", "operator"])
@pytest.mark.parametrize("own", ["tax", "public-security"])
async def test_one_application_asks_nothing_of_anothers(tmp_path: Path, own: str, wrong: str) -> None:
    other = "public-security" if own == "tax" else "tax"
    async with Two(tmp_path, {}) as two, two.client(own) as client:
        found = [
            each async for each in client.query_many([_query(own, other, ()), _query(own, other, [wrong])])
        ]
        assert not isinstance(found[0], e.ExchangeError)
        assert isinstance(found[1], e.ApplicationNotAllowed) and wrong in found[1].subject
        asked = _query(own, other, [wrong])
        body = {
            "resource": asked.resource,
            "purpose": asked.purpose,
            "matter": asked.matter,
            "operator": asked.operator,
            "parameters": {"id": "1"},
        }
        async with two.http(own) as http:
            refused = await http.post("/v1/query", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "APPLICATION_NOT_ALLOWED")
        assert len(two.asker.asked) == 1


async def test_the_question_names_the_application_whatever_the_caller_says(tmp_path: Path) -> None:
    async with Two(tmp_path, {}) as two, two.client("tax") as client:
        await client.query(**_parts(_query("tax", "", ())))
        desk = two.api._desk
        application = two.api._credentials.applications["public-security"]
        lie = agent_pb2.AskRequest(
            resource=POLICE, purpose="public-security", matter="public-security", application="tax"
        )
        lie.operator = "op-public-security"
        await desk.ask(application, lie)
    assert [question.application for question in two.asker.asked] == ["tax", "public-security"]


def _parts(query: Query) -> dict[str, Any]:
    return {
        "resource": query.resource,
        "purpose": query.purpose,
        "matter": query.matter,
        "operator": query.operator,
        "parameters": query.parameters,
    }


async def test_an_application_has_its_own_bound_on_questions_under_way(tmp_path: Path) -> None:
    async with Two(tmp_path, {"tax": {"at_once": 1}}) as two:
        two.asker.held = True
        desk, application = two.api._desk, two.api._credentials.applications["tax"]
        question = agent_pb2.AskRequest(
            resource=TAX, purpose="tax", matter="tax", operator="op-tax", kind=common_pb2.KIND_QUERY
        )
        first = asyncio.ensure_future(desk.ask(application, question))
        await two.asker.arrived.wait()
        second = await desk.ask(application, question)
        two.asker.release()
        assert (await first).HasField("answer")
        assert second.failure.reason == e.QueueFull.reason


async def test_only_an_application_that_may_opens_and_closes_cases_of_its_matters(tmp_path: Path) -> None:
    async with Two(tmp_path, {"tax": {"cases": True}}) as two:
        async with two.client("tax") as client:
            assert await client.open_case("LJ-1", matter="tax") == 7
            with pytest.raises(e.ApplicationNotAllowed):
                await client.open_case("LJ-2", matter="public-security")
            with pytest.raises(e.Replayed):
                await client.open_case("LJ-1", matter="tax")
        async with two.client("public-security") as client:
            with pytest.raises(e.ApplicationNotAllowed):
                await client.open_case("LJ-3", matter="public-security")
            with pytest.raises(e.ApplicationNotAllowed):
                await client.close_case("LJ-1")
        async with two.client("tax") as client:
            assert await client.close_case("LJ-1") == 8


async def test_cases_are_opened_and_closed_over_http(tmp_path: Path) -> None:
    async with Two(tmp_path, {"tax": {"cases": True}}) as two, two.http("tax") as http:
        body = {"case": "LJ/1", "matter": "tax", "participants": ["11970100MB1A0001XA"], "days": 3}
        opened = await http.post("/v1/cases", json=body)
        assert (opened.status_code, opened.json()["index"]) == (200, 7)
        assert two.cases.held["LJ/1"].parties == {"11970100MB1A0001XA"}
        again = await http.post("/v1/cases", json=body)
        assert (again.status_code, again.json()["code"]) == (409, "REPLAYED")
        for wrong in ({}, {**body, "days": 800}, {**body, "matter": ""}, {**body, "extra": 1}):
            assert (await http.post("/v1/cases", json=wrong)).status_code == 400
        closed = await http.post("/v1/cases/LJ%2F1/close", json={})
        assert (closed.status_code, closed.json()) == (200, {"case": "LJ/1", "index": 8})
        gone = await http.post("/v1/cases/LJ-1/close", json={})
        assert (gone.status_code, gone.json()["code"]) == (403, "APPLICATION_NOT_ALLOWED")
        described = (await http.get("/openapi.json")).json()["paths"]
        assert "/v1/cases" in described
