"""The log for everybody who wants to follow it: C2SP checkpoints and tiles over HTTPS.

`/log/<gateway>/checkpoint`, `/log/<gateway>/checkpoint.witnessed` and `/log/<gateway>/tile/…`, GET and HEAD.
1. The path has its one form, or nothing is there.
2. Checkpoints and hash tiles are open: they show no entry.
3. Entry bundles are for officers and auditors: a certificate under the pinned root, not revoked, of a role
   that may read the log. A refusal of somebody known is an entry.
4. That somebody reads entries is durable in the log before the first byte is shown.
Source: c2sp.org/tlog-tiles.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from exchange.clock import Clock
from exchange.errors import (
    Code,
    EntryErased,
    ExchangeError,
    Internal,
    NoIdentity,
    NotAuthenticated,
    RoleNotAllowed,
    UnknownEntry,
)
from exchange.identity import Identity
from exchange.tlog_tiles import CHECKPOINT, EntryBundle, parse_path
from exchange.trust import TrustAnchor, TrustList
from gateway.access.method_table import MethodTable
from gateway.audit.entries.tile_reads import TileReads
from gateway.audit.log.tiles import Tiles
from gateway.log_server import LogServer
from gateway.peer_protocol import PEER_CHAIN
from gateway.registrar import Registrar

READING = "/exchange.v1.AuditService/Tail"
"""Whoever may call this may read entry bundles."""
REFUSED_AS = "HTTPS entry tiles"
WITNESSED = "checkpoint.witnessed"
ANSWER_WITHIN_S = 30.0
RETRY_AFTER_S = b"5"

_log = structlog.get_logger("gateway.log_face")
_TEXT = b"text/plain; charset=utf-8"
_BYTES = b"application/octet-stream"
_FRESH = b"no-cache"
_FOREVER = b"public, max-age=31536000, immutable"
_NEVER = b"no-store"
_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 503,
    Code.UNAVAILABLE: 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFaceParts:
    """What the face needs.

    Attributes:
        shard: name of the gateway in the paths.
        log: the audit log as tiles.
        registrar: enters refusals and readings.
        anchor: the pinned root.
        trust: returns the newest trust list.
        clock: the time.
        tls: returns the gateway's private key and chain, PEM.
        witnessed: returns the newest checkpoint with cosignatures; "" where there is none.
    """

    shard: str
    log: Tiles
    registrar: Registrar
    anchor: TrustAnchor
    trust: Callable[[], TrustList | None]
    clock: Clock
    tls: Callable[[], tuple[bytes, bytes]]
    witnessed: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What is sent."""

    status: int = 200
    kind: bytes
    caching: bytes
    body: bytes
    more: tuple[tuple[bytes, bytes], ...] = ()


class LogFace:
    """The log's HTTPS port.

    Args:
        parts: what it needs.
    """

    def __init__(self, parts: LogFaceParts) -> None:
        self._parts = parts
        self._prefix = f"/log/{parts.shard}/"
        self._table = MethodTable()
        self._reads = TileReads(record=parts.registrar.record_read)
        self._server = LogServer(app=self, tls=parts.tls, root_pem=parts.anchor.root_pem)

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; return the port.

        Raises:
            BadConfiguration: the address cannot be bound.
        """
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop serving."""
        await self._server.stop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request.

        Raises:
            TimeoutError: the peer does not take its answer.
        """
        async with asyncio.timeout(ANSWER_WITHIN_S):
            answer = await self._safe_answer(scope)
            headers = [
                (b"content-type", answer.kind),
                (b"content-length", str(len(answer.body)).encode()),
                (b"cache-control", answer.caching),
                (b"x-content-type-options", b"nosniff"),
                *answer.more,
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            body = b"" if scope["method"] == "HEAD" else answer.body
            await send({"type": "http.response.body", "body": body})

    async def _safe_answer(self, scope: Any) -> _Answer:
        if scope["method"] not in ("GET", "HEAD"):
            allow = ((b"allow", b"GET, HEAD"), (b"connection", b"close"))
            return _Answer(status=405, kind=_TEXT, caching=_NEVER, body=b"", more=allow)
        try:
            return await self._answer(scope["raw_path"], scope["query_string"], scope[PEER_CHAIN])
        except ExchangeError as error:
            return _refusal(error)
        except Exception as error:
            _log.error("log_face", error=type(error).__name__)
            return _refusal(Internal())

    async def _answer(self, raw_path: bytes, query: bytes, chain: Sequence[bytes] | None) -> _Answer:
        path = raw_path.decode("ascii", "replace")
        if query or not path.startswith(self._prefix):
            raise UnknownEntry("path")
        place = path.removeprefix(self._prefix)
        if place == CHECKPOINT:
            return _Answer(kind=_TEXT, caching=_FRESH, body=self._parts.log.checkpoint.encode())
        if place == WITNESSED:
            return self._witnessed()
        part = parse_path(place)
        if isinstance(part, EntryBundle):
            return await self._bundle(part, chain)
        return _Answer(kind=_BYTES, caching=_FOREVER, body=self._parts.log.hashes(part))

    def _witnessed(self) -> _Answer:
        note = self._parts.witnessed()
        if not note:
            raise UnknownEntry(WITNESSED)
        return _Answer(kind=_TEXT, caching=_FRESH, body=note.encode())

    async def _bundle(self, bundle: EntryBundle, chain: Sequence[bytes] | None) -> _Answer:
        person = self._known(chain)
        try:
            self._table.check(READING, person.role)
        except RoleNotAllowed as error:
            await self._parts.registrar.record_refusal(person, REFUSED_AS, error.reason)
            raise
        log = self._parts.log
        log.check(bundle)
        await self._reads.enter(person, first=bundle.first, end=bundle.end, size=log.size)
        return _Answer(kind=_BYTES, caching=_NEVER, body=log.entries(bundle))

    def _known(self, chain: Sequence[bytes] | None) -> Identity:
        if not chain:
            raise NoIdentity("no certificate")
        trust, now_ms = self._parts.trust(), self._parts.clock.now_ms()
        return self._parts.anchor.verify_chain(chain, at_ms=now_ms, trust=trust).identity


def _refusal(error: ExchangeError) -> _Answer:
    """Return an error as its status, and a body that says it in both languages."""
    status = 410 if isinstance(error, EntryErased) else _STATUS.get(error.code, 500)
    sentence = error.sentence
    told = {
        "code": error.name,
        "reason": {"zh": sentence.zh, "en": sentence.en},
        "remedy": {"zh": sentence.remedy_zh, "en": sentence.remedy_en},
    }
    more = ((b"retry-after", RETRY_AFTER_S),) if status == 503 else ()
    if isinstance(error, NotAuthenticated):
        # The certificate belongs to the connection: whoever has another must come again.
        more = ((b"connection", b"close"),)
    body = json.dumps(told, ensure_ascii=False).encode()
    return _Answer(status=status, kind=b"application/json", caching=_NEVER, body=body, more=more)
