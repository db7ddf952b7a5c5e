"""Stops and lifts, folded from the log, and those beside them that are not in it yet.

1. A stop is signed within an hour of now where two officers sign it, else within five minutes.
2. What it names exists; a region's stop names this region.
3. One officer who stopped an organisation or the region alone needs a second to stop it again within a day:
   an hour's limit that could be renewed for ever would be none.
4. `hold` puts a stop in force before the log has it; folding it later changes nothing but its place.
5. A lift takes effect when it is folded, that is, once it is in the log.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from exchange import canonical
from exchange.codes import holds_citizen_id
from exchange.errors import (
    Malformed,
    SecondPersonRequired,
    UnknownField,
    UnknownGrant,
    UnknownStop,
    WrongState,
)
from exchange.grants import MAX_STATEMENT_SKEW_MS, check_issued
from exchange.stop_set import StopSet
from exchange.stops import (
    AGENT,
    FIELD,
    GRANT,
    MAX_SIGNERS,
    ORGANISATION,
    REGION,
    RESOURCE,
    SIGN_WITHIN_MS,
    Lift,
    Stop,
    check_lift_signers,
    check_stop_signers,
    ends_ms,
    read_lift,
    read_stop,
    split_agent,
    split_field,
)
from exchange.v1 import audit_pb2, common_pb2
from gateway.access.grants import GrantIndex
from gateway.audience import EVERYBODY, Audience
from gateway.directory.organisations import Organisations
from gateway.directory.resources import Catalogue
from gateway.register import Submitted

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A stop as it was ordered, and what became of it.

    Attributes:
        statements: the body, signed by each.
        at_ms: when the gateway took it over, Unix milliseconds.
        index: of its log entry; None while it is not in the log.
        lift: the lift's body, signed by each; empty where it was not lifted.
    """

    stop: Stop
    statements: Sequence[common_pb2.Statement] = field(repr=False)
    at_ms: int
    index: int | None = None
    lift: Sequence[common_pb2.Statement] = field(default=(), repr=False)

    @property
    def ends_ms(self) -> int:
        """When it ends by itself, Unix milliseconds."""
        return ends_ms(self.stop, len(self.statements), self.at_ms)

    def holds(self, now_ms: int) -> bool:
        """Whether it is in force."""
        return not self.lift and now_ms < self.ends_ms


class StopRegister:
    """Holds every stop that was ordered.

    Args:
        catalogue, grants, organisations: of the region, for what a stop names.

    Attributes:
        force: what is stopped now.
    """

    acts: Collection["audit_pb2.Act.ValueType"] = frozenset({audit_pb2.ACT_STOP, audit_pb2.ACT_STOP_LIFTED})

    def __init__(self, *, catalogue: Catalogue, grants: GrantIndex, organisations: Organisations) -> None:
        self._catalogue = catalogue
        self._grants = grants
        self._organisations = organisations
        self._ordered: dict[bytes, Ordered] = {}
        # Lifts of stops that were in force but never logged: should such a stop come back, it stays lifted.
        self._lifted: dict[bytes, Sequence[common_pb2.Statement]] = {}
        self.force = StopSet()

    def __iter__(self) -> Iterator[Ordered]:
        """Yield the newest first."""
        return reversed(list(self._ordered.values()))

    def get(self, stop_id: bytes) -> Ordered | None:
        """Return a stop by its id of 32 bytes."""
        return self._ordered.get(stop_id)

    def hold(self, stop: Stop, statements: Sequence[common_pb2.Statement], at_ms: int) -> None:
        """Put a stop in force that `check` let pass, whether or not it is in the log."""
        lift = self._lifted.get(stop.stop_id, ())
        held = Ordered(stop=stop, statements=tuple(statements), at_ms=at_ms, lift=lift)
        self._ordered[stop.stop_id] = held
        if not lift:
            self.force.add(stop, held.ends_ms)

    def check(self, submitted: Submitted) -> str:
        """Refuse a stop or lift that breaks a rule."""
        signers = [submitted.signer.identity, *(other.identity for other in submitted.others)]
        if submitted.act == audit_pb2.ACT_STOP:
            stop = read_stop(submitted.statement.body)
            check_stop_signers(stop, signers)
            if stop.stop_id not in self._ordered:
                # One that is held was checked when it came; the log may have been away for long since.
                self._check_new(stop, submitted, alone=signers[0].uri if len(signers) < MAX_SIGNERS else "")
            return stop.name
        lift = read_lift(submitted.statement.body)
        ordered = self._ordered.get(lift.stop_id)
        if ordered is None:
            raise UnknownStop(lift.stop_id.hex()[:8])
        check_lift_signers(ordered.stop, signers)
        _check_note(lift.note)
        if not ordered.holds(submitted.now_ms):
            raise WrongState(ordered.stop.name)
        check_issued(lift.issued_at_ms, submitted.now_ms, within_ms=_within_ms(len(signers)))
        return ordered.stop.name

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over a stop or lift that was checked before it was logged."""
        act = entry.administrative
        statements = (act.statement, *act.countersignatures)
        if act.act == audit_pb2.ACT_STOP:
            stop = read_stop(act.statement.body)
            if stop.stop_id not in self._ordered:
                self.hold(stop, statements, entry.time_ms)
            self._ordered[stop.stop_id] = replace(self._ordered[stop.stop_id], index=index)
            return
        lift: Lift = read_lift(act.statement.body)
        self._lifted[lift.stop_id] = statements
        self.force.remove(lift.stop_id)
        ordered = self._ordered.get(lift.stop_id)
        if ordered is not None:
            self._ordered[lift.stop_id] = replace(ordered, lift=statements)

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Stops are for everybody: each agent refuses by itself."""
        return EVERYBODY

    def _check_new(self, stop: Stop, submitted: Submitted, *, alone: str) -> None:
        check_issued(stop.issued_at_ms, submitted.now_ms, within_ms=_within_ms(1 + len(submitted.others)))
        if stop.until_ms <= submitted.now_ms:
            raise WrongState("until has passed")
        _check_note(stop.note)
        self._check_target(stop, submitted)
        if alone and stop.wide and not stop.rehearsal and self._lately_alone(stop, submitted.now_ms):
            raise SecondPersonRequired("stopped by one officer alone within a day")

    def _check_target(self, stop: Stop, submitted: Submitted) -> None:
        if stop.scope == REGION and stop.target != submitted.trust.division:
            raise Malformed("division of another region")
        if stop.scope == ORGANISATION:
            self._organisations.get(stop.target)
        elif stop.scope == AGENT:
            self._organisations.get(split_agent(stop.target)[0])
        elif stop.scope == RESOURCE:
            self._catalogue.exactly(stop.target)
        elif stop.scope == FIELD:
            resource, name = split_field(stop.target)
            if name not in self._catalogue.exactly(resource).fields:
                raise UnknownField(stop.target)
        elif stop.scope == GRANT and self._grants.get(bytes.fromhex(stop.target)) is None:
            raise UnknownGrant(stop.target[:16])

    def _lately_alone(self, stop: Stop, now_ms: int) -> bool:
        return any(
            (one.stop.scope, one.stop.target) == (stop.scope, stop.target)
            and not one.stop.rehearsal
            and len(one.statements) < MAX_SIGNERS
            and now_ms - one.at_ms < DAY_MS
            for one in self._ordered.values()
            if one.stop.wide
        )


def domain_of(act: int) -> bytes:
    """Return under which domain a stop or lift is signed."""
    return canonical.STOP if act == audit_pb2.ACT_STOP else canonical.LIFT


def _check_note(note: str) -> None:
    if holds_citizen_id(note):
        raise Malformed("note: a citizen id")


def _within_ms(signers: int) -> int:
    return SIGN_WITHIN_MS if signers >= MAX_SIGNERS else MAX_STATEMENT_SKEW_MS
