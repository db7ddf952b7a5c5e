"""Shows that a run of consecutive entries is in a log: the proofs of the first and the last suffice.

What lies left of the run is known from the first one's inclusion proof, what lies right of it from the last
one's; everything between is hashed from the entries themselves. Source: RFC 6962 section 2.1.
"""

from collections.abc import Mapping, Sequence

from exchange.errors import ReceiptBroken
from exchange.merkle import node_hash, split_hashes

Span = tuple[int, int]


def root_of_run(first: int, leaf_hashes: Sequence[bytes], size: int, paths: tuple[bytes, bytes]) -> bytes:
    """Return the root that a run of entries leads to.

    Args:
        first: index of the first entry.
        leaf_hashes: 32 bytes each, at least one.
        size: of the log.
        paths: inclusion proofs of the first and of the last entry, hashes one after the other.

    Raises:
        ReceiptBroken: the run does not lie in such a log, or a proof has another length than it must have.
    """
    end = first + len(leaf_hashes)
    if not 0 <= first < end <= size:
        raise ReceiptBroken("range")
    known: dict[Span, bytes] = {}
    for index, path in ((first, paths[0]), (end - 1, paths[1])):
        spans, hashes = _beside(index, size), split_hashes(path)
        if len(spans) != len(hashes):
            raise ReceiptBroken("proof length")
        beside = zip(spans, hashes, strict=True)
        known |= {span: found for span, found in beside if span[1] <= first or span[0] >= end}
    return _root(0, size, first, leaf_hashes, known)


def _beside(index: int, size: int) -> list[Span]:
    """Return the spans of which an inclusion proof holds the hashes, from the leaf upwards."""
    low, high, spans = 0, size, list[Span]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    return spans[::-1]


def _root(
    low: int, high: int, first: int, leaf_hashes: Sequence[bytes], known: Mapping[Span, bytes]
) -> bytes:
    end = first + len(leaf_hashes)
    if first <= low and high <= end:
        return _complete(leaf_hashes[low - first : high - first])
    if high <= first or low >= end:
        return known[low, high]
    middle = low + _split(high - low)
    left = _root(low, middle, first, leaf_hashes, known)
    return node_hash(left, _root(middle, high, first, leaf_hashes, known))


def _complete(row: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, at least one; a node without a sibling rises unchanged."""
    while len(row) > 1:
        above = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << (count - 1).bit_length() - 1
