"""What narrows a grant besides fields, kinds, purposes and matters: scope, steps, row filters, quotas.

1. A grant for the whole names no matters, domains or steps.
2. One for domains names them, and neither matters nor steps.
3. One for scenarios names matters; where it names steps, every matter has at least one of them.
4. Where no scope is named it is that of scenarios where matters are named, otherwise the whole.

A region may have a million grants: equal sets are held once (`shared`), and what most grants have alike is
one object (`Limits`).
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import TypeVar, cast

from exchange.codes import credit_code
from exchange.errors import Malformed, Oversized
from exchange.resources import check_text
from exchange.v1 import directory_pb2, grant_pb2

MAX_DOMAINS = 16
MAX_STEPS = 64
MAX_FILTERS = 8
MAX_FILTER_VALUES = 32
MAX_FILTER_CHARS = 100
MAX_QUOTA = 10**12
MAX_DATA_LIFE_DAYS = 10 * 366
MAX_RECIPIENTS = 16
MAX_CODE = 64
MAX_SHARED = 4096

WHOLE = grant_pb2.GRANT_SCOPE_WHOLE
DOMAIN = grant_pb2.GRANT_SCOPE_DOMAIN
SCENARIO = grant_pb2.GRANT_SCOPE_SCENARIO
ON_DEMAND = directory_pb2.FETCH_MODE_ON_DEMAND

_MODES = frozenset(directory_pb2.FetchMode.values()) - {directory_pb2.FETCH_MODE_UNSPECIFIED}
_OPERATORS = frozenset(grant_pb2.FilterOperator.values()) - {grant_pb2.FILTER_OPERATOR_UNSPECIFIED}
_PERIODS = frozenset(grant_pb2.QuotaPeriod.values()) - {grant_pb2.QUOTA_PERIOD_UNSPECIFIED}

T = TypeVar("T", bound=Hashable)


@lru_cache(maxsize=MAX_SHARED)
def _first(kind: type, value: Hashable) -> Hashable:
    return value


def shared(value: T) -> T:
    """Return an object that is equal, and the same one as often as possible."""
    return cast(T, _first(type(value), value))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A record leaves only where this field of it fits.

    Attributes:
        operator: a FilterOperator: equal to one of the values, or beginning with one.
        values: in text form.
    """

    field: str
    operator: int
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """How many exchanges may be released in a QuotaPeriod."""

    period: int
    exchanges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What narrows a grant besides fields, kinds, purposes and matters; alike for most grants.

    Attributes:
        scope: a GrantScope, never unspecified.
        domains: of matters; empty where the scope is another.
        steps: each "<matter>/<step>"; empty for every step.
        fetch_modes: FetchModes; at least on demand.
        data_life_days: after which received data are deleted; 0 for no limit.
        redisclosure_to: credit codes of those to whom the consumer may pass it on; empty for nobody.
    """

    scope: int
    domains: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    row_filters: tuple[RowFilter, ...] = ()
    quotas: tuple[QuotaRule, ...] = ()
    fetch_modes: frozenset[int] = frozenset({ON_DEMAND})
    data_life_days: int = 0
    redisclosure_to: frozenset[str] = frozenset()


_NAMED: dict[int, tuple[bool, bool]] = {WHOLE: (False, False), DOMAIN: (False, True), SCENARIO: (True, False)}
"""Of each scope, whether matters and domains are named."""
_NARROWING = ("steps", "row_filters", "quotas", "fetch_modes", "data_life_days", "redisclosure_to")
_PLAIN: dict[int, Limits] = {scope: Limits(scope=scope) for scope in (WHOLE, SCENARIO)}


def read_limits(body: grant_pb2.GrantBody) -> Limits:
    """Return what narrows a grant whose matters were checked.

    Raises:
        Malformed, Oversized, BadIdentifier: a part breaks a rule; the subject names it.
    """
    scope = body.scope or (SCENARIO if body.matters else WHOLE)
    _check_scope(body, scope)
    plain = _PLAIN.get(scope)
    if plain is not None and not any(getattr(body, name) for name in _NARROWING):
        return plain
    modes = body.fetch_modes
    if len(set(modes)) != len(modes) or not _MODES.issuperset(modes):
        raise Malformed("fetch_modes")
    if body.data_life_days > MAX_DATA_LIFE_DAYS:
        raise Malformed("data_life_days")
    check_codes(body.redisclosure_to, "redisclosure_to", least=0, most=MAX_RECIPIENTS)
    if body.consumer in body.redisclosure_to:
        raise Malformed("redisclosure_to")
    return shared(
        Limits(
            scope=scope,
            domains=shared(frozenset(body.domains)),
            steps=shared(frozenset(body.steps)),
            row_filters=shared(_row_filters(body.row_filters)),
            quotas=shared(_quotas(body.quotas)),
            fetch_modes=shared(frozenset(modes or (ON_DEMAND,))),
            data_life_days=body.data_life_days,
            redisclosure_to=shared(frozenset(map(credit_code, body.redisclosure_to))),
        )
    )


def _check_scope(body: grant_pb2.GrantBody, scope: int) -> None:
    check_codes(body.domains, "domains", least=0, most=MAX_DOMAINS)
    check_codes(body.steps, "steps", least=0, most=MAX_STEPS, chars=2 * MAX_CODE + 1)
    named = (bool(body.matters), bool(body.domains))
    if named != _NAMED.get(scope) or (body.steps and scope != SCENARIO):
        raise Malformed("scope")
    if any("." in domain for domain in body.domains):
        raise Malformed("domains")
    parts = [step.split("/") for step in body.steps]
    if any(len(part) != 2 or not all(part) for part in parts):
        raise Malformed("steps")
    if parts and {part[0] for part in parts} != set(body.matters):
        raise Malformed("steps")


def _row_filters(told: Sequence[grant_pb2.RowFilter]) -> tuple[RowFilter, ...]:
    if len(told) > MAX_FILTERS:
        raise Oversized("row_filters")
    for item in told:
        if item.operator not in _OPERATORS:
            raise Malformed("row_filters")
        check_text(item.field, "row_filters", least=1, most=MAX_CODE)
        check_codes(item.values, "row_filters", least=1, most=MAX_FILTER_VALUES, chars=MAX_FILTER_CHARS)
    return tuple(RowFilter(intern(item.field), item.operator, tuple(item.values)) for item in told)


def _quotas(told: Sequence[grant_pb2.Quota]) -> tuple[QuotaRule, ...]:
    periods = [item.period for item in told]
    if len(set(periods)) != len(periods) or not _PERIODS.issuperset(periods):
        raise Malformed("quotas")
    if not all(1 <= item.exchanges <= MAX_QUOTA for item in told):
        raise Malformed("quotas")
    return tuple(QuotaRule(item.period, item.exchanges) for item in told)


def check_codes(
    codes: Collection[str], subject: str, *, least: int, most: int, chars: int = MAX_CODE
) -> None:
    """Refuse codes that are too few, too many, too long or one of which is there twice.

    Raises:
        Malformed, Oversized: with the subject given.
    """
    if len(codes) > most:
        raise Oversized(subject)
    if len(codes) < least or len(set(codes)) != len(codes):
        raise Malformed(subject)
    for code in codes:
        check_text(code, subject, least=1, most=chars)
