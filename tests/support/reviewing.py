"""Entries, draws and steps of reviews for tests."""

from typing import Any

from exchange import canonical
from exchange.identity import Identity, Role
from exchange.review import RANDOM, Draw, Event
from exchange.v1 import audit_pb2, common_pb2, review_pb2
from tests.support.region import CIVIL, DIVISION, DOMAIN, HEALTH, ORIGIN, POLICE, RESOURCE, moment, nonce

WEDNESDAY_NOON_MS = 1_793_764_800_000
"""2026-11-04 12:00 in UTC+8."""
HOUR_MS = 3_600_000


def person(role: Role, name: str, organisation: str = "") -> Identity:
    return Identity(DOMAIN, DIVISION, role, organisation, name)


ZHAO, QIAN = person(Role.OFFICER, "zhao"), person(Role.OFFICER, "qian")
SUN = person(Role.AUDITOR, "sun")
CHEN, WU = person(Role.STEWARD, "chen", HEALTH), person(Role.STEWARD, "wu", CIVIL)
WANG = person(Role.ADMIN, "wang")


def exchange(**changes: Any) -> audit_pb2.AuditEntry:
    """Return the entry of a released exchange within working hours, with a case."""
    time_ms = changes.pop("time_ms", WEDNESDAY_NOON_MS)
    told: dict[str, Any] = {
        "exchange_id": nonce(),
        "consumer_organisation": HEALTH,
        "provider_organisation": POLICE,
        "resource": RESOURCE,
        "fields": ["name"],
        "kind": common_pb2.KIND_QUERY,
        "case_number": "LJ-1",
        "decision": audit_pb2.DECISION_RELEASED,
    }
    return audit_pb2.AuditEntry(
        salt=nonce(),
        version=1,
        gateway=ORIGIN,
        time_ms=time_ms,
        exchange=audit_pb2.ExchangeEntry(**(told | changes)),
    )


def administrative(act: int, actor: Identity, body: Any = None, **changes: Any) -> audit_pb2.AuditEntry:
    time_ms = changes.pop("time_ms", WEDNESDAY_NOON_MS)
    statement = None if body is None else common_pb2.Statement(body=body.SerializeToString())
    told = audit_pb2.AdministrativeEntry(act=act, actor=actor.uri, statement=statement, **changes)  # type: ignore[arg-type]
    return audit_pb2.AuditEntry(salt=nonce(), version=1, gateway=ORIGIN, time_ms=time_ms, administrative=told)


def draw(**changes: Any) -> Draw:
    held: dict[str, Any] = {
        "review_id": b"\5" * 32,
        "origin": ORIGIN,
        "size": 1_000_000,
        "root": b"\1" * 32,
        "first": 0,
        "end": 1_000_000,
        "count": 10,
        "strategy": RANDOM,
        "organisation": "",
        "resource": "",
        "issued_at_ms": WEDNESDAY_NOON_MS,
    }
    return Draw(**(held | changes))


def draw_body(at_ms: int, **changes: Any) -> review_pb2.ReviewDrawBody:
    held: dict[str, Any] = {
        "version": 1,
        "nonce": nonce(),
        "head": common_pb2.LogHead(origin=ORIGIN, size=100, root=b"\1" * 32),
        "first": 0,
        "end": 100,
        "count": 5,
        "strategy": RANDOM,
        "issued_at": moment(at_ms),
    }
    return review_pb2.ReviewDrawBody(**(held | changes))


def event_body(at_ms: int, **changes: Any) -> review_pb2.ReviewEventBody:
    held: dict[str, Any] = {
        "nonce": nonce(),
        "review_id": b"\5" * 32,
        "revision": 1,
        "issued_at": moment(at_ms),
    }
    return review_pb2.ReviewEventBody(**(held | changes))


def event(action: int, revision: int, **changes: Any) -> Event:
    held: dict[str, Any] = {
        "review_id": b"\5" * 32,
        "item": 7,
        "assignee": "",
        "text": "",
        "verdict": 0,
        "issued_at_ms": WEDNESDAY_NOON_MS,
        "selected": (),
        "population": 0,
    }
    return Event(action=action, revision=revision, **(held | changes))


def signed(signer: Any, body: Any) -> common_pb2.Statement:
    """Sign a draw or a step."""
    drawn = isinstance(body, review_pb2.ReviewDrawBody)
    domain = canonical.REVIEW_DRAW if drawn else canonical.REVIEW_EVENT
    return signer.sign(domain, body.SerializeToString())  # type: ignore[no-any-return]
