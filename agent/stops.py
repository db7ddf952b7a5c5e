"""Emergency stops as the agent knows them: it verifies the officers itself and refuses by itself.

1. A stop counts as soon as it is shown, by a notice or by the log, signed as `exchange.stops` demands.
2. It counts first and is written down then: a disk that fails does not keep it from holding. The event of the
   log moves the cursor only once it is on disk, so a restart keeps it.
3. A lift counts when it is shown; a gateway that withholds it keeps the thing stopped. A stop that was lifted
   is never taken again, however often it is repeated.
4. What is forged, or lacks a second officer, is left out and logged.
"""

from collections.abc import Callable, Collection, Sequence

import structlog

from agent.region import RegionView
from exchange import canonical
from exchange.clock import Clock
from exchange.errors import ExchangeError, Malformed, Oversized, StoreDamaged, UnknownStop
from exchange.stop_set import StopSet
from exchange.stops import (
    MAX_SIGNERS,
    REGION,
    check_lift_signers,
    check_stop_signers,
    ends_ms,
    read_lift,
    read_stop,
)
from exchange.v1 import audit_pb2, common_pb2, link_pb2, stop_pb2

KEPT, LIFTED = "stop", "stop-lifted"
TIME_BYTES = 8


class AgentStops:
    """Holds the stops that were shown.

    Args:
        region: tells of events and keeps what was taken.
        division: of the region, 6 digits.
        clock: the time.

    Attributes:
        force: what is stopped now.
    """

    acts: Collection[int] = frozenset({audit_pb2.ACT_STOP, audit_pb2.ACT_STOP_LIFTED})

    def __init__(self, *, region: RegionView, division: str, clock: Clock) -> None:
        self._region = region
        self._division = division
        self._clock = clock
        self._log = structlog.get_logger("agent.stops")
        self._told: list[Callable[[], None]] = []
        self.force = StopSet()
        self._kept: set[bytes] = set()
        self._lifted = {bytes.fromhex(key) for key in region.kept(LIFTED)}
        for value in region.kept(KEPT).values():
            record = stop_pb2.StopRecord.FromString(value[TIME_BYTES:])
            stop = read_stop(record.stop[0].body)
            self.force.add(stop, int.from_bytes(value[:TIME_BYTES]))
            self._kept.add(stop.stop_id)
        region.add(self)

    def subscribe(self, told: Callable[[], None]) -> None:
        """Have a function called whenever something more is stopped."""
        self._told.append(told)

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take over a stop or lift of the log; see `agent.region.EventRegister`."""
        statements = [act.statement, *act.countersignatures]
        if act.act == audit_pb2.ACT_STOP:
            self._stop(statements, at_ms)
        else:
            self._lift(statements, at_ms)

    def notice(self, notice: link_pb2.StopNotice) -> None:
        """Take over what the gateway says ahead of its log; what does not verify is left out and logged.

        Raises:
            StoreDamaged: it cannot be written down; the stop holds in memory all the same.
        """
        try:
            if notice.lifted:
                self._lift(notice.statements, self._clock.now_ms())
            else:
                self._stop(notice.statements, self._clock.now_ms())
        except StoreDamaged:
            raise
        except ExchangeError as error:
            self._log.warning("stop left out", reason=error.name, subject=error.subject)

    def sweep(self) -> None:
        """Forget what has ended by itself; called every second."""
        if self.force.quiet:
            return
        for stop in self.force.sweep(self._clock.now_ms()):
            self._kept.discard(stop.stop_id)
            self._log.info("stop ended", subject=stop.name)
            try:
                self._region.forget(KEPT, stop.stop_id.hex())
            except StoreDamaged as error:
                # Read back by a start, it has ended all the same.
                self._log.warning("stop not forgotten", reason=error.name, subject=error.subject)

    def _stop(self, statements: Sequence[common_pb2.Statement], at_ms: int) -> None:
        _check_number(statements)
        stop = read_stop(statements[0].body)
        if stop.stop_id in self._lifted or stop.stop_id in self._kept:
            return
        check_stop_signers(stop, self._region.signers(statements, canonical.STOP, at_ms=at_ms))
        if stop.scope == REGION and stop.target != self._division:
            raise Malformed("division of another region")
        until_ms = ends_ms(stop, len(statements), at_ms)
        if until_ms <= self._clock.now_ms():
            return
        self.force.add(stop, until_ms)
        for told in self._told:
            told()
        record = stop_pb2.StopRecord(stop_id=stop.stop_id, stop=statements)
        value = until_ms.to_bytes(TIME_BYTES) + record.SerializeToString()
        self._region.keep(KEPT, stop.stop_id.hex(), value)
        self._kept.add(stop.stop_id)
        self._log.warning("stopped", subject=stop.name)

    def _lift(self, statements: Sequence[common_pb2.Statement], at_ms: int) -> None:
        _check_number(statements)
        lift = read_lift(statements[0].body)
        if lift.stop_id in self._lifted:
            return
        held = self.force.get(lift.stop_id)
        if held is None:
            # Ended by itself, or never shown here: whether two officers were needed cannot be told.
            raise UnknownStop(lift.stop_id.hex()[:8])
        check_lift_signers(held.stop, self._region.signers(statements, canonical.LIFT, at_ms=at_ms))
        # A crash here keeps it stopped; the event of the log comes again.
        self._region.keep(LIFTED, lift.stop_id.hex(), b"")
        self._region.forget(KEPT, lift.stop_id.hex())
        self._kept.discard(lift.stop_id)
        self._lifted.add(lift.stop_id)
        self.force.remove(lift.stop_id)
        self._log.warning("stop lifted", subject=held.stop.name)


def _check_number(statements: Sequence[common_pb2.Statement]) -> None:
    if not statements:
        raise Malformed("stop")
    if len(statements) > MAX_SIGNERS:
        raise Oversized("stop")
