"""What a question costs the agent's process at each face, the asking itself left out."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

import shuqiao
from agent.consumer.credentials import new_token
from exchange.v1 import agent_pb2, agent_pb2_grpc, common_pb2
from tests.benchmarks.echo import PATH
from tests.benchmarks.measure import Scale, median, process_cpu_s
from tests.benchmarks.processes import Child, Children
from tests.benchmarks.rows import Group, Row
from tests.benchmarks.world import FIELDS, KEY, MATTER, POLICE, PURPOSE, resource_of

HTTP, GRPC, SDK = "http_us_per_call", "grpc_unary_us_per_call", "sdk_stream_us_per_call"
IN_FLIGHT = 16
QUESTION = {
    "resource": resource_of(POLICE),
    "fields": list(FIELDS),
    "parameters": {KEY: "970102199001010011"},
    "purpose": PURPOSE,
    "matter": MATTER,
    "case": "CASE-2026-000001",
    "operator": "op-17",
}
Work = Callable[[int], Awaitable[None]]


async def run(scale: Scale) -> list[Row]:
    """Measure the three faces, each in turns with what stands beside it."""
    with tempfile.TemporaryDirectory() as place:
        folder, (token, token_hash) = Path(place), new_token()
        (folder / "token").write_text(token + "\n")
        spec = folder / "faces.json"
        spec.write_text(json.dumps({"folder": place, "token_hash": token_hash, "fields": list(FIELDS)}))
        children = Children(folder)
        try:
            child = await children.start("faces", "faces", spec)
            return await _measure(child, folder, token, scale)
        finally:
            await children.stop_all()


async def _measure(child: Child, folder: Path, token: str, scale: Scale) -> list[Row]:
    told = child.told
    metadata = (("authorization", f"Bearer {token}"),)
    local = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    count = scale.of(4000, least=IN_FLIGHT * 4)
    async with (
        grpc.aio.secure_channel(told["grpc"], local) as channel,
        grpc.aio.secure_channel(told["empty_grpc"], local) as empty_channel,
        shuqiao.connect_async(told["grpc"], token_file=folder / "token") as client,
    ):
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        question = _question()
        empty = empty_channel.unary_unary(PATH)

        async def ask(n: int) -> None:
            for _ in range(n):
                outcome = await stub.Ask(question, metadata=metadata)
                assert outcome.HasField("answer"), outcome

        async def call_empty(n: int) -> None:
            for _ in range(n):
                await empty(b"\0" * 600)

        async def stream(n: int) -> None:
            query = shuqiao.Query(**QUESTION)  # type: ignore[arg-type]
            async for answer in client.query_many([query] * n, in_flight=256):
                assert not isinstance(answer, Exception), answer

        face = _http_work(told["http"], "/v1/query", json.dumps(QUESTION).encode(), token)
        route = _http_work(told["empty_http"], "/", b"{}", token)
        beside_route = "an empty FastAPI route"
        beside_unary = "an empty unary call over a Unix socket"
        note = "CPU of the agent's process; asker that answers at once"
        return [
            await _row(HTTP, child, (face, count), (route, count), beside_route, note, scale),
            await _row(
                GRPC, child, (_many(ask), count), (_many(call_empty), count), beside_unary, note, scale
            ),
            await _row(
                SDK,
                child,
                (stream, count * 5),
                (_many(call_empty), count),
                beside_unary,
                note + ", 256 in flight",
                scale,
            ),
        ]


async def _row(
    row_id: str,
    child: Child,
    work: tuple[Work, int],
    beside: tuple[Work, int],
    beside_what: str,
    note: str,
    scale: Scale,
) -> Row:
    values, besides = [], []
    for turn in range(scale.repetitions + 1):
        value, other = await _cost_us(child, *work), await _cost_us(child, *beside)
        if turn:
            values.append(value)
            besides.append(other)
    return Row(
        id=row_id,
        value=median(values),
        unit="us",
        beside=median(besides),
        beside_what=beside_what,
        note=note,
    )


async def _cost_us(child: Child, work: Work, count: int) -> float:
    begun = process_cpu_s(child.pid)
    await work(count)
    return (process_cpu_s(child.pid) - begun) / count * 1e6


def _many(one: Work) -> Work:
    async def work(count: int) -> None:
        await asyncio.gather(*(one(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))

    return work


def _http_work(address: str, path: str, body: bytes, token: str) -> Work:
    """Return what posts a body over kept connections: a client as light as sockets allow."""
    host, port = address.rsplit(":", 1)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(count):
            writer.write(request)
            told = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 200 " in told[:16], told
            length = int(told.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    return _many(one)


def _question() -> agent_pb2.AskRequest:
    return agent_pb2.AskRequest(
        resource=resource_of(POLICE),
        kind=common_pb2.KIND_QUERY,
        fields=FIELDS,
        parameters=[agent_pb2.NamedValue(name=KEY, value="970102199001010011")],
        purpose=PURPOSE,
        matter=MATTER,
        case_number="CASE-2026-000001",
        operator="op-17",
    )


GROUP = Group(ids=(HTTP, GRPC, SDK), run=run)
