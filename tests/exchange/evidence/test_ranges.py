"""A range of entries is shown to lie in a log by the edges of the range alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ReceiptBroken
from exchange.evidence.ranges import edges_from_paths, range_root
from exchange.merkle import batch_paths, leaf_hash

LEAVES = [leaf_hash(bytes([number])) for number in range(140)]


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, int]:
    size = draw(st.integers(1, len(LEAVES)))
    first = draw(st.integers(0, size - 1))
    return size, first, draw(st.integers(first, size - 1))


def edges(size: int, first: int, last: int) -> tuple[bytes, bytes, bytes]:
    root, paths = batch_paths(LEAVES[:size])
    return root, *edges_from_paths(first, paths[first], last, paths[last], size)


@given(ranges())
def test_every_range_of_every_log_leads_to_the_root(drawn: tuple[int, int, int]) -> None:
    size, first, last = drawn
    root, left, right = edges(size, first, last)
    assert range_root(first, LEAVES[first : last + 1], size, left, right) == root


@given(ranges(), st.data())
def test_any_other_range_size_or_edge_leads_elsewhere_or_is_refused(
    drawn: tuple[int, int, int], data: st.DataObject
) -> None:
    size, first, last = drawn
    root, left, right = edges(size, first, last)
    hashes = LEAVES[first : last + 1]
    other_first = data.draw(st.integers(0, size).filter(lambda one: one != first))
    changed = list(hashes)
    changed[data.draw(st.integers(0, len(hashes) - 1))] = leaf_hash(b"other")
    for attempt in (
        (other_first, hashes, size, left, right),
        (first, changed, size, left, right),
        (first, hashes[:-1], size, left, right),
        (first, [*hashes, leaf_hash(b"more")], size, left, right),
        (first, hashes, size, left + bytes(32), right),
        (first, hashes, size, left, right + bytes(32)),
        (first, hashes, size, left[1:], right + b"x"),
    ):
        try:
            assert range_root(*attempt) != root
        except ReceiptBroken:
            continue


def test_the_proof_of_one_entry_is_its_inclusion_proof_parted() -> None:
    _, paths = batch_paths(LEAVES)
    left, right = edges_from_paths(77, paths[77], 77, paths[77], len(LEAVES))
    assert len(left) + len(right) == len(paths[77])


@pytest.mark.parametrize("path", [b"", bytes(32), bytes(32 * 9), b"x"])
def test_a_path_of_another_length_is_refused(path: bytes) -> None:
    with pytest.raises(ReceiptBroken):
        edges_from_paths(77, path, 77, path, len(LEAVES))
