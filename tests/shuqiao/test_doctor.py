"""The doctor names the hop that fails, why, and what to do; what lies behind it is not tried."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.profiles import make_leaf
from exchange.clock import SystemClock
from exchange.enrolment import pem_of
from exchange.errors import Revoked
from exchange.identity import Identity, Role
from exchange.v1 import agent_pb2
from shuqiao import local_agent
from shuqiao.context import read_context
from shuqiao.doctor import RESOLVE, ROOT_REMEDY, SHADOWED, Doctor, Finding, check_modules
from shuqiao.probe import Handshake, SocketProbe, host_and_port, socket_file
from tests.support.command_region import Person, Region, Shuqiao
from tests.support.region import DIVISION, DOMAIN, ORIGIN, Authority
from tests.support.sealing import NOW_MS, StillClock

TRUSTED_S = 120  # of the region's list


class FakeProbe:
    """A network in which one step fails."""

    def __init__(self, *, failing: str = "", error: OSError | None = None, version: str = "TLSv1.3") -> None:
        self.failing = failing
        self.error = error or OSError()
        self.version = version

    def _step(self, name: str) -> None:
        if name == self.failing:
            raise self.error

    def resolve(self, host: str, port: int) -> list[str]:
        self._step("resolve")
        return ["127.0.0.1"]

    def connect(self, host: str, port: int) -> None:
        self._step("connect")

    def shake(self, host: str, port: int, root_pem: bytes) -> Handshake:
        self._step("shake")
        return Handshake(self.version, ("localhost",), "")


Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def examine(person: Person, context_file: Path, region: Region) -> Examine:
    region.leaves = [b"leaf"]

    def dial(address: str, holder: Any) -> grpc.Channel:
        return grpc.insecure_channel(address)

    def findings(**probe: Any) -> dict[str, Finding]:
        doctor = Doctor(
            context=read_context(context_file),
            hold=lambda context: person,
            dial=dial,
            status=local_agent.status,
            probe=FakeProbe(**probe),
            clock=StillClock(),
        )
        return {finding.hop: finding for finding in doctor.examine()}

    return findings


def test_a_sound_region_has_no_failing_hop(examine: Examine) -> None:
    found = examine()
    assert [hop for hop, finding in found.items() if not finding.ok] == []
    hops = {"modules", "context", "certificate", "clock", "trust-list", "gateway/identity", "agent"}
    assert hops < set(found)
    assert ORIGIN in found["gateway/identity"].found.en


@pytest.mark.parametrize(
    ("step", "hop", "error", "reason"),
    [
        ("resolve", "name", socket.gaierror(-2, "Name or service not known"), "GATEWAY_AWAY"),
        ("connect", "port", ConnectionRefusedError(111, "Connection refused"), "GATEWAY_AWAY"),
        ("connect", "port", TimeoutError(), "GATEWAY_AWAY"),
        ("shake", "tls", ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "GATEWAY_AWAY"),
        ("shake", "tls", ssl.SSLCertVerificationError(1, "unknown issuer"), "NO_IDENTITY"),
    ],
)
def test_the_outer_hop_that_fails_is_named_and_the_rest_is_not_tried(
    examine: Examine, step: str, hop: str, error: OSError, reason: str
) -> None:
    found = examine(failing=step, error=error)
    failing = found[f"gateway/{hop}"]
    assert (failing.ok, failing.reason) == (False, reason)
    assert failing.remedy is not None
    assert found["gateway/identity"].ok is None
    assert found["trust-list"].ok is None


def test_each_outer_fault_has_a_remedy_of_its_own(examine: Examine) -> None:
    name = examine(failing="resolve", error=socket.gaierror(-2, "unknown"))["gateway/name"]
    root = examine(failing="shake", error=ssl.SSLCertVerificationError(1, "x"))["gateway/tls"]
    assert (name.remedy, root.remedy) == (RESOLVE, ROOT_REMEDY)


def test_an_older_tls_is_refused(examine: Examine) -> None:
    assert examine(version="TLSv1.2")["gateway/tls"].ok is False


def test_a_trust_list_from_the_future_is_a_wrong_clock(examine: Examine, region: Region) -> None:
    region.trust_list.issued_at.FromMilliseconds(NOW_MS + 61_000)
    assert examine()["clock"].reason == "CLOCK_SKEW"


def test_an_old_trust_list_is_stale(examine: Examine, region: Region) -> None:
    region.trust_list.issued_at.FromMilliseconds(NOW_MS - (TRUSTED_S + 1) * 1000)
    assert examine()["trust-list"].reason == "TRUST_STALE"


def test_ones_own_revoked_certificate_is_found_in_the_trust_list(
    examine: Examine, region: Region, person: Person
) -> None:
    region.trust_list.revoked_serials.append(person.certificate.serial_number.to_bytes(20))
    assert examine()["trust-list"].reason == "REVOKED"


def test_a_gateway_that_refuses_the_identity_says_why(examine: Examine, region: Region) -> None:
    region.refuse = Revoked("steward-1", hop="gateway/gateway-1")
    found = examine()["gateway/identity"]
    assert (found.ok, found.reason) == (False, "REVOKED")


def test_the_agents_own_hops_are_told_with_reason_and_remedy(examine: Examine, region: Region) -> None:
    region.hops = [
        agent_pb2.HopStatus(hop="link", ok=True, detail="gateway-1"),
        agent_pb2.HopStatus(hop="source:households", ok=False, detail="households", reason="SOURCE_DOWN"),
        agent_pb2.HopStatus(hop="new", ok=False, detail="?", reason="FROM_A_LATER_VERSION"),
    ]
    found = examine()
    assert found["agent/link"].ok
    assert found["agent/source:households"].reason == "SOURCE_DOWN"
    assert found["agent/source:households"].remedy is not None
    assert found["agent/new"].reason == "INTERNAL"


def test_modules_of_this_product_are_whole() -> None:
    assert check_modules().ok


def test_a_shadowed_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shadowed_agent.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = check_modules(["exchange", "shadowed_agent"])
    assert (found.ok, found.remedy) == (False, SHADOWED)
    assert "shadowed_agent" in found.found.en


def test_the_command_exits_1_and_lists_every_hop(shuqiao: Shuqiao) -> None:
    ran = shuqiao("doctor", "--json")
    assert ran.code == 1
    hops = {finding["hop"]: finding for finding in ran.document["findings"]}
    assert hops["gateway/port"]["ok"] is True
    assert hops["gateway/tls"]["ok"] is False
    assert hops["gateway/identity"]["ok"] is None
    assert hops["gateway/tls"]["remedy"]["zh"]
    assert "✗" in shuqiao("doctor").out


def test_a_real_refused_port_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r".*"):
        SocketProbe().connect("127.0.0.1", 1)


def test_addresses_are_taken_apart() -> None:
    assert host_and_port("[::1]:7443") == ("::1", 7443)
    assert host_and_port("gateway:7443") == ("gateway", 7443)
    assert socket_file("unix:///run/a.sock") == Path("/run/a.sock")
    assert socket_file("127.0.0.1:1") is None


def test_a_certificate_of_another_root_fails_the_real_handshake(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    authority = Authority()
    who = Identity(DOMAIN, DIVISION, Role.GATEWAY, name="gateway-1")
    leaf = make_leaf(
        authority.issuing,
        who,
        key.public_key(),
        now_ms=SystemClock().now_ms(),
        lifetime_ms=3_600_000,
        hosts=["127.0.0.1"],
    )
    ders = [each.public_bytes(serialization.Encoding.DER) for each in (leaf, authority.issuing.certificate)]
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "chain.pem").write_bytes(pem_of(ders))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted, contextlib.suppress(OSError):
                server.wrap_socket(accepted, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ssl.SSLCertVerificationError):
            SocketProbe().shake("127.0.0.1", listening.getsockname()[1], Authority().root_pem)
        thread.join()
