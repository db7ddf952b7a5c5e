"""Entries of the log as hypothesis makes them, and filters that fit some of them."""

from hypothesis import strategies as st

from exchange import canonical
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, reason_pb2
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE

ORGANISATIONS = (HEALTH, POLICE, CIVIL)
RESOURCES = (
    "970100/police/household",
    "970100/police/station",
    "970100/police",
    "970100/civil/marriage",
    "980300/health/birth",
    "not a resource",
    "/",
    "a//b",
)
CODES = ("newborn", "retirement", "afterlife")
CASES = ("LJ-2026-1", "LJ-2026-2")
OPERATORS = ("op-17", "op-18")
ACTORS = (
    f"spiffe://970100.yunchuan.example/steward/{POLICE}/li",
    f"spiffe://970100.yunchuan.example/org/{HEALTH}/agent/health-1",
    "spiffe://970100.yunchuan.example/officer/o-1",
    "no identity",
)
BODIES = tuple(
    grant_pb2.GrantBody(
        nonce=bytes([number]) * 16, consumer=HEALTH, provider=POLICE, resource=RESOURCES[0]
    ).SerializeToString()
    for number in range(2)
)
GRANTS = tuple(canonical.digest(canonical.GRANT, body) for body in BODIES)
DECISIONS = [number for number in audit_pb2.Decision.values() if number]
REASONS = [reason_pb2.REASON_NO_GRANT, reason_pb2.REASON_CASE_REQUIRED, reason_pb2.REASON_PROVIDER_AWAY]
ACTS = [
    audit_pb2.ACT_READ,
    audit_pb2.ACT_REFUSED,
    audit_pb2.ACT_RESOURCE,
    audit_pb2.ACT_GRANT,
    audit_pb2.ACT_GRANT_EVENT,
]
TIMES = st.integers(min_value=0, max_value=40)


def _or_none(values: object, empty: object) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.sampled_from([empty, *values])  # type: ignore[misc]


exchanges = st.builds(
    audit_pb2.ExchangeEntry,
    exchange_id=st.integers(min_value=0, max_value=3).map(lambda number: number.to_bytes(16, "big")),
    consumer_organisation=_or_none(ORGANISATIONS, ""),
    provider_organisation=_or_none(ORGANISATIONS, ""),
    operator=_or_none(OPERATORS, ""),
    resource=_or_none(RESOURCES, ""),
    purpose=_or_none(CODES, ""),
    matter=_or_none(CODES, ""),
    case_number=_or_none(CASES, ""),
    grant_id=_or_none(GRANTS, b""),
    decision=st.sampled_from(DECISIONS),
    reason=_or_none(REASONS, 0),
)


@st.composite
def acts(draw: st.DrawFn) -> audit_pb2.AdministrativeEntry:
    act = draw(st.sampled_from(ACTS))
    body = b""
    if act == audit_pb2.ACT_GRANT:
        body = draw(st.sampled_from([*BODIES, b"\xff"]))
    elif act == audit_pb2.ACT_GRANT_EVENT:
        body = grant_pb2.GrantEventBody(grant_id=draw(st.sampled_from(GRANTS))).SerializeToString()
    return audit_pb2.AdministrativeEntry(
        act=act,
        actor=draw(st.sampled_from(ACTORS)),
        subject=draw(st.sampled_from(RESOURCES)),
        reason=draw(_or_none(REASONS, 0)),
        statement=common_pb2.Statement(body=body) if body else None,
    )


refusals = st.builds(
    audit_pb2.RefusalCount, caller=st.sampled_from(ACTORS), reason=_or_none(REASONS, 0), count=st.just(7)
)


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    """Leaves of every kind, their times in no order."""
    entry = audit_pb2.AuditEntry(version=1, gateway=ORIGIN, time_ms=draw(TIMES))
    kind = draw(st.integers(min_value=0, max_value=7))
    if kind <= 3:
        entry.exchange.CopyFrom(draw(exchanges))
    elif kind <= 5:
        entry.administrative.CopyFrom(draw(acts()))
    elif kind == 6:
        entry.refusals.CopyFrom(draw(refusals))
    return entry.SerializeToString()


@st.composite
def filters(draw: st.DrawFn) -> audit_pb2.EntryFilter:
    """Filters of up to three parts, among them those that many entries fit."""
    asked = audit_pb2.EntryFilter()
    names = [field.name for field in audit_pb2.EntryFilter.DESCRIPTOR.fields]
    for name in draw(st.sets(st.sampled_from(names), max_size=3)):
        _set(draw, asked, name)
    if asked.until_ms and asked.until_ms <= asked.since_ms:
        asked.until_ms = asked.since_ms + 1
    return asked


def _set(draw: st.DrawFn, asked: audit_pb2.EntryFilter, name: str) -> None:
    choices: dict[str, object] = {
        "organisation": ORGANISATIONS,
        "resource": (*RESOURCES[:5], "970100/*", "970100/police/*", "980300/*"),
        "purpose": CODES,
        "matter": CODES,
        "case_number": CASES,
        "operator": OPERATORS,
        "actor": ACTORS,
        "grant_id": GRANTS,
    }
    numbers = {"decisions": DECISIONS, "reasons": REASONS, "acts": ACTS}
    if name in choices:
        setattr(asked, name, draw(st.sampled_from(choices[name])))  # type: ignore[call-overload]
    elif name in numbers:
        getattr(asked, name).extend(draw(st.sets(st.sampled_from(numbers[name]), min_size=1, max_size=3)))
    else:
        setattr(asked, name, draw(TIMES) + 1)
