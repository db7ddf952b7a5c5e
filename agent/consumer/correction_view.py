"""Corrections as the local face shows them: one per dispute, with what is still known of each exchange."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from agent.consumer.receipts import ReceiptShelf
from agent.corrections import AgentCorrections, Correction
from exchange.v1 import audit_pb2

MOST_DISPUTES = 200
MOST_EXCHANGES = 5000
"""Of one answer; what is marked done makes room for others."""

Shows = Callable[[str], bool]


class CorrectionView:
    """Shows corrections.

    Args:
        corrections: as they were taken over.
        shelf: the receipts that are still in memory: they tell who asked and for which case.
    """

    def __init__(self, *, corrections: AgentCorrections, shelf: ReceiptShelf) -> None:
        self._corrections = corrections
        self._shelf = shelf

    def corrections(self, shows: Shows) -> Mapping[str, object]:
        """Return one mapping per dispute, what is not done first, each oldest first, as many as fit.

        See `agent.consumer.asker.Corrections`.
        """
        groups = by_ticket(self._corrections.listed(shows))
        groups.sort(key=lambda entries: all(one.done_ms for one in entries))
        shown: list[Mapping[str, object]] = []
        left = MOST_EXCHANGES
        for entries in groups:
            left -= sum(len(one.exchanges) for one in entries)
            if shown and (left < 0 or len(shown) == MOST_DISPUTES):
                break
            shown.append(self._shown(entries))
        return {"corrections": shown, "more": len(shown) < len(groups)}

    def done(self, ticket: str, shows: Shows) -> Mapping[str, object]:
        """Note that it is done; see `agent.consumer.asker.Corrections`."""
        return self._shown(self._corrections.mark_done(ticket, shows))

    def _shown(self, entries: Sequence[Correction]) -> Mapping[str, object]:
        return {
            **correction(entries),
            "exchanges": [self._exchange(one) for entry in entries for one in entry.exchanges],
        }

    def _exchange(self, exchange_id: str) -> Mapping[str, object]:
        leaf = self._shelf.leaf(UUID(exchange_id).bytes)
        told = audit_pb2.AuditEntry.FromString(leaf).exchange
        return {
            "exchange_id": exchange_id,
            "application": told.application,
            "operator": told.operator,
            "case_number": told.case_number,
        }


def by_ticket(corrections: Sequence[Correction]) -> list[list[Correction]]:
    """Return corrections grouped by dispute, in the order in which the first of each comes."""
    groups: dict[str, list[Correction]] = {}
    for one in corrections:
        groups.setdefault(one.ticket, []).append(one)
    return list(groups.values())


def correction(entries: Sequence[Correction]) -> dict[str, object]:
    """Return what the entries of one dispute say, JSON-ready; it is done where all of them are."""
    first = entries[0]
    return {
        "ticket": first.ticket,
        "resource": first.resource,
        "provider": first.provider,
        "fields": list(first.fields),
        "text": first.text,
        "told_ms": first.told_ms,
        "done": all(one.done_ms for one in entries),
        "exchanges": [exchange for one in entries for exchange in one.exchanges],
    }
