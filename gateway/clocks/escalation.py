"""Says once, by an alert in the log, that somebody has not acted in time: the officers' stream shows it.

What runs comes from sources: tickets, applications for grants, reviews, attestations. Which alerts were
entered is kept in a small file, written after the alert is durable: a crash between the two enters one alert
again, never none. What no longer runs is dropped from it, so that it stays as small as what is overdue.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from exchange.clock import Clock
from exchange.durable import replace_file
from exchange.errors import ClockOverdue, ExchangeError

TURN_S = 60.0
MOST = 100
"""Alerts of one turn; the rest follow in the next ones."""
MAX_FILE_BYTES = 8 * 1024 * 1024

_log = structlog.get_logger("gateway.clocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that somebody must have done by a time.

    Attributes:
        key: names it; another one where the clock begins anew. No personal data, at most 100 characters.
        subject: what the alert says it is about: ids and names.
        due_ms: until when, Unix milliseconds.
    """

    key: str
    subject: str
    due_ms: int


Source = Callable[[], Iterable[Due]]
"""Returns everything that waits for somebody now and has a clock."""


class Enter(Protocol):
    """Enters alerts; `gateway.audit.entries.alerts.Alerts.enter` with severity "warning" is one."""

    async def __call__(self, error: ExchangeError, *, since_ms: int) -> None:
        """Enter an alert, durable on return."""
        ...


class Escalation:
    """Enters alerts about what is overdue.

    Args:
        sources: what runs.
        enter: enters an alert.
        path: of the file that says which were entered.
        clock: the time.
    """

    def __init__(self, *, sources: Sequence[Source], enter: Enter, path: Path, clock: Clock) -> None:
        self._sources = sources
        self._enter = enter
        self._path = path
        self._clock = clock
        self._entered: dict[str, int] = _read(path)

    async def run(self) -> None:
        """Enter what is due, again and again until cancelled; what fails is tried again."""
        while True:
            try:
                await self.turn()
            except (ExchangeError, OSError) as error:
                _log.warning("overdue not entered", error=type(error).__name__)
            await asyncio.sleep(TURN_S)

    async def turn(self) -> int:
        """Enter what is overdue and was not entered yet; return how many alerts that were.

        Raises:
            AuditUnavailable, QueueFull: it could not be made durable; the next turn goes on.
            OSError: the file could not be written.
        """
        now_ms = self._clock.now_ms()
        running = {due.key: due for source in self._sources for due in source() if due.due_ms <= now_ms}
        ended = self._entered.keys() - running.keys()
        for key in ended:
            del self._entered[key]
        fresh = sorted((due for key, due in running.items() if key not in self._entered), key=_when)[:MOST]
        for due in fresh:
            await self._enter(ClockOverdue(due.subject), since_ms=due.due_ms)
            self._entered[due.key] = due.due_ms
            # A crash before this line: the alert is in the log and will be entered once more.
            self._write()
        if ended and not fresh:
            self._write()
        return len(fresh)

    def _write(self) -> None:
        replace_file(self._path, json.dumps(self._entered).encode())


def _when(due: Due) -> tuple[int, str]:
    return due.due_ms, due.key


def _read(path: Path) -> dict[str, int]:
    """Return what was entered; nothing where there is no file, or none that can be read: then again."""
    try:
        held = json.loads(path.read_bytes()[:MAX_FILE_BYTES])
        return {str(key): int(due_ms) for key, due_ms in held.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        _log.warning("overdue entered again", error=type(error).__name__)
        return {}
