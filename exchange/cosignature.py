"""Cosignatures: a witness states when it saw a head that extends every head of that log it saw before.

A cosignature is a signature line of the checkpoint's note. What is signed is "cosignature/v1", "time T" in
Unix seconds, a line each, and the whole text of the checkpoint; the line holds key id ‖ T as 8 bytes
big-endian ‖ the 64 bytes of Ed25519. Key id: the first 4 bytes of SHA-256(name ‖ "\\n" ‖ 0x04 ‖ public key).
The message does not name the witness, so a witness's key is under one name and signs nothing else.
Invariants: lines of unknown keys are passed over; a line under a known witness's name and id that does not
verify condemns the note; verification is libsodium's, which refuses small-order keys. A cosignature says
nothing of the log's own signature: open the checkpoint first.
Source: c2sp.org/tlog-cosignature, c2sp.org/signed-note.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from exchange.checkpoint import (
    ID_BYTES,
    KEY_BYTES,
    MARK,
    MAX_NOTE_CHARS,
    MAX_SIGNATURES,
    SIGNATURE_BYTES,
    check_origin,
    decode_base64,
    part_note,
)
from exchange.errors import BadConfiguration, ReceiptBroken

COSIGNATURE = b"\x04"
MAX_TIME_S = 2**63 - 1
_TIME_BYTES = 8
_LINE_BYTES = ID_BYTES + _TIME_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness as others know it.

    Attributes:
        name: of its key; no space, no plus.
        public_key: Ed25519, 32 bytes.
    """

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which its lines are recognised."""
        hashed = hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE + self.public_key)
        return hashed.digest()[:ID_BYTES]

    @property
    def text(self) -> str:
        """The key as C2SP text, "name+id+base64"."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(COSIGNATURE + self.public_key).decode()}"


def parse_witness_key(text: str) -> WitnessKey:
    """Return a witness's key from its C2SP text.

    Raises:
        BadConfiguration: it is none, is of another algorithm, or its id is not its own.
    """
    name, _, rest = text.partition("+")
    identifier, _, encoded = rest.partition("+")
    check_origin(name)
    try:
        raw = decode_base64(encoded)
    except ReceiptBroken:
        raise BadConfiguration("witness key") from None
    key = WitnessKey(name, raw[1:])
    if len(raw) != 1 + KEY_BYTES or raw[:1] != COSIGNATURE or key.key_id.hex() != identifier:
        raise BadConfiguration("witness key")
    return key


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One cosignature as its line states it; nothing of it is verified.

    Attributes:
        name: of the key that is said to have made it.
        key_id: 4 bytes.
        time_s: Unix seconds.
        signature: 64 bytes.
    """

    name: str
    key_id: bytes
    time_s: int
    signature: bytes

    @property
    def line(self) -> str:
        """The signature line, with its newline."""
        blob = self.key_id + self.time_s.to_bytes(_TIME_BYTES, "big") + self.signature
        return f"{MARK}{self.name} {b64encode(blob).decode()}\n"


def parse_cosignature(line: str) -> Cosignature:
    """Return what a signature line states, without its newline.

    Raises:
        ReceiptBroken: it is no Ed25519 cosignature's line.
    """
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    if not line.startswith(MARK) or not name:
        raise ReceiptBroken("signature line")
    blob = decode_base64(encoded)
    if len(blob) != _LINE_BYTES:
        raise ReceiptBroken("cosignature length")
    time_s = int.from_bytes(blob[ID_BYTES : ID_BYTES + _TIME_BYTES], "big")
    if time_s > MAX_TIME_S:
        raise ReceiptBroken("cosignature time")
    return Cosignature(name, blob[:ID_BYTES], time_s, blob[ID_BYTES + _TIME_BYTES :])


class Cosigner:
    """Cosigns heads under one name; whoever calls it has made sure that they extend what it signed before.

    Args:
        name: of the witness and its key.
        key: the Ed25519 key; it signs nothing else.

    Raises:
        BadConfiguration: the name cannot be a key's.
    """

    def __init__(self, *, name: str, key: SigningKey) -> None:
        check_origin(name)
        self.key = WitnessKey(name, bytes(key.verify_key))
        self._secret = bytes(key) + self.key.public_key

    def cosign(self, text: str, *, time_s: int) -> Cosignature:
        """Return the cosignature of a checkpoint's text, which ends in a newline, at a Unix time."""
        signature = crypto_sign(_message(text, time_s), self._secret)[:SIGNATURE_BYTES]
        return Cosignature(self.key.name, self.key.key_id, time_s, signature)


def verify_cosignature(text: str, cosignature: Cosignature, witness: WitnessKey) -> None:
    """Check a cosignature of a checkpoint's text.

    Raises:
        ReceiptBroken: it is of another key, or does not verify.
    """
    if (cosignature.name, cosignature.key_id) != (witness.name, witness.key_id):
        raise ReceiptBroken("cosignature of another witness")
    try:
        crypto_sign_open(cosignature.signature + _message(text, cosignature.time_s), witness.public_key)
    except (BadSignatureError, ValueError):
        raise ReceiptBroken("cosignature") from None


def _message(text: str, time_s: int) -> bytes:
    if not 0 <= time_s <= MAX_TIME_S:
        raise ReceiptBroken("cosignature time")
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosignatures_of(note: str, witnesses: Iterable[WitnessKey]) -> list[tuple[WitnessKey, int]]:
    """Return which of these witnesses cosigned a note, each with the newest time in Unix seconds.

    Args:
        note: a checkpoint as a signed note, at most 16,384 characters and 32 signatures. Its log's signature
            is not looked at here (see `open_checkpoint`).
        witnesses: who counts.

    Returns:
        In the order of `witnesses`.

    Raises:
        ReceiptBroken: the form is wrong, or a line under a witness's name and id does not verify.
    """
    text, lines = part_note(note)
    known = {(witness.name, witness.key_id): witness for witness in witnesses}
    newest: dict[WitnessKey, int] = {}
    for line in lines:
        witness = known.get(_signer(line))
        if witness is None:
            continue
        cosignature = parse_cosignature(line)
        verify_cosignature(text, cosignature, witness)
        newest[witness] = max(cosignature.time_s, newest.get(witness, 0))
    return [(witness, newest[witness]) for witness in known.values() if witness in newest]


def verified_lines(text: str, answer: str, witness: WitnessKey) -> list[str]:
    """Return the lines of a witness's answer that are its cosignatures of a checkpoint's text.

    Args:
        text: the checkpoint's text.
        answer: signature lines, each ended by a newline; at most 32, others' are passed over.
        witness: who answered.

    Returns:
        Lines without newline; at least one.

    Raises:
        ReceiptBroken: the form is wrong, none is this witness's, or one of its own does not verify.
    """
    lines = answer.split("\n")
    if lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise ReceiptBroken("signature lines")
    found = []
    for line in lines:
        if _signer(line) == (witness.name, witness.key_id):
            verify_cosignature(text, parse_cosignature(line), witness)
            found.append(line)
    if not found:
        raise ReceiptBroken("no cosignature of this witness")
    return found


def add_lines(note: str, lines: Sequence[str]) -> str:
    """Return a note with further signature lines, each key's line at most once: the one that is added stays.

    Args:
        note: a signed note.
        lines: signature lines without newline, verified by the caller.

    Raises:
        ReceiptBroken: the form is wrong, or there would be more than 32 signatures or 16,384 characters.
    """
    text, held = part_note(note)
    by_signer = {_signer(line): line for line in (*held, *lines)}
    merged = f"{text}\n" + "".join(f"{line}\n" for line in by_signer.values())
    if len(by_signer) > MAX_SIGNATURES or len(merged) > MAX_NOTE_CHARS:
        raise ReceiptBroken("too many signatures")
    return merged


def _signer(line: str) -> tuple[str, bytes]:
    """Return the name and key id that a signature line bears."""
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    blob = decode_base64(encoded)
    if not line.startswith(MARK) or not name or len(blob) <= ID_BYTES:
        raise ReceiptBroken("signature line")
    return name, blob[:ID_BYTES]
