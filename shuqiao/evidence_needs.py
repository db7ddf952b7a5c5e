"""What else a bundle needs so that its entries can be verified alone: keys, trust lists, grants, catalogue.

Needed are: every trust list that was entered, and every opening of an epoch; of each key that signed, the
bundles in force while it did; of each grant named, the application and every event before the last entry; of
each case said to be open its steps, as far as they are kept; every version and state of the resources asked
for; the region's rules before the last entry, and what was said of the kind of the organisations that asked.
"""

from dataclasses import dataclass, field

from exchange.canonical import GRANT, digest
from exchange.cases import read_case
from exchange.errors import ExchangeError
from exchange.grant_body import read_event, read_grant
from exchange.peer_keys import read_bundle_body
from exchange.resources import split_id, wider_divisions
from exchange.v1 import audit_pb2, common_pb2, directory_pb2

DAY_MS = 24 * 3_600_000
SUPPORTING = (
    audit_pb2.ACT_RESOURCE,
    audit_pb2.ACT_RESOURCE_STATE,
    audit_pb2.ACT_BUNDLE,
    audit_pb2.ACT_GRANT,
    audit_pb2.ACT_GRANT_EVENT,
    audit_pb2.ACT_TRUST_LIST,
    audit_pb2.ACT_LOG_EPOCH,
    audit_pb2.ACT_RULES,
    audit_pb2.ACT_ORGANISATION,
)


@dataclass(slots=True)
class Needs:
    """Collects what selected entries need.

    Attributes:
        kids: of each (organisation, agent, key id), when it signed first and last, Unix milliseconds.
        grants: ids of 32 bytes.
        resources: ids, and the same of every wider division.
        consumers: credit codes of who asked.
        cases: numbers.
        last: index of the last selected entry, -1 before the first.
    """

    kids: dict[tuple[str, str, bytes], tuple[int, int]] = field(default_factory=dict)
    grants: set[bytes] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    consumers: set[str] = field(default_factory=set)
    cases: set[str] = field(default_factory=set)
    last: int = -1

    @property
    def acts(self) -> list["audit_pb2.Act.ValueType"]:
        """Acts among which to look: those of cases are many and are left aside where none is needed."""
        return [*SUPPORTING, *([audit_pb2.ACT_CASE] if self.cases else [])]

    def add(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take a selected entry into account."""
        self.last = max(self.last, index)
        if entry.HasField("exchange"):
            self._exchange(entry.exchange, entry.time_ms)
        elif entry.administrative.HasField("statement"):
            self._act(entry.administrative)

    def learn(self, entry: audit_pb2.AuditEntry) -> None:
        """Take the application of a grant into account: its resource is needed where the grant is."""
        statement = entry.administrative.statement
        if digest(GRANT, statement.body) in self.grants:
            self._resource(_resource_of_grant(statement))

    def wants(self, index: int, entry: audit_pb2.AuditEntry) -> bool:
        """Return whether an administrative entry outside the selection is needed."""
        act = entry.administrative
        if act.act in (audit_pb2.ACT_TRUST_LIST, audit_pb2.ACT_LOG_EPOCH):
            return act.HasField("statement")
        if index > self.last:
            return False
        statement = act.statement
        try:
            if act.act == audit_pb2.ACT_RULES:
                return act.HasField("statement")
            if act.act == audit_pb2.ACT_ORGANISATION:
                body = directory_pb2.OrganisationBody.FromString(statement.body)
                return bool(body.kind) and body.credit_code in self.consumers
            if act.act == audit_pb2.ACT_BUNDLE:
                return self._wants_bundle(statement)
            if act.act == audit_pb2.ACT_GRANT:
                return digest(GRANT, statement.body) in self.grants
            if act.act == audit_pb2.ACT_GRANT_EVENT:
                return read_event(statement).grant_id in self.grants
            if act.act == audit_pb2.ACT_CASE:
                return read_case(statement.body).number in self.cases
            if act.act == audit_pb2.ACT_RESOURCE:
                return directory_pb2.ResourceBody.FromString(statement.body).id in self.resources
            return directory_pb2.ResourceStateBody.FromString(statement.body).id in self.resources
        except (ExchangeError, ValueError):
            # Unreadable: what needs it will say so when the bundle is verified.
            return False

    def _exchange(self, said: audit_pb2.ExchangeEntry, time_ms: int) -> None:
        consumer = said.consumer_organisation, said.consumer_agent, said.request_signature.kid
        provider = said.provider_organisation, said.provider_agent, said.response_signature.kid
        for place in (consumer, provider):
            if place[2]:
                first, last = self.kids.get(place, (time_ms, time_ms))
                self.kids[place] = min(first, time_ms), max(last, time_ms)
        self.consumers.add(said.consumer_organisation)
        if said.grant_id:
            self.grants.add(said.grant_id)
        if said.case_standing == audit_pb2.CASE_STANDING_OPEN:
            self.cases.add(said.case_number)
        self._resource(said.resource)

    def _act(self, act: audit_pb2.AdministrativeEntry) -> None:
        try:
            if act.act == audit_pb2.ACT_GRANT_EVENT:
                self.grants.add(read_event(act.statement).grant_id)
            elif act.act == audit_pb2.ACT_RESOURCE_STATE:
                self._resource(directory_pb2.ResourceStateBody.FromString(act.statement.body).id)
        except (ExchangeError, ValueError):
            # Unreadable: that shows when the bundle is verified.
            return

    def _resource(self, resource: str) -> None:
        if not resource or resource in self.resources:
            return
        try:
            division, alias, name = split_id(resource)
        except ExchangeError:
            return
        self.resources |= {f"{wider}/{alias}/{name}" for wider in wider_divisions(division)}

    def _wants_bundle(self, statement: common_pb2.Statement) -> bool:
        body = read_bundle_body(statement)
        begin, end = body.issued_at.ToMilliseconds(), body.expires_at.ToMilliseconds()
        for key in body.keys:
            used = self.kids.get((body.organisation, body.agent, key.kid))
            if used is not None and begin - DAY_MS <= used[1] and used[0] - DAY_MS <= end:
                return True
        return False


def _resource_of_grant(statement: common_pb2.Statement) -> str:
    try:
        return read_grant(statement).resource
    except (ExchangeError, ValueError):
        return ""
