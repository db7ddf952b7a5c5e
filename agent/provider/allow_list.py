"""The department's own allow-list: what is not listed is refused, whatever was granted.

```toml
[[allow]]
consumer = "11970100MB1A00028A"        # credit code; "*" for everybody
resource = "970100/public-security/household"   # "970100/public-security/*" for all below, "*" for all
purposes = ["newborn-registration"]    # "*" for any
fields = ["name", "address"]           # left out: every field that is granted
hours = "08:00-18:00"                  # by the clock of utc_offset; left out: always
```

It stands in the agent's configuration, out of every gateway's reach. Without it everything goes that is
granted; an empty one lets nothing pass. One rule must cover the whole exchange: rules do not add up.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator

from agent.provider.sources_config import zone_of
from exchange.codes import credit_code
from exchange.configuration import Section
from exchange.errors import BadIdentifier, ProviderVeto
from exchange.v1 import exchange_pb2

ANY = "*"
MAX_RULES = 1024
MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
_RESOURCE = re.compile(r"([0-9]{6}/([a-z0-9-]{1,40}/)?)?\*|[0-9]{6}/[a-z0-9-]{1,40}/[a-z0-9-]{1,40}")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_Name = Annotated[str, Field(min_length=1, max_length=64)]


class AllowConfig(Section):
    """One rule, as a person writes it; see the module."""

    consumer: str
    resource: str
    purposes: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=64)]
    fields: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=64)] | None = None
    hours: str = ""
    utc_offset: str = "+08:00"

    @field_validator("consumer")
    @classmethod
    def _consumer(cls, consumer: str) -> str:
        try:
            return consumer if consumer == ANY else credit_code(consumer)
        except BadIdentifier:
            raise ValueError('须为统一社会信用代码或 "*" must be a credit code or "*"') from None

    @field_validator("resource")
    @classmethod
    def _resource(cls, resource: str) -> str:
        if not _RESOURCE.fullmatch(resource):
            raise ValueError('须为资源编号，或其开头整段加 "*" must be an id, or whole parts of one and "*"')
        return resource

    @field_validator("hours")
    @classmethod
    def _hours(cls, hours: str) -> str:
        found = _HOURS.fullmatch(hours)
        if hours and (found is None or found[1] + found[2] == found[3] + found[4]):
            raise ValueError("须如 must be like 08:00-18:00")
        return hours

    @field_validator("utc_offset")
    @classmethod
    def _offset(cls, offset: str) -> str:
        zone_of(offset)
        return offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """One rule, as it is checked.

    Attributes:
        resource: id, or a beginning where `whole` is false.
        purposes, fields: those allowed; None for any.
        begin, end: minutes of the day; end before begin spans midnight; equal for always.
        offset_ms: of the clock by which the hours count.
    """

    resource: str
    whole: bool
    purposes: frozenset[str] | None
    fields: frozenset[str] | None
    begin: int
    end: int
    offset_ms: int

    def covers(self, header: exchange_pb2.RequestHeader, now_ms: int) -> bool:
        """Return whether this rule alone covers an exchange."""
        asked = header.resource
        if asked != self.resource and (self.whole or not asked.startswith(self.resource)):
            return False
        if self.purposes is not None and header.purpose not in self.purposes:
            return False
        if self.fields is not None and not self.fields.issuperset(header.fields):
            return False
        return self.begin == self.end or self._open(now_ms)

    def _open(self, now_ms: int) -> bool:
        minute = (now_ms + self.offset_ms) // MINUTE_MS % DAY_MINUTES
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


class AllowList:
    """The list; None for no list at all.

    Args:
        rules: as configured.
    """

    def __init__(self, rules: Sequence[AllowConfig] | None = None) -> None:
        self._by_consumer: Mapping[str, Sequence[Allowed]] | None = None
        if rules is not None:
            listed: dict[str, list[Allowed]] = {}
            for rule in rules:
                listed.setdefault(rule.consumer, []).append(_allowed(rule))
            self._by_consumer = listed

    def check(self, header: exchange_pb2.RequestHeader, now_ms: int) -> None:
        """Refuse what is not listed.

        Raises:
            ProviderVeto.
        """
        listed = self._by_consumer
        if listed is None:
            return
        for consumer in (header.consumer_organisation, ANY):
            for rule in listed.get(consumer, ()):
                if rule.covers(header, now_ms):
                    return
        raise ProviderVeto(header.resource)


def _allowed(rule: AllowConfig) -> Allowed:
    begin = end = 0
    hours = _HOURS.fullmatch(rule.hours)
    if hours is not None:
        begin, end = int(hours[1]) * 60 + int(hours[2]), int(hours[3]) * 60 + int(hours[4])
    offset = zone_of(rule.utc_offset).utcoffset(None) or timedelta()
    return Allowed(
        resource=rule.resource.removesuffix(ANY),
        whole=not rule.resource.endswith(ANY),
        purposes=None if ANY in rule.purposes else frozenset(rule.purposes),
        fields=None if rule.fields is None else frozenset(rule.fields),
        begin=begin,
        end=end,
        offset_ms=int(offset.total_seconds() * 1000),
    )
