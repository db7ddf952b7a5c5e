"""The last head of each log that this agent has seen, on disk: what makes a fork or a rollback show.

A head only grows, and only by a proof that the new log extends the old one.
"""

import json
from pathlib import Path
from typing import NamedTuple

from exchange.checkpoint import Checkpoint, parse_checkpoint
from exchange.durable import replace_file
from exchange.errors import ExchangeError, LogForked, StoreDamaged
from exchange.lineage import split_origin
from exchange.merkle import HASH_BYTES, verify_consistency
from exchange.v1 import common_pb2


class Seen(NamedTuple):
    """A checkpoint that was verified, and the note it came in."""

    checkpoint: Checkpoint
    note: str


def extend(held: Checkpoint, offered: Checkpoint, proof: bytes) -> Checkpoint:
    """Return the newer of two heads of one log once it is proven to extend the older.

    Args:
        held: what was seen before.
        offered: a checkpoint whose signature was verified.
        proof: 32-byte hashes one after the other.

    Raises:
        LogForked: another log, a smaller size, or the proof does not verify.
    """
    if offered.origin != held.origin or offered.size < held.size or len(proof) % HASH_BYTES:
        raise LogForked(held.origin)
    if offered.size == held.size:
        if offered.root != held.root:
            raise LogForked(held.origin)
        return held
    if not held.size:
        # Anything extends an empty log, and no proof shows it.
        return offered
    hashes = [proof[i : i + HASH_BYTES] for i in range(0, len(proof), HASH_BYTES)]
    verify_consistency(held.size, held.root, offered.size, offered.root, hashes)
    return offered


def newer(held: Checkpoint, offered: Checkpoint, proof: bytes) -> Checkpoint:
    """Return the newer of two heads once either is proven to extend the other.

    A stream may tell a head ahead of receipts that lead to older ones: these must lie in the same log.

    Args:
        held: the newest head of the stream.
        offered: a checkpoint whose signature was verified.
        proof: as of `extend`.

    Raises:
        LogForked: as `extend`.
    """
    if offered.size < held.size:
        extend(offered, held, proof)
        return held
    return extend(held, offered, proof)


class Heads:
    """Remembers one head per origin.

    Args:
        path: a JSON file.
    """

    def __init__(self, *, path: Path) -> None:
        self._path = path
        self._heads: dict[str, Seen] = {}
        self._dirty = False
        if path.exists():
            self._load()

    def get(self, origin: str) -> Checkpoint | None:
        """Return the last head of a log."""
        seen = self._heads.get(origin)
        return seen.checkpoint if seen else None

    def before(self, origin: str) -> Seen | None:
        """Return the last head of the newest epoch before an origin's, None where none was seen."""
        base, number = split_origin(origin)
        known = [(split_origin(one), seen) for one, seen in self._heads.items()]
        earlier = [(epoch, seen) for (own, epoch), seen in known if own == base and epoch < number]
        return max(earlier, key=lambda found: found[0])[1] if earlier else None

    def note(self, origin: str) -> str:
        """Return the signed checkpoint that the last head is from, empty where there is none."""
        seen = self._heads.get(origin)
        return seen.note if seen else ""

    def message(self, origin: str) -> common_pb2.LogHead | None:
        """Return the last head of a log as it travels."""
        head = self.get(origin)
        return common_pb2.LogHead(origin=origin, size=head.size, root=head.root) if head else None

    def remember(self, seen: Seen) -> None:
        """Take over a head that was proven to extend the one held. `save` makes it durable."""
        held = self.get(seen.checkpoint.origin)
        if held is None or seen.checkpoint.size > held.size:
            self._heads[seen.checkpoint.origin] = seen
            self._dirty = True

    def save(self) -> None:
        """Write the heads, atomically. A crash before it costs the memory of the last seconds only."""
        if not self._dirty:
            return
        rows = {origin: seen.note for origin, seen in self._heads.items()}
        replace_file(self._path, json.dumps(rows).encode())
        self._dirty = False

    def _load(self) -> None:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
            self._heads = {
                origin: Seen(parse_checkpoint(note.rpartition("\n\n")[0] + "\n"), note)
                for origin, note in rows.items()
            }
        except (ValueError, TypeError, AttributeError, ExchangeError):
            raise StoreDamaged(self._path.name) from None
