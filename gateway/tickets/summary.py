"""The quality of one resource in numbers: what consumers reported, and what disputes came to."""

from collections.abc import Sequence

from exchange.tickets import CORRECTED
from exchange.v1 import ticket_pb2
from gateway.tickets.held import Held
from gateway.tickets.quality import QualityRegister, Sums


def quality_of(
    resource: str, reported: QualityRegister, disputes: Sequence[Held], since_ms: int, until_ms: int
) -> ticket_pb2.ResourceQuality:
    """Return the quality of a resource between two times, Unix milliseconds.

    Args:
        resource: its id.
        reported: what consumers reported; whole days count.
        disputes: about it, of any time; those raised between the times count.
    """
    sums = reported.summed(resource, since_ms, until_ms)
    raised = [held for held in disputes if since_ms <= held.raised_ms <= until_ms]
    upheld = [held for held in raised if held.standing.state == CORRECTED]
    wrong = {held.ticket.dispute.exchange_id for held in upheld if held.ticket.dispute is not None}
    quality = ticket_pb2.ResourceQuality(
        resource=resource,
        reports=sums.reports,
        exchanges=sums.exchanges,
        timely_permille=permille(sums.dated - sums.stale, sums.dated),
        accurate_permille=permille(sums.exchanges - len(wrong), sums.exchanges),
        disputes=len(raised),
        upheld=len(upheld),
    )
    _fields(quality, sums)
    return quality


def _fields(quality: ticket_pb2.ResourceQuality, sums: Sums) -> None:
    values = missing = invalid = 0
    for name, found in sorted(sums.fields.items()):
        quality.fields.add(name=name, values=found.values, missing=found.missing, invalid=found.invalid)
        values, missing, invalid = values + found.values, missing + found.missing, invalid + found.invalid
    quality.complete_permille = permille(values - missing, values)
    quality.valid_permille = permille(values - missing - invalid, values - missing)


def permille(part: int, whole: int) -> int:
    """Return how many of a thousand, rounded down, never below 0; 1000 of nothing."""
    return max(0, part) * 1000 // whole if whole else 1000
