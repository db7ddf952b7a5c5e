"""Paths and bytes of tiles: one form, bounded, and exactly what a tree has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.checkpoint import MAX_SIZE
from exchange.errors import Oversized, ReceiptBroken, UnknownEntry
from exchange.tlog_tiles import (
    MAX_LEVEL,
    TILE_HASHES,
    EntryBundle,
    HashTile,
    bundle_in,
    bundles_between,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    parse_path,
    tile_in,
    tiles_between,
)

LEVELS = st.integers(0, MAX_LEVEL)
WIDTHS = st.integers(1, TILE_HASHES)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (HashTile(0, 0), "tile/0/000"),
        (HashTile(3, 1_234_067), "tile/3/x001/x234/067"),
        (HashTile(1, 999, 255), "tile/1/999.p/255"),
        (HashTile(0, 1000, 1), "tile/0/x001/000.p/1"),
        (EntryBundle(0, 7), "tile/entries/000.p/7"),
        (EntryBundle(1_234_067), "tile/entries/x001/x234/067"),
    ],
)
def test_a_name_has_the_form_of_the_specification(part: HashTile | EntryBundle, path: str) -> None:
    assert part.path == path
    assert parse_path(path) == part


@given(level=LEVELS, data=st.data(), width=WIDTHS)
def test_every_name_is_read_back_as_it_was(level: int, data: st.DataObject, width: int) -> None:
    n = data.draw(st.integers(0, MAX_SIZE >> 8 * (level + 1)))
    assert parse_path(HashTile(level, n, width).path) == HashTile(level, n, width)
    if level == 0:
        assert parse_path(EntryBundle(n, width).path) == EntryBundle(n, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/8/000",
        "tile/63/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/x00/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/entries/000.p/256",
        "tile/data/000",
        "tile/8/0/000",
        "tile/7/128",
        "tile/7/x001/000",
        "tile/0/x036/x028/x797/x018/x963/968",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/../000",
        "tile/0/%30%30%30",
        "tile/0/٠٠٠",
        "tile/0/000\n",
        "checkpoint",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(UnknownEntry):
        parse_path(path)


@given(st.text(alphabet="tile/enrsxp.0123456789-%\n", max_size=60))
def test_what_is_read_from_any_text_is_what_it_says(text: str) -> None:
    try:
        part = parse_path(text)
    except UnknownEntry:
        return
    assert part.path == text


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 18))
def test_a_newer_tree_has_the_tiles_of_the_older_one_and_those_between(old: int, more: int) -> None:
    new = old + more
    between = list(tiles_between(old, new))
    assert len(set(between)) == len(between)
    for tile in between:
        assert tile == tile_in(tile.level, tile.n, new)
        try:
            assert tile_in(tile.level, tile.n, old) != tile
        except UnknownEntry:
            continue
    for tile in edge_tiles(new):
        assert tile in between or tile == tile_in(tile.level, tile.n, old)
    covered = [index for bundle in bundles_between(old, new) for index in (bundle.first, bundle.end)]
    assert not more or (covered[0] <= old and covered[-1] == new)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000])
def test_a_tree_has_the_tiles_that_its_size_demands(size: int) -> None:
    hashes = {level: size >> 8 * level for level in range(MAX_LEVEL + 1) if size >> 8 * level}
    found: dict[int, int] = {}
    for tile in tiles_between(0, size):
        assert tile.n * TILE_HASHES == found.get(tile.level, 0)
        found[tile.level] = found.get(tile.level, 0) + tile.width
    assert found == hashes
    assert sum(bundle.width for bundle in bundles_between(0, size)) == size


def test_a_tree_has_no_tile_beyond_its_end() -> None:
    for level, n, size in ((0, 1, 256), (1, 0, 255), (0, -1, 9), (0, 0, 0)):
        with pytest.raises(UnknownEntry):
            tile_in(level, n, size)
    with pytest.raises(UnknownEntry):
        bundle_in(1, 256)


@given(st.lists(st.binary(max_size=300), max_size=TILE_HASHES))
def test_a_bundle_is_read_back_as_it_was(leaves: list[bytes]) -> None:
    content = encode_bundle(leaves)
    assert decode_bundle(content, len(leaves)) == leaves
    for width in (len(leaves) + 1, *([len(leaves) - 1] if leaves else [])):
        with pytest.raises(ReceiptBroken):
            decode_bundle(content, width)


def test_a_leaf_of_the_greatest_length_fits_and_one_byte_more_does_not() -> None:
    assert decode_bundle(encode_bundle([b"x" * 65_535]), 1) == [b"x" * 65_535]
    with pytest.raises(Oversized):
        encode_bundle([b"x" * 65_536])
    with pytest.raises(Oversized):
        encode_bundle([b""] * 257)


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\1", b"\0\2x", b"\0\0\0", b"\xff\xff" + b"x" * 65_534])
def test_a_bundle_that_is_cut_or_too_long_is_refused(content: bytes) -> None:
    with pytest.raises(ReceiptBroken):
        decode_bundle(content, 1)
