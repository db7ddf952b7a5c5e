"""A region in miniature whose real services run on a loop of their own, and the command run against it."""

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from exchange.identity import Identity
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.v1 import rules_pb2_grpc
from gateway.access.call_rate import CallRate
from gateway.access.guards import standard_guards
from gateway.calls import Calls
from gateway.rules.dry_run import DryRuns
from gateway.rules.explain import Explainer
from gateway.rules_service import RulesService
from shuqiao.cli.app import run
from shuqiao.door import Door
from tests.support.callers import peer
from tests.support.command_region import Ran
from tests.support.region import Region

T = TypeVar("T")


class Held:
    """One person's identity, as a folder would hold it."""

    def __init__(self, region: Region, signer: StatementSigner) -> None:
        self._region, self._signer = region, signer

    def identity(self) -> Identity:
        return self._signer.identity

    def anchor(self) -> TrustAnchor:
        return self._region.anchor

    def statement_signer(self) -> StatementSigner:
        return self._signer

    def root_pem(self) -> bytes:
        return self._region.authority.root_pem

    def chain_pem(self) -> bytes:
        raise AssertionError("no mutual TLS on loopback")

    key_pem = chain_pem


class _Named(grpc.UnaryUnaryClientInterceptor):
    """Tells the server who calls, as mutual TLS would."""

    def __init__(self, who: Identity) -> None:
        self._who = who

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        named = details._replace(metadata=[("caller", self._who.uri)])
        return continuation(named, request)


class RulesRegion:
    """The region, its services, and its people at the command.

    Args:
        make: makes the region; called on the loop.
    """

    def __init__(self, make: Callable[[], Region], folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.region, self._server, self._port = self.do(self._serve(make))
        except BaseException:
            self._end()
            raise

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the region's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _serve(self, make: Callable[[], Region]) -> tuple[Region, grpc.aio.Server, int]:
        region = make()
        calls = Calls(registrar=region.registrar, peer=peer)
        server = grpc.aio.server()
        parts: dict[str, Any] = {
            "registrar": region.registrar,
            "state": region.state,
            "trust": lambda: region.feed.current,
            "clock": region.clock,
        }
        rules_pb2_grpc.add_RulesServiceServicer_to_server(
            RulesService(
                registrar=region.registrar,
                rules=region.state.rules,
                explainer=Explainer(guards=standard_guards(region.state), rate=CallRate("explain"), **parts),
                dry_runs=DryRuns(log=region.log, make_guards=standard_guards, **parts),
                calls=calls,
            ),
            server,
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return region, server, port

    def close(self) -> None:
        self.do(self._server.stop(None))
        self.do(self.region.registrar.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def shuqiao(self, who: StatementSigner, *arguments: str, lang: str = "zh") -> Ran:
        """Run the command as a person."""

        def dial(address: str, holder: Any) -> grpc.Channel:
            channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
            return grpc.intercept_channel(channel, _Named(who.identity))

        context = self._folder / "context.toml"
        context.write_text(f'gateway = "127.0.0.1:{self._port}"\nidentity = "identity"\n')
        out, err = io.StringIO(), io.StringIO()
        code = run(
            arguments,
            stdout=out,
            stderr=err,
            environ={"SHUQIAO_LANG": lang, "SHUQIAO_CONTEXT": str(context)},
            door=Door(hold=lambda _: Held(self.region, who), dial=dial),
            clock=self.region.clock,
        )
        return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def rules_region(make: Callable[[], Region], folder: Path) -> Iterator[RulesRegion]:
    """Serve a region for as long as the context lasts."""
    served = RulesRegion(make, folder)
    try:
        yield served
    finally:
        served.close()
