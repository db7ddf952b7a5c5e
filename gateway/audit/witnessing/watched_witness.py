"""What the gateway knows of one witness, and when it is asked again.

1. One question at a time; after a failure the wait doubles, up to a minute.
2. A witness says which size it holds (409): the next question starts from there, once.
3. A witness that holds more than the log, or that no right proof leads from, contradicts the log. That is a
   claim: the log's own key has not signed it here. What follows from it is for `witnessing`.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from exchange.add_checkpoint import AddCheckpoint
from exchange.checkpoint import Checkpoint
from exchange.cosignature import WitnessKey
from exchange.errors import ExchangeError, LogBehind, LogForked, StoreDamaged, WitnessAway
from exchange.merkle import split_hashes, verify_consistency
from exchange.witness_policy import PolicyWitness
from gateway.audit.log.audit_log import AuditLog
from gateway.audit.witnessing.client import Cosigned, Disputes, Holds, WitnessClient

MAX_WAIT_S = 60.0
QUESTIONS = 2

_log = structlog.get_logger("gateway.audit")


class WatchedWitness:
    """One witness.

    Args:
        witness: who.
        client: asks it.
        log: the log that it is asked about.
        interval_s: the wait after the first failure.
        size: of the head that it cosigned last, as far as is known.
        monotonic: seconds that never go backward.

    Attributes:
        claim: by what it contradicts the log; None once it has cosigned again.
        trouble: why it did not cosign when it was asked last; None where it did.
    """

    def __init__(
        self,
        *,
        witness: PolicyWitness,
        client: WitnessClient,
        log: AuditLog,
        interval_s: float,
        size: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._witness = witness
        self._client = client
        self._log = log
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._failures = 0
        self._not_before = 0.0
        self._cosigned = ""
        self._asking = False
        self.size = size
        self.claim: LogBehind | LogForked | None = None
        self.trouble: ExchangeError | None = None

    @property
    def name(self) -> str:
        """Its name in the policy."""
        return self._witness.name

    @property
    def key(self) -> WitnessKey:
        """Its key."""
        return self._witness.key

    def due(self, note: str) -> bool:
        """Return whether it is to be asked for its cosignature of a note now."""
        return self._cosigned != note and not self._asking and self._monotonic() >= self._not_before

    async def ask(self, head: Checkpoint, note: str, *, now_s: int) -> Sequence[str]:
        """Ask for a cosignature.

        Args:
            head: what the note states.
            note: a durable checkpoint of the log.
            now_s: Unix seconds.

        Returns:
            Its signature lines, verified; none where it did not cosign.
        """
        self._asking = True
        try:
            lines = await self._ask(head, note, now_s)
        except ExchangeError as error:
            self._failed(error)
            return ()
        finally:
            self._asking = False
        if self.trouble is not None:
            _log.info("witness_cosigns_again", name=self._witness.name)
        self.size, self._cosigned, self._failures = head.size, note, 0
        self.claim = self.trouble = None
        return lines

    async def _ask(self, head: Checkpoint, note: str, now_s: int) -> Sequence[str]:
        name = self._witness.name
        for _ in range(QUESTIONS):
            old = self.size if self.size <= head.size else 0
            proof = self._log.consistency(old, head.size)[0] if old else b""
            answer = await self._client.ask(AddCheckpoint(old, proof, note), now_s=now_s)
            if isinstance(answer, Cosigned):
                return answer.lines
            if old and (isinstance(answer, Disputes) or self._same_size(answer, old, head)):
                self._check_own(old, head, proof)
                raise LogForked(f"{name} holds another head of size {old}")
            if isinstance(answer, Disputes) or answer.size is None:
                raise WitnessAway(f"{name}: disputes without a size")
            self._learn(answer.size, head)
        raise WitnessAway(f"{name}: holds another size each time")

    @staticmethod
    def _same_size(answer: Holds, old: int, head: Checkpoint) -> bool:
        """A conflict although the size was right: at equal sizes the roots differ."""
        return answer.size == old or (answer.size is None and old == head.size)

    def _learn(self, size: int, head: Checkpoint) -> None:
        """Take the size that the witness says it holds.

        Raises:
            LogBehind: the log never was of that size.
            WitnessAway: somebody has shown it a newer head of the log meanwhile.
        """
        name, newest = self._witness.name, self._log.head.size
        if size > newest:
            raise LogBehind(f"size {newest}, {name} holds {size}")
        if size < self.size <= newest:
            _log.warning("witness_set_back", name=name, size=size)
        self.size = size
        if size > head.size:
            raise WitnessAway(f"{name}: holds a newer head")

    def _check_own(self, old: int, head: Checkpoint, proof: bytes) -> None:
        """Before a witness is said to contradict the log: the proof that it was shown must be right.

        Raises:
            StoreDamaged: it is not, so the fault is here.
        """
        try:
            verify_consistency(old, self._log.root_at(old), head.size, head.root, split_hashes(proof))
        except LogForked as error:
            raise StoreDamaged(f"proof from {old} to {head.size}") from error

    def _failed(self, error: ExchangeError) -> None:
        if self.trouble is None or self.trouble.subject != error.subject:
            _log.warning("witness_did_not_cosign", reason=error.name, subject=error.subject)
        self.trouble = error
        if isinstance(error, (LogBehind, LogForked)):
            self.claim = error
        wait = max(self._interval_s, min(self._interval_s * 2**self._failures, MAX_WAIT_S))
        self._failures = min(self._failures + 1, 16)
        self._not_before = self._monotonic() + wait
