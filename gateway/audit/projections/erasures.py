"""Ranges of the log that were erased and that a projection has yet to forget.

Added and settled on the event loop, worked off in the projection's thread.
"""

import asyncio
from dataclasses import dataclass

from exchange.errors import ExchangeError


@dataclass(slots=True)
class Erasure:
    """A range, and who waits until it is forgotten."""

    first: int
    end: int
    future: "asyncio.Future[None]"
    done: bool = False


class Erasures:
    """The ranges that wait."""

    def __init__(self) -> None:
        self._waiting: tuple[Erasure, ...] = ()

    def add(self, first: int, end: int) -> "asyncio.Future[None]":
        """Take a range on; the future is done once it is forgotten."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting += (Erasure(first, end, future),)
        return future

    def next(self) -> Erasure | None:
        """Return the first that is not forgotten yet; None where there is none."""
        return next((erasure for erasure in self._waiting if not erasure.done), None)

    def settle(self, error: ExchangeError | None) -> None:
        """Tell who waits: of what is done that it is, of all else what keeps it from it, if anything does."""
        for erasure in self._waiting:
            if erasure.future.done():
                continue
            if erasure.done:
                erasure.future.set_result(None)
            elif error is not None:
                erasure.future.set_exception(error.again())
        self._waiting = tuple(erasure for erasure in self._waiting if not erasure.future.done())
