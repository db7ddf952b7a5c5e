"""The synthetic region of the corpus: resources, departments, and one exchange of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from exchange.resources import Resource, parse_resource
from exchange.v1 import common_pb2, directory_pb2

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MONDAY_MS = 1_772_380_800_000
"""Monday, 2 March 2026, 00:00 by Beijing time."""

_SHAPES: Mapping[str, tuple[str, int]] = {
    "970100/public-security/household": ("name address household_no", 4),
    "970100/health/death-records": ("death_date death_place", 4),
    "970100/tax/refunds": ("bank_account refund_state", 4),
    "970100/civil-affairs/marriage": ("married", 3),
    "970100/social-insurance/enrolment": ("years status", 3),
    "970100/market-regulation/enterprises": ("enterprise_name scope", 2),
    "970100/housing/property": ("address area", 4),
}
HOUSEHOLD, DEATHS, REFUNDS, MARRIAGE, INSURANCE, ENTERPRISES, PROPERTY = _SHAPES
FIELDS: Mapping[str, tuple[str, ...]] = {name: tuple(told[0].split()) for name, told in _SHAPES.items()}
PROVIDERS: Mapping[str, str] = {
    name: f"1197{number:02d}00MB1A0001X5" for number, name in enumerate(_SHAPES, start=1)
}


class Event(NamedTuple):
    """One exchange that somebody tries.

    Attributes:
        subject: number of the person; None for none.
        reason: for which it is refused anyway; 0 where it is answered.
        by_provider: whether that is the provider's refusal.
        incident: of an attack; 0 where it is lawful.
    """

    time_ms: int
    consumer: str
    operator: str
    resource: str
    fields: tuple[str, ...]
    subject: int | None
    case: str
    reason: int = 0
    by_provider: bool = False
    attempt: int = 0
    verify: bool = False
    incident: int = 0


@dataclass(slots=True)
class Incident:
    """An attack: what kind, and which rules are meant to find it.

    Attributes:
        hard: whether it is made to be missed.
    """

    number: int
    kind: str
    rules: frozenset[str]
    hard: bool = False
    found_by: set[str] = field(default_factory=set)


def tag(subject: int) -> bytes:
    """Return the outer tag that stands for a person, 32 bytes."""
    return hashlib.sha256(b"corpus" + subject.to_bytes(8)).digest()


def resources() -> dict[str, Resource]:
    """Return the catalogue."""
    issued = Timestamp(seconds=MONDAY_MS // 1000)
    found = {}
    for name, (fields, level) in _SHAPES.items():
        body = directory_pb2.ResourceBody(
            nonce=bytes(16),
            id=name,
            provider=PROVIDERS[name],
            title_zh=name,
            title_en=name,
            version=1,
            fields=[
                directory_pb2.Field(name=one, type="text", level=level, share_type=2)
                for one in fields.split()
            ],
            parameters=[
                directory_pb2.Parameter(name="citizen_id", type="text", level=4, format="citizen_id")
            ],
            kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
            case_required=True,
            row_cap=20,
            issued_at=issued,
        )
        found[name] = parse_resource(common_pb2.Statement(body=body.SerializeToString()))
    return found


def consumer(number: int) -> str:
    """Return the credit code of a consumer."""
    return f"1198{number:04d}MB1A0001X5"
