"""The request by which a log asks a witness for a cosignature, as both of them read it.

    old <size>
    <base64 of a hash>        at most 63 lines: the consistency proof from the old size to the checkpoint's
                              an empty line
    <the checkpoint's note>

A witness answers 200 with signature lines, or 409 with the size that it cosigned last, as `SIZE_TYPE`.
Source: c2sp.org/tlog-witness.
"""

from base64 import b64encode
from dataclasses import dataclass

from exchange.checkpoint import decode_base64, parse_number
from exchange.errors import ReceiptBroken
from exchange.merkle import HASH_BYTES, split_hashes

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 24_576
_OLD = "old "


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign a checkpoint.

    Attributes:
        old_size: of the head that the witness is thought to hold; 0 for none.
        proof: that the checkpoint extends it, the 32-byte hashes one after the other.
        note: the checkpoint as a signed note.
    """

    old_size: int
    proof: bytes
    note: str

    @property
    def body(self) -> bytes:
        """The request's body."""
        lines = [f"{_OLD}{self.old_size}", *(b64encode(part).decode() for part in split_hashes(self.proof))]
        return ("\n".join(lines) + "\n\n" + self.note).encode()


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Return what a request's body states; nothing of it is verified, its note is not looked into.

    Raises:
        ReceiptBroken: the form is wrong, or it is longer than 24,576 bytes.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise ReceiptBroken("request too long")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ReceiptBroken("request") from None
    head, parted, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    if not parted or not first.startswith(_OLD) or len(hashes) > MAX_PROOF_LINES:
        raise ReceiptBroken("request")
    proof = [decode_base64(line) for line in hashes]
    if any(len(part) != HASH_BYTES for part in proof):
        raise ReceiptBroken("proof")
    return AddCheckpoint(parse_number(first.removeprefix(_OLD)), b"".join(proof), note)


def size_answer(size: int) -> bytes:
    """Return the body of a 409 answer."""
    return f"{size}\n".encode()


def parse_size_answer(body: bytes) -> int:
    """Return the size that a 409 answer states.

    Raises:
        ReceiptBroken: it states none.
    """
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise ReceiptBroken("size") from None
    if not text.endswith("\n"):
        raise ReceiptBroken("size")
    return parse_number(text[:-1])
