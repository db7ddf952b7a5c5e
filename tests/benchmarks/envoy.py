"""Envoy as a real process before the echo server: HTTP/2, mutual TLS 1.3 on both sides, one worker."""

import asyncio
import json
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from exchange.identity import Role
from exchange.tls import CHANNEL_OPTIONS
from tests.benchmarks.echo import PATH
from tests.benchmarks.measure import process_cpu_s
from tests.benchmarks.processes import Child
from tests.benchmarks.world import Held, World

TLS_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
HTTP_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
START_S = 15.0
REQUEST = b"\0" * 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """Envoy and the echo server behind it.

    Attributes:
        echo_address, address: "localhost:port", of the echo itself and of Envoy.
        client: whose certificate the callers use.
    """

    envoy: Child
    echo: Child
    echo_address: str
    address: str
    client: Held


def installed() -> str | None:
    """Return Envoy's path, None where the extra [bench] is not installed."""
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else shutil.which("envoy")


async def start(world: World) -> Forwarder:
    """Start the echo server and Envoy before it.

    Raises:
        RuntimeError: Envoy is not installed or does not start.
    """
    program = installed()
    if program is None:
        raise RuntimeError("no envoy: install the extra [bench]")
    folder = world.folder / "echo"
    server = world.issue(Role.GATEWAY, "echo-1", hosts=["localhost"])
    write_tls(world, server, folder)
    echo = await world.children.start("echo", "echo", folder)
    port, echo_port = _free_port(), int(echo.told["port"])
    path = world.folder / "envoy.json"
    path.write_text(json.dumps(_bootstrap(folder, port, echo_port)))
    envoy = await world.children.start_program(
        "envoy",
        program,
        "-c",
        str(path),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--disable-hot-restart",
    )
    found = Forwarder(
        envoy=envoy,
        echo=echo,
        echo_address=f"localhost:{echo_port}",
        address=f"localhost:{port}",
        client=world.issue(Role.AGENT, "caller-1", "11970100MB1A0001XA"),
    )
    async with callers(world, found, found.address, 1) as (call,):
        await call.warm(START_S)
    return found


def write_tls(world: World, who: Held, folder: Path) -> None:
    """Write key, chain and root where the echo server and Envoy read them."""
    folder.mkdir(exist_ok=True)
    (folder / "key.pem").write_bytes(who.key_pem)
    (folder / "chain.pem").write_bytes(who.chain_pem)
    (folder / "root.pem").write_bytes(world.keys.root_pem)


class Caller:
    """One channel on which the empty unary call is made."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = channel.unary_unary(PATH)

    async def warm(self, timeout_s: float) -> None:
        """Call until the first answer comes."""
        await self._call(REQUEST, timeout=timeout_s, wait_for_ready=True)

    async def many(self, count: int) -> None:
        """Call that often, one after the other."""
        call = self._call
        for _ in range(count):
            await call(REQUEST)

    async def timed_ms(self, count: int) -> list[float]:
        """Call one after the other; return how long each took, milliseconds."""
        call, times = self._call, []
        for _ in range(count):
            begun = time.perf_counter_ns()
            await call(REQUEST)
            times.append((time.perf_counter_ns() - begun) / 1e6)
        return times


class callers:
    """Open channels to an address, closed at the end of the context."""

    def __init__(self, world: World, found: Forwarder, address: str, channels: int) -> None:
        credentials = world.credentials(found.client)
        self._channels = [
            grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) for _ in range(channels)
        ]

    async def __aenter__(self) -> Sequence[Caller]:
        return [Caller(channel) for channel in self._channels]

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()


async def forwarded(
    found: Forwarder, calls: Sequence[Caller], count: int, in_flight: int
) -> tuple[float, float]:
    """Make that many calls; return Envoy's CPU per call in microseconds, and calls per second."""
    each = max(1, count // in_flight)
    cpu, begun = process_cpu_s(found.envoy.pid), time.perf_counter()
    await asyncio.gather(*(calls[place % len(calls)].many(each) for place in range(in_flight)))
    rate = each * in_flight / (time.perf_counter() - begun)
    return (process_cpu_s(found.envoy.pid) - cpu) / (each * in_flight) * 1e6, rate


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _tls(folder: Path) -> dict[str, Any]:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(folder / "chain.pem")},
                "private_key": {"filename": str(folder / "key.pem")},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": str(folder / "root.pem")}},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _bootstrap(folder: Path, port: int, echo_port: int) -> dict[str, Any]:
    down = {
        "@type": f"{TLS_TYPE}.DownstreamTlsContext",
        "common_tls_context": _tls(folder),
        "require_client_certificate": True,
    }
    up = {"@type": f"{TLS_TYPE}.UpstreamTlsContext", "common_tls_context": _tls(folder), "sni": "localhost"}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo"}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": _address(port),
                    "filter_chains": [
                        {
                            "transport_socket": {"name": "tls", "typed_config": down},
                            "filters": [{"name": "http", "typed_config": manager}],
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "echo",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": HTTP_OPTIONS,
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "transport_socket": {"name": "tls", "typed_config": up},
                    "load_assignment": {
                        "cluster_name": "echo",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(echo_port)}}]}],
                    },
                }
            ],
        }
    }
