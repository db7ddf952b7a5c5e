"""The heads that an agent remembers."""

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from agent.heads import Heads, Seen, extend
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import LogForked, StoreDamaged
from exchange.merkle import consistency_proof, leaf_hash, root_of

ORIGIN = "970100.yunchuan.example/gateway-1"
SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(32)))
LEAVES = [leaf_hash(bytes([number])) for number in range(20)]


def head(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(LEAVES[:size]))


def seen(size: int) -> Seen:
    return Seen(head(size), SIGNER.sign(head(size)))


def node(level: int, index: int) -> bytes:
    return root_of(LEAVES[index << level : (index + 1) << level])


def test_a_head_grows_by_a_consistency_proof() -> None:
    assert extend(head(5), head(13), consistency_proof(5, 13, node)) == head(13)


@pytest.mark.parametrize(
    ("offered", "proof"),
    [
        (Checkpoint(ORIGIN, 13, bytes(32)), consistency_proof(5, 13, node)),
        (head(13), b""),
        (head(13), consistency_proof(5, 13, node)[:-1]),
        (head(13), consistency_proof(5, 13, node) + bytes(32)),
        (head(4), b""),
        (Checkpoint(ORIGIN, 5, bytes(32)), b""),
        (Checkpoint("another", 13, head(13).root), consistency_proof(5, 13, node)),
    ],
    ids=["root", "no proof", "cut", "longer", "smaller", "same size", "another log"],
)
def test_a_head_that_does_not_extend_the_one_held_is_a_fork(offered: Checkpoint, proof: bytes) -> None:
    with pytest.raises(LogForked):
        extend(head(5), offered, proof)


def test_heads_survive_a_restart_and_never_shrink(tmp_path: Path) -> None:
    heads = Heads(path=tmp_path / "heads.json")
    heads.remember(seen(7))
    heads.remember(seen(3))
    heads.save()
    again = Heads(path=tmp_path / "heads.json")
    assert again.get(ORIGIN) == head(7)
    assert again.note(ORIGIN) == seen(7).note
    message = again.message(ORIGIN)
    assert message is not None and message.size == 7


def test_an_unknown_log_has_no_head(tmp_path: Path) -> None:
    heads = Heads(path=tmp_path / "heads.json")
    assert heads.get(ORIGIN) is None and heads.message(ORIGIN) is None and heads.note(ORIGIN) == ""


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', '{"a": "x"}'])
def test_a_damaged_file_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "heads.json").write_text(content)
    with pytest.raises(StoreDamaged):
        Heads(path=tmp_path / "heads.json")
