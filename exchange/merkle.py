"""RFC 6962 hash trees: roots, inclusion and consistency, as the audit log and the batch signatures use them.

A leaf hashes as SHA-256(0x00 ‖ leaf), a node as SHA-256(0x01 ‖ left ‖ right), the empty tree as SHA-256 of
nothing. A node without a right sibling rises unchanged. Coordinates: node (level, index) covers the leaves
from index·2^level on, 2^level of them or, at the right edge, as many as there are.
Invariants: every verification demands the exact length of its proof, because one leaf, path and root can
otherwise verify under several (index, size) pairs; what `InclusionMemo` accepts also verifies alone.
Source: RFC 6962 section 2, RFC 9162 section 2.1.4.2.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exchange.errors import LogForked, ReceiptBroken

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

NodeSource = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree (level, index), 32 bytes."""

_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32-byte hash of a leaf's bytes."""
    return _sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of a node from those of its children."""
    return _sha256(b"\1" + left + right).digest()


def split_hashes(proof: bytes) -> list[bytes]:
    """Return the 32-byte hashes of a proof written one after the other.

    Raises:
        ReceiptBroken: the length is no multiple of 32.
    """
    if len(proof) % HASH_BYTES:
        raise ReceiptBroken("proof length")
    return [proof[at : at + HASH_BYTES] for at in range(0, len(proof), HASH_BYTES)]


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree after leaves were added.

    Attributes:
        size: number of leaves.
        edge: hash of the complete subtree per set bit of `size`, by level: all that further growth needs.
        root: 32 bytes.
        paths: inclusion path of each added leaf in the tree of this size, hashes one after the other.
        rows: per level, the nodes above the added leaves, from index (size before >> level) on; only the
            first (size >> level) − (size before >> level) of a row are complete.
    """

    size: int
    edge: Mapping[int, bytes]
    root: bytes
    paths: list[bytes]
    rows: list[list[bytes]]


def grow(size: int, edge: Mapping[int, bytes], leaf_hashes: Sequence[bytes]) -> Growth:
    """Add leaves to a tree of which only the right edge is known, with every added leaf's path.

    Costs about one node hash and two concatenations per leaf: the path above is shared.

    Args:
        size: number of leaves before.
        edge: hash of the complete subtree per set bit of `size`, by level.
        leaf_hashes: at least one hash of 32 bytes.
    """
    new_size, sha256 = size + len(leaf_hashes), _sha256
    if not leaf_hashes:
        raise ValueError("a tree grows by at least one leaf")
    row, rows, new_edge = list(leaf_hashes), [], {}
    for level in range((new_size - 1).bit_length() + 1):
        rows.append(row)
        first = size >> level
        if new_size >> level & 1:
            last = (new_size >> level) - 1
            new_edge[level] = row[last - first] if last >= first else edge[level]
        children = [edge[level], *row] if first & 1 else row
        pairs = iter(children)
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        if len(children) & 1:
            row.append(children[-1])
    return Growth(new_size, new_edge, rows[-1][0], _paths_down(size, edge, rows), rows)


def _paths_down(size: int, edge: Mapping[int, bytes], rows: list[list[bytes]]) -> list[bytes]:
    """Return the lowest row's paths; a child's path is its sibling followed by its parent's path."""
    above = [b""]
    for level in range(len(rows) - 2, -1, -1):
        row, paths, at = rows[level], [], 0
        if size >> level & 1:
            paths.append(edge[level] + above[0])
            at = 1
        paired = (len(row) - at) & ~1
        parents = above[at:] if at else above
        for child in range(0, paired, 2):
            parent = parents[child >> 1]
            paths.append(row[at + child + 1] + parent)
            paths.append(row[at + child] + parent)
        if at + paired < len(row):
            paths.append(above[-1])
        above = paths
    return above


def batch_paths(leaf_hashes: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Return root and every leaf's inclusion path (hashes one after the other) of a tree of its own."""
    grown = grow(0, {}, leaf_hashes)
    return grown.root, grown.paths


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes in order; `EMPTY_ROOT` over none."""
    return grow(0, {}, leaf_hashes).root if leaf_hashes else EMPTY_ROOT


def root_of_edge(edge: Mapping[int, bytes]) -> bytes:
    """Return the root of a tree of which the right edge is given (see `Growth`)."""
    root = b""
    for level in sorted(edge):
        root = node_hash(edge[level], root) if root else edge[level]
    return root or EMPTY_ROOT


def root_from_path(index: int, size: int, leaf_hash: bytes, path: bytes) -> bytes:
    """Return the root that a leaf and its path lead to.

    Args:
        index: the leaf's place, below size.
        size: number of leaves.
        leaf_hash: 32 bytes.
        path: the hashes from the leaf upwards, one after the other, exactly as many as index and size demand.

    Raises:
        ReceiptBroken: index or length do not fit.
    """
    if not 0 <= index < size:
        raise ReceiptBroken("index")
    inner = (index ^ (size - 1)).bit_length()
    end = inner * 32
    if len(path) != end + (index >> inner).bit_count() * 32 or len(leaf_hash) != 32:
        raise ReceiptBroken("proof length")
    node, sha256 = leaf_hash, _sha256
    for at in range(0, end, 32):
        if index & 1:
            node = sha256(b"\1" + path[at : at + 32] + node).digest()
        else:
            node = sha256(b"\1" + node + path[at : at + 32]).digest()
        index >>= 1
    for at in range(end, len(path), 32):
        node = sha256(b"\1" + path[at : at + 32] + node).digest()
    return node


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is at a place of a tree.

    Args:
        index: the leaf's place, below size.
        size: number of leaves.
        leaf_hash: 32 bytes.
        proof: hashes of 32 bytes from the leaf upwards.
        root: 32 bytes.

    Raises:
        ReceiptBroken: it is not, or the proof has another length than index and size demand.
    """
    if any(len(part) != HASH_BYTES for part in proof):
        raise ReceiptBroken("proof length")
    if root_from_path(index, size, leaf_hash, b"".join(proof)) != root:
        raise ReceiptBroken("root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree extends an older one.

    Args:
        old_size: number of leaves of the older tree, at least 1: anything extends an empty one.
        old_root: 32 bytes.
        new_size: number of leaves of the newer tree.
        new_root: 32 bytes.
        proof: hashes of 32 bytes.

    Raises:
        LogForked: it does not, or the proof has another length than the sizes demand.
    """
    if not 0 < old_size <= new_size or len(old_root) != HASH_BYTES or len(new_root) != HASH_BYTES:
        raise LogForked("sizes")
    if any(len(part) != HASH_BYTES for part in proof):
        raise LogForked("proof length")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise LogForked(f"size {new_size}")
        return
    # An older tree that is one complete subtree is the first node itself; the proof leaves it out.
    rest = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not rest or _replay_consistency(old_size, new_size, rest) != (old_root, new_root):
        raise LogForked(f"sizes {old_size} and {new_size}")


def _replay_consistency(old_size: int, new_size: int, hashes: list[bytes]) -> tuple[bytes, bytes] | None:
    """Return the older and the newer root that the hashes lead to; None where there are too few or many."""
    old_at, new_at = old_size - 1, new_size - 1
    level = (~old_at & old_at + 1).bit_length() - 1
    old_at, new_at = old_at >> level, new_at >> level
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if not new_at:
            return None
        if old_at & 1 or old_at == new_at:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not old_at & 1 and old_at:
                old_at, new_at = old_at >> 1, new_at >> 1
        else:
            new = node_hash(new, sibling)
        old_at, new_at = old_at >> 1, new_at >> 1
    return None if new_at else (old, new)


class InclusionMemo:
    """Verifies many leaves against one root, hashing what their paths share only once.

    Args:
        size: number of leaves.
        root: 32 bytes, believed by the caller.
        max_nodes: how many nodes are remembered; beyond, verification goes on without remembering.
    """

    def __init__(self, size: int, root: bytes, *, max_nodes: int = 16_384) -> None:
        self._size, self._max_nodes = size, max_nodes
        # (index·64 + level) of a verified node -> its hash and the path from it to the root.
        top = (size - 1).bit_length() if size > 0 else 0
        self._known: dict[int, tuple[bytes, bytes]] = {top: (root, b"")}

    def verify(self, index: int, leaf_hash: bytes, proof: bytes) -> None:
        """Check that a leaf is in the tree.

        Args:
            index: the leaf's place.
            leaf_hash: 32 bytes.
            proof: hashes one after the other.

        Raises:
            ReceiptBroken: it is not, or any byte of the proof is not what index and size demand.
        """
        last = self._size - 1
        if not 0 <= index <= last or len(leaf_hash) != 32:
            raise ReceiptBroken("index")
        known, sha256 = self._known, _sha256
        node, level, at, learnt = leaf_hash, 0, 0, []
        while (found := known.get((index << 6) + level)) is None:
            here = (index << 6) + level, (node, proof[at:])
            learnt.append(here)
            if index & 1 or index != last:
                sibling, mine = proof[at : at + 32], node
                at += 32
                pair = sibling + node if index & 1 else node + sibling
                node = sha256(b"\1" + pair).digest()
                learnt.append((((index ^ 1) << 6) + level, (sibling, mine + proof[at:])))
            index, last, level = index >> 1, last >> 1, level + 1
        # The rest of the proof is compared too: a kept receipt must verify without this memory.
        if found != (node, proof[at:]):
            raise ReceiptBroken("root")
        if len(known) < self._max_nodes:
            known.update(learnt)


def _split(count: int) -> int:
    """Return the greatest power of two below count."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(first: int, end: int, node: NodeSource) -> bytes:
    """Return the root over the leaves from `first` to `end`; `first` is aligned to that width."""
    count = end - first
    if not count & (count - 1):
        level = count.bit_length() - 1
        return node(level, first >> level)
    middle = first + _split(count)
    return node_hash(_range_root(first, middle, node), _range_root(middle, end, node))


def root_at(size: int, node: NodeSource) -> bytes:
    """Return the root of the tree of that size."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeSource) -> bytes:
    """Return the inclusion path of a leaf in the tree of that size, hashes one after the other.

    Raises:
        ReceiptBroken: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ReceiptBroken("index")
    first, end, path = 0, size, b""
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path = _range_root(middle, end, node) + path
            end = middle
        else:
            path = _range_root(first, middle, node) + path
            first = middle
    return path


def consistency_proof(old_size: int, new_size: int, node: NodeSource) -> bytes:
    """Return the proof that the tree of the new size extends that of the old one, hashes one after the other.

    Raises:
        LogForked: sizes out of order, or the older is 0.
    """
    if not 0 < old_size <= new_size:
        raise LogForked("sizes")
    first, end, proof = 0, new_size, b""
    while end != old_size:
        middle = first + _split(end - first)
        if old_size <= middle:
            proof = _range_root(middle, end, node) + proof
            end = middle
        else:
            proof = _range_root(first, middle, node) + proof
            first = middle
    return proof if first == 0 else _range_root(first, end, node) + proof
