"""The three ways in for a department's system, against real processes."""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

import shuqiao
from exchange.errors import FieldNotGranted, NoIdentity
from exchange.v1 import agent_pb2, agent_pb2_grpc, common_pb2
from shuqiao.demo.cast import GRANTED, HEALTH, MATTER, PURPOSE, RESOURCE
from shuqiao.questions import Query
from tests.support.real_region import CASE, RealRegion, ask

pytestmark = pytest.mark.system


def _curl(
    world: RealRegion, path: str, body: dict[str, Any] | None = None, *, token: str = ""
) -> tuple[int, Any]:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    http = world.world.processes[HEALTH.agent].told["http"]
    token = token or world.world.layout.token(HEALTH.agent).read_text().strip()
    command = [curl, "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]
    command += ["--header", f"Authorization: Bearer {token}"]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    command += [f"http://{http}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text, _, code = done.stdout.rpartition("\n")
    return int(code), json.loads(text)


def test_curl_asks_over_http(world: RealRegion) -> None:
    body = {
        "resource": RESOURCE,
        "fields": list(GRANTED),
        "parameters": {"citizen_id": world.person.citizen_id},
        "purpose": PURPOSE,
        "matter": MATTER,
        "case": CASE,
    }
    code, answer = _curl(world, "/v1/query", body)
    assert code == 200
    assert answer["records"][0]["name"] == world.person.name
    assert answer["receipt"]["index"] > 0


def test_curl_is_told_why_it_is_refused(world: RealRegion) -> None:
    body = {
        "resource": RESOURCE,
        "fields": ["birth_date"],
        "parameters": {"citizen_id": world.person.citizen_id},
        "purpose": PURPOSE,
        "matter": MATTER,
        "case": CASE,
    }
    code, answer = _curl(world, "/v1/query", body)
    assert code == 403
    assert "FIELD_NOT_GRANTED" in json.dumps(answer)


def test_http_turns_a_wrong_token_away(world: RealRegion) -> None:
    assert _curl(world, "/v1/query", {"resource": RESOURCE}, token="x" * 43)[0] == 401


def _stub(world: RealRegion) -> tuple[grpc.Channel, agent_pb2_grpc.AgentServiceStub]:
    address = str(world.world.processes[HEALTH.agent].told["grpc"]).replace("unix://", "unix:")
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    channel = grpc.secure_channel(address, credentials)
    return channel, agent_pb2_grpc.AgentServiceStub(channel)


def test_grpc_answers_on_the_agents_socket(world: RealRegion) -> None:
    channel, stub = _stub(world)
    token = world.world.layout.token(HEALTH.agent).read_text().strip()
    question = agent_pb2.AskRequest(
        tag=9,
        resource=RESOURCE,
        kind=common_pb2.KIND_VERIFY,
        parameters=[agent_pb2.NamedValue(name="citizen_id", value=world.person.citizen_id)],
        claims=[agent_pb2.NamedValue(name="name", value="无名氏")],
        purpose=PURPOSE,
        matter=MATTER,
        case_number=CASE,
    )
    with channel:
        answer = stub.Ask(question, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    assert answer.tag == 9
    assert list(answer.answer.columns[0].values) == ["false"]


def test_many_questions_are_answered_over_one_stream(world: RealRegion) -> None:
    queries = [
        Query(
            resource=RESOURCE,
            fields=["name"] if n % 10 else ["birth_date"],
            parameters={"citizen_id": person.citizen_id},
            purpose=PURPOSE,
            matter=MATTER,
            case=CASE,
        )
        for n, person in enumerate(world.stage.persons)
    ]
    with world.client() as client:
        outcomes = list(client.query_many(queries, in_flight=128))
    for n, (outcome, person) in enumerate(zip(outcomes, world.stage.persons, strict=True)):
        if n % 10:
            assert isinstance(outcome, shuqiao.Answer), outcome
            assert outcome.records == [{"name": person.name}]
        else:
            assert isinstance(outcome, FieldNotGranted)


def test_a_person_who_is_not_in_the_register_is_no_record(world: RealRegion) -> None:
    with world.client() as client:
        answer = client.query(
            RESOURCE,
            parameters={"citizen_id": "970102199001010011"},
            purpose=PURPOSE,
            matter=MATTER,
            case=CASE,
        )
    assert answer.records == []
    assert answer.receipt is not None


def test_a_token_of_nobody_is_turned_away(world: RealRegion, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("y" * 43)
    address = str(world.world.processes[HEALTH.agent].told["grpc"])
    with shuqiao.connect(address, token_file=token) as client, pytest.raises(NoIdentity):
        ask(client, world.person)


def test_the_gateway_is_ready_and_counts_what_it_released(world: RealRegion) -> None:
    with world.client() as client:
        ask(client, world.person)
    with urllib.request.urlopen(f"{world.world.metrics_url}/ready", timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{world.world.metrics_url}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert "shuqiao_ready 1.0" in metrics
    assert 'shuqiao_exchanges_total{decision="released"}' in metrics
