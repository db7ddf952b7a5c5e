"""As of when a source's data are: the oldest of what a column says, to the hour.

To the hour, for the gateway sees it: a finer time would tell records apart.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timezone

from agent.provider.connectors.port import Record
from agent.provider.field_rules import FieldRule, Projection
from agent.provider.values import Value
from exchange.errors import ExchangeError

HOUR_MS = 3_600_000


class AsOfColumn:
    """Reads the time of records from a column.

    Args:
        source: name of the resource, for errors.
        columns: of the connector.
        rule: the column and its type, timestamp or date.
        zone: the offset of times that carry none.
    """

    def __init__(self, *, source: str, columns: Sequence[str], rule: FieldRule, zone: timezone) -> None:
        self._projection = Projection(source=source, columns=columns, rules=[rule], zone=zone)
        self._zone = zone

    def oldest_ms(self, records: Sequence[Record]) -> int:
        """Return as of when the oldest record is, Unix milliseconds to the hour; 0 where that is not told."""
        if not records:
            return 0
        try:
            (values,) = self._projection.run(records)
        except ExchangeError:
            # What the column holds is no time: the answer is good, and does not say how old it is.
            return 0
        return to_the_hour(min(_moment(value, self._zone) for value in values))


def to_the_hour(ms: int) -> int:
    """Return Unix milliseconds, rounded down to the hour; 0 for what is before 1970."""
    return max(0, ms) // HOUR_MS * HOUR_MS


def _moment(value: Value, zone: timezone) -> int:
    """Return the Unix milliseconds of a timestamp, or of the beginning of a date; 0 for none."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, date):
        return int(datetime.combine(value, time.min, zone).timestamp() * 1000)
    return 0
