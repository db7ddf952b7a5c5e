"""Keeps the newest trust list: in memory for whoever decides, on disk so that no restart goes back.

A newer list counts from the moment it verified; writing it down comes after, because a full disk must not
delay a revocation. A crash between the two leaves the list before on disk: the authority tells the newer one
again at the next start. An unwritten list is written with the next offer.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from exchange.canonical import TRUST_LIST
from exchange.clock import Clock
from exchange.durable import replace_file
from exchange.errors import AuthorityAway, ExchangeError, StoreDamaged
from exchange.trust import TrustAnchor, TrustList, read_trust_list
from exchange.v1 import common_pb2

if TYPE_CHECKING:
    from exchange.v1 import trust_pb2_grpc

MAX_SILENCE_S = 150.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class TrustFeed:
    """The newest trust list that was seen.

    Args:
        anchor: what a list must verify against.
        path: where the newest is kept; its folder exists.
        clock: tells the time.

    Raises:
        StoreDamaged: the file is there but does not hold a list of this anchor's authority.
    """

    def __init__(self, *, anchor: TrustAnchor, path: Path, clock: Clock) -> None:
        self.anchor = anchor
        self._path = path
        self._clock = clock
        self._callbacks: list[Callable[[TrustList], None]] = []
        self._current = self._load()
        self._written = True

    @property
    def current(self) -> TrustList | None:
        """The newest list, None before the first."""
        return self._current

    def subscribe(self, callback: Callable[[TrustList], None]) -> None:
        """Have every newer list told to a callback, which must not raise."""
        self._callbacks.append(callback)

    def offer(self, statement: common_pb2.Statement) -> bool:
        """Take over a list if it is newer.

        Returns:
            True when it was taken over, False when it is the one held.

        Raises:
            ExchangeError: as TrustAnchor.verify_trust_list; nothing was taken over.
            StoreDamaged: it counts but could not be written down.
        """
        held = self._current
        trust = self.anchor.verify_trust_list(statement, now_ms=self._clock.now_ms(), held=held)
        newer = trust is not held
        if newer:
            self._current, self._written = trust, False
            for callback in self._callbacks:
                callback(trust)
        if not self._written:
            self._write(trust)
        return newer

    def _write(self, trust: TrustList) -> None:
        try:
            replace_file(self._path, trust.statement.SerializeToString())
        except OSError as error:
            raise StoreDamaged(self._path.name) from error
        self._written = True

    def _load(self) -> TrustList | None:
        """Return the list on disk; it is verified for the time it was signed, for it may have aged since."""
        try:
            statement = common_pb2.Statement.FromString(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            raise StoreDamaged(self._path.name) from error
        try:
            trust = read_trust_list(statement)
            self.anchor.verify_statement(statement, TRUST_LIST, at_ms=trust.issued_at_ms, trust=None)
            return self.anchor.verify_trust_list(statement, now_ms=trust.issued_at_ms, held=None)
        except ExchangeError as error:
            raise StoreDamaged(self._path.name) from error


def _silent(_: Exception) -> None:
    return None


async def watch_authority(
    feed: TrustFeed, address: str, root_pem: bytes, *, alarm: Callable[[Exception], None] = _silent
) -> None:
    """Offer every list that the authority tells to the feed; runs until it is cancelled.

    Args:
        feed: takes the lists.
        address: the authority's enrolment port, "host:port".
        root_pem: the pinned root.
        alarm: told why a stream ended or a list was refused, each time.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            async with _stub(address, root_pem) as stub:
                async for statement in _lists(stub):
                    feed.offer(statement)
                    pause_s = FIRST_PAUSE_S
        except ExchangeError as error:
            alarm(error)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  spreads reconnections, no secret
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


@asynccontextmanager
async def _stub(address: str, root_pem: bytes) -> AsyncIterator["trust_pb2_grpc.EnrolmentServiceAsyncStub"]:
    import grpc

    from exchange.tls import CHANNEL_OPTIONS, channel_credentials
    from exchange.v1 import trust_pb2_grpc

    credentials = channel_credentials(root_pem=root_pem)
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        yield trust_pb2_grpc.EnrolmentServiceStub(channel)


async def _lists(stub: Any) -> AsyncIterator[common_pb2.Statement]:
    """Yield what the authority tells until the stream ends, breaks or falls silent."""
    import grpc

    from exchange.rpc_errors import from_rpc_error
    from exchange.v1 import trust_pb2

    call = stub.WatchTrustList(trust_pb2.WatchTrustListRequest())
    try:
        while True:
            async with asyncio.timeout(MAX_SILENCE_S):
                message = await call.read()
            if message is grpc.aio.EOF:
                return
            yield message.trust_list
    except TimeoutError as error:
        raise AuthorityAway("no trust list", hop="authority") from error
    except grpc.RpcError as error:
        raise from_rpc_error(error, hop="authority", away=AuthorityAway) from error
    finally:
        call.cancel()
