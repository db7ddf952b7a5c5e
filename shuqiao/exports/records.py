"""One entry of the log as it is exported: its view, and what ties it to the log."""

from collections.abc import Mapping
from dataclasses import dataclass

from exchange.merkle import leaf_hash
from shuqiao import views
from shuqiao.exports.pseudonyms import Pseudonyms


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry that is exported.

    Attributes:
        index: its place in the log.
        origin: of the log.
        hash: of the leaf in the log's tree (RFC 6962), 32 bytes.
        time_ms: when the gateway made the entry, Unix milliseconds.
        view: what it says, as `shuqiao.views.entry` tells it.
        finding: what two people found, where it closes an item of a review with a finding.
    """

    index: int
    origin: str
    hash: bytes
    time_ms: int
    view: Mapping[str, object]
    finding: views.Finding | None = None

    @property
    def uid(self) -> str:
        """Name of the record anywhere: origin and index."""
        return f"{self.origin}#{self.index}"

    def text(self, name: str) -> str:
        """Return one part of the view as text, empty where it has none."""
        value = self.view.get(name, "")
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        """Return one part of the view as a number, 0 where it has none."""
        value = self.view.get(name, 0)
        return value if isinstance(value, int) else 0

    def texts(self, name: str) -> list[str]:
        """Return one part of the view as a list."""
        value = self.view.get(name, ())
        return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


def record(index: int, leaf: bytes, origin: str, pseudonyms: Pseudonyms | None = None) -> Record:
    """Return an entry as it is exported.

    Args:
        index: its place in the log.
        leaf: its exact bytes.
        origin: of the log.
        pseudonyms: replace operator and case number, where the record leaves the region.

    Raises:
        ReceiptBroken: the leaf is no entry.
    """
    view = views.entry(index, leaf)
    if pseudonyms is not None:
        view = pseudonyms.applied(view)
    entry = views.read_entry(index, leaf)
    return Record(
        index=index,
        origin=origin,
        hash=leaf_hash(leaf),
        time_ms=entry.time_ms,
        view=view,
        finding=views.finding(entry),
    )
