"""A run of entries is shown to be in a log by the proofs of its ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ReceiptBroken
from exchange.merkle import batch_paths, leaf_hash
from exchange.spans import root_of_run


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(str(index).encode()) for index in range(size)]


runs = st.integers(1, 90).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, size - 1)).flatmap(
        lambda told: st.tuples(st.just(told[0]), st.just(told[1]), st.integers(told[1] + 1, told[0]))
    )
)


@given(runs)
def test_every_run_leads_to_the_root_of_its_log(run: tuple[int, int, int]) -> None:
    size, first, end = run
    leaves = hashes(size)
    root, paths = batch_paths(leaves)
    assert root_of_run(first, leaves[first:end], size, (paths[first], paths[end - 1])) == root


@given(runs, st.data())
def test_a_run_that_was_changed_leads_elsewhere(run: tuple[int, int, int], data: st.DataObject) -> None:
    size, first, end = run
    leaves = hashes(size)
    root, paths = batch_paths(leaves)
    changed = data.draw(st.integers(first, end - 1))
    leaves[changed] = leaf_hash(b"other")
    assert root_of_run(first, leaves[first:end], size, (paths[first], paths[end - 1])) != root


def test_a_run_out_of_order_leads_elsewhere() -> None:
    leaves = hashes(11)
    root, paths = batch_paths(leaves)
    run = [leaves[4], leaves[3], leaves[5]]
    assert root_of_run(3, run, 11, (paths[3], paths[5])) != root


@pytest.mark.parametrize(("first", "count", "size"), [(0, 0, 5), (3, 3, 5), (-1, 2, 5)])
def test_a_run_beyond_the_log_is_refused(first: int, count: int, size: int) -> None:
    _, paths = batch_paths(hashes(5))
    with pytest.raises(ReceiptBroken):
        root_of_run(first, hashes(5)[:count], size, (paths[0], paths[4]))


@pytest.mark.parametrize("cut", [0, 32, 33])
def test_a_proof_of_another_length_is_refused(cut: int) -> None:
    leaves = hashes(9)
    _, paths = batch_paths(leaves)
    with pytest.raises(ReceiptBroken):
        root_of_run(2, leaves[2:5], 9, (paths[2][:cut], paths[4]))
