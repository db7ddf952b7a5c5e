"""Row filters of grants: a record that does not fit is as if it were not there.

1. Compared is the source's value before any mask, in the form in which claims are compared.
2. Every filter must fit; a record without a value in the filter's field does not.
3. A field by which is filtered need not be granted, but the source must map it: otherwise the provider
   says no to the whole question, for it could not keep to the grant.
4. Records are left out before anything is counted. What a connector reads at the most (`row_cap` of the
   source's configuration) bounds the machine and is counted before: it is to be larger than the catalogue's.

What the filters of a grant demand is worked out once and kept, for grants share them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timezone
from functools import partial

from agent.provider.connectors.port import Record
from agent.provider.field_rules import FieldRule, normal
from agent.provider.values import Value, parse, taker
from exchange.errors import ProviderVeto, SourceDown
from exchange.grant_limits import RowFilter
from exchange.v1 import grant_pb2

MAX_KEPT = 256

_Fits = Callable[[Record], bool]


class RowFilters:
    """The filters of one source.

    Args:
        source: name of the resource, for errors.
        columns: of the connector.
        fields: what the source maps.
        zone: the offset of timestamps that carry none.
    """

    def __init__(
        self, *, source: str, columns: Sequence[str], fields: Mapping[str, FieldRule], zone: timezone
    ) -> None:
        self._source = source
        self._columns = columns
        self._fields = fields
        self._zone = zone
        self._kept: dict[tuple[RowFilter, ...], tuple[_Fits, ...]] = {}

    def check(self, filters: tuple[RowFilter, ...]) -> None:
        """Refuse filters that cannot be kept to.

        Raises:
            ProviderVeto: a field is not mapped, or its values are none of the source's type.
        """
        if filters:
            self._tests(filters)

    def fitting(self, filters: tuple[RowFilter, ...], records: list[Record]) -> list[Record]:
        """Return the records that fit every filter.

        Raises:
            ProviderVeto: as `check`.
            SourceDown: the source holds a value that is not of its field's type.
        """
        if not filters:
            return records
        tests = self._tests(filters)
        return [record for record in records if all(fits(record) for fits in tests)]

    def _tests(self, filters: tuple[RowFilter, ...]) -> tuple[_Fits, ...]:
        tests = self._kept.get(filters)
        if tests is None:
            tests = tuple(map(self._test, filters))
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[filters] = tests
        return tests

    def _test(self, told: RowFilter) -> _Fits:
        rule = self._fields.get(told.field)
        if rule is None or (told.operator == grant_pb2.FILTER_OPERATOR_PREFIX and rule.type != "text"):
            raise ProviderVeto(f"{self._source}: row filter by {told.field}")
        try:
            values = frozenset(normal(rule.type, parse(rule.type, value)) for value in told.values)
        except ValueError:
            raise ProviderVeto(f"{self._source}: row filter by {told.field}") from None
        held = partial(
            self._normal, rule.name, rule.type, self._columns.index(rule.column), taker(rule.type, self._zone)
        )
        if told.operator == grant_pb2.FILTER_OPERATOR_PREFIX:
            beginnings = tuple(values)
            return lambda record: (value := held(record)) is not None and value.startswith(beginnings)
        return lambda record: held(record) in values

    def _normal(
        self, name: str, kind: str, at: int, take: Callable[[object], Value], record: Record
    ) -> bytes | None:
        raw = record[at]
        if raw is None:
            return None
        try:
            return normal(kind, take(raw))
        except ValueError:
            raise SourceDown(f"{self._source}: {name} is not of type {kind}") from None
