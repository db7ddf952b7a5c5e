import asyncio
import json
import re
import uuid

import httpx
import pytest

from exchange.errors import BY_REASON, ProviderAway, RowCap, SealBroken, UnknownTicket
from exchange.v1 import agent_pb2
from tests.support.faces import QUESTION, RESOURCE, faces
from tests.support.fake_asker import EXCHANGE_ID, FakeAsker, answered, failed, full


def _is_error(response: httpx.Response, status: int, code: str, subject: str) -> None:
    document = response.json()
    assert response.status_code == status, document
    assert document["code"] == code
    assert subject in document["subject"]
    assert document["hop"] == "consumer/health-1"
    assert set(document["reason"]) == set(document["remedy"]) == {"zh", "en"}
    assert isinstance(document["retryable"], bool)


async def test_a_query_gives_records_with_values_by_their_types(tmp_path):
    async with faces(FakeAsker(full), tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json=QUESTION)
        document = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert document["exchange_id"] == str(uuid.UUID(bytes=EXCHANGE_ID))
    assert document["records"][0]["persons"] == 3
    assert document["records"][0]["open"] is True
    assert document["records"][0]["rent"] == "10.50"
    assert document["records"][1]["name"] is None
    assert document["receipt"]["index"] == 7


async def test_a_question_reaches_the_asker_whole(tmp_path):
    asker = FakeAsker()
    body = {**QUESTION, "matter": "m", "case": "c", "timeout_ms": 1500, "grant_id": "ab" * 32}
    body["parameters"] = {"a": "x", "b": 3, "c": False}
    async with faces(asker, tmp_path) as running, running.http() as client:
        await client.post("/v1/query", json=body)
    asked = asker.asked[0]
    assert (asked.resource, asked.purpose, asked.matter, asked.case_number) == (RESOURCE, "newborn", "m", "c")
    assert (asked.operator, asked.timeout_ms, asked.grant_id) == ("op-1", 1500, bytes.fromhex("ab" * 32))
    assert [(each.name, each.value) for each in asked.parameters] == [("a", "x"), ("b", "3"), ("c", "false")]


async def test_a_verification_gives_match_mismatch_and_unknown(tmp_path):
    body = {key: value for key, value in QUESTION.items() if key != "fields"} | {"claims": {"name": "李雷"}}
    async with faces(FakeAsker(full), tmp_path) as running, running.http() as client:
        document = (await client.post("/v1/verify", json=body)).json()
    assert document["results"] == {"name": True, "address": False, "phone": None}
    assert "records" not in document


async def test_the_face_serves_a_unix_socket_too(tmp_path):
    async with faces(FakeAsker(), tmp_path, http=f"unix://{tmp_path}/http.sock") as running:
        async with running.http() as client:
            response = await client.post("/v1/query", json=QUESTION)
        assert (tmp_path / "http.sock").stat().st_mode & 0o007 == 0
    assert response.status_code == 200
    assert not (tmp_path / "http.sock").exists()


@pytest.mark.parametrize(
    ("headers", "status", "code", "subject"),
    [
        ({"authorization": "Bearer " + "x" * 43}, 401, "NO_IDENTITY", "unknown"),
        ({"authorization": ""}, 401, "NO_IDENTITY", "missing"),
        ({"authorization": "Basic eDp5"}, 401, "NO_IDENTITY", "malformed"),
        ({"authorization": "Bearer " + "x" * 300}, 401, "NO_IDENTITY", "malformed"),
        ({"host": "evil.example"}, 421, "MALFORMED", "host"),
        ({"host": "127.0.0.1"}, 421, "MALFORMED", "host"),
        ({"origin": "http://127.0.0.1"}, 403, "MALFORMED", "origin"),
        ({"origin": "null"}, 403, "MALFORMED", "origin"),
        ({"content-type": "text/plain"}, 415, "MALFORMED", "content-type"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "MALFORMED", "content-type"),
    ],
)
async def test_a_call_with_a_wrong_header_is_refused_in_json(tmp_path, headers, status, code, subject):
    asker = FakeAsker()
    async with faces(asker, tmp_path) as running, running.http(**headers) as client:
        headers = {"content-type": headers.get("content-type", "application/json")}
        response = await client.post("/v1/query", content=json.dumps(QUESTION), headers=headers)
    _is_error(response, status, code, subject)
    assert asker.asked == []
    assert "access-control-allow-origin" not in response.headers


async def test_a_body_larger_than_announced_or_allowed_is_refused(tmp_path):
    async def parts():
        for _ in range(8):
            yield b" " * 512

    headers = {"content-type": "application/json"}
    async with faces(FakeAsker(), tmp_path, max_body_bytes=2048) as running, running.http() as client:
        announced = await client.post("/v1/query", content=b" " * 4096, headers=headers)
        chunked = await client.post("/v1/query", content=parts(), headers=headers)
    _is_error(announced, 413, "OVERSIZED", "2048")
    _is_error(chunked, 413, "OVERSIZED", "2048")


@pytest.mark.parametrize(
    ("body", "code", "subject"),
    [
        (b"{", "MALFORMED", "body: json_invalid"),
        (b"[]", "MALFORMED", "body"),
        (b'{"purpose": "newborn"}', "MALFORMED", "resource: missing"),
        (b'{"resource": "r", "speed": 1}', "MALFORMED", "speed: extra_forbidden"),
        (b'{"resource": 5}', "MALFORMED", "resource: string_type"),
        (b'{"resource": "r", "parameters": {"a": 1.5}}', "BAD_PARAMETER", "parameters.a"),
        (b'{"resource": "r", "parameters": {"a": ["x"]}}', "BAD_PARAMETER", "parameters.a"),
        (b'{"resource": "r", "timeout_ms": -1}', "MALFORMED", "timeout_ms"),
        (b'{"resource": "r", "grant_id": "zz"}', "MALFORMED", "grant_id"),
        (b'{"resource": "\\ud800"}', "MALFORMED", "body"),
    ],
)
async def test_a_malformed_body_is_refused_with_its_place(tmp_path, body, code, subject):
    async with faces(FakeAsker(), tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", content=body, headers={"content-type": "application/json"})
    _is_error(response, 400, code, subject)


async def test_a_value_in_the_wrong_place_is_not_repeated(tmp_path):
    body = {"resource": RESOURCE, "970102199001010011": "x", "purpose": ["970102199001010011"]}
    async with faces(FakeAsker(), tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json=body)
    _is_error(response, 400, "MALFORMED", "extra_forbidden")
    assert "970102199001010011" not in response.text


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"purpose": "afterlife"}, "purpose"),
        ({"resource": "970100/tax/premium"}, "resource"),
        ({"operator": "op-9"}, "operator"),
        ({"operator": ""}, "operator"),
    ],
)
async def test_an_application_may_ask_only_what_it_is_allowed(tmp_path, change, subject):
    asker = FakeAsker()
    async with faces(asker, tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json={**QUESTION, **change})
    _is_error(response, 403, "APPLICATION_NOT_ALLOWED", f"application wards: {subject}")
    assert asker.asked == []


async def test_a_full_queue_is_told_as_retryable(tmp_path):
    async with faces(FakeAsker(room=0), tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json=QUESTION)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.json()["code"] == "QUEUE_FULL"
    assert response.json()["retryable"] is True


async def test_an_application_cannot_hold_more_questions_than_its_share(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path, per_application=1) as running, running.http() as client:
        first = asyncio.create_task(client.post("/v1/query", json=QUESTION))
        await asker.arrived.wait()
        second = await client.post("/v1/query", json=QUESTION)
        asker.release()
        assert (await first).status_code == 200
    _is_error(second, 429, "QUEUE_FULL", "application wards")


@pytest.mark.parametrize(("error", "status"), [(ProviderAway, 503), (SealBroken, 502), (RowCap, 422)])
async def test_a_failure_keeps_its_code_hop_and_exchange(tmp_path, error, status):
    asker = FakeAsker(lambda question: failed(question.tag, error("about", hop="gateway/g1")))
    async with faces(asker, tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json=QUESTION)
    document = response.json()
    assert response.status_code == status
    assert (document["code"], document["hop"], document["subject"]) == (error().name, "gateway/g1", "about")
    assert document["exchange_id"] == str(uuid.UUID(bytes=EXCHANGE_ID))


async def test_every_reason_has_a_status(tmp_path):
    from agent.consumer.http_errors import status_of

    assert all(400 <= status_of(each()) < 600 for each in BY_REASON.values())


async def test_something_unforeseen_is_told_without_its_detail(tmp_path):
    def broken(question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        return answered(
            question.tag, [agent_pb2.AnswerColumn(name="n", type="integer", values=["李雷"])], records=1
        )

    async with faces(FakeAsker(broken), tmp_path) as running, running.http() as client:
        response = await client.post("/v1/query", json=QUESTION)
        again = await client.get("/v1/status")
    _is_error(response, 500, "INTERNAL", "")
    assert "李雷" not in response.text
    assert again.status_code == 200


async def test_a_caller_that_hangs_up_frees_its_slot(tmp_path):
    asker = FakeAsker(held=True)
    async with faces(asker, tmp_path, per_application=1) as running:
        async with running.http() as client:
            call = asyncio.create_task(client.post("/v1/query", json=QUESTION))
            await asker.arrived.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await asyncio.wait_for(asker.cancelled.wait(), 10)
        asker.held = False
        async with running.http() as client:
            assert (await client.post("/v1/query", json=QUESTION)).status_code == 200


class _Shelf:
    async def resources(self):
        return [{"id": RESOURCE, "fields": []}]

    async def receipt(self, exchange_id):
        return answered(0, [], records=0).receipt if exchange_id == EXCHANGE_ID else None


async def test_catalogue_receipts_and_status_can_be_looked_at(tmp_path):
    shelf = _Shelf()
    views = {"catalogue": shelf, "receipts": shelf}
    async with faces(FakeAsker(), tmp_path, **views) as running, running.http() as client:
        resources = await client.get("/v1/resources")
        receipt = await client.get(f"/v1/receipts/{uuid.UUID(bytes=EXCHANGE_ID)}")
        unknown = await client.get(f"/v1/receipts/{uuid.UUID(int=5)}")
        bad = await client.get("/v1/receipts/nothing")
        status = await client.get("/v1/status")
    assert resources.json()["resources"][0]["id"] == RESOURCE
    assert receipt.json()["index"] == 7
    _is_error(unknown, 404, "UNKNOWN_ENTRY", str(uuid.UUID(int=5)))
    _is_error(bad, 400, "BAD_IDENTIFIER", "exchange_id")
    assert status.json()["ok"] is True


async def test_an_unknown_path_or_method_is_told_in_json(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, running.http() as client:
        _is_error(await client.get("/v1/nothing"), 404, "MALFORMED", "path")
        _is_error(await client.get("/v1/query"), 405, "MALFORMED", "method")
        _is_error(await client.get("/v1/resources"), 404, "MALFORMED", "path")


async def test_the_documentation_needs_nothing_from_outside(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, running.http(authorization="") as client:
        page = await client.get("/docs")
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = [await client.get(each) for each in linked]
        start = await client.get("/docs/start.js")
        rebound = await client.get("/docs", headers={"host": "evil.example"})
    assert len(linked) == 4
    assert all(each.startswith("/docs/") for each in linked)
    assert "//" not in page.text.replace("<!DOCTYPE html>", "")
    assert "://" not in start.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]
    assert all(each.status_code == 200 for each in answers)
    assert rebound.status_code == 421


async def test_the_description_is_in_both_languages_and_readable_by_the_page(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, running.http() as client:
        document = (await client.get("/openapi.json")).json()
    text = json.dumps(document, ensure_ascii=False)
    assert document["openapi"].startswith("3.0.")
    assert {"/v1/query", "/v1/verify", "/v1/status"} <= set(document["paths"])
    assert '"null"' not in text
    assert "$defs" not in text
    for path in document["paths"].values():
        for route in path.values():
            assert " / " in route["description"]


class Corrected:
    """Corrections of two resources, of which the application may see one."""

    def __init__(self):
        self.done_tickets = []

    def corrections(self, shows):
        told = [{"ticket": "ab" * 32, "resource": each} for each in (RESOURCE, "980000/x/y") if shows(each)]
        return {"corrections": told, "more": False}

    def done(self, ticket, shows):
        if ticket != "ab" * 32 or not shows(RESOURCE):
            raise UnknownTicket(ticket[:16])
        self.done_tickets.append(ticket)
        return {"ticket": ticket, "done": True}


async def test_a_system_sees_the_corrections_of_its_resources_and_marks_them_done(tmp_path):
    held = Corrected()
    async with faces(FakeAsker(), tmp_path, corrections=held) as running, running.http() as client:
        document = (await client.get("/v1/corrections")).json()
        assert [each["resource"] for each in document["corrections"]] == [RESOURCE]
        done = await client.post(f"/v1/corrections/{'ab' * 32}/done", json={})
        assert (done.status_code, done.json()["done"]) == (200, True)
        unknown = await client.post(f"/v1/corrections/{'cd' * 32}/done", json={})
        _is_error(unknown, 404, "UNKNOWN_TICKET", "cd")
        described = (await client.get("/openapi.json")).json()["paths"]
    assert held.done_tickets == ["ab" * 32]
    assert {"/v1/corrections", "/v1/corrections/{ticket}/done"} <= described.keys()


async def test_an_agent_without_corrections_has_no_such_route(tmp_path):
    async with faces(FakeAsker(), tmp_path) as running, running.http() as client:
        assert (await client.get("/v1/corrections")).status_code == 404
