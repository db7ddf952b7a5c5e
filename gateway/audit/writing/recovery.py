"""What follows on a write error: the log is read again, and what was in doubt is found durable or not.

1. From the error on, until the log was read again and agrees with what was released, there is `trouble`:
   nothing is appended.
2. A commit that failed may have persisted. The log as read again ends with the group in doubt or with the one
   before it; any other head was not written by this process.
3. A log that contradicts what was released never signs again. What else fails is tried again after a while.
"""

import asyncio
from collections.abc import Callable

import structlog

from exchange.checkpoint import Checkpoint
from exchange.errors import AuditUnavailable, ExchangeError, LogBehind, LogForked, StoreDamaged
from gateway.audit.log.audit_log import Restored, compare
from gateway.audit.writing.in_flight import InFlight

_log = structlog.get_logger("gateway.audit")


class Recovery:
    """The trouble that a log is in, if any, and the group whose commit is in doubt.

    Args:
        retry_s: seconds between attempts to reload.
    """

    def __init__(self, *, retry_s: float) -> None:
        self._retry_s = retry_s
        self._doubtful: InFlight | None = None
        self._retry: asyncio.TimerHandle | None = None
        self.trouble: AuditUnavailable | None = None

    def begin(self, group: InFlight | None, error: BaseException) -> None:
        """Be in trouble; the log is about to be read again.

        Args:
            group: what was being written; None where it was no group, or this is another attempt.
            error: what failed.
        """
        subject = error.subject if isinstance(error, ExchangeError) else type(error).__name__
        self.trouble = AuditUnavailable(subject)
        self._doubtful = group or self._doubtful
        self._retry = None
        _log.error("audit_write_failed", subject=subject)

    def durable(self, head: Checkpoint, restored: Restored) -> InFlight | None:
        """Return the group in doubt where it is in the log as read again, None where it is not (rule 2).

        Args:
            head: the newest one that was released.
            restored: the log as read again.

        Raises:
            LogBehind, LogForked: it contradicts what was released.
        """
        doubtful = self._doubtful
        compare(head.size, head.root, restored.tree, restored.head)
        if doubtful is not None and restored.head == doubtful.head:
            return doubtful
        if restored.head != head:
            raise LogForked(f"size {restored.head.size}: not written by this process")
        return None

    def over(self, size: int) -> None:
        """Be well again: the log goes on at `size` entries, and nothing is in doubt."""
        self.trouble = self._doubtful = None
        _log.info("audit_log_reloaded", size=size)

    def again(self, attempt: Callable[[], None]) -> None:
        """Try again after a while; to be called on the event loop."""
        self._retry = asyncio.get_running_loop().call_later(self._retry_s, attempt)

    def stop(self) -> None:
        """Make no further attempt."""
        if self._retry is not None:
            self._retry.cancel()


def contradiction(error: Exception) -> ExchangeError | None:
    """Return an error of reloading after which the log must not sign, None for all others (rule 3)."""
    if not isinstance(error, (LogBehind, LogForked, StoreDamaged)):
        return None
    _log.critical("audit_log_refuses_to_sign", reason=error.name, subject=error.subject)
    return error
