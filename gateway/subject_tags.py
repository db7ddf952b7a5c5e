"""The gateway's half of the tags of subjects (exchange/subject_tags.py).

1. A period's key is made when it is first needed, durable before the first tag under it, and never leaves the
   key store and this process. Providers do not have it, so that none of them can look a person up in the log.
2. Inner tags are turned into outer ones at once and kept nowhere: no row, no log, no answer of the gateway's
   holds one.
3. Erasing a period's key is the erasure: nobody finds an exchange of that period by its subject any more.
"""

from dataclasses import dataclass
from functools import lru_cache

from exchange.clock import Random, system_random
from exchange.errors import Malformed, ResponseMismatch, StoreDamaged
from exchange.keystore import KeyStore
from exchange.subject_tags import (
    FORMATS,
    KEY_BYTES,
    OuterTags,
    check_period,
    check_tags,
    period_end_ms,
    period_start_ms,
    split_tags,
    tag_root,
)
from exchange.v1 import audit_pb2, exchange_pb2
from gateway.record import Exchange, TagList

SKEW_MS = 600_000
"""How far from the gateway's time the period of an answer's tags may end or begin."""
_PREFIX = "tags-"


class GatewayTagKeys:
    """The gateway's tag keys, by period.

    Args:
        keystore: where they are kept.
        random: what new ones are drawn from.
    """

    def __init__(self, *, keystore: KeyStore, random: Random = system_random) -> None:
        self._keystore = keystore
        self._random = random
        self._tags: dict[str, OuterTags] = {}
        for name in keystore.names():
            if name.startswith(_PREFIX):
                period = name.removeprefix(_PREFIX).upper()
                self._tags[period] = OuterTags(_whole(period, keystore.get(name)))

    @property
    def periods(self) -> list[str]:
        """The periods whose keys are kept, in order."""
        return sorted(self._tags)

    def outer(self, period: str, inner: bytes) -> bytes | None:
        """Return the outer tag of an inner one; None where the period's key is not kept."""
        held = self._tags.get(period)
        return held.of(inner) if held else None

    def present(self, period: str) -> OuterTags:
        """Return what makes the tags of a period of the present; its key is made where there is none.

        Raises:
            StoreDamaged: it cannot be kept.
        """
        held = self._tags.get(period)
        if held is None:
            key = self._random(KEY_BYTES)
            self._keystore.put(f"{_PREFIX}{check_period(period).lower()}", key)
            held = self._tags[period] = OuterTags(key)
        return held

    def erase(self, period: str) -> None:
        """Erase a period's key for good.

        Raises:
            StoreDamaged: it cannot be deleted; it is not used any more all the same.
        """
        self._tags.pop(check_period(period), None)
        self._keystore.delete(f"{_PREFIX}{period.lower()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTags:
    """Takes the tags of answers (step 6 of gateway/path.py).

    Attributes:
        keys: the gateway's.
    """

    keys: GatewayTagKeys

    def take(self, exchange: Exchange, body: exchange_pb2.ResponseBody, now_ms: int) -> TagList | None:
        """Return what is kept of an answer's tags; None where it has none.

        Args:
            exchange: the request, with its resource.
            body: the answer, its signature verified.
            now_ms: Unix milliseconds.

        Raises:
            ResponseMismatch: they are malformed, of another time, or missing where there must be some.
            StoreDamaged: the gateway's key cannot be kept.
        """
        period, inner = body.tag_period, body.subject_tags
        if not period and not inner:
            if not body.failure and _must_be_tagged(exchange):
                raise ResponseMismatch("no tags")
            return None
        try:
            check_tags(period, inner)
        except Malformed as error:
            raise ResponseMismatch(error.subject) from None
        first_ms, end_ms = _bounds(period)
        if not first_ms - SKEW_MS <= now_ms < end_ms + SKEW_MS:
            raise ResponseMismatch("period of tags")
        outer = self.keys.present(period)
        tags = sorted(map(outer.of, inner))
        return TagList(period, len(tags), tag_root(tags), b"".join(tags))


def check_list(entry: audit_pb2.ExchangeEntry, beside: bytes) -> list[bytes]:
    """Return the tags that are kept beside an entry, if they are those whose root it holds.

    Raises:
        StoreDamaged: they are not.
    """
    try:
        tags = split_tags(beside)
    except Malformed:
        tags = []
    if len(tags) != entry.tag_count or (tags and tag_root(tags) != entry.tag_root):
        raise StoreDamaged("tags beside an entry")
    return tags


def _must_be_tagged(exchange: Exchange) -> bool:
    """Whether a resource is sealed and asked for by whom it is about."""
    resource = exchange.resource
    return (
        resource is not None
        and resource.sealed
        and any(rule.format in FORMATS for rule in resource.parameters.values())
    )


@lru_cache(maxsize=64)
def _bounds(period: str) -> tuple[int, int]:
    return period_start_ms(period), period_end_ms(period)


def _whole(period: str, key: bytes | None) -> bytes:
    if key is None or len(key) != KEY_BYTES:
        raise StoreDamaged(f"tag key {period}")
    return key
