"""What a log entry of an exchange must say, compared with the request itself: both parties hold it to that.

The digests alone bind an entry to what travelled; the claims beside them are what auditors read. A gateway
that logs the right digests under another purpose, case or department would deceive them: both ends compare.
"""

from exchange.canonical import DIGEST_BYTES
from exchange.errors import ReceiptBroken, ResponseMismatch
from exchange.receipt import ENTRY_VERSION
from exchange.v1 import audit_pb2, exchange_pb2

MAX_AS_OF_MS = 1 << 48
"""A time that no clock shows before the year 10000."""
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


def check_tags(said: audit_pb2.ExchangeEntry, period: str, count: int) -> None:
    """Refuse an entry whose tags are fewer, more or of another period than those of the signed answer.

    Which tags they are, neither party can tell: the gateway's key makes them.

    Args:
        said: the entry of the exchange.
        period: of the answer's tags; empty where it has none.
        count: how many tags the answer has.

    Raises:
        ReceiptBroken.
    """
    root = DIGEST_BYTES if count else 0
    if (said.tag_period, said.tag_count, len(said.tag_root)) != (period, count, root):
        raise ReceiptBroken("entry: tags")
