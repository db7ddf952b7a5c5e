"""Proofs that entries which follow each other lie in a log: the edges of the range instead of a path each.

The tree above the range is computed level by level; a node that is missing to the left or right of the row
comes from the proof. Both edges are exactly as long as first index, number and size demand. A range of one
has the same hashes as an inclusion proof, parted into left and right.
Source: RFC 6962 section 2.1.1, taken for a range.
"""

from collections.abc import Sequence

from exchange.errors import ReceiptBroken
from exchange.merkle import HASH_BYTES, leaf_hash, node_hash, split_hashes

MAX_EDGE_HASHES = 64


def range_root(first: int, hashes: Sequence[bytes], size: int, left: bytes, right: bytes) -> bytes:
    """Return the root that a range of leaves leads to.

    Args:
        first: index of the first leaf.
        hashes: the leaf hashes of the range, 32 bytes each, at least one.
        size: number of leaves of the tree.
        left: hashes to the left, from the leaves upwards, one after the other.
        right: hashes to the right, likewise.

    Raises:
        ReceiptBroken: the range is not inside the tree, or an edge has another length than it must have.
    """
    if not hashes or first < 0 or first + len(hashes) > size:
        raise ReceiptBroken("range")
    if max(len(left), len(right)) > MAX_EDGE_HASHES * HASH_BYTES:
        raise ReceiptBroken("proof length")
    lefts, rights = iter(split_hashes(left)), iter(split_hashes(right))
    row = list(hashes)
    try:
        while size > 1:
            if first & 1:
                row.insert(0, next(lefts))
            end = (first & ~1) + len(row)
            if end & 1 and end < size:
                row.append(next(rights))
            row = _above(row)
            first, size = first >> 1, (size + 1) >> 1
    except StopIteration:
        raise ReceiptBroken("proof length") from None
    if next(lefts, None) is not None or next(rights, None) is not None:
        raise ReceiptBroken("proof length")
    return row[0]


def _above(row: list[bytes]) -> list[bytes]:
    """Return the parents of a row that begins at an even index; a last one alone rises unchanged."""
    pairs = iter(row)
    above = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)]
    if len(row) & 1:
        above.append(row[-1])
    return above


def edges_from_paths(
    first: int, first_path: bytes, last: int, last_path: bytes, size: int
) -> tuple[bytes, bytes]:
    """Return the left and right hashes of a range from the inclusion proofs of its first and last leaf.

    Args:
        first: index of the first leaf.
        first_path: its inclusion proof in the tree of that size, hashes one after the other.
        last: index of the last leaf; may be the same.
        last_path: its inclusion proof.
        size: number of leaves of the tree.

    Raises:
        ReceiptBroken: a path has another length than it must have.
    """
    left = b"".join(part for part, is_left in _siblings(first, first_path, size) if is_left)
    right = b"".join(part for part, is_left in _siblings(last, last_path, size) if not is_left)
    return left, right


def _siblings(index: int, path: bytes, size: int) -> list[tuple[bytes, bool]]:
    """Return the hashes of an inclusion proof and of each whether it lies to the left."""
    hashes, found = iter(split_hashes(path)), []
    try:
        while size > 1:
            if index & 1 or index + 1 < size:
                found.append((next(hashes), bool(index & 1)))
            index, size = index >> 1, (size + 1) >> 1
    except StopIteration:
        raise ReceiptBroken("proof length") from None
    if next(hashes, None) is not None:
        raise ReceiptBroken("proof length")
    return found


def hashes_of(leaves: Sequence[bytes]) -> list[bytes]:
    """Return the leaf hashes of entries, 32 bytes each."""
    return [leaf_hash(leaf) for leaf in leaves]
