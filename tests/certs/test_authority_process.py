"""The authority as a process of its own, its configuration and its founding."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.config import AuthorityConfig, load
from certs.founding import initialise
from certs.own_keys import OwnKeys, replace_issuing
from certs.profiles import Lifetimes
from exchange.clock import SystemClock
from exchange.errors import BadConfiguration, BadIdentifier, Malformed, NoIdentity, StoreDamaged
from exchange.keystore import FileKeyStore
from exchange.tls import ENVIRONMENT, peer
from tests.support.paper import Paper
from tests.support.running_authority import (
    DIVISION,
    DOMAIN,
    PASSPHRASE,
    admin_folder,
    found_region,
    region_at,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "authority.toml"
WANTED = (
    "from pathlib import Path; import sys; from certs.app import serve; sys.exit(serve(Path(sys.argv[1])))"
)


def written(folder: Path, config: AuthorityConfig) -> Path:
    path = folder / "authority.toml"
    path.write_text(
        f'folder = "{config.folder.name}"\npassphrase_file = "passphrase"\n'
        f'division = "{DIVISION}"\ntrust_domain = "{DOMAIN}"\n'
        '[listen]\nhost = "127.0.0.1"\nenrolment_port = 0\nservice_port = 0\nhosts = ["localhost"]\n'
    )
    return path


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], Path]]:
    path = written(tmp_path, found_region(tmp_path))
    environ = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    with subprocess.Popen(
        [sys.executable, "-c", WANTED, str(path)],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        word, _, told = running.stdout.readline().partition(" ")
        assert word == "ready"
        yield running, json.loads(told), tmp_path
        running.kill()


def shake_hands(address: str, root: Path, version: ssl.TLSVersion) -> str | None:
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=str(root))
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.version()


def test_tls_1_2_is_refused_in_the_handshake_and_1_3_is_not(
    process: tuple[subprocess.Popen[str], dict[str, Any], Path],
) -> None:
    _, told, folder = process
    root = folder / "authority" / "root.pem"
    assert shake_hands(told["enrolment"], root, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    for address in (told["enrolment"], told["service"]):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(address, root, ssl.TLSVersion.TLSv1_2)


def test_it_stops_cleanly_when_told_and_says_nothing_else_on_standard_output(
    process: tuple[subprocess.Popen[str], dict[str, Any], Path],
) -> None:
    running, told, _ = process
    assert told["process"] == "authority" and told["trust_list"] == 1
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0
    assert running.stdout is not None and running.stdout.read() == ""


@pytest.mark.parametrize("version", [b"TLSv1.2", b""])
def test_a_call_over_less_than_tls_1_3_has_no_identity(version: bytes) -> None:
    class Call:
        def auth_context(self) -> dict[str, list[bytes]]:
            return {"ssl_tls_version": [version], "x509_pem_cert": [b"-----BEGIN"]}

    with pytest.raises(NoIdentity):
        peer(Call(), Paper().anchor(), None, 0)  # type: ignore[arg-type]


def test_the_example_loads() -> None:
    config = load(EXAMPLE)
    assert config.listen.service_port == 7441 and config.trust_list.suite == 2
    assert config.lifetimes.lifetimes() == Lifetimes()
    assert config.folder == EXAMPLE.parent / "authority"


def test_every_fault_of_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'folder = "x"\ndivision = "97"\ntrust_domain = "UPPER"\nextra = 1\n'
        '[listen]\nenrolment_port = 70000\n[lifetimes]\nagent = "forever"\ngateway = "5s"\n'
        "[trust_list]\nresign_s = 200\n"
    )
    with pytest.raises(BadConfiguration) as refused:
        load(path)
    for part in (
        "passphrase_file",
        "division",
        "trust_domain",
        "extra",
        "listen.enrolment_port",
        "lifetimes.agent",
        "lifetimes.gateway",
        "trust_list",
    ):
        assert f"{part}:" in refused.value.subject


@pytest.mark.parametrize("content", [b"not toml [", b"\xff", None])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadConfiguration):
        load(path)


def test_founding_makes_two_administrators_and_keeps_the_root_key_encrypted(tmp_path: Path) -> None:
    found_region(tmp_path)
    for name in ("wang", "li"):
        assert str(admin_folder(tmp_path, name).statement_signer().identity) == f"admin/{name}"
    sealed = (tmp_path / "authority" / "root-key.pem").read_bytes()
    assert b"ENCRYPTED" in sealed
    with pytest.raises(ValueError):
        load_pem_private_key(sealed, PASSPHRASE)
    load_pem_private_key(sealed, b"kept elsewhere")


@pytest.mark.parametrize("fault", ["one admin", "no passphrase", "twice", "hosts", "division"])
def test_founding_refuses_what_will_not_do(tmp_path: Path, fault: str) -> None:
    admins = {name: (tmp_path / name, PASSPHRASE) for name in ("wang", "li")}
    told: dict[str, Any] = {
        "division": DIVISION,
        "trust_domain": DOMAIN,
        "passphrase": PASSPHRASE,
        "admins": admins,
    }
    if fault == "one admin":
        told["admins"] = {"wang": admins["wang"]}
    if fault == "no passphrase":
        told["passphrase"] = b""
    if fault == "hosts":
        told["hosts"] = ["*"]
    if fault == "division":
        told["division"] = "97"
    if fault == "twice":
        initialise(tmp_path / "authority", **told)
    with pytest.raises((BadConfiguration, Malformed, NoIdentity, BadIdentifier)):
        initialise(tmp_path / "authority", **told)


def test_the_root_key_is_needed_for_a_new_issuing_certificate_alone(tmp_path: Path) -> None:
    config = found_region(tmp_path)
    folder = config.folder
    root_key = (folder / "root-key.pem").read_bytes()
    (folder / "root-key.pem").unlink()
    keystore = FileKeyStore(folder=folder / "keys", passphrase=PASSPHRASE)
    now_ms = SystemClock().now_ms()
    shape: dict[str, Any] = {
        "folder": folder,
        "keystore": keystore,
        "division": DIVISION,
        "trust_domain": DOMAIN,
        "lifetimes": Lifetimes(),
    }
    before = OwnKeys(hosts=["localhost"], **shape)
    with pytest.raises(BadConfiguration):
        replace_issuing(root_key_pem=root_key, root_passphrase=b"wrong", now_ms=now_ms, **shape)
    replace_issuing(root_key_pem=root_key, root_passphrase=b"kept elsewhere", now_ms=now_ms, **shape)
    after = OwnKeys(hosts=["localhost"], **shape)
    assert before.issuer.certificate != after.issuer.certificate
    for keys in (before, after):
        keys.anchor.verify_chain(keys.signer(now_ms).sign(b"", b"").chain, at_ms=now_ms, trust=None)


def test_its_own_certificates_are_made_anew_before_they_end(tmp_path: Path) -> None:
    config = found_region(tmp_path)
    keys = OwnKeys(
        folder=config.folder,
        keystore=FileKeyStore(folder=config.folder / "keys", passphrase=PASSPHRASE),
        division=DIVISION,
        trust_domain=DOMAIN,
        hosts=["localhost"],
        lifetimes=Lifetimes(authority_ms=600_000),
    )
    now_ms = SystemClock().now_ms()
    first, signer = keys.serving(now_ms), keys.signer(now_ms)
    assert keys.serving(now_ms + 60_000) == first and keys.signer(now_ms + 60_000) is signer
    later = keys.serving(now_ms + 500_000)
    assert later != first and keys.signer(now_ms + 500_000) is not signer
    assert x509.load_pem_x509_certificate(later[1]).serial_number


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async with region_at(tmp_path) as region:
        listen = region.config.listen.model_copy(update={"enrolment_port": region.running.enrolment_port})
        with pytest.raises(BadConfiguration):
            async with region_at(tmp_path, region.config.model_copy(update={"listen": listen})):
                pass


def test_a_folder_without_its_issuing_key_does_not_start(tmp_path: Path) -> None:
    config = found_region(tmp_path)
    keystore = FileKeyStore(folder=config.folder / "keys", passphrase=PASSPHRASE)
    for name in keystore.names():
        keystore.delete(name)
    with pytest.raises(StoreDamaged):
        OwnKeys(
            folder=config.folder,
            keystore=keystore,
            division=DIVISION,
            trust_domain=DOMAIN,
            hosts=["localhost"],
            lifetimes=Lifetimes(),
        )
