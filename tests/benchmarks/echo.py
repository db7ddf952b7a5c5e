"""A gRPC server that gives back what it gets, over mutual TLS: what stands behind Envoy."""

import asyncio
import json
import signal
from pathlib import Path

import grpc

from exchange.tls import SERVER_OPTIONS, server_credentials

SERVICE, METHOD = "bench.Echo", "Say"
PATH = f"/{SERVICE}/{METHOD}"


async def _say(request: bytes, _: object) -> bytes:
    return request


def handler() -> grpc.GenericRpcHandler:
    """Return the one method, without serialisers."""
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(_say)})


def serve(folder: Path) -> int:
    """Serve until SIGTERM with `key.pem`, `chain.pem` and `root.pem` of a folder."""

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((handler(),))
        credentials = server_credentials(
            key_pem=(folder / "key.pem").read_bytes(),
            chain_pem=(folder / "chain.pem").read_bytes(),
            root_pem=(folder / "root.pem").read_bytes(),
            mutual=True,
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        print("ready " + json.dumps({"port": port}), flush=True)
        await stop.wait()
        await server.stop(1)

    asyncio.run(main())
    return 0
