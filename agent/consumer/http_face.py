"""The HTTP face: JSON over a loopback port or a Unix socket, for systems in any language.

Guard (http_guard) → route → desk → asker. The two question routes read and write their JSON themselves: the
body is parsed once, by pydantic, and the answer is written once.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from agent.consumer.asker import Catalogue, Corrections, Receipts
from agent.consumer.credentials import Credentials
from agent.consumer.desk import Desk
from agent.consumer.http_cases import add_cases
from agent.consumer.http_docs import add_documentation, openapi_extra, responses
from agent.consumer.http_errors import error_headers, error_json, malformed, status_of
from agent.consumer.http_guard import APPLICATION, App, Guard, Receive, Rejected, read_body
from agent.consumer.http_questions import (
    QUERY,
    VERIFY,
    QueryBody,
    VerifyBody,
    exchange_text,
    outcome_json,
    receipt_json,
)
from exchange.errors import BadIdentifier, ExchangeError, Internal, Malformed, UnknownEntry
from exchange.rpc_errors import from_failure
from exchange.v1 import agent_pb2

WATCH_AFTER_S = 0.05
"""A question that takes longer has its connection watched, so that a caller that left frees its slot."""

_ANSWER = {"content-type": "application/json", "cache-control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFace:
    """What the routes need.

    Args:
        desk: where questions go.
        credentials: who may call.
        hosts: exact Host headers that are served.
        max_body_bytes: largest body.
        catalogue: what `/v1/resources` shows; without it there is no such route.
        receipts: what `/v1/receipts/…` shows; without it there is no such route.
        corrections: what `/v1/corrections` shows; without it there is no such route.
    """

    desk: Desk
    credentials: Credentials
    hosts: Collection[str]
    max_body_bytes: int = 256 * 1024
    catalogue: Catalogue | None = None
    receipts: Receipts | None = None
    corrections: Corrections | None = None

    def app(self) -> App:
        """Return the ASGI application, guard included."""
        app = FastAPI(
            title="Shuqiao 数桥 agent",
            version="1",
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,
        )
        self._add_question(app, "query", QUERY, QueryBody)
        self._add_question(app, "verify", VERIFY, VerifyBody)
        add_cases(app, self.desk, max_body_bytes=self.max_body_bytes)
        self._add_views(app)
        add_documentation(app)
        app.add_exception_handler(HTTPException, self._no_route)
        for refusal in (ExchangeError, Rejected, Exception):
            app.add_exception_handler(refusal, self._handle)
        return Guard(
            app=app,
            credentials=self.credentials,
            hosts=self.hosts,
            max_body_bytes=self.max_body_bytes,
            hop=self.desk.hop,
        )

    def _add_question(
        self,
        app: FastAPI,
        name: str,
        adapter: TypeAdapter[QueryBody] | TypeAdapter[VerifyBody],
        body_type: type[QueryBody] | type[VerifyBody],
    ) -> None:
        verify = name == "verify"

        async def question(request: Request) -> Response:
            body = await read_body(request.receive, self.max_body_bytes)
            try:
                asked = adapter.validate_json(body).request()
            except ValidationError as fault:
                raise malformed(fault) from None
            except ValueError:
                raise Malformed("body: range") from None
            outcome = await _while_connected(
                self.desk.ask(request.scope[APPLICATION], asked), request.receive
            )
            if outcome.WhichOneof("outcome") != "answer":
                return self._failed(outcome)
            return Response(outcome_json(outcome, verify=verify), headers=_ANSWER)

        app.add_api_route(
            f"/v1/{name}",
            question,
            methods=["POST"],
            operation_id=name,
            response_class=Response,
            responses=responses(name),
            openapi_extra=openapi_extra(body_type),
            description=body_type.__doc__,
        )

    def _failed(self, outcome: agent_pb2.AskResponse) -> Response:
        failure = outcome.failure
        error = from_failure(failure) if outcome.WhichOneof("outcome") else Internal("no outcome")
        return self._refusal(error, exchange_text(outcome.exchange_id or failure.exchange_id))

    def _refusal(self, error: ExchangeError, exchange_id: str = "", *, status: int = 0) -> Response:
        error.hop = error.hop or self.desk.hop
        status = status or status_of(error)
        response = Response(error_json(error, exchange_id=exchange_id), status)
        response.raw_headers.extend(error_headers(error, status))
        return response

    async def _handle(self, request: Request, fault: Exception) -> Response:
        if isinstance(fault, Rejected):
            return self._refusal(fault.error, status=fault.status)
        return self._refusal(fault if isinstance(fault, ExchangeError) else Internal())

    async def _no_route(self, request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        return self._refusal(Malformed("method" if status == 405 else "path"), status=status)

    def _add_views(self, app: FastAPI) -> None:
        self._add_view(app, "/v1/status", self._status, "前置节点的状态 / How the agent is, hop by hop")
        if self.catalogue is not None:
            self._add_view(
                app, "/v1/resources", self._resources, "资源目录 / The catalogue as the agent knows it"
            )
        if self.receipts is not None:
            path = "/v1/receipts/{exchange_id}"
            self._add_view(app, path, self._receipt, "交换回执 / The receipt of an exchange, by its UUID")
        if self.corrections is not None:
            described = (
                "源头已更正的信息项，须在本部门更正 / Values corrected at the source, to be put right here"
            )
            self._add_view(app, "/v1/corrections", self._list_corrections, described)
            self._add_view(
                app,
                "/v1/corrections/{ticket}/done",
                self._correction_done,
                "本部门记录已更正 / This department has put its own record right",
                method="POST",
                name="correction_done",
            )

    @staticmethod
    def _add_view(
        app: FastAPI,
        path: str,
        view: Callable[..., Awaitable[object]],
        description: str,
        *,
        method: str = "GET",
        name: str = "",
    ) -> None:
        name = name or path.split("/")[2]
        app.add_api_route(
            path,
            view,
            methods=[method],
            operation_id=name,
            response_model=None,
            responses=responses(name),
            description=description,
        )

    async def _status(self) -> object:
        status = await self.desk.status()
        hops = [
            {"hop": each.hop, "ok": each.ok, "detail": each.detail, "reason": each.reason}
            for each in status.hops
        ]
        return {"spiffe_id": status.spiffe_id, "ok": all(each.ok for each in status.hops), "hops": hops}

    async def _resources(self) -> object:
        assert self.catalogue is not None
        return {"resources": list(await self.catalogue.resources())}

    async def _list_corrections(self, request: Request) -> object:
        assert self.corrections is not None
        return self.corrections.corrections(request.scope[APPLICATION].reaches)

    async def _correction_done(self, request: Request, ticket: str) -> object:
        assert self.corrections is not None
        return self.corrections.done(ticket, request.scope[APPLICATION].reaches)

    async def _receipt(self, exchange_id: str) -> object:
        assert self.receipts is not None
        try:
            wanted = uuid.UUID(exchange_id).bytes
        except ValueError:
            raise BadIdentifier("exchange_id") from None
        receipt = await self.receipts.receipt(wanted)
        if receipt is None:
            raise UnknownEntry(str(uuid.UUID(bytes=wanted)))
        return receipt_json(receipt)


async def _while_connected(
    asking: Awaitable[agent_pb2.AskResponse], receive: Receive
) -> agent_pb2.AskResponse:
    """Await an outcome; when the caller hangs up first, give the question up.

    Raises:
        Malformed: the caller hung up; nobody will read this.
    """
    task = asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, start)
    try:
        return await asking
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise Malformed("caller went away") from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
