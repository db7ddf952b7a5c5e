"""Receipts: an entry of the audit log with the proof of its place, as they travel in frames and as files.

As a file a receipt is a C2SP tlog-proof; the entry's exact bytes are its `extra` line, which the proof itself
covers (their hash is the leaf). A receipt file verifies offline with nothing but the log's origin and key.
Invariant: the entry is parsed only after it has been shown to be in the log.
Source: c2sp.org/tlog-proof@v1.
"""

from base64 import b64encode
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from exchange.checkpoint import (
    MAX_NOTE_CHARS,
    Checkpoint,
    CheckpointCache,
    decode_base64,
    open_checkpoint,
    parse_number,
)
from exchange.errors import ReceiptBroken
from exchange.lineage import Lineage
from exchange.merkle import HASH_BYTES, InclusionMemo, leaf_hash, root_from_path
from exchange.v1 import audit_pb2

ENTRY_VERSION = 1
MAX_LEAF_BYTES = 65_535
MAX_PROOF_BYTES = 64 * HASH_BYTES
MAX_FILE_CHARS = MAX_NOTE_CHARS + 4 * MAX_LEAF_BYTES // 3 + 64 * 45 + 200
_FIRST_LINE = "c2sp.org/tlog-proof@v1"


def verify_receipt(
    receipt: audit_pb2.Receipt,
    checkpoint: Checkpoint,
    *,
    memo: InclusionMemo | None = None,
    lineage: Lineage | None = None,
) -> audit_pb2.AuditEntry:
    """Show that a receipt's entry is in the log, and return the entry.

    Args:
        receipt: entry, index and proof.
        checkpoint: the opened head that the proof leads to.
        memo: what remembers nodes already verified under that very head, where many receipts share it.
        lineage: where the log's epochs begin; None for a log that has one only.

    Returns:
        The entry. What it says is the log's word: compare it with what was sent and received.

    Raises:
        ReceiptBroken: proof, size, version or origin are wrong.
    """
    leaf, proof = receipt.leaf, receipt.proof
    if len(leaf) > MAX_LEAF_BYTES or len(proof) > MAX_PROOF_BYTES:
        raise ReceiptBroken("too long")
    if memo is not None:
        memo.verify(receipt.index, leaf_hash(leaf), proof)
    elif root_from_path(receipt.index, checkpoint.size, leaf_hash(leaf), proof) != checkpoint.root:
        raise ReceiptBroken("root")
    named = lineage.origin_at(receipt.index, checkpoint.origin) if lineage else checkpoint.origin
    return parse_entry(leaf, origin=named)


def parse_entry(leaf: bytes, *, origin: str) -> audit_pb2.AuditEntry:
    """Return the entry that a leaf is.

    Args:
        leaf: the entry's exact bytes.
        origin: the log it was found in; for an entry of an earlier epoch, the origin of that epoch.

    Raises:
        ReceiptBroken: it is none of this version, or says that it belongs to another log.
    """
    try:
        entry = audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError:
        raise ReceiptBroken("entry") from None
    if entry.version != ENTRY_VERSION or entry.gateway != origin:
        raise ReceiptBroken("entry's version or log")
    return entry


class ReceiptVerifier:
    """Verifies the receipts of one log, opening each checkpoint and hashing each shared node once.

    Args:
        origin: the log.
        log_keys: its Ed25519 keys, 32 bytes each.
        lineage: where its epochs begin; None for a log that has one only.
    """

    def __init__(self, *, origin: str, log_keys: Sequence[bytes], lineage: Lineage | None = None) -> None:
        self.checkpoints = CheckpointCache(origin=origin, log_keys=log_keys)
        self._lineage = lineage

    def verify(self, receipt: audit_pb2.Receipt, note: str) -> audit_pb2.AuditEntry:
        """Show that a receipt's entry is in the log, and return the entry.

        Raises:
            ReceiptBroken: checkpoint, proof, version or origin are wrong.
        """
        head, memo = self.checkpoints.open(note), self.checkpoints.memo(note)
        return verify_receipt(receipt, head, memo=memo, lineage=self._lineage)


def to_tlog_proof(receipt: audit_pb2.Receipt, note: str) -> str:
    """Return a receipt as the text of a C2SP tlog-proof file.

    Args:
        receipt: entry, index and proof.
        note: the signed checkpoint that the proof leads to.
    """
    proof = receipt.proof
    hashes = [
        b64encode(proof[at : at + HASH_BYTES]).decode() + "\n" for at in range(0, len(proof), HASH_BYTES)
    ]
    extra = b64encode(receipt.leaf).decode()
    return f"{_FIRST_LINE}\nextra {extra}\nindex {receipt.index}\n{''.join(hashes)}\n{note}"


def from_tlog_proof(text: str) -> tuple[audit_pb2.Receipt, str]:
    """Return the receipt and the signed checkpoint of a C2SP tlog-proof file; nothing is verified yet.

    Raises:
        ReceiptBroken: the form is wrong, or the file lacks the entry.
    """
    if len(text) > MAX_FILE_CHARS:
        raise ReceiptBroken("too long")
    front, parted, note = text.partition("\n\n")
    lines = front.split("\n")
    if not parted or len(lines) < 3 or lines[0] != _FIRST_LINE:
        raise ReceiptBroken("tlog-proof")
    if not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise ReceiptBroken("tlog-proof")
    hashes = [decode_base64(line) for line in lines[3:]]
    if len(hashes) > MAX_PROOF_BYTES // HASH_BYTES or any(len(part) != HASH_BYTES for part in hashes):
        raise ReceiptBroken("proof length")
    receipt = audit_pb2.Receipt(
        leaf=decode_base64(lines[1].removeprefix("extra ")),
        index=parse_number(lines[2].removeprefix("index ")),
        proof=b"".join(hashes),
    )
    return receipt, note


def verify_receipt_file(
    text: str, *, origin: str, log_keys: Sequence[bytes], lineage: Lineage | None = None
) -> tuple[audit_pb2.AuditEntry, Checkpoint]:
    """Verify a receipt file against a log's keys; return its entry and the head that proves it.

    Args:
        text: of the file.
        origin: the log expected.
        log_keys: its Ed25519 keys, 32 bytes each.
        lineage: where its epochs begin; None for a log that has one only.

    Raises:
        ReceiptBroken: anything about it is wrong.
    """
    receipt, note = from_tlog_proof(text)
    checkpoint = open_checkpoint(note, origin=origin, log_keys=log_keys)
    return verify_receipt(receipt, checkpoint, lineage=lineage), checkpoint
