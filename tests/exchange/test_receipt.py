"""Receipts in frames and as files."""

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.errors import ReceiptBroken
from exchange.merkle import InclusionMemo, batch_paths, leaf_hash
from exchange.receipt import (
    ReceiptVerifier,
    from_tlog_proof,
    to_tlog_proof,
    verify_receipt,
    verify_receipt_file,
)
from exchange.v1 import audit_pb2

ORIGIN = "970100.yunchuan.example/gateway-1"
SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(range(32))))
KEYS = [SIGNER.public_key]


def entry(number: int, *, gateway: str = ORIGIN, version: int = 1) -> bytes:
    made = audit_pb2.AuditEntry(salt=bytes(16), version=version, gateway=gateway, time_ms=number)
    return made.SerializeToString()


def receipts(leaves: list[bytes]) -> tuple[list[audit_pb2.Receipt], str]:
    root, paths = batch_paths([leaf_hash(leaf) for leaf in leaves])
    made = [
        audit_pb2.Receipt(leaf=leaf, index=index, proof=path)
        for index, (leaf, path) in enumerate(zip(leaves, paths, strict=True))
    ]
    return made, SIGNER.sign(Checkpoint(ORIGIN, len(leaves), root))


def test_every_receipt_of_a_group_yields_its_entry() -> None:
    made, note = receipts([entry(number) for number in range(5)])
    verifier = ReceiptVerifier(origin=ORIGIN, log_keys=KEYS)
    head = open_checkpoint(note, origin=ORIGIN, log_keys=KEYS)
    for number, receipt in enumerate(made):
        assert verifier.verify(receipt, note).time_ms == number
        assert verify_receipt(receipt, head).time_ms == number


@pytest.mark.parametrize("change", ["leaf", "index", "proof", "longer", "shorter", "long proof", "long leaf"])
def test_an_altered_receipt_is_refused(change: str) -> None:
    made, note = receipts([entry(number) for number in range(5)])
    head = open_checkpoint(note, origin=ORIGIN, log_keys=KEYS)
    memo = InclusionMemo(head.size, head.root)
    verify_receipt(made[3], head, memo=memo)
    receipt = made[2]
    if change == "leaf":
        receipt.leaf = entry(3)
    elif change == "index":
        receipt.index = 3
    elif change == "proof":
        receipt.proof = receipt.proof[:-1] + b"\0"
    elif change == "longer":
        receipt.proof += bytes(32)
    elif change == "shorter":
        receipt.proof = receipt.proof[:-32]
    elif change == "long proof":
        receipt.proof = bytes(65 * 32)
    else:
        receipt.leaf = bytes(65_536)
    for remembered in (None, memo):
        with pytest.raises(ReceiptBroken):
            verify_receipt(receipt, head, memo=remembered)


@pytest.mark.parametrize(
    "leaf",
    [entry(0, gateway="another"), entry(0, version=2), b"\xff\xff", b""],
    ids=["log", "version", "form", "empty"],
)
def test_a_logged_leaf_that_is_no_entry_of_this_log_is_refused(leaf: bytes) -> None:
    made, note = receipts([leaf])
    with pytest.raises(ReceiptBroken):
        ReceiptVerifier(origin=ORIGIN, log_keys=KEYS).verify(made[0], note)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_receipt_file_verifies_alone(count: int) -> None:
    made, note = receipts([entry(number) for number in range(count)])
    text = to_tlog_proof(made[-1], note)
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    found, head = verify_receipt_file(text, origin=ORIGIN, log_keys=KEYS)
    assert (found.time_ms, head.size) == (count - 1, count)
    assert from_tlog_proof(text) == (made[-1], note)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("extra ", "more "),
        ("index 2", "index 02"),
        ("index 2", "index 3"),
        ("index 2", "place 2"),
        ("\n\n", "\n"),
        ("\nindex", "\nAAAA\nindex"),
        ("\n\n970100", "\nAAAA\n\n970100"),
        ("example/gateway-1 ", "example/gateway-2 "),
    ],
)
def test_an_altered_receipt_file_is_refused(old: str, new: str) -> None:
    made, note = receipts([entry(number) for number in range(5)])
    text = to_tlog_proof(made[2], note)
    assert old in text
    with pytest.raises(ReceiptBroken):
        verify_receipt_file(text.replace(old, new), origin=ORIGIN, log_keys=KEYS)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(ReceiptBroken):
        from_tlog_proof("c2sp.org/tlog-proof@v1\nextra " + "A" * 1_000_000)
