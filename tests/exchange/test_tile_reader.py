"""A log is followed through its tiles: what it serves is believed only as far as its key reaches."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from exchange import merkle
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import ExchangeError, LogBehind, LogForked, ReceiptBroken, UnknownEntry
from exchange.merkle import leaf_hash, root_from_path, split_hashes
from exchange.tile_reader import TiledTree, fetch_checkpoint
from exchange.tlog_tiles import (
    TILE_BITS,
    EntryBundle,
    HashTile,
    bundles_between,
    encode_bundle,
    parse_path,
    tiles_between,
)
from tests.support.audit import ORIGIN, OTHER_SIGNER, SIGNER

LARGEST = 70_000
LEAVES = [f"leaf {number}".encode() for number in range(LARGEST)]
ROWS = [[leaf_hash(leaf) for leaf in LEAVES]]
while len(ROWS[-1]) > 1:
    pairs = iter(ROWS[-1])
    ROWS.append([merkle.node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
KEYS = [SIGNER.public_key]


def whole(level: int, index: int) -> bytes:
    return ROWS[level][index]


def head_at(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, merkle.root_at(size, whole))


def serving(size: int, *, partial: bool = True) -> Callable[[str], bytes]:
    """A log of that size; without partial tiles where a larger one has them full."""

    def fetch(path: str) -> bytes:
        part = parse_path(path)
        end = (part.n << TILE_BITS) + part.width
        if isinstance(part, EntryBundle):
            if end > size or (not partial and part.width < 256):
                raise UnknownEntry(path)
            return encode_bundle(LEAVES[part.first : part.end])
        if end > size >> part.level * TILE_BITS or (not partial and part.width < 256):
            raise UnknownEntry(path)
        return b"".join(ROWS[part.level * TILE_BITS][part.n << TILE_BITS : end])

    return fetch


@settings(max_examples=60, deadline=None)
@given(st.integers(0, LARGEST), st.data())
def test_proofs_from_tiles_are_those_of_the_whole_tree(size: int, data: st.DataObject) -> None:
    head = head_at(size)
    tree = TiledTree(fetch=serving(size), head=head)
    old = data.draw(st.integers(0, size))
    proof = tree.consistency(head_at(old))
    if old:
        merkle.verify_consistency(old, head_at(old).root, size, head.root, split_hashes(proof))
    if size:
        index = data.draw(st.integers(0, size - 1))
        path = tree.inclusion(index)
        assert path == merkle.inclusion_proof(index, size, whole)
        assert root_from_path(index, size, leaf_hash(LEAVES[index]), path) == head.root


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 65_792, LARGEST])
def test_every_tile_and_bundle_of_a_tree_verifies(size: int) -> None:
    fetch = serving(size)
    tree = TiledTree(fetch=fetch, head=head_at(size))
    for tile in tiles_between(0, size):
        assert tree.tile(tile) == fetch(tile.path)
    for bundle in bundles_between(max(0, size - 2000), size):
        assert tree.bundle(bundle) == (fetch(bundle.path), LEAVES[bundle.first : bundle.end])


@pytest.mark.parametrize("size", [1, 300, 2049, 60_001])
def test_full_tiles_stand_for_partial_ones_that_are_gone(size: int) -> None:
    # The log went on since, and whoever serves it has thrown away every tile that is not full.
    later, kept = serving(65_536), serving(65_536, partial=False)

    def fetch(path: str) -> bytes:
        return later(path) if path.startswith("tile/1/") else kept(path)

    tree = TiledTree(fetch=fetch, head=head_at(size))
    last = size - 1 >> TILE_BITS
    bundle = EntryBundle(last, size - (last << TILE_BITS))
    content, leaves = tree.bundle(bundle)
    assert leaves == LEAVES[bundle.first : size]
    assert content == encode_bundle(leaves)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_any_changed_byte_of_any_tile_or_bundle_is_found(size: int, data: st.DataObject) -> None:
    parts = [*tiles_between(0, size), *bundles_between(0, size)]
    part = data.draw(st.sampled_from(parts))
    honest = serving(size)
    at = data.draw(st.integers(0, len(honest(part.path)) - 1))

    def fetch(path: str) -> bytes:
        content = bytearray(honest(path))
        if path == part.path:
            content[at] ^= 1 + at % 255
        return bytes(content)

    with pytest.raises(ExchangeError) as caught:
        tree = TiledTree(fetch=fetch, head=head_at(size))
        for tile in tiles_between(0, size):
            tree.tile(tile)
        for bundle in bundles_between(0, size):
            tree.bundle(bundle)
    assert isinstance(caught.value, ReceiptBroken)


@pytest.mark.parametrize("change", [b"", b"x" * 31, b"x" * 8192])
def test_a_tile_of_a_wrong_length_is_refused(change: bytes) -> None:
    with pytest.raises(ReceiptBroken):
        TiledTree(fetch=lambda path: change, head=head_at(300))


def test_what_the_tree_does_not_have_is_unknown() -> None:
    tree = TiledTree(fetch=serving(LARGEST), head=head_at(300))
    for ask in (
        lambda: tree.node(0, 300),
        lambda: tree.node(8, 1),
        lambda: tree.node(0, 512),
        lambda: tree.inclusion(300),
        lambda: tree.tile(HashTile(0, 1, 45)),
        lambda: tree.bundle(EntryBundle(1)),
    ):
        with pytest.raises(UnknownEntry):
            ask()


def test_an_older_head_that_is_not_extended_is_a_fork() -> None:
    tree = TiledTree(fetch=serving(3000), head=head_at(3000))
    with pytest.raises(LogForked):
        tree.consistency(Checkpoint(ORIGIN, 2000, bytes(32)))
    with pytest.raises(LogForked):
        tree.consistency(Checkpoint(ORIGIN, 3000, bytes(32)))
    with pytest.raises(LogBehind):
        tree.consistency(head_at(3001))


def test_a_checkpoint_counts_by_the_keys_that_were_given_alone() -> None:
    note = SIGNER.sign(head_at(9))
    assert fetch_checkpoint(lambda path: note.encode(), origin=ORIGIN, log_keys=KEYS) == (head_at(9), note)
    other = LogSigner(origin="elsewhere/gateway-1", key=SigningKey(bytes(range(32))))
    for content in (
        OTHER_SIGNER.sign(head_at(9)).encode(),
        other.sign(Checkpoint("elsewhere/gateway-1", 1, bytes(32))).encode(),
        b"\xff",
        b"",
        b"x" * 100_000,
    ):
        with pytest.raises(ReceiptBroken):
            fetch_checkpoint(lambda path, content=content: content, origin=ORIGIN, log_keys=KEYS)
