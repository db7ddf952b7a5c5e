import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.provider.connectors import http as http_module
from agent.provider.connectors.http import HttpConnector, fill, follow, split_pointer
from exchange.errors import BadConfiguration, BadParameter, RowCap, SourceDown, SourceTimeout

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Service:
    """A real HTTP server on the loopback address whose answers a test chooses."""

    answer: Callable[[str], bytes | None] = lambda target: reply(200, b"{}")
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _now: int = 0

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                target = head.split(" ")[1]
                self.targets.append(target)
                lines = head.split("\r\n")[1:-2]
                self.headers.append({k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)})
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
                await asyncio.sleep(0)
                answer = self.answer(target)
                if answer is None:
                    await reader.read()  # never answers: waits for the other side to go
                    break
                writer.write(answer)
                await writer.drain()
                self._now -= 1
        writer.close()


def reply(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def said(document: object) -> bytes:
    return reply(200, json.dumps(document).encode())


@pytest.fixture
async def service():
    one = Service()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()


def connector(service, **changes):
    options = {
        "name": "people",
        "origin": f"http://127.0.0.1:{service.port}",
        "path": "/people/{citizen_id}",
        "records": "/data",
        "columns": ("/name", "/home/street"),
        "row_cap": 3,
        "timeout_s": 5.0,
        "allow": LOOPBACK,
    }
    return HttpConnector(**(options | changes))


async def test_json_pointers_map_each_answer_to_columns(service):
    answers = {
        "/people/1": said({"data": [{"name": "甲", "home": {"street": "滨江路"}}, {"name": "乙"}]}),
        "/people/2": said({"data": {"name": "丙", "home": None}}),
        "/people/3": said({"data": []}),
        "/people/4": said({"data": None}),
        "/people/5": reply(404, b"none"),
    }
    service.answer = answers.__getitem__
    source = connector(service)
    await source.check()
    found = await source.read([{"citizen_id": str(n)} for n in range(1, 6)], timeout_s=5)
    assert found == [[("甲", "滨江路"), ("乙", None)], [("丙", None)], [], [], []]
    await source.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_addresses_are_denied_unless_listed_and_never_connected_to(service, host):
    source = connector(service, origin=f"http://{host}:{service.port}", allow=())
    with pytest.raises(BadConfiguration):
        await source.check()
    with pytest.raises(SourceDown):
        await source.read([{"citizen_id": "1"}], timeout_s=5)
    assert service.targets == []
    await source.close()


async def test_the_address_that_was_judged_is_the_one_connected_to(service, monkeypatch):
    asked = []

    async def resolver(host, port):
        asked.append(host)
        return [ip_address("10.0.0.1"), ip_address("127.0.0.1")]

    monkeypatch.setattr(http_module, "resolve", resolver)
    service.answer = lambda target: said({"data": {"name": "甲"}})
    source = connector(service, origin=f"http://people.example:{service.port}")
    assert await source.read([{"citizen_id": "1"}], timeout_s=5) == [[("甲", None)]]
    assert asked == ["people.example"]
    assert service.headers[0]["host"] == f"people.example:{service.port}"
    await source.close()


@pytest.fixture
def certificate(tmp_path):
    """A certificate for people.example alone, and its key, in one file that is also its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "people.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("people.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "people.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("host", "good"), [("people.example", True), ("other.example", False)])
async def test_the_certificate_is_checked_for_the_origins_name_and_not_for_the_address(
    certificate, monkeypatch, host, good
):
    async def resolver(host, port):
        return [ip_address("127.0.0.1")]

    monkeypatch.setattr(http_module, "resolve", resolver)
    one = Service(answer=lambda target: said({"data": {"name": "甲"}}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=context)
    one.port = server.sockets[0].getsockname()[1]
    source = connector(one, origin=f"https://{host}:{one.port}", ca_file=certificate)
    (outcome,) = await source.read([{"citizen_id": "1"}], timeout_s=10)
    assert (outcome == [("甲", None)]) if good else isinstance(outcome, SourceDown)
    assert names == [host]
    assert bool(one.targets) == good
    await source.close()
    server.close()


async def test_a_redirect_is_not_followed(service):
    service.answer = lambda target: reply(302, b"", f"Location: http://127.0.0.1:{service.port}/elsewhere")
    source = connector(service)
    assert isinstance((await source.read([{"citizen_id": "1"}], timeout_s=5))[0], SourceDown)
    assert service.targets == ["/people/1"]
    await source.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_huge_body_is_cut_off(service, chunked):
    huge = b" " * 4096
    answer = reply(200, huge)
    if chunked:
        answer = (
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + huge + b"\r\n0\r\n\r\n"
        )
    service.answer = lambda target: answer
    source = connector(service, max_body_bytes=2048)
    outcome = (await source.read([{"citizen_id": "1"}], timeout_s=5))[0]
    assert isinstance(outcome, SourceDown)
    assert "2048" in outcome.subject
    await source.close()


async def test_a_slow_answer_spoils_only_its_own_key(service):
    service.answer = lambda target: None if target.endswith("/2") else said({"data": {"name": "甲"}})
    source = connector(service)
    found = await source.read([{"citizen_id": "1"}, {"citizen_id": "2"}], timeout_s=0.5)
    assert found[0] == [("甲", None)]
    assert isinstance(found[1], SourceTimeout)
    await source.close()


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"",
        b"[NaN]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data": 5}',
        b'{"data": ["text"]}',
        b'"data',
    ],
)
async def test_an_answer_that_is_no_such_json_is_down_for_its_key(service, body):
    good = said({"data": {"name": "甲"}})
    service.answer = lambda target: reply(200, body) if target.endswith("/1") else good
    source = connector(service)
    found = await source.read([{"citizen_id": "1"}, {"citizen_id": "2"}], timeout_s=5)
    assert isinstance(found[0], SourceDown)
    assert found[1] == [("甲", None)]
    await source.close()


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 500, 503])
async def test_any_status_but_200_and_404_is_down(service, status):
    service.answer = lambda target: reply(status, b"")
    source = connector(service)
    assert isinstance((await source.read([{"citizen_id": "1"}], timeout_s=5))[0], SourceDown)
    await source.close()


async def test_a_compressed_body_is_refused(service):
    service.answer = lambda target: reply(200, b"\x1f\x8b", "Content-Encoding: gzip")
    source = connector(service)
    assert isinstance((await source.read([{"citizen_id": "1"}], timeout_s=5))[0], SourceDown)
    assert service.headers[0]["accept-encoding"] == "identity"
    await source.close()


async def test_the_row_cap_is_the_outcome_of_the_key_that_exceeds_it_alone(service):
    service.answer = lambda target: said({"data": [{"name": "甲"}] * int(target[-1])})
    source = connector(service)
    found = await source.read([{"citizen_id": "4"}, {"citizen_id": "3"}], timeout_s=5)
    assert isinstance(found[0], RowCap)
    assert len(found[1]) == 3
    await source.close()


async def test_no_more_requests_run_at_once_than_configured(service):
    service.answer = lambda target: said({"data": {"name": "甲"}})
    source = connector(service, concurrency=3)
    found = await source.read([{"citizen_id": str(n)} for n in range(20)], timeout_s=10)
    assert all(rows == [("甲", None)] for rows in found)
    assert service.most_at_once <= 3
    await source.close()


async def test_credentials_go_with_every_request_and_cookies_with_none(service):
    service.answer = lambda target: reply(200, b"{}", "Set-Cookie: a=b")
    source = connector(service, credentials="Bearer abc")
    for _ in range(2):
        await source.read([{"citizen_id": "1"}], timeout_s=5)
    assert [h["authorization"] for h in service.headers] == ["Bearer abc"] * 2
    assert all("cookie" not in h for h in service.headers)
    await source.close()


async def test_proxies_of_the_environment_are_not_used(service, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    service.answer = lambda target: said({"data": {"name": "甲"}})
    source = connector(service)
    assert await source.read([{"citizen_id": "1"}], timeout_s=5) == [[("甲", None)]]
    await source.close()


async def test_a_service_that_is_not_there_is_down(service):
    source = connector(service, origin="http://127.0.0.1:1")
    with pytest.raises(SourceDown):
        await source.check()
    assert isinstance((await source.read([{"citizen_id": "1"}], timeout_s=5))[0], SourceDown)
    await source.close()


@pytest.mark.parametrize("value", ["../admin", "..", ".", "a/b", "a\\b", "", "a\r\nX: y", "a\0", "\ud800"])
async def test_a_value_that_would_change_the_path_spoils_only_itself(service, value):
    service.answer = lambda target: said({"data": {"name": "甲"}})
    source = connector(service)
    found = await source.read([{"citizen_id": value}, {"citizen_id": "1"}], timeout_s=5)
    assert isinstance(found[0], BadParameter)
    assert found[1] == [("甲", None)]
    assert service.targets == ["/people/1"]
    await source.close()


@pytest.mark.parametrize(
    ("template", "key", "target"),
    [
        ("/p/{a}", {"a": "张三"}, b"/p/%E5%BC%A0%E4%B8%89"),
        ("/p/{a}", {"a": "x?y=1#z"}, b"/p/x%3Fy%3D1%23z"),
        ("/p/{a}", {"a": "%2e%2e"}, b"/p/%252e%252e"),
        ("/p/{a}", {"a": "{b}"}, b"/p/%7Bb%7D"),
        ("/p?k={a}&v=full", {"a": "1&v=less"}, b"/p?k=1%26v%3Dless&v=full"),
        ("/p?k={a}", {"a": "../x y"}, b"/p?k=..%2Fx%20y"),
        ("/p/{a}/{b}?c={a}", {"a": "1", "b": "2"}, b"/p/1/2?c=1"),
    ],
)
def test_values_are_encoded_into_their_places(template, key, target):
    assert fill(template, key, name="s") == target


async def test_encoded_values_reach_the_service_as_encoded(service):
    service.answer = lambda target: said({"data": {"name": "甲"}})
    source = connector(service, path="/people?id={citizen_id}&view=full")
    await source.read([{"citizen_id": "1&view=less#x"}], timeout_s=5)
    assert service.targets == ["/people?id=1%26view%3Dless%23x&view=full"]
    await source.close()


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("", {"a/b": {"~": [1, 2]}}), ("/a~1b/~0/1", 2), ("/a~1b/~0", [1, 2])],
)
def test_json_pointers_are_those_of_rfc_6901(pointer, value):
    assert follow({"a/b": {"~": [1, 2]}}, split_pointer(pointer)) == value
