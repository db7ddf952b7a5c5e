"""Keeps the log witnessed: a quorum of witnesses cosigns its heads, and what they hold against it is heard.

1. A head is shown to witnesses once it is durable. What they cosign is kept in `witnessed` before it counts.
2. A head that this log's own key signed is proof: where the log is behind `witnessed` or does not extend it,
   the log refuses to sign (LOG_BEHIND, LOG_FORKED).
3. A size that a witness says it holds is a claim. One witness alone makes an alert. Witnesses that would be a
   quorum stop the log: so many have cosigned the newest witnessed head, and a log restored from an older copy
   meets just these. Both are asked before the first signature after a start, and with every round.
4. The alert when the oldest entry without a quorum is too old comes once, and once more when that is over.
   With `refuse` exchanges are held back in between; administrative entries never are.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import httpx
import structlog

from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.clock import Clock
from exchange.cosignature import add_lines, cosignatures_of
from exchange.errors import (
    AuditUnavailable,
    ExchangeError,
    LogBehind,
    LogForked,
    LogUnwitnessed,
    ReceiptBroken,
    StoreDamaged,
)
from exchange.v1 import audit_pb2, common_pb2
from exchange.witness_policy import NONE, WitnessPolicy
from gateway.audit.log.audit_log import AuditLog
from gateway.audit.witnessing.unwitnessed import UnwitnessedAge
from gateway.audit.witnessing.watched_witness import WatchedWitness
from gateway.audit.witnessing.witness_alerts import WitnessAlerts
from gateway.audit.witnessing.witnessed_file import WITNESSED, WitnessedFile
from gateway.config import Witnesses
from gateway.metrics import WitnessMetrics

TICK_S = 1.0

_log = structlog.get_logger("gateway.audit")


class Witnessing:
    """The witnesses of one log.

    Args:
        policy: who counts, and what is a quorum; without witnesses and with quorum none for a log without.
        witnesses: those that are asked.
        settings: intervals and bounds.
        log: the log; open before anything here is called but `fault`.
        log_keys: returns its keys, Ed25519, 32 bytes each.
        files: where `witnessed` is kept.
        alerts: tells people what they should look at.
        metrics: written by `measure`.
        clock: the time of day.
        http: over which the witnesses are asked; closed by `close`.
        monotonic: seconds that never go backward.
    """

    def __init__(
        self,
        *,
        policy: WitnessPolicy,
        witnesses: Sequence[WatchedWitness],
        settings: Witnesses,
        log: AuditLog,
        log_keys: Callable[[], Sequence[bytes]],
        files: WitnessedFile,
        alerts: WitnessAlerts,
        metrics: WitnessMetrics,
        clock: Clock,
        http: httpx.AsyncClient | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._witnesses = witnesses
        self._settings = settings
        self._log = log
        self._log_keys = log_keys
        self._files = files
        self._alerts = alerts
        self._metrics = metrics
        self._clock = clock
        self._http = http
        self._monotonic = monotonic
        self._ages = UnwitnessedAge(monotonic=monotonic)
        self._keeping = asyncio.Lock()
        self._note, self._size = "", 0
        # The newest head with the cosignatures that it has so far, and whether some were not kept yet.
        self._gathering = Checkpoint("", 0, b""), ""
        self._subscribers: list[Callable[[int], None]] = []
        self._sizes: dict[str, int] = {}
        self._stopped = False

    # -- what others ask ---------------------------------------------------------------------------------

    def witnessed_note(self) -> str:
        """Return the newest checkpoint that a quorum cosigned, with their signatures; "" where none did."""
        return self._note

    def witnessed_size(self) -> int:
        """Return its size: every entry below is witnessed."""
        return self._size

    def subscribe(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Call back with the size whenever a quorum has cosigned a newer head.

        Returns:
            A function that ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def fault(self) -> ExchangeError | None:
        """Return why exchanges are held back; None while they are not."""
        if self._settings.refuse and self._overdue:
            return LogUnwitnessed(f"entries from {self._size} on")
        return None

    def measure(self) -> None:
        """Write the metrics."""
        self._metrics.entries.set(self._size)
        self._metrics.age.set(self._ages.seconds)
        for place, witness in enumerate(self._witnesses):
            self._metrics.well[place].set(witness.trouble is None)
            self._metrics.cosigned[place].set(witness.size)

    # -- running -----------------------------------------------------------------------------------------

    async def before_signing(self) -> None:
        """Compare the log with what was witnessed and with what the witnesses hold; nothing is signed before.

        Witnesses that cannot be reached now are asked again later: the log does not wait for them.

        Raises:
            LogBehind, LogForked: the log does not extend a head that it signed itself, or witnesses enough
                for a quorum say that they hold one which it does not extend.
            StoreDamaged: `witnessed` is damaged.
            AuditUnavailable: it cannot be read.
        """
        self._compare_witnessed()
        if not self._witnesses:
            return
        self._ages.begin(self._size, self._log.head.size, self._age_s(self._size))
        self._log.subscribe(self._ages.committed)
        await self.round()
        contradiction = self._contradiction()
        if contradiction is not None:
            raise contradiction

    async def run(self) -> None:
        """Ask at every interval, and tell people what they should look at; ends when it is cancelled."""
        next_round = self._monotonic() + self._settings.interval_s
        while True:
            await asyncio.sleep(min(TICK_S, self._settings.interval_s))
            if self._monotonic() >= next_round:
                next_round = self._monotonic() + self._settings.interval_s
                await self.round()
            await self.settle()

    async def round(self) -> None:
        """Show the newest head to every witness that has not cosigned it and may be asked now."""
        head, note = self._log.head, self._log.checkpoint
        if self._gathering[0] != head:
            self._gathering = head, note
        async with asyncio.TaskGroup() as group:
            for witness in self._witnesses:
                if witness.due(note):
                    group.create_task(self._ask(witness, head, note))
        # Cosignatures that came after the quorum was reached, and what could not be kept before.
        await self._keep()
        await self._keep_sizes()

    async def settle(self) -> None:
        """Tell people what they should look at, and stop the log where the witnesses contradict it."""
        claims = {witness.key.text: witness.claim for witness in self._witnesses}
        await self._alerts.tell(claims, age_s=self._ages.seconds, overdue=self._overdue, size=self._size)
        contradiction = self._contradiction()
        if contradiction is not None and not self._stopped:
            self._stopped = True
            _log.critical(
                "audit_log_refuses_to_sign", reason=contradiction.name, subject=contradiction.subject
            )
            self._log.refuse_to_sign(contradiction)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._http is not None:
            await self._http.aclose()

    # -- at the start ------------------------------------------------------------------------------------

    def _compare_witnessed(self) -> None:
        note = self._files.read()
        if not note:
            return
        origin = note.partition("\n")[0]
        if origin != self._log.origin:
            _log.warning("witnessed_is_of_another_log", subject=origin[:200])
            return
        try:
            head = open_checkpoint(note, origin=origin, log_keys=self._log_keys())
            cosigned = cosignatures_of(note, self._policy.keys)
        except ReceiptBroken as error:
            raise StoreDamaged(f"{WITNESSED}: {error.subject}") from error
        self._log.compare_head(common_pb2.LogHead(origin=origin, size=head.size, root=head.root), note)
        # Under another policy than it was kept under it still is proof, but not witnessed.
        if self._policy.quorum != NONE and self._policy.reached([key for key, _ in cosigned]):
            self._note, self._size = note, head.size

    def _age_s(self, index: int) -> float:
        """Return how old an entry is by the time in it; as old as can be where it cannot be read."""
        try:
            leaves = self._log.leaves(index, 1)
        except ExchangeError:
            return self._clock.now_ms() / 1000
        if not leaves:
            return 0.0
        time_ms = audit_pb2.AuditEntry.FromString(leaves[0]).time_ms
        return max(0, self._clock.now_ms() - time_ms) / 1000

    # -- cosignatures ------------------------------------------------------------------------------------

    async def _ask(self, witness: WatchedWitness, head: Checkpoint, note: str) -> None:
        lines = await witness.ask(head, note, now_s=self._clock.now_ms() // 1000)
        if lines:
            self._gathering = head, add_lines(self._gathering[1], lines)
            if self._size < head.size or not self._note:
                await self._keep()

    async def _keep(self) -> None:
        """Keep the newest head where a quorum has cosigned it; it counts once it is durable.

        A crash before the write returns leaves the note before; one after it costs a round, no more.
        """
        async with self._keeping:
            head, note = self._gathering
            if note == self._note or not self._witnesses:
                return
            if not self._policy.reached([key for key, _ in cosignatures_of(note, self._policy.keys)]):
                return
            try:
                await asyncio.to_thread(self._files.write, note)
            except AuditUnavailable as error:
                _log.error("witnessed_not_kept", subject=error.subject)
                return
            newer = head.size > self._size
            self._note, self._size = note, head.size
            self._ages.covered(head.size)
        if newer:
            for subscriber in tuple(self._subscribers):
                subscriber(head.size)

    async def _keep_sizes(self) -> None:
        sizes = {witness.key.text: witness.size for witness in self._witnesses}
        if sizes == self._sizes:
            return
        try:
            await asyncio.to_thread(self._files.write_sizes, sizes)
        except AuditUnavailable as error:
            _log.warning("witness_sizes_not_kept", subject=error.subject)
            return
        self._sizes = sizes

    # -- what is wrong -----------------------------------------------------------------------------------

    @property
    def _overdue(self) -> bool:
        return self._ages.seconds > self._settings.max_unwitnessed_age_s

    def _contradiction(self) -> LogBehind | LogForked | None:
        """Return what the witnesses hold against the log, where those who do would be a quorum."""
        against = [witness for witness in self._witnesses if witness.claim is not None]
        if not against or not self._policy.reached([witness.key for witness in against]):
            return None
        claim = against[0].claim
        assert claim is not None
        return type(claim)(claim.subject)
