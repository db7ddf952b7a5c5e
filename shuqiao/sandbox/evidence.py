"""What an application did in a sandbox, from the sandbox's own log; nothing here is its own word."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exchange import cases
from exchange.grant_body import read_grant
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.verification.offline import offline_log
from gateway.audit.verification.verify import verify_folder
from shuqiao.demo.files import Layout

STRETCH = 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange of the application, as its entry tells."""

    index: int
    kind: int
    decision: int
    reason: int
    case_number: str
    case_standing: int
    operator: str

    @property
    def released(self) -> bool:
        """Whether it was answered."""
        return self.decision == audit_pb2.DECISION_RELEASED


@dataclass(slots=True)
class Record:
    """What the log tells.

    Attributes:
        exchanges: of the application, by resource, oldest first.
        kinds: that were applied for, by resource.
        case_required: whether the grant of a resource requires a case.
        closed: numbers of cases that were closed.
        entries: how many entries the log has.
        faults: what does not verify of the log; empty where it is whole.
    """

    exchanges: dict[str, list[Seen]] = field(default_factory=dict)
    kinds: dict[str, frozenset[int]] = field(default_factory=dict)
    case_required: dict[str, bool] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    entries: int = 0
    faults: list[str] = field(default_factory=list)


def read_record(layout: Layout, *, gateway: str, consumer: str, application: str) -> Record:
    """Read and verify a sandbox's log; a gateway may be running on it.

    Args:
        layout: of the sandbox.
        gateway: name of the gateway's process.
        consumer: credit code of the department that asks.
        application: the application's name.

    Raises:
        BadConfiguration: there is no log.
    """
    folder, record = layout.home(gateway), Record()
    report = verify_folder(folder)
    record.entries, record.faults = report.size, [str(fault) for fault in report.faults]
    for index, entry in _entries(folder):
        said, act = entry.exchange, entry.administrative
        if entry.HasField("exchange"):
            if (said.consumer_organisation, said.application) == (consumer, application):
                record.exchanges.setdefault(said.resource, []).append(_seen(index, said))
        elif act.act == audit_pb2.ACT_GRANT:
            grant = read_grant(act.statement)
            if grant.consumer == consumer:
                record.kinds[grant.resource] = grant.kinds
                record.case_required[grant.resource] = grant.case_required
        elif act.act == audit_pb2.ACT_CASE:
            case = cases.read_case(act.statement.body)
            if case.lead == consumer and case.closed:
                record.closed.add(case.number)
    return record


def _entries(folder: Path) -> Iterator[tuple[int, audit_pb2.AuditEntry]]:
    with offline_log(folder) as log:
        for first in range(0, log.head.size, STRETCH):
            for index, leaf in enumerate(log.leaves(first, STRETCH), first):
                yield index, audit_pb2.AuditEntry.FromString(leaf)


def _seen(index: int, said: audit_pb2.ExchangeEntry) -> Seen:
    return Seen(
        index, said.kind, said.decision, said.reason, said.case_number, said.case_standing, said.operator
    )


KIND_WORDS: Mapping[int, tuple[str, str]] = {
    common_pb2.KIND_QUERY: ("查询", "query"),
    common_pb2.KIND_VERIFY: ("核验", "verify"),
}
