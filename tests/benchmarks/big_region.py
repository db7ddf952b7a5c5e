"""The log of a large region, made up entry by entry when it is read: none of it is kept anywhere.

First the organisations, then the resources, then each grant's application and its acceptance. Signatures and
chains are of the right length and mean nothing: what is in a log was verified before.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from exchange.canonical import GRANT, digest
from exchange.codes import credit_code_check
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from tests.support.region import DIVISION, ORIGIN, YEAR_MS, Head, Logged, item, moment
from tests.support.sealing import NOW_MS

ORGANISATIONS = 200
TERMS = 5_000
"""So many different combinations of fields, purposes, matters and the rest are applied for."""
SHAPES = 20
"""In so many ways each common field is kept."""
_FIELDS = ("name", "address", "birth_date", "station", "status", "issued_on", "valid_until", "remark")
_CHAIN = [random.Random(1).randbytes(620), random.Random(2).randbytes(560)]
_SIGNATURE = random.Random(3).randbytes(71)


@lru_cache(maxsize=ORGANISATIONS)
def organisation(number: int) -> str:
    """Return a credit code of a division that does not exist."""
    first = f"11970100MB{number:07d}"
    return first + credit_code_check(first)


def resource_id(number: int) -> str:
    return f"{DIVISION}/body-{number % ORGANISATIONS}/item-{number}"


class BigLog:
    """A log in memory whose first entries are made up.

    Args:
        grants, resources: how many.
    """

    def __init__(self, *, grants: int, resources: int) -> None:
        self.grants, self.resources = grants, resources
        self.first_grant = ORGANISATIONS + resources
        self._made = self.first_grant + 2 * grants
        self._more: list[bytes] = []

    @property
    def head(self) -> Head:
        return Head(self._made + len(self._more))

    @property
    def sealed_size(self) -> int:
        return 0

    async def append(self, leaf: bytes) -> Logged:
        self._more.append(leaf)
        return Logged(self.head.size - 1)

    def subscribe(self, callback: Callable[[int, Sequence[bytes]], None]) -> None:
        """Nothing here is ever in doubt."""

    def leaves(self, first: int, count: int) -> list[bytes]:
        return [self._leaf(index) for index in range(first, min(first + count, self.head.size))]

    def body(self, grant: int) -> bytes:
        """Return what was applied for, by number of the grant."""
        terms = _terms(_mixed(grant, 1) % TERMS)
        resource = _mixed(grant, 2) % self.resources
        start_ms = NOW_MS - 1000 - _mixed(grant, 3) % YEAR_MS
        body = grant_pb2.GrantBody(
            nonce=grant.to_bytes(16),
            consumer=organisation(_mixed(grant, 4) % ORGANISATIONS),
            provider=organisation(resource % ORGANISATIONS),
            resource=resource_id(resource),
            not_before=moment(start_ms),
            not_after=moment(start_ms + 2 * YEAR_MS),
            justification="一件事",
        )
        body.MergeFrom(terms)
        return body.SerializeToString()

    def grant_id(self, grant: int) -> bytes:
        return digest(GRANT, self.body(grant))

    def acceptance(self, grant: int, grant_id: bytes) -> bytes:
        """Return the provider's acceptance of a grant."""
        return grant_pb2.GrantEventBody(
            nonce=grant.to_bytes(16),
            grant_id=grant_id,
            revision=1,
            action=grant_pb2.GRANT_ACTION_ACCEPT,
            issued_at=moment(NOW_MS),
        ).SerializeToString()

    def _leaf(self, index: int) -> bytes:
        if index >= self._made:
            return self._more[index - self._made]
        if index < ORGANISATIONS:
            return _entry(index, audit_pb2.ACT_ORGANISATION, _organisation_body(index))
        if index < self.first_grant:
            return _entry(index, audit_pb2.ACT_RESOURCE, _resource_body(index - ORGANISATIONS))
        grant, event = divmod(index - self.first_grant, 2)
        if not event:
            return _entry(index, audit_pb2.ACT_GRANT, self.body(grant))
        return _entry(index, audit_pb2.ACT_GRANT_EVENT, self.acceptance(grant, self.grant_id(grant)))


def _mixed(number: int, salt: int) -> int:
    return int.from_bytes(hashlib.blake2b(number.to_bytes(8), digest_size=8, salt=bytes([salt])).digest())


@lru_cache(maxsize=TERMS)
def _terms(number: int) -> grant_pb2.GrantBody:
    chance = random.Random(number)
    matter = f"domain-{number % 7}.matter-{number % 60}"
    terms = grant_pb2.GrantBody(
        fields=chance.sample(_FIELDS, chance.randint(1, 6)),
        kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
        purposes=[f"purpose-{number % 40}"],
        matters=[matter],
        case_required=bool(number % 3),
    )
    if number % 4 == 0:
        terms.data_life_days = 180
    if number % 10 == 0:
        terms.quotas.add(period=grant_pb2.QUOTA_PERIOD_DAY, exchanges=1 << 30)
    return terms


def _entry(index: int, act: int, body: bytes) -> bytes:
    entry = audit_pb2.AuditEntry(salt=index.to_bytes(16), version=1, gateway=ORIGIN, time_ms=NOW_MS)
    told = entry.administrative
    told.act = audit_pb2.Act.ValueType(act)
    told.statement.body, told.statement.signature = body, _SIGNATURE
    told.statement.chain.extend(_CHAIN)
    return entry.SerializeToString()


def _organisation_body(number: int) -> bytes:
    return directory_pb2.OrganisationBody(
        nonce=number.to_bytes(16),
        credit_code=organisation(number),
        alias=f"body-{number}",
        name_zh=f"第{number}局",
        name_en=f"Body {number}",
        division=DIVISION,
        issued_at=moment(NOW_MS),
    ).SerializeToString()


@lru_cache(maxsize=8192)
def _field(name: str, shape: int) -> directory_pb2.Field:
    level = (common_pb2.LEVEL_L2, common_pb2.LEVEL_L3, common_pb2.LEVEL_L4)[shape % 3]
    return item(name, level, 1 + shape % 2, title_zh=f"第{shape}种", title_en=name, padding=16 + shape)


def _resource_body(number: int) -> bytes:
    fields = [_field(name, _mixed(number, place) % SHAPES) for place, name in enumerate(_FIELDS, 10)]
    fields += [_field(f"field_{place}_{_mixed(number, place) % 750}", 0) for place in range(20, 24)]
    return directory_pb2.ResourceBody(
        nonce=number.to_bytes(16),
        id=resource_id(number),
        provider=organisation(number % ORGANISATIONS),
        title_zh=f"第{number}项登记信息",
        title_en=f"Register {number}",
        version=1,
        fields=fields,
        parameters=[directory_pb2.Parameter(name="id", type="text", level=common_pb2.LEVEL_L4)],
        kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY],
        row_cap=10,
        issued_at=moment(NOW_MS),
    ).SerializeToString()
