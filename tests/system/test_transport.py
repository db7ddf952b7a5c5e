"""What the gateway's port takes: TLS 1.3 with a certificate of this region, and nothing else."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from exchange.errors import RoleNotAllowed
from exchange.tls import CHANNEL_OPTIONS
from exchange.v1 import audit_pb2, audit_pb2_grpc, directory_pb2, directory_pb2_grpc
from shuqiao.calling import calling
from shuqiao.demo.cast import AUDITOR, HEALTH
from tests.support.real_region import RealRegion

pytestmark = pytest.mark.system


def _context(world: RealRegion, folder: Path, who: str | None) -> ssl.SSLContext:
    held = world.world.held(AUDITOR)
    root = folder / "root.pem"
    root.write_bytes(held.root_pem())
    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["h2"])
    if who is not None:
        mine = world.world.held(who)
        file = folder / "own.pem"
        file.write_bytes(mine.key_pem() + mine.chain_pem())
        context.load_cert_chain(file)
    return context


def _shake(world: RealRegion, context: ssl.SSLContext) -> str | None:
    host, _, port = world.world.gateway_address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        # With TLS 1.3 a refusal of the client comes after its own end of the handshake.
        if not secure.recv(1):
            raise ConnectionResetError
        return secure.version()


def test_tls_1_3_is_spoken(world: RealRegion, tmp_path: Path) -> None:
    assert _shake(world, _context(world, tmp_path, AUDITOR)) == "TLSv1.3"


def test_tls_1_2_is_refused_in_the_handshake(world: RealRegion, tmp_path: Path) -> None:
    context = _context(world, tmp_path, AUDITOR)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        _shake(world, context)


def test_whoever_shows_no_certificate_is_refused(world: RealRegion, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _shake(world, _context(world, tmp_path, None))


def test_an_agents_certificate_is_no_servers(world: RealRegion) -> None:
    held = world.world.held(HEALTH.agent)
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(held.key_pem(), held.chain_pem())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        client = grpc.ssl_channel_credentials(held.root_pem())
        with grpc.secure_channel(f"127.0.0.1:{port}", client, options=CHANNEL_OPTIONS) as channel:
            stub = audit_pb2_grpc.AuditServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        server.stop(None)


def test_a_role_may_not_call_what_is_not_its_own(world: RealRegion) -> None:
    with world.world.at_gateway(AUDITOR) as channel, pytest.raises(RoleNotAllowed), calling():
        directory_pb2_grpc.DirectoryServiceStub(channel).PublishResource(
            directory_pb2.PublishResourceRequest(), timeout=10
        )
