"""What a log entry of an exchange must say, compared with the request itself: both parties hold it to that.

The digests alone bind an entry to what travelled; the claims beside them are what auditors read. A gateway
that logs the right digests under another purpose, case or department would deceive them: both ends compare.
"""

from typing import NamedTuple

from exchange.canonical import DIGEST_BYTES
from exchange.errors import ReceiptBroken, ResponseMismatch
from exchange.receipt import ENTRY_VERSION
from exchange.region_rules import RegionRules
from exchange.v1 import audit_pb2, exchange_pb2

MAX_AS_OF_MS = 1 << 48
"""A time that no clock shows before the year 10000."""
_ADMITTED = frozenset({audit_pb2.CASE_STANDING_CLAIM, audit_pb2.CASE_STANDING_OPEN})
_METERINGS = frozenset(exchange_pb2.Metering.values())


def check_told(body: exchange_pb2.ResponseBody) -> None:
    """Refuse an answer that says beside its columns what no log entry can repeat.

    Raises:
        ResponseMismatch: its metering is no step, or its data are of no time.
    """
    if body.metering not in _METERINGS or not 0 <= body.data_as_of_ms < MAX_AS_OF_MS:
        raise ResponseMismatch("metering or data_as_of_ms")


def check_entry(entry: audit_pb2.AuditEntry, header: exchange_pb2.RequestHeader) -> None:
    """Refuse an entry whose claims are not those of the request.

    Args:
        entry: shown to be in the log.
        header: of the request, as the consumer signed it.

    Raises:
        ReceiptBroken: naming the item.
    """
    said = entry.exchange
    if entry.version != ENTRY_VERSION or entry.gateway != header.gateway:
        raise ReceiptBroken("entry's version or log")
    for item, got, due in (
        ("exchange id", said.exchange_id, header.exchange_id),
        ("consumer", said.consumer_organisation, header.consumer_organisation),
        ("consumer's agent", said.consumer_agent, header.consumer_agent),
        ("provider", said.provider_organisation, header.provider_organisation),
        ("provider's agent", said.provider_agent, header.provider_agent),
        ("operator", said.operator, header.operator),
        ("resource", said.resource, header.resource),
        ("fields", said.fields, header.fields),
        ("kind", said.kind, header.kind),
        ("purpose", said.purpose, header.purpose),
        ("matter", said.matter, header.matter),
        ("step", said.step, header.step),
        ("application", said.application, header.application),
        ("case number", said.case_number, header.case_number),
        ("grant", said.grant_id, header.grant_id),
    ):
        if got != due:
            raise ReceiptBroken(f"entry: {item}")


def counted_before(said: audit_pb2.ExchangeEntry) -> bool:
    """Whether an exchange has an entry besides, so that this one counts for nothing.

    An answer that came too late, or was held back or stopped, is entered a second time: only so that its
    provider has the receipt of what it answered.
    """
    if said.decision == audit_pb2.DECISION_RELEASED or not said.response_digest:
        return False
    return said.rule == "deadline" or said.rule.startswith(("stop/", "risk/"))


class Told(NamedTuple):
    """What an answer tells beside its columns, and its entry repeats.

    Attributes:
        period: of the tags of its subjects; empty where it has none.
        tags: how many tags there are.
        metering: a Metering.
        as_of_ms: as of when its data are, Unix milliseconds; 0 where that is not told.
    """

    period: str = ""
    tags: int = 0
    metering: int = 0
    as_of_ms: int = 0


def told_by(body: exchange_pb2.ResponseBody) -> Told:
    """Return what an answer tells beside its columns."""
    return Told(body.tag_period, len(body.subject_tags), body.metering, body.data_as_of_ms)


def check_repeated(said: audit_pb2.ExchangeEntry, told: Told) -> None:
    """Refuse an entry that repeats of a signed answer something else than it tells.

    Which tags they are, neither party can tell: the gateway's key makes them.

    Args:
        said: the entry of the exchange.
        told: by the answer.

    Raises:
        ReceiptBroken.
    """
    root = DIGEST_BYTES if told.tags else 0
    if (said.tag_period, said.tag_count, len(said.tag_root)) != (told.period, told.tags, root):
        raise ReceiptBroken("entry: tags")
    if (said.metering, said.data_as_of_ms) != (told.metering, told.as_of_ms):
        raise ReceiptBroken("entry: metering or data_as_of_ms")


def check_standing(said: audit_pb2.ExchangeEntry, rules: RegionRules) -> None:
    """Refuse an entry of an answer that says of its case what it cannot have been.

    What was answered was admitted: its case was open, or is the consumer's claim. By rules of another
    version than one's own, which may be on their way, nobody can tell which of the two.

    Args:
        said: the entry of the exchange.
        rules: of the region, as the reader knows them.

    Raises:
        ReceiptBroken.
    """
    standing = said.case_standing
    if not said.case_number:
        fits = standing == audit_pb2.CASE_STANDING_UNSPECIFIED
    elif said.rules_version == rules.version:
        fits = standing == (audit_pb2.CASE_STANDING_CLAIM if rules.claims else audit_pb2.CASE_STANDING_OPEN)
    else:
        fits = standing in _ADMITTED
    if not fits:
        raise ReceiptBroken("entry: case_standing")
