"""A batch of keys against a source that answers statements: shared by SQL and files.

Invariant: what is wrong with one key is that key's outcome. Where a batch cannot be told apart (a driver
refuses a value, or the row limit of the whole batch is reached), the keys are asked for one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.provider.connectors.port import Found, Record
from agent.provider.connectors.statements import LARGEST, Statement, group, size_for
from exchange.errors import BadParameter, ExchangeError, RowCap

Execute = Callable[[Statement, Any], Sequence[Sequence[Any]]]
"""Runs a statement with bound values; raises BadValue where the driver refuses a value."""

Encode = Callable[[str], Any]
"""Turns a key's text into what the driver binds for that column; raises ValueError."""


class BadValue(Exception):
    """The driver refuses a bound value, without harm to the connection."""


class Lookup:
    """How one source is asked.

    Args:
        name: of the source, for refusals.
        encoders: key columns in order, with what makes their values.
        statements: one per batch size.
        row_cap: how many records one key may have.
    """

    def __init__(
        self,
        *,
        name: str,
        encoders: Mapping[str, Encode],
        statements: Mapping[int, Statement],
        row_cap: int,
    ) -> None:
        self._name = name
        self._encoders = tuple(encoders.items())
        self._statements = statements
        self._row_cap = row_cap

    def read(self, keys: Sequence[Mapping[str, str]], execute: Execute) -> list[Found]:
        """Return one outcome per key, in order; runs in the source's thread."""
        encoded: list[tuple[Any, ...] | ExchangeError] = [self._encode(key) for key in keys]
        distinct = list(dict.fromkeys(key for key in encoded if isinstance(key, tuple)))
        outcomes: dict[tuple[Any, ...], Found] = {}
        for start in range(0, len(distinct), LARGEST):
            self._chunk(distinct[start : start + LARGEST], execute, outcomes)
        return [outcomes[key] if isinstance(key, tuple) else key for key in encoded]

    def probe(self, execute: Execute) -> None:
        """Run the smallest statement with a key that equals nothing."""
        statement = self._statements[1]
        execute(statement, statement.bind([(None,) * len(self._encoders)]))

    def _encode(self, key: Mapping[str, str]) -> tuple[Any, ...] | ExchangeError:
        try:
            return tuple([encode(key[column]) for column, encode in self._encoders])
        except (ValueError, KeyError):
            return BadParameter(self._name)

    def _chunk(
        self, keys: Sequence[tuple[Any, ...]], execute: Execute, outcomes: dict[tuple[Any, ...], Found]
    ) -> None:
        statement = self._statements[size_for(len(keys))]
        try:
            rows = execute(statement, statement.bind(keys))
        except BadValue:
            if len(keys) == 1:
                outcomes[keys[0]] = BadParameter(self._name)
                return
            rows = None
        if rows is None or (len(keys) > 1 and len(rows) >= statement.limit):
            for key in keys:
                self._chunk([key], execute, outcomes)
            return
        found: dict[tuple[Any, ...], list[Record]] = group(rows, len(self._encoders), keys)
        for key, records in found.items():
            outcomes[key] = records if len(records) <= self._row_cap else RowCap(self._name)
