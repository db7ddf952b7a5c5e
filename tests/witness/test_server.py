import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exchange.add_checkpoint import MAX_REQUEST_BYTES, SIZE_TYPE
from exchange.cosignature import verified_lines
from exchange.errors import BadConfiguration
from tests.support.witnesses import GrowingLog, MemoryWitnessStore, cosigner, witness
from witness.config import Listen
from witness.judge import Reply
from witness.server import MAX_CONNECTIONS, WitnessServer


@asynccontextmanager
async def serving(
    judge: Callable[[bytes], Reply] | None = None, **listen: str
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    server = WitnessServer(judge or witness(MemoryWitnessStore()).add_checkpoint)
    port = await server.start(Listen(host="127.0.0.1", port=0, **listen))
    trusted = ssl.create_default_context(cafile=listen.get("certificate_file"))
    try:
        async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=30) as http:
            yield f"{'https' if listen else 'http'}://127.0.0.1:{port}", http
    finally:
        await server.stop()


async def test_a_log_gets_its_cosignature_over_http() -> None:
    log = GrowingLog(7)
    async with serving() as (url, http):
        answer = await http.post(f"{url}/add-checkpoint", content=log.request(0))
        assert answer.status_code == 200
        assert verified_lines(log.head().text, answer.text, cosigner().key)
        again = await http.post(f"{url}/add-checkpoint", content=log.request(0))
        assert (again.status_code, again.headers["content-type"], again.text) == (409, SIZE_TYPE, "7\n")


def certificate(folder: Path) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "witness")]), datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"certificate_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


async def test_a_log_gets_its_cosignature_over_https(tmp_path: Path) -> None:
    log = GrowingLog(7)
    async with serving(**certificate(tmp_path)) as (url, http):
        answer = await http.post(f"{url}/add-checkpoint", content=log.request(0))
        assert verified_lines(log.head().text, answer.text, cosigner().key)


async def test_nothing_older_than_tls_1_3_is_spoken(tmp_path: Path) -> None:
    async with serving(**certificate(tmp_path)) as (url, _):
        old = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx.AsyncClient(verify=old, trust_env=False) as http:
            with pytest.raises(httpx.ConnectError):
                await http.post(f"{url}/add-checkpoint", content=b"")


async def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(BadConfiguration):
        async with serving(certificate_file=str(tmp_path / "cert.pem"), key_file=str(tmp_path / "none.pem")):
            raise AssertionError("not served")


async def test_an_address_that_is_taken_is_told() -> None:
    async with serving() as (url, _):
        port = int(url.rpartition(":")[2])
        with pytest.raises(BadConfiguration, match=r"listen\.port"):
            await WitnessServer(lambda _: Reply(200, b"")).start(Listen(host="127.0.0.1", port=port))


async def test_only_the_bytes_of_a_request_that_may_be_one_are_read() -> None:
    judged: list[int] = []

    def judge(body: bytes) -> Reply:
        judged.append(len(body))
        return Reply(400, b"")

    async with serving(judge) as (url, http):
        fits = await http.post(f"{url}/add-checkpoint", content=b"x" * MAX_REQUEST_BYTES)
        over = await http.post(f"{url}/add-checkpoint", content=b"x" * (MAX_REQUEST_BYTES + 1))
    assert (fits.status_code, over.status_code, judged) == (400, 413, [MAX_REQUEST_BYTES])


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/add-checkpoint", 405), ("POST", "/", 404)])
async def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    async with serving() as (url, http):
        assert (await http.request(method, url + path)).status_code == status


async def test_a_witness_that_stops_answers_what_is_under_way() -> None:
    loop = asyncio.get_running_loop()
    began, go_on = asyncio.Event(), asyncio.Event()

    def judge(body: bytes) -> Reply:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
        return Reply(200, b"done\n")

    server = WitnessServer(judge)
    port = await server.start(Listen(host="127.0.0.1", port=0))
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        asked = asyncio.create_task(http.post(f"http://127.0.0.1:{port}/add-checkpoint", content=b"x"))
        await began.wait()
        stopping = asyncio.create_task(server.stop())
        go_on.set()
        assert (await asked).text == "done\n"
        await stopping


@pytest.mark.parametrize("begun", [b"", b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-"])
async def test_connections_on_which_no_request_comes_keep_no_log_from_its_witness(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("witness.server.HEAD_TIMEOUT_S", 0.2)
    log = GrowingLog(7)
    async with serving() as (url, http):
        port = int(url.rpartition(":")[2])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for _, writer in idle:
            writer.write(begun)
        async with asyncio.timeout(10):
            assert {await reader.read() for reader, _ in idle} == {b""}
        answer = await http.post(f"{url}/add-checkpoint", content=log.request(0))
        assert answer.status_code == 200
        for _, writer in idle:
            writer.close()
