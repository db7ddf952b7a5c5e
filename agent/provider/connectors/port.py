"""What every connector offers: records by key, many keys at once, and nothing else.

Contract of every implementation:
- it only reads, and says so to the source (read-only session, file or method);
- keys are bound values, never part of a statement's or template's text;
- one bad key or one full row cap is the outcome of that key alone; a source that is down or slow fails
  the batch with `SourceDown` or `SourceTimeout`;
- threads, connections, rows per key and bytes are bounded, also while a source hangs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from exchange.errors import ExchangeError

Record: TypeAlias = tuple[Any, ...]
"""Values of one record as the source gives them, in the order of the connector's columns."""

Found: TypeAlias = list[Record] | ExchangeError
"""The records of one key, or why there are none to give. Equal keys may share one list: do not change it."""


class Connector(Protocol):
    """A read-only way to one table, file or service."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of a record's values."""
        ...

    @property
    def data_version(self) -> str:
        """Version of the data as the source tells it, empty where it does not."""
        ...

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Found]:
        """Read the records of many keys in one round trip where the source allows it.

        Args:
            keys: for each question its key columns and their values as text.
            timeout_s: how long the whole batch may take, seconds.

        Returns:
            One outcome per key, in order.

        Raises:
            SourceDown: the source cannot be reached or read.
            SourceTimeout: it did not answer in time.
            QueueFull: too many batches wait for it.
        """
        ...

    async def check(self) -> None:
        """Prove that the source can be read and has the configured columns.

        Raises:
            BadConfiguration: it is there, but not as configured.
            SourceDown: it cannot be reached or read.
            SourceTimeout: it did not answer in time.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads; one that hangs in a driver dies with the process."""
        ...
