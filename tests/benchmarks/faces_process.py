"""The agent's faces before an asker that answers at once; an empty route and an empty unary beside them."""

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path

import grpc
import uvicorn
from fastapi import FastAPI

from agent.consumer.asker import Deliver
from agent.consumer.credentials import ApplicationSettings
from agent.consumer.local_api import LocalApi, LocalApiSettings
from exchange.v1 import agent_pb2, audit_pb2
from tests.benchmarks.echo import handler

VALUES = ("李雷", "男", "云川省临江市东桥区滨江路1号", "97010200001")


class _Answers:
    """Answers every question with one record of four fields and a receipt."""

    def __init__(self, fields: Sequence[str]) -> None:
        columns = [
            agent_pb2.AnswerColumn(name=name, type="text", values=[value])
            for name, value in zip(fields, VALUES, strict=True)
        ]
        receipt = audit_pb2.Receipt(leaf=b"l" * 700, index=7, proof=b"p" * 480)
        self._outcome = agent_pb2.AskResponse(
            exchange_id=bytes(16),
            answer=agent_pb2.Answer(records=1, columns=columns),
            receipt=agent_pb2.VerifiedReceipt(
                index=7, receipt=receipt, checkpoint="o\n8\nroot\n\nsignature\n"
            ),
        )

    async def ask(self, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        outcome = agent_pb2.AskResponse()
        outcome.CopyFrom(self._outcome)
        outcome.tag = question.tag
        return outcome

    def submit(self, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver) -> None:
        for question in questions:
            outcome = agent_pb2.AskResponse()
            outcome.CopyFrom(self._outcome)
            outcome.tag = question.tag
            deliver(outcome)

    async def status(self) -> agent_pb2.GetAgentStatusResponse:
        return agent_pb2.GetAgentStatusResponse()


def serve(path: Path) -> int:
    """Serve the faces and what stands beside them until SIGTERM.

    Args:
        path: JSON with `folder`, `token_hash`, `resource`, `purpose` and `fields`.
    """
    asyncio.run(_main(json.loads(path.read_text())))
    return 0


async def _main(spec: dict[str, str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    folder = spec["folder"]
    application = ApplicationSettings(
        name="bench", token_hash=spec["token_hash"], purposes=["*"], resources=["*"], operators=["*"]
    )
    settings = LocalApiSettings(
        http="127.0.0.1:0", grpc=f"unix://{folder}/agent.sock", application=[application]
    )
    api = LocalApi(settings=settings, asker=_Answers(spec["fields"]), hop="consumer/bench-1")
    at = await api.start()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler(),))
    server.add_secure_port(
        f"unix://{folder}/empty.sock", grpc.local_server_credentials(grpc.LocalConnectionType.UDS)
    )
    await server.start()
    empty = uvicorn.Server(
        uvicorn.Config(_empty(), host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    )
    empty.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(empty.serve())
    while not empty.started:  # noqa: ASYNC110  it has no event to wait for
        await asyncio.sleep(0.01)
    port = empty.servers[0].sockets[0].getsockname()[1]
    told = {"http": at.http, "grpc": at.grpc, "empty_http": f"127.0.0.1:{port}"}
    print("ready " + json.dumps(told | {"empty_grpc": f"unix://{folder}/empty.sock"}), flush=True)
    await stop.wait()
    empty.should_exit = True
    await serving
    await server.stop(1)
    await api.stop(grace_s=0)


def _empty() -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def nothing() -> dict[str, bool]:
        return {"ok": True}

    return app
