"""Builds the log entries of administrative acts, salted so that no digest in the log can be guessed from."""

from exchange.canonical import NONCE_BYTES
from exchange.clock import Clock, Random
from exchange.identity import Identity
from exchange.receipt import ENTRY_VERSION
from exchange.v1 import audit_pb2, common_pb2, reason_pb2

MAX_SUBJECT = 250


class ActEntries:
    """Makes entries.

    Args:
        origin: of the log.
        clock: the time.
        random: for salts.
    """

    def __init__(self, *, origin: str, clock: Clock, random: Random) -> None:
        self._origin = origin
        self._clock = clock
        self._random = random

    def act(
        self,
        act: "audit_pb2.Act.ValueType",
        actor: Identity,
        subject: str,
        *,
        statement: common_pb2.Statement | None = None,
        reason: "reason_pb2.Reason.ValueType" = reason_pb2.REASON_UNSPECIFIED,
    ) -> audit_pb2.AuditEntry:
        """Return the entry of one act.

        Args:
            act: what was done.
            actor: who did it.
            subject: what it is about: an id or name, cut at 250 characters.
            statement: what was signed, where the act has a statement.
            reason: why it was refused, where it was.
        """
        entry = self._blank()
        body = entry.administrative
        body.act, body.actor, body.subject, body.reason = act, actor.uri, subject[:MAX_SUBJECT], reason
        if statement is not None:
            body.statement.CopyFrom(statement)
        return entry

    def counted(self, count: audit_pb2.RefusalCount) -> audit_pb2.AuditEntry:
        """Return the entry of refusals that were only counted."""
        entry = self._blank()
        entry.refusals.CopyFrom(count)
        return entry

    def _blank(self) -> audit_pb2.AuditEntry:
        return audit_pb2.AuditEntry(
            salt=self._random(NONCE_BYTES),
            version=ENTRY_VERSION,
            gateway=self._origin,
            time_ms=self._clock.now_ms(),
        )
