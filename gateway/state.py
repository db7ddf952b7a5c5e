"""The state of the region: a fold of the log's administrative entries.

Organisations, catalogue, bundles, grants and reviews are folded here. Every other act belongs to a register
(`gateway/register.py`) that checks, folds and tells of its own acts: rules, stops, cases, tickets, quality,
findings. A register may look at what stands beside it, never at what comes after.

1. `apply` is deterministic: the same entries in the same order make the same state. Grants may be put back as
   they stood instead (`restore`), before what else there is is folded.
2. It checks no signature: an entry is in the log because its statement was checked before (`registrar`).
3. It never refuses an entry of the log; one that does not fit means a damaged log, and it stops.
4. What a register forgets (`forgotten`: cases long over) is told to nobody any more.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from heapq import merge

from google.protobuf.message import DecodeError

from exchange import canonical
from exchange.catalogue_review import read_state, reviewer_of
from exchange.errors import ExchangeError, StoreDamaged
from exchange.grants import Grant, read_event, read_grant, supervisor_of, transition
from exchange.keys import BundleBook
from exchange.region_rules import RegionRules
from exchange.resources import Resource, parse_resource
from exchange.v1 import audit_pb2, grant_pb2
from gateway.access.grants import GrantIndex, Packed
from gateway.audience import EVERYBODY, NOBODY, Audience
from gateway.cases.register import CaseRegister
from gateway.directory.catalogue_entry import pack_resource
from gateway.directory.key_bundles import KeyBundles, read_bundle
from gateway.directory.organisations import Organisations, read_organisation
from gateway.directory.resources import Catalogue
from gateway.register import Forgetting, Register
from gateway.review.reviews import Reviews
from gateway.risk.register import FindingsRegister
from gateway.rules.register import RulesRegister
from gateway.stops.register import StopRegister
from gateway.tickets.quality import QualityRegister
from gateway.tickets.register import TicketRegister

DOMAINS = {
    audit_pb2.ACT_ORGANISATION: canonical.ORGANISATION,
    audit_pb2.ACT_RESOURCE: canonical.RESOURCE,
    audit_pb2.ACT_RESOURCE_STATE: canonical.RESOURCE_STATE,
    audit_pb2.ACT_BUNDLE: canonical.BUNDLE,
    audit_pb2.ACT_GRANT: canonical.GRANT,
    audit_pb2.ACT_GRANT_EVENT: canonical.GRANT_EVENT,
    audit_pb2.ACT_TRUST_LIST: canonical.TRUST_LIST,
    audit_pb2.ACT_REVIEW_DRAW: canonical.REVIEW_DRAW,
    audit_pb2.ACT_REVIEW_EVENT: canonical.REVIEW_EVENT,
    audit_pb2.ACT_LOG_KEY: canonical.LOG_KEY,
    audit_pb2.ACT_LOG_EPOCH: canonical.LOG_EPOCH,
    audit_pb2.ACT_RULES: canonical.RULES,
    audit_pb2.ACT_STOP: canonical.STOP,
    audit_pb2.ACT_STOP_LIFTED: canonical.LIFT,
    audit_pb2.ACT_CASE: canonical.CASE,
    audit_pb2.ACT_TICKET: canonical.TICKET,
    audit_pb2.ACT_TICKET_EVENT: canonical.TICKET_EVENT,
    audit_pb2.ACT_CORRECTION: canonical.TICKET_EVENT,
    audit_pb2.ACT_QUALITY: canonical.QUALITY,
    # The gateway's own entry, without a statement; its register takes none under this domain.
    audit_pb2.ACT_FINDING: canonical.FINDING_DECISION,
    audit_pb2.ACT_FINDING_DECISION: canonical.FINDING_DECISION,
}
"""The acts that change the state, and the domain under which their statements are signed."""


_NOT_SEEN = frozenset(
    {
        audit_pb2.ACT_BUNDLE,
        audit_pb2.ACT_TRUST_LIST,
        audit_pb2.ACT_GRANT,
        audit_pb2.ACT_GRANT_EVENT,
        audit_pb2.ACT_CASE,
        audit_pb2.ACT_FINDING,
    }
)
"""Acts that are not found by their body here: who holds them knows them by more than that."""
_PUBLIC = frozenset(
    {
        audit_pb2.ACT_ORGANISATION,
        audit_pb2.ACT_RESOURCE,
        audit_pb2.ACT_RESOURCE_STATE,
        audit_pb2.ACT_LOG_EPOCH,
    }
)


class RegionState:
    """What the region knows, as of `applied_index`.

    Attributes:
        trust_mark: digest of the trust list entered last, without what changes each minute.

    Args:
        book: holds the keys of bundles in force; in memory.
    """

    def __init__(self, *, book: BundleBook) -> None:
        self.organisations = Organisations()
        self.catalogue = Catalogue()
        self.bundles = KeyBundles(book=book)
        self.grants = GrantIndex()
        self.reviews = Reviews()
        self.rules = RulesRegister()
        self.cases = CaseRegister(rules=self.rules, organisations=self.organisations)
        self.stops = StopRegister(
            catalogue=self.catalogue, grants=self.grants, organisations=self.organisations
        )
        self.tickets = TicketRegister(
            catalogue=self.catalogue, organisations=self.organisations, newest=self.bundles.newest
        )
        self.quality = QualityRegister(catalogue=self.catalogue, grants=self.grants)
        self.findings = FindingsRegister(resource=self.catalogue.find)
        self._registers: dict[int, Register] = {}
        for register in (self.rules, self.stops, self.cases, self.tickets, self.quality, self.findings):
            self.add(register)
        self._forgetting: tuple[Forgetting, ...] = (self.cases,)
        self.trust_mark = ""
        self.applied_index = 0
        self._seen: dict[bytes, int] = {}
        self._public: array[int] = array("Q")
        self._private: dict[str, array[int]] = {}

    def add(self, register: Register) -> None:
        """Have a register take its acts; before anything is applied."""
        for act in register.acts:
            if act in self._registers or act not in DOMAINS:
                raise ValueError(f"act {act} of {type(register).__name__}")
            self._registers[act] = register

    def under(self, rules: RegionRules) -> "RegionState":
        """Return this state as it would be under other rules: for looking, nothing may be applied to it."""
        other = copy(self)
        other.rules = RulesRegister(rules)
        return other

    def register(self, act: int) -> Register | None:
        """Return who takes an act; None where no register of its own does."""
        return self._registers.get(act)

    def resource(self, requested: str) -> Resource:
        """Return the resource that a requested id resolves to: exact, then county, city, province.

        Raises:
            UnknownResource, Withdrawn, BadIdentifier.
        """
        return self.catalogue.resolve(requested)

    def index_of(self, domain: bytes, body: bytes) -> int | None:
        """Return the index of the entry that has exactly this statement body; bundles are not found here."""
        if domain == canonical.CASE:
            return self.cases.index_of(body)
        digest = canonical.digest(domain, body)
        if domain == canonical.GRANT:
            return self.grants.index_of(digest)
        if domain == canonical.GRANT_EVENT:
            return self.grants.index_of(grant_named(body), digest)
        return self._seen.get(digest)

    def event_indexes(self, organisation: str, since: int, limit: int) -> Sequence[int]:
        """Return the indexes, from `since` on, of at most `limit` events that an organisation may see."""
        own = self._private.get(organisation, array("Q"))
        return list(merge(_from(self._public, since, limit), _from(own, since, limit)))[:limit]

    def forgotten(self) -> Sequence[int]:
        """Tell nobody any more of entries that count no more; return their indexes, rising."""
        gone: dict[str, list[int]] = {}
        indexes: list[int] = []
        for register in self._forgetting:
            for each in register.forgotten():
                indexes.append(each.index)
                for organisation in each.organisations:
                    gone.setdefault(organisation, []).append(each.index)
        for organisation, told in gone.items():
            self._private[organisation] = _without(self._private[organisation], sorted(told))
        return sorted(indexes)

    def apply(self, index: int, entry: audit_pb2.AuditEntry, *, again: bool = False) -> Audience:
        """Take over the entry at an index; entries that change nothing only move `applied_index`.

        Args:
            index: not below `applied_index`.
            entry: of the log, verbatim.
            again: it was applied before the start and comes from the projection: what it brings to the
                catalogue stays packed until somebody asks for it.

        Returns:
            Who is told of it.

        Raises:
            StoreDamaged: the entry does not fit what came before.
        """
        if index < self.applied_index:
            raise StoreDamaged(f"entry {index} twice")
        audience = NOBODY
        act = entry.administrative.act
        if act in DOMAINS:
            statement = entry.administrative.statement
            try:
                self._fold(index, act, entry, again)
                audience = self.audience(entry)
            except (ExchangeError, KeyError) as error:
                raise StoreDamaged(f"entry {index}") from error
            if act not in _NOT_SEEN:
                self._seen.setdefault(canonical.digest(DOMAINS[act], statement.body), index)
            self._announce(index, audience)
        self.applied_index = index + 1
        return audience

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Return who is told of an entry that was applied.

        Organisations and resources: everybody. Grants and their events: both parties. Bundles: the
        agent's own organisation. The opening of an epoch: everybody. What a register takes: as it
        says. All else: nobody.
        """
        act, statement = entry.administrative.act, entry.administrative.statement
        register = self._registers.get(act)
        if register is not None:
            return register.audience(entry)
        if act in _PUBLIC:
            return EVERYBODY
        if act == audit_pb2.ACT_GRANT:
            return _parties(self.grants.one(canonical.digest(canonical.GRANT, statement.body)))
        if act == audit_pb2.ACT_GRANT_EVENT:
            return _parties(self.grants.one(grant_named(statement.body)))
        if act == audit_pb2.ACT_BUNDLE:
            return Audience(organisations=frozenset({read_bundle(statement).organisation}))
        return NOBODY

    def _fold(self, index: int, act: int, entry: audit_pb2.AuditEntry, again: bool) -> None:
        statement = entry.administrative.statement
        register = self._registers.get(act)
        if register is not None:
            register.apply(index, entry)
        elif act == audit_pb2.ACT_BUNDLE:
            self.bundles.apply(index, read_bundle(statement))
        elif act == audit_pb2.ACT_GRANT:
            self.grants.add(index, replace(read_grant(statement), since_ms=entry.time_ms))
        elif act == audit_pb2.ACT_GRANT_EVENT:
            event = read_event(statement)
            held = self.grants.one(event.grant_id)
            by = supervisor_of(held, self.catalogue.by_id.get(held.resource), self.rules.current)
            moved = transition(held, event, statement, supervisor=by)
            self.grants.update(index, moved, canonical.digest(canonical.GRANT_EVENT, statement.body))
        elif act == audit_pb2.ACT_RESOURCE:
            self._publish(index, entry.administrative, again)
        elif act == audit_pb2.ACT_RESOURCE_STATE:
            self.catalogue.apply_state(read_state(statement))
        elif act == audit_pb2.ACT_ORGANISATION:
            self.organisations.apply(read_organisation(statement))
        elif act in (audit_pb2.ACT_REVIEW_DRAW, audit_pb2.ACT_REVIEW_EVENT):
            self.reviews.apply(index, entry)
        elif act == audit_pb2.ACT_LOG_EPOCH:
            self.bundles.after_loss()
        elif act == audit_pb2.ACT_TRUST_LIST:
            self.trust_mark = entry.administrative.subject

    def _publish(self, index: int, act: audit_pb2.AdministrativeEntry, again: bool) -> None:
        body = act.statement
        resource = pack_resource(body.body) if again else parse_resource(body, keep=False)
        # The rules as they stand at this index: whichever start folds the log decides alike.
        reviewer = reviewer_of(self.rules.current, resource.provider)
        self.catalogue.apply(index, resource, reviewer=reviewer, handed_in_by=act.actor)

    def restore(self, rows: Iterable[tuple[int, bytes]], unpack: Packed) -> None:
        """Put grants back as they stood; nothing was applied before.

        Args:
            rows, unpack: as `GrantIndex.restore`.

        Raises:
            StoreDamaged: they cannot be read; then the state is empty as before.
        """
        self._private = self.grants.restore(rows, unpack)

    def put_in_order(self) -> None:
        """Sort who is told of what, once everything was put back: grants first, then all else."""
        for organisation, told in self._private.items():
            self._private[organisation] = array("Q", sorted(told))

    def _announce(self, index: int, audience: Audience) -> None:
        if audience.everybody:
            self._public.append(index)
        for organisation in audience.organisations:
            self._private.setdefault(organisation, array("Q")).append(index)


def _from(indexes: Sequence[int], since: int, limit: int) -> Sequence[int]:
    start = bisect_left(indexes, since)
    return indexes[start : start + limit]


def _without(indexes: "array[int]", gone: Sequence[int]) -> "array[int]":
    """Return rising indexes without some of them; copied in stretches, for the lists are long."""
    rest, start = array("Q"), 0
    for index in gone:
        place = bisect_left(indexes, index, start)
        if place < len(indexes) and indexes[place] == index:
            rest += indexes[start:place]
            start = place + 1
    return rest + indexes[start:]


def grant_named(body: bytes) -> bytes:
    """Return the grant that the body of an event names; empty where it names none."""
    try:
        return grant_pb2.GrantEventBody.FromString(body).grant_id
    except DecodeError:
        return b""


def _parties(grant: Grant) -> Audience:
    return Audience(organisations=frozenset({grant.consumer, grant.provider}))
