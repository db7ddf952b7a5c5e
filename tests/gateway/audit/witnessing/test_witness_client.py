"""Whatever bytes come over the wire from a witness, the gateway takes it for away and goes on."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import httpx
import pytest

from exchange.add_checkpoint import AddCheckpoint
from exchange.errors import WitnessAway
from exchange.witness_policy import PolicyWitness
from gateway.audit.witnessing.client import MAX_ANSWER_BYTES, Cosigned, Holds, WitnessClient, new_http
from tests.support.audit import SIGNER
from tests.support.witnesses import START_MS, GrowingLog, cosigner

LOG = GrowingLog(3, signer=SIGNER)
REQUEST = AddCheckpoint(0, b"", LOG.note())
LINE = cosigner().cosign(LOG.head().text, time_s=START_MS // 1000).line.encode()
BOMB = gzip.compress(bytes(50_000_000))
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(*parts: bytes, close: bool = True) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if not close:
            await reader.read()
        writer.close()

    return serve


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
    except ConnectionError:
        writer.close()


def headed(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer(serve: Serve, *, timeout_s: float = 2.0) -> object:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    witness = PolicyWitness("w", cosigner().key, f"http://127.0.0.1:{port}")
    async with server, new_http() as http:
        client = WitnessClient(witness=witness, http=http, timeout_s=timeout_s)
        return await client.ask(REQUEST, now_s=START_MS // 1000)


async def test_a_good_answer_is_a_cosignature() -> None:
    assert isinstance(await answer(saying(headed(LINE))), Cosigned)


async def test_a_size_is_read_whatever_else_its_type_says() -> None:
    kind = "Content-Type: Text/X.Tlog.Size; charset=utf-8"
    assert await answer(saying(headed(b"17\n", kind, status="409 Conflict"))) == Holds(17)


@pytest.mark.parametrize(
    "serve",
    [
        saying(),
        saying(b"\0" * 100),
        saying(b"SSH-2.0-OpenSSH\r\n"),
        saying(b"HTTP/1.1 200 OK\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nshort"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"x" * (MAX_ANSWER_BYTES + 1)),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        saying(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\n"),
        saying(b"HTTP/1.1 \xff\xfe OK\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe\r\nContent-Length: 0\r\n\r\n"),
        saying(headed(BOMB, "Content-Encoding: gzip")),
        saying(headed(gzip.compress(LINE), "Content-Encoding: gzip")),
        saying(headed(b"", "Location: http://127.0.0.1:1/", status="301 Moved")),
        saying(headed(b"1e\n", "Content-Type: text/x.tlog.size", status="409 Conflict")),
        saying(headed(b"no\n", "Content-Type: text/x.tlog.size", status="409 Conflict")),
        flood,
    ],
)
async def test_bytes_that_are_no_answer_are_a_witness_that_is_away(serve: Serve) -> None:
    try:
        said = await answer(serve)
    except WitnessAway:
        return
    # A conflict without a size says nothing either.
    assert said == Holds(None)


@pytest.mark.parametrize(
    "serve", [saying(close=False), saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", close=False)]
)
async def test_a_silence_ends_with_the_time_allowed(serve: Serve) -> None:
    with pytest.raises(WitnessAway, match=r"0\.05 s"):
        await answer(serve, timeout_s=0.05)


async def test_nobody_listens() -> None:
    witness = PolicyWitness("w", cosigner().key, "http://127.0.0.1:1")
    async with new_http() as http:
        client = WitnessClient(witness=witness, http=http, timeout_s=2)
        with pytest.raises(WitnessAway, match="ConnectError"):
            await client.ask(REQUEST, now_s=0)


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await answer(saying(headed(LINE))), Cosigned)


async def test_an_address_outside_of_ascii_is_only_a_witness_that_is_away() -> None:
    witness = PolicyWitness("w", cosigner().key, "http://\u89c1\u8bc1.invalid")
    async with httpx.AsyncClient(trust_env=False) as http:
        client = WitnessClient(witness=witness, http=http, timeout_s=2)
        with pytest.raises(WitnessAway):
            await client.ask(REQUEST, now_s=0)
