"""Decides whether a head is cosigned. The rules, in their order, with the answers of c2sp.org/tlog-witness:

1. the request has its form (400);
2. its log is on the list (404);
3. one of the log's keys signed the checkpoint (403);
4. the old size is not above the checkpoint's (400);
5. the old size is that of the head cosigned last, 0 before the first (409, with that size);
6. at equal sizes the roots are equal (409); without an old head, or at equal sizes, there is no proof (422);
7. the proof leads from the head cosigned last to the checkpoint (422);
8. the clock is not behind the last cosignature (503): a cosignature says what was newest at its time, so two
   whose times run against their sizes would contradict each other. Up to 60 s back, a clock being set,
   the time of the last one is given again;
9. the new head is held, durably, in place of the very one that was judged against; where that has changed
   meanwhile, from 5 again;
10. only then it is cosigned (200).

A crash before the end of 9 leaves either head and no cosignature; after it, the log asks again and gets one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from exchange.add_checkpoint import SIZE_TYPE, AddCheckpoint, parse_add_checkpoint, size_answer
from exchange.checkpoint import Checkpoint, open_note, parse_checkpoint, part_note
from exchange.clock import Clock
from exchange.cosignature import Cosigner
from exchange.errors import LogForked, ReceiptBroken, WitnessAway
from exchange.merkle import split_hashes, verify_consistency
from witness.store import Held, WitnessStore

MAX_STEP_BACK_S = 60
RACES = 8
TEXT = "text/plain; charset=utf-8"

_log = structlog.get_logger("witness")


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered.

    Attributes:
        status: HTTP.
        body: signature lines, a size, or a sentence.
        kind: its media type.
    """

    status: int
    body: bytes
    kind: str = TEXT


class _Refusal(Exception):
    """A reply that is no cosignature."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.reply = Reply(status, f"{why}\n".encode())


class _Conflict(_Refusal):
    def __init__(self, size: int) -> None:
        super().__init__(409, "")
        self.reply = Reply(409, size_answer(size), SIZE_TYPE)


class Witness:
    """A witness. May be asked by several threads at once.

    Args:
        cosigner: its key.
        logs: keys of the logs that it knows, Ed25519, 32 bytes each, by origin.
        store: keeps what was cosigned last.
        clock: the time.
    """

    def __init__(
        self, *, cosigner: Cosigner, logs: Mapping[str, Sequence[bytes]], store: WitnessStore, clock: Clock
    ) -> None:
        self._cosigner = cosigner
        self._logs = logs
        self._store = store
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Reply:
        """Answer a request.

        Args:
            body: of the request, at most 24,576 bytes.
        """
        try:
            request, text, head = self._read(body)
            return self._judge(request, text, head)
        except _Refusal as refusal:
            return refusal.reply
        except WitnessAway as error:
            _log.error("not_cosigned", reason=error.name, subject=error.subject)
            return Reply(503, b"not now\n")

    def _read(self, body: bytes) -> tuple[AddCheckpoint, str, Checkpoint]:
        try:
            request = parse_add_checkpoint(body)  # 1
            text, _ = part_note(request.note)
            head = parse_checkpoint(text)
        except ReceiptBroken as error:
            raise _Refusal(400, error.subject) from None
        keys = self._logs.get(head.origin)
        if not keys:
            raise _Refusal(404, "unknown log")  # 2
        try:
            open_note(request.note, name=head.origin, keys=keys)  # 3
        except ReceiptBroken:
            raise _Refusal(403, "no signature by a key of this log") from None
        if request.old_size > head.size:
            raise _Refusal(400, "old size above the checkpoint's")  # 4
        return request, text, head

    def _judge(self, request: AddCheckpoint, text: str, head: Checkpoint) -> Reply:
        for _ in range(RACES):
            held = self._store.held(head.origin)
            self._check(request, head, held)  # 5 to 7
            new = Held(head.size, head.root, self._time_s(head.origin, held), request.note)  # 8
            if self._store.replace(head.origin, held, new):  # 9
                _log.info("cosigned", name=head.origin, size=head.size)
                return Reply(200, self._cosigner.cosign(text, time_s=new.time_s).line.encode())  # 10
        raise WitnessAway(f"{head.origin}: too many at once")

    def _check(self, request: AddCheckpoint, head: Checkpoint, held: Held) -> None:
        if request.old_size != held.size:
            raise _Conflict(held.size)
        if head.size == held.size:
            if head.root != held.root:
                # Signed by the log's own key: two heads of one size are proof that the log forked.
                _log.critical("log_forked", name=head.origin, size=head.size)
                raise _Conflict(held.size)
            if request.proof:
                raise _Refusal(422, "a proof between equal sizes")
            return
        if not held.size:
            if request.proof:
                raise _Refusal(422, "a proof without an old head")
            return
        proof = split_hashes(request.proof)
        try:
            verify_consistency(held.size, held.root, head.size, head.root, proof)
        except LogForked:
            _log.error("proof_does_not_hold", name=head.origin, size=head.size)
            raise _Refusal(422, "the proof does not hold") from None

    def _time_s(self, origin: str, held: Held) -> int:
        now_s = self._clock.now_ms() // 1000
        if now_s < held.time_s - MAX_STEP_BACK_S:
            raise WitnessAway(f"{origin}: the clock is {held.time_s - now_s} s behind the last cosignature")
        return max(now_s, held.time_s)
