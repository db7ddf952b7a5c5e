"""Reads the audit log as officers and programs do: follows it without missing or repeating, and searches it.

1. `next_index` is the only state: every entry before it was told or does not fit. Who keeps it and begins
   there again goes on rightly, whatever ended in between.
2. A connection that is lost is made again, with growing pauses; only the first one must succeed at once.
3. A gateway that goes back, repeats or leaves its own range is not believed.
"""

import random as randomness
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from exchange.errors import ExchangeError, GatewayAway, ReceiptBroken
from exchange.v1 import audit_pb2, audit_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling

FIRST_PAUSE_S, MAX_PAUSE_S = 0.2, 5.0
MAX_TRIES = 8
"""Connections in a row that may fail where the log is only read to its end."""
READ_TIMEOUT_S = 600.0
"""How long one connection may read the log to its end; a longer reading goes on in the next."""
SEARCH_PAGE = 500

Dial = Callable[[], AbstractContextManager[grpc.Channel]]
"""Opens a channel to the gateway."""


class Tailed(NamedTuple):
    """One entry of the log as it was read."""

    entry: int
    leaf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Some entries, or none where there is only progress to tell.

    Attributes:
        next_index: from where to go on once the entries are dealt with.
        checkpoint: one that covers them, a C2SP signed note; not verified here.
        witnessed_size: of the newest head that witnesses have cosigned, as the gateway says.
    """

    entries: Sequence[Tailed]
    next_index: int
    checkpoint: str
    witnessed_size: int

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self.checkpoint.partition("\n")[0]


class Lost(NamedTuple):
    """A connection that was lost and will be made again."""

    error: ExchangeError
    next_index: int
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some entries that were found.

    Attributes:
        searched_size: how many entries of the log were looked at, from 0 on.
    """

    entries: Sequence[Tailed]
    searched_size: int
    witnessed_size: int


def state_of(index: int, witnessed_size: int) -> str:
    """Return how far an entry's place is vouched for: "witnessed" or "checkpointed".

    What is committed is checkpointed: the gateway makes both durable together.
    """
    return "witnessed" if index < witnessed_size else "checkpointed"


def follow(
    dial: Dial,
    *,
    first: int,
    wanted: audit_pb2.EntryFilter | None = None,
    state: "audit_pb2.EntryState.ValueType" = audit_pb2.ENTRY_STATE_UNSPECIFIED,
    go_on: bool = True,
    limit: int = 0,
    lost: Callable[[Lost], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Frame]:
    """Yield the log from an index on, and go on as entries come, across restarts of the gateway.

    Args:
        dial: opens a channel to the gateway; called again for each connection.
        first: index of the first entry wanted.
        wanted: the filter; every entry where None.
        state: how far an entry's place must be vouched for before it is told.
        go_on: whether to go on with entries as they come; otherwise the end of the log is the end.
        limit: at most this many entries; 0 for no bound.
        lost: told when a connection was lost, before the pause.
        pause: waits that many seconds.

    Raises:
        ExchangeError: what would not be better for trying again, or fails at the first connection.
    """
    position, left, failures, begun = first, limit, 0, False
    while True:
        request = audit_pb2.TailRequest(
            from_index=position, follow=go_on, limit=left, filter=wanted, state=state
        )
        try:
            with dial() as channel:
                for frame in frames(channel, request, timeout_s=None if go_on else READ_TIMEOUT_S):
                    failures, begun = 0, True
                    # Counted before it is told: whoever breaks off inside begins at its own next_index.
                    position = frame.next_index
                    left = max(0, left - len(frame.entries))
                    yield frame
                    if limit and not left:
                        return
            if not go_on:
                return
            raise GatewayAway("the stream ended", hop=HOP)
        except ExchangeError as error:
            failures += 1
            if not (error.retryable and begun) or (not go_on and failures >= MAX_TRIES):
                raise
            pause_s = _pause_s(failures)
            if lost is not None:
                lost(Lost(error, position, pause_s))
            pause(pause_s)


def search(
    channel: grpc.Channel,
    *,
    wanted: audit_pb2.EntryFilter | None = None,
    newest_first: bool = False,
    limit: int = 0,
) -> Iterator[Page]:
    """Yield the pages of a search, fetched as they are asked for.

    Args:
        channel: to the gateway.
        wanted: the filter; every entry where None.
        newest_first: whether the newest come first.
        limit: at most this many entries; 0 for no bound.
    """
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    token, left = "", limit
    while True:
        request = audit_pb2.SearchRequest(
            filter=wanted,
            newest_first=newest_first,
            page_size=min(left, SEARCH_PAGE) if limit else SEARCH_PAGE,
            page_token=token,
        )
        with calling():
            answer = stub.Search(request, timeout=CALL_TIMEOUT_S)
        entries = [Tailed(found.index, found.leaf) for found in answer.entries]
        yield Page(entries=entries, searched_size=answer.searched_size, witnessed_size=answer.witnessed_size)
        left -= len(entries)
        token = answer.next_page_token
        if not token or (limit and left <= 0):
            return


def frames(
    channel: grpc.Channel, request: audit_pb2.TailRequest, *, timeout_s: float | None = None
) -> Iterator[Frame]:
    """Yield what one connection tells, each frame where the one before ended.

    Args:
        channel: to the gateway.
        request: what is read.
        timeout_s: seconds for all of it; None while the log is followed.

    Raises:
        ReceiptBroken: frames do not follow each other.
        ExchangeError: whatever ended the stream.
    """
    position = request.from_index
    stream = audit_pb2_grpc.AuditServiceStub(channel).Tail(request, timeout=timeout_s)
    try:
        while True:
            with calling():
                answer = next(stream, None)
            if answer is None:
                return
            frame = _checked(answer, position)
            position = frame.next_index
            yield frame
    finally:
        stream.cancel()


def _checked(answer: audit_pb2.TailResponse, position: int) -> Frame:
    """Return a frame that goes on where the one before ended.

    Raises:
        ReceiptBroken: it does not.
    """
    last = position - 1
    for index in answer.indexes:
        if not last < index < answer.next_index:
            raise ReceiptBroken(f"tail: entry {index} after {last}", hop=HOP)
        last = index
    if len(answer.indexes) != len(answer.leaves) or answer.next_index < position:
        raise ReceiptBroken(f"tail: next index {answer.next_index} after {last}", hop=HOP)
    return Frame(
        entries=[Tailed(*pair) for pair in zip(answer.indexes, answer.leaves, strict=True)],
        next_index=answer.next_index,
        checkpoint=answer.checkpoint,
        witnessed_size=answer.witnessed_size,
    )


def _pause_s(failures: int) -> float:
    """Return a pause that doubles, spread so that not all come back at once."""
    longest = min(MAX_PAUSE_S, FIRST_PAUSE_S * float(1 << min(failures - 1, 10)))
    return longest * (0.5 + randomness.random() / 2)  # noqa: S311  spreads load, keeps no secret
