"""What an EntryFilter means. Tail, search and exports all ask here, so that they mean the same.

`facts` says what can be asked of an entry, `Filter` whether it fits; both are pure. Beyond what proto/ says:
1. A refusal is an outcome wherever it happened: of an exchange, of an administrative call, or counted.
2. An act about a resource or grant belongs to that resource or grant, as exchanges do; an application for a
   grant also to its consumer and provider.
3. An organisation is an exchange's consumer or provider, or the one that the actor's certificate names.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from exchange import canonical
from exchange.errors import ExchangeError, Malformed
from exchange.identity import MAX_URI_CHARS, parse_uri
from exchange.v1 import audit_pb2, grant_pb2, reason_pb2

MAX_DECISIONS, MAX_REASONS, MAX_ACTS = 3, 32, 32
MAX_TEXT = 200
GRANT_ID_BYTES = 32
PREFIX_PARTS = 2
_ORGANISATION = re.compile(r"[0-9A-Z]{18}", re.ASCII)
DOMAIN = b"shuqiao/filter/1\0"
_MAX_INT64 = (1 << 63) - 1
_RESOURCE_ACTS = frozenset({audit_pb2.ACT_RESOURCE, audit_pb2.ACT_RESOURCE_STATE})


class Facts(NamedTuple):
    """What can be asked of an entry; empty or 0 where it has no such thing.

    Attributes:
        kind: 1 an exchange, 2 an administrative act, 3 counted refusals, 0 nothing of these.
        organisation: the actor's; consumer and provider are those of an exchange.
        exchange_id, grant_id: 16 and 32 bytes, as the entry has them.
    """

    time_ms: int = 0
    kind: int = 0
    decision: int = 0
    reason: int = 0
    act: int = 0
    exchange_id: bytes = b""
    consumer: str = ""
    provider: str = ""
    organisation: str = ""
    resource: str = ""
    purpose: str = ""
    matter: str = ""
    case_number: str = ""
    operator: str = ""
    grant_id: bytes = b""
    actor: str = ""


def facts(entry: audit_pb2.AuditEntry) -> Facts:
    """Return what can be asked of an entry."""
    which = entry.WhichOneof("subject")
    if which == "exchange":
        told = entry.exchange
        return Facts(
            time_ms=entry.time_ms,
            kind=1,
            decision=told.decision,
            reason=told.reason,
            exchange_id=told.exchange_id,
            consumer=told.consumer_organisation,
            provider=told.provider_organisation,
            resource=told.resource,
            purpose=told.purpose,
            matter=told.matter,
            case_number=told.case_number,
            operator=told.operator,
            grant_id=told.grant_id,
        )
    if which == "administrative":
        return _administrative(entry.time_ms, entry.administrative)
    if which == "refusals":
        count = entry.refusals
        return Facts(
            time_ms=entry.time_ms,
            kind=3,
            decision=audit_pb2.DECISION_REFUSED,
            reason=count.reason,
            organisation=_organisation(count.caller),
            actor=count.caller,
        )
    return Facts(time_ms=entry.time_ms)


def facts_of(leaf: bytes) -> Facts:
    """Return what can be asked of an entry by its bytes: nothing, where they cannot be parsed."""
    try:
        return facts(audit_pb2.AuditEntry.FromString(leaf))
    except DecodeError:
        return Facts()


def prefixes(resource: str) -> tuple[str, ...]:
    """Return the prefixes that a resource is below: of one part and of two, as far as it has them."""
    parts = resource.split("/", PREFIX_PARTS)
    return tuple("/".join(parts[:count]) for count in range(1, len(parts)))


class Filter:
    """An EntryFilter that was checked.

    Args:
        message: as it came.

    Attributes:
        message: a copy.
        prefix: what a resource must be below, without "/*"; empty where none is asked for.

    Raises:
        Malformed: names the part that is out of bounds.
    """

    def __init__(self, message: audit_pb2.EntryFilter) -> None:
        self.message = asked = audit_pb2.EntryFilter()
        asked.CopyFrom(message)
        _check(asked)
        self.prefix = asked.resource.removesuffix("/*") if asked.resource.endswith("/*") else ""
        self._checks = tuple(_checks(asked, self.prefix))

    @property
    def everything(self) -> bool:
        """Whether every entry fits."""
        return not self._checks

    @property
    def digest(self) -> bytes:
        """What tells filters apart, 32 bytes."""
        return hashlib.sha256(DOMAIN + self.message.SerializeToString(deterministic=True)).digest()

    def fits(self, known: Facts) -> bool:
        """Return whether an entry fits."""
        return all(check(known) for check in self._checks)


def _administrative(time_ms: int, told: audit_pb2.AdministrativeEntry) -> Facts:
    known = Facts(
        time_ms=time_ms,
        kind=2,
        decision=audit_pb2.DECISION_REFUSED if told.act == audit_pb2.ACT_REFUSED else 0,
        reason=told.reason,
        act=told.act,
        organisation=_organisation(told.actor),
        resource=told.subject if told.act in _RESOURCE_ACTS else "",
        actor=told.actor,
    )
    body = told.statement.body
    try:
        if told.act == audit_pb2.ACT_GRANT:
            grant = grant_pb2.GrantBody.FromString(body)
            return known._replace(
                grant_id=canonical.digest(canonical.GRANT, body),
                consumer=grant.consumer,
                provider=grant.provider,
                resource=grant.resource,
            )
        if told.act == audit_pb2.ACT_GRANT_EVENT:
            return known._replace(grant_id=grant_pb2.GrantEventBody.FromString(body).grant_id)
    except DecodeError:
        return known  # A body that cannot be parsed is a matter of verification.
    return known


@lru_cache(maxsize=4096)
def _organisation(uri: str) -> str:
    try:
        return parse_uri(uri).organisation
    except ExchangeError:
        return ""


def _check(asked: audit_pb2.EntryFilter) -> None:
    if asked.organisation and not _ORGANISATION.fullmatch(asked.organisation):
        raise Malformed("filter.organisation")
    for name, most in (
        ("resource", MAX_TEXT),
        ("purpose", MAX_TEXT),
        ("matter", MAX_TEXT),
        ("case_number", MAX_TEXT),
        ("operator", MAX_TEXT),
        ("actor", MAX_URI_CHARS),
    ):
        text = getattr(asked, name)
        if len(text) > most or (text and not text.isprintable()):
            raise Malformed(f"filter.{name}")
    if "*" in asked.resource and not _is_prefix(asked.resource):
        raise Malformed("filter.resource")
    _check_numbers("decisions", asked.decisions, MAX_DECISIONS, audit_pb2.Decision.values())
    _check_numbers("reasons", asked.reasons, MAX_REASONS, reason_pb2.Reason.values())
    _check_numbers("acts", asked.acts, MAX_ACTS, audit_pb2.Act.values())
    if len(asked.grant_id) not in (0, GRANT_ID_BYTES):
        raise Malformed("filter.grant_id")
    if asked.since_ms < 0:
        raise Malformed("filter.since_ms")
    if asked.until_ms < 0 or 0 < asked.until_ms <= asked.since_ms:
        raise Malformed("filter.until_ms")


def _is_prefix(resource: str) -> bool:
    """One or two whole parts and "/*": ids have three."""
    prefix, star = resource[:-2], resource[-2:]
    parts = prefix.split("/")
    return star == "/*" and "*" not in prefix and len(parts) <= PREFIX_PARTS and all(parts)


def _check_numbers(name: str, numbers: Iterable[int], most: int, known: Iterable[int]) -> None:
    held = list(numbers)
    if len(held) > most or not set(held) <= set(known) - {0}:
        raise Malformed(f"filter.{name}")


Check = Callable[[Facts], bool]


def _checks(asked: audit_pb2.EntryFilter, prefix: str) -> Iterable[Check]:
    """Yield a check for each part that is set, those that most entries fail first."""
    if asked.case_number:
        case_number = asked.case_number
        yield lambda known: known.case_number == case_number
    if asked.operator:
        operator = asked.operator
        yield lambda known: known.operator == operator
    if asked.grant_id:
        grant_id = asked.grant_id
        yield lambda known: known.grant_id == grant_id
    if asked.actor:
        actor = asked.actor
        yield lambda known: known.actor == actor
    if asked.organisation:
        code = asked.organisation
        yield lambda known: code in (known.consumer, known.provider, known.organisation)
    if prefix:
        yield lambda known: prefix in prefixes(known.resource)
    elif asked.resource:
        resource = asked.resource
        yield lambda known: known.resource == resource
    yield from _number_checks(asked)


def _number_checks(asked: audit_pb2.EntryFilter) -> Iterable[Check]:
    decisions, reasons, acts = set(asked.decisions), set(asked.reasons), set(asked.acts)
    if decisions:
        yield lambda known: known.decision in decisions
    if reasons:
        yield lambda known: known.reason in reasons
    if acts:
        yield lambda known: known.act in acts
    if asked.purpose:
        purpose = asked.purpose
        yield lambda known: known.purpose == purpose
    if asked.matter:
        matter = asked.matter
        yield lambda known: known.matter == matter
    if asked.since_ms or asked.until_ms:
        since_ms, until_ms = asked.since_ms, asked.until_ms or _MAX_INT64
        yield lambda known: since_ms <= known.time_ms < until_ms
