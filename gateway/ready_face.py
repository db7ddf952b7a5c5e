"""`/metrics` and a truthful `/ready` on a port of their own: red while anything would make a request fail."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exchange.errors import ExchangeError
from exchange.serving import bound


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ReadyFace:
    """The operators' HTTP port.

    Args:
        registry: the metrics.
        refresh: reads what is only read when it is scraped.
        faults: what keeps exchanges from succeeding, now.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        refresh: Callable[[], None],
        faults: Callable[[], Sequence[ExchangeError]],
    ) -> None:
        self._registry = registry
        self._refresh = refresh
        self._faults = faults
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Bind and serve.

        Returns:
            The port.

        Raises:
            BadConfiguration: the address cannot be bound.
        """
        sock = bound(host, port, "listen.metrics_port")
        app = Starlette(routes=[Route("/metrics", self._metrics), Route("/ready", self._ready)])
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", limit_concurrency=64)
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]))
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    async def _metrics(self, _: Request) -> Response:
        self._refresh()
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _ready(self, _: Request) -> Response:
        faults = [
            {
                "code": fault.name,
                "subject": fault.subject,
                "reason": {"zh": fault.sentence.zh, "en": fault.sentence.en},
                "remedy": {"zh": fault.sentence.remedy_zh, "en": fault.sentence.remedy_en},
            }
            for fault in self._faults()
        ]
        return JSONResponse({"ready": not faults, "faults": faults}, status_code=503 if faults else 200)
