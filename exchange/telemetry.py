"""Process logs: JSON lines on standard error, allow-listed keys only.

The audit entry is an exchange's canonical event; process logs tell of links, faults and alarms. A key that is
not on the list is dropped and named, so that no value can slip into a log by a careless call.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import IO, Any, TextIO, cast

import structlog

KEYS = frozenset(
    {
        "event", "level", "timestamp", "logger", "process",
        "reason", "subject", "hop", "error", "gateway", "grant", "index", "address", "count", "role",
        "organisation", "agent", "resource", "method", "serial", "spiffe_id", "number", "size", "seconds",
        "token_id", "name", "seq", "dropped",
    }
)  # fmt: skip


class Unfailing:
    """A stream whose failures are its own: a full disk under a log must not stop what is logged about.

    Args:
        stream: what is written to.

    Attributes:
        lost: how many writes failed.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.lost = 0

    def write(self, text: str) -> int:
        """Write; a failure is counted."""
        try:
            return self._stream.write(text)
        except OSError:
            self.lost += 1
            return len(text)

    def flush(self) -> None:
        """Flush; a failure is counted."""
        try:
            self._stream.flush()
        except OSError:
            self.lost += 1


def keep_listed(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every key that is not on the list, and name what was dropped."""
    dropped = [key for key in event if key not in KEYS]
    for key in dropped:
        del event[key]
    if dropped:
        event["dropped"] = sorted(dropped)
    return event


def set_up_logs(process: str) -> None:
    """Configure the process's logs. Called once, by whatever starts the process.

    Args:
        process: for example "gateway"; in every line.
    """

    def name_process(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_process,
            keep_listed,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
