"""Merkle trees against a naive reading of RFC 6962, against outside vectors, and against tampering."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import merkle
from exchange.errors import LogForked, ReceiptBroken

SIZES = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"leaf %d" % number) for number in range(count)]


def naive_root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return hashlib.sha256(b"\x01" + naive_root(hashes[:middle]) + naive_root(hashes[middle:])).digest()


def naive_path(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    if index < middle:
        return [*naive_path(index, hashes[:middle]), naive_root(hashes[middle:])]
    return [*naive_path(index - middle, hashes[middle:]), naive_root(hashes[:middle])]


def naive_subproof(old: int, hashes: list[bytes], whole: bool) -> list[bytes]:
    if old == len(hashes):
        return [] if whole else [naive_root(hashes)]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    if old <= middle:
        return [*naive_subproof(old, hashes[:middle], whole), naive_root(hashes[middle:])]
    return [*naive_subproof(old - middle, hashes[middle:], False), naive_root(hashes[:middle])]


def source(hashes: list[bytes]) -> merkle.NodeSource:
    def node(level: int, index: int) -> bytes:
        part = hashes[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only complete subtrees are asked for"
        return naive_root(part)

    return node


@given(SIZES, st.data())
def test_growing_from_the_edge_gives_the_roots_and_paths_of_the_rfc(size: int, data: st.DataObject) -> None:
    hashes, done = leaves(size), 0
    edge: dict[int, bytes] = {}
    while done < size:
        count = data.draw(st.integers(1, size - done))
        grown = merkle.grow(done, edge, hashes[done : done + count])
        now = hashes[: done + count]
        assert grown.root == naive_root(now) == merkle.root_of_edge(grown.edge)
        assert grown.paths == [b"".join(naive_path(index, now)) for index in range(done, len(now))]
        for level, row in enumerate(grown.rows):
            complete = (grown.size >> level) - (done >> level)
            expected = [source(now)(level, (done >> level) + place) for place in range(complete)]
            assert row[:complete] == expected
        done, edge = grown.size, dict(grown.edge)


@given(SIZES)
def test_batches_verify_at_their_own_index_and_size(size: int) -> None:
    hashes = leaves(size)
    root, paths = merkle.batch_paths(hashes)
    assert root == naive_root(hashes)
    memo = merkle.InclusionMemo(size, root)
    for index, path in enumerate(paths):
        assert merkle.root_from_path(index, size, hashes[index], path) == root
        merkle.verify_inclusion(index, size, hashes[index], merkle.split_hashes(path), root)
        memo.verify(index, hashes[index], path)


@given(SIZES, st.data())
def test_proofs_made_from_nodes_are_those_of_the_rfc(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    assert merkle.inclusion_proof(index, size, source(hashes)) == b"".join(naive_path(index, hashes))
    proof = merkle.consistency_proof(old, size, source(hashes))
    assert proof == b"".join(naive_subproof(old, hashes, True))
    merkle.verify_consistency(
        old, naive_root(hashes[:old]), size, naive_root(hashes), merkle.split_hashes(proof)
    )
    assert merkle.root_at(size, source(hashes)) == naive_root(hashes)


@given(SIZES, st.data())
def test_an_altered_inclusion_proof_is_refused_alone_and_by_a_warm_memory(
    size: int, data: st.DataObject
) -> None:
    hashes = leaves(size)
    root, paths = merkle.batch_paths(hashes)
    memo = merkle.InclusionMemo(size, root)
    for place in data.draw(st.lists(st.integers(0, size - 1), max_size=6)):
        memo.verify(place, hashes[place], paths[place])
    index = data.draw(st.integers(0, size - 1))
    path = bytearray(paths[index])
    how = data.draw(st.sampled_from(["flip", "longer", "shorter", "leaf", "index"]))
    leaf, at = hashes[index], index
    if how == "flip" and path:
        path[data.draw(st.integers(0, len(path) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "shorter" and path:
        del path[data.draw(st.sampled_from([-1, -32])) :]
    elif how == "index" and size > 1:
        at = data.draw(st.integers(0, size + 2).filter(lambda other: other != index))
    elif how == "leaf":
        leaf = merkle.leaf_hash(b"another")
    else:
        path += bytes(data.draw(st.sampled_from([1, 32])))
    with pytest.raises(ReceiptBroken):
        memo.verify(at, leaf, bytes(path))
    with pytest.raises(ReceiptBroken):
        if merkle.root_from_path(at, size, leaf, bytes(path)) != root:
            raise ReceiptBroken("root")


@given(SIZES, st.data())
def test_an_altered_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    old = data.draw(st.integers(1, size))
    old_root, root = naive_root(hashes[:old]), naive_root(hashes)
    proof = naive_subproof(old, hashes, True)
    how = data.draw(st.sampled_from(["flip", "longer", "shorter", "old", "new"]))
    if how == "flip" and proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        proof[place] = bytes(32)
    elif how == "shorter" and proof:
        proof.pop()
    elif how == "old":
        old_root = merkle.leaf_hash(b"another")
    elif how == "new":
        root = merkle.leaf_hash(b"another")
    else:
        proof.append(bytes(32))
    with pytest.raises(LogForked):
        merkle.verify_consistency(old, old_root, size, root, proof)


def test_a_memory_that_is_full_still_verifies_and_still_refuses() -> None:
    hashes = leaves(40)
    root, paths = merkle.batch_paths(hashes)
    memo = merkle.InclusionMemo(40, root, max_nodes=1)
    for index, path in enumerate(paths):
        memo.verify(index, hashes[index], path)
        with pytest.raises(ReceiptBroken):
            memo.verify(index, hashes[index - 1], path)


def test_a_forged_neighbour_does_not_enter_the_memory() -> None:
    hashes = leaves(8)
    root, paths = merkle.batch_paths(hashes)
    memo = merkle.InclusionMemo(8, root)
    forged = merkle.leaf_hash(b"forged")
    with pytest.raises(ReceiptBroken):
        memo.verify(3, hashes[3], forged + paths[3][32:])
    with pytest.raises(ReceiptBroken):
        memo.verify(2, forged, paths[2])
    memo.verify(2, hashes[2], paths[2])


def test_a_consistency_proof_from_nothing_is_refused() -> None:
    with pytest.raises(LogForked):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 3, merkle.root_of(leaves(3)), [])
    with pytest.raises(LogForked):
        merkle.verify_consistency(3, merkle.root_of(leaves(3)), 2, merkle.root_of(leaves(2)), [])


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert merkle.root_of([]) == merkle.root_of_edge({}) == hashlib.sha256(b"").digest()


def outside(name: str) -> list[dict[str, Any]]:
    folder = os.environ.get("CONFORMANCE_VECTORS")
    if not folder:
        pytest.skip(f"CONFORMANCE_VECTORS is not set; it names the folder of {name}")
    cases: list[dict[str, Any]] = json.loads((Path(folder) / name).read_text())["cases"]
    return cases


def decoded(case: dict[str, Any], *names: str) -> list[bytes]:
    return [base64.b64decode(case[name] or "") for name in names]


def test_inclusion_agrees_with_the_vectors_of_transparency_dev() -> None:
    for case in outside("merkle-inclusion.json"):
        index, size = case["leafIdx"], case["treeSize"]
        leaf, root = decoded(case, "leafHash", "root")
        proof = [base64.b64decode(part) for part in case["proof"] or []]
        if not case["wantErr"]:
            merkle.verify_inclusion(index, size, leaf, proof, root)
            merkle.InclusionMemo(size, root).verify(index, leaf, b"".join(proof))
            continue
        with pytest.raises(ReceiptBroken):
            merkle.verify_inclusion(index, size, leaf, proof, root)
        if all(len(part) == 32 for part in proof):
            with pytest.raises(ReceiptBroken):
                merkle.InclusionMemo(size, root).verify(index, leaf, b"".join(proof))


def test_consistency_agrees_with_the_vectors_of_transparency_dev() -> None:
    for case in outside("merkle-consistency.json"):
        old_root, new_root = decoded(case, "root1", "root2")
        proof = [base64.b64decode(part) for part in case["proof"] or []]
        if not case["wantErr"]:
            merkle.verify_consistency(case["size1"], old_root, case["size2"], new_root, proof)
            continue
        with pytest.raises(LogForked):
            merkle.verify_consistency(case["size1"], old_root, case["size2"], new_root, proof)
