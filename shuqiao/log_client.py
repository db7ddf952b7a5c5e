"""Reads a gateway's log over HTTPS, TLS 1.3 only, as whoever acts. What comes is bounded and not believed."""

import json
import ssl
import time
from collections.abc import Callable
from types import TracebackType

import httpx

from exchange.errors import BY_REASON, EntryErased, ExchangeError, GatewayAway, Oversized, UnknownEntry
from exchange.tlog_tiles import MAX_BUNDLE_BYTES
from exchange.tls import load_identity
from shuqiao.door import Holder

DEFAULT_PORT = 7445
TIMEOUT_S = 30.0
ATTEMPTS = 4
PAUSE_S = 0.5
MAX_ERROR_BYTES = 16_384
HOP = "gateway log"


class LogClient:
    """A connection to one log.

    Args:
        address: "host:port".
        shard: name of the gateway.
        holder: the identity that acts, and the root that the server's certificate must lead to.
        pause: waits some seconds before another attempt.
    """

    def __init__(
        self, *, address: str, shard: str, holder: Holder, pause: Callable[[float], None] = time.sleep
    ) -> None:
        context = ssl.create_default_context(cadata=holder.root_pem().decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        load_identity(context, key_pem=holder.key_pem(), chain_pem=holder.chain_pem())
        self._address = address
        self._pause = pause
        self._client = httpx.Client(
            base_url=f"https://{address}/log/{shard}/", verify=context, trust_env=False, timeout=TIMEOUT_S
        )

    def __enter__(self) -> "LogClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch(self, path: str) -> bytes:
        """Return what is at a path below the log's address.

        Raises:
            UnknownEntry: nothing is.
            EntryErased: the entries there are no longer kept.
            GatewayAway: the gateway cannot be reached.
            ExchangeError: whatever the gateway said.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return self._once(path)
            except ExchangeError as error:
                if not error.retryable:
                    raise
            self._pause(PAUSE_S * attempt)
        return self._once(path)

    def _once(self, path: str) -> bytes:
        try:
            with self._client.stream("GET", path) as response:
                if response.status_code == httpx.codes.OK:
                    return _bounded(response, MAX_BUNDLE_BYTES)
                raise _refusal(response.status_code, _bounded(response, MAX_ERROR_BYTES))
        except httpx.HTTPError as error:
            raise GatewayAway(f"{self._address}: {type(error).__name__}", hop=HOP) from error


def _bounded(response: httpx.Response, most: int) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > most:
            raise Oversized("answer of the log", hop=HOP)
        parts.append(part)
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> ExchangeError:
    """Return the error that the gateway meant: by its code, or else by the status."""
    try:
        code = json.loads(body)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        code = ""
    for kind in BY_REASON.values():
        if kind().name == code:
            return kind(hop=HOP)
    by_status: dict[int, type[ExchangeError]] = {404: UnknownEntry, 410: EntryErased}
    return by_status.get(status, GatewayAway)(f"HTTP {status}", hop=HOP)
