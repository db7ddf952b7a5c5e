"""The receipts of the last exchanges, for systems that come back for one. Every answer carries its own."""

from collections import OrderedDict

from exchange.v1 import agent_pb2


class ReceiptShelf:
    """Keeps the newest receipts in memory.

    Args:
        most: how many.
    """

    def __init__(self, *, most: int = 10_000) -> None:
        self._most = most
        # Serialised: a message that is part of an outcome would keep the outcome, values and all, in memory.
        self._receipts: OrderedDict[bytes, bytes] = OrderedDict()

    def keep(self, exchange_id: bytes, receipt: agent_pb2.VerifiedReceipt) -> None:
        """Keep a verified receipt; the oldest goes."""
        self._receipts[exchange_id] = receipt.SerializeToString()
        if len(self._receipts) > self._most:
            self._receipts.popitem(last=False)

    def leaf(self, exchange_id: bytes) -> bytes:
        """Return the log entry of an exchange, serialised; empty where its receipt is no longer here."""
        kept = self._receipts.get(exchange_id)
        return b"" if kept is None else agent_pb2.VerifiedReceipt.FromString(kept).receipt.leaf

    async def receipt(self, exchange_id: bytes) -> agent_pb2.VerifiedReceipt | None:
        """Return the receipt of an exchange, if it is still here."""
        kept = self._receipts.get(exchange_id)
        return None if kept is None else agent_pb2.VerifiedReceipt.FromString(kept)
