"""Heads of one log: what extends what, and what is a fork."""

import pytest

from agent.heads import extend, newer
from exchange.checkpoint import Checkpoint
from exchange.errors import LogForked
from exchange.merkle import EMPTY_ROOT, consistency_proof, leaf_hash, node_hash, root_of

ORIGIN = "970100.yunchuan.example/gateway-1"
LEAVES = [leaf_hash(bytes([n])) for n in range(20)]


def node(level: int, index: int) -> bytes:
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def head(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(LEAVES[:size]))


def proof(old: int, new: int) -> bytes:
    return consistency_proof(old, new, node)


def test_a_larger_head_is_taken_over_once_it_is_proven() -> None:
    assert extend(head(7), head(20), proof(7, 20)) == head(20)


def test_an_older_head_within_the_log_leaves_the_newer_one() -> None:
    assert newer(head(20), head(7), proof(7, 20)) == head(20)
    assert newer(head(7), head(20), proof(7, 20)) == head(20)


def test_an_older_head_of_another_log_is_a_fork() -> None:
    strange = Checkpoint(ORIGIN, 7, b"\1" * 32)
    with pytest.raises(LogForked):
        newer(head(20), strange, proof(7, 20))


def test_a_smaller_head_never_extends_the_one_held() -> None:
    with pytest.raises(LogForked):
        extend(head(20), head(7), proof(7, 20))


def test_two_roots_of_one_size_are_a_fork() -> None:
    with pytest.raises(LogForked):
        newer(head(7), Checkpoint(ORIGIN, 7, b"\1" * 32), b"")


def test_everything_extends_the_empty_log() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert newer(empty, head(3), b"") == newer(head(3), empty, b"") == head(3)
