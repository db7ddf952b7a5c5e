"""Checkpoints: signed heads of an audit log, as C2SP signed notes.

A note is text, a blank line, and signature lines "— name base64(key id ‖ signature)"; text and signatures
part at the *last* blank line. A checkpoint's text is origin, size and root, a line each. Key id: the first
4 bytes of SHA-256(name ‖ "\\n" ‖ 0x01 ‖ public key). The log's key name is its origin.
Invariants: nothing of a note is believed before a trusted key's signature over the whole text has verified; a
signature by a trusted key that does not verify condemns the note; unknown keys' signatures are passed over.
Verification is libsodium's, which refuses small-order keys.
Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint.
"""

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from exchange.errors import BadConfiguration, ReceiptBroken
from exchange.merkle import HASH_BYTES, InclusionMemo

MAX_NOTE_CHARS = 16_384
MAX_SIGNATURES = 32
MAX_SIZE = 2**63 - 1
KEY_BYTES = 32
_ED25519 = b"\x01"
ID_BYTES = 4
SIGNATURE_BYTES = 64
MARK = "— "
_FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head of a log.

    Attributes:
        origin: name of the log, for example "970100.yunchuan.example/gateway-1".
        size: number of entries.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def key_id(name: str, public_key: bytes) -> bytes:
    """Return the 4-byte id of an Ed25519 key (32 bytes) under a name."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:ID_BYTES]


def check_origin(origin: str) -> None:
    """Refuse an origin that cannot be the name of a key.

    Raises:
        BadConfiguration: empty, or with a space, a plus or a control character.
    """
    if not origin or "+" in origin or not origin.isprintable() or any(mark.isspace() for mark in origin):
        raise BadConfiguration("origin of the log")


def verifier_key(origin: str, public_key: bytes) -> str:
    """Return an Ed25519 key (32 bytes) as C2SP text, "name+id+base64"."""
    return f"{origin}+{key_id(origin, public_key).hex()}+{b64encode(_ED25519 + public_key).decode()}"


def parse_verifier_key(text: str) -> tuple[str, bytes]:
    """Return name and public key (32 bytes) of a key written as C2SP text.

    Raises:
        BadConfiguration: it is none, is of another algorithm, or its id is not its own.
    """
    name, _, rest = text.strip().partition("+")
    identifier, _, encoded = rest.partition("+")
    check_origin(name)
    try:
        key = decode_base64(encoded)
    except ReceiptBroken:
        raise BadConfiguration("log key") from None
    if len(key) != 1 + KEY_BYTES or key[:1] != _ED25519 or key_id(name, key[1:]).hex() != identifier:
        raise BadConfiguration("log key")
    return name, key[1:]


class LogSigner:
    """Signs the heads of one log, with one key or, while its key is changed, with two.

    Args:
        origin: name of the log and of its keys.
        key: the Ed25519 key; it signs heads, and the change to the next key, and nothing else.
        also: further keys that sign beside it, at most 7; their signatures follow its own.
        past: public keys that have signed this log before, 32 bytes each, newest first.

    Attributes:
        public_key: of `key`, 32 bytes.
        public_keys: of all keys that sign or have signed, newest first: what a head of this log opens by.

    Raises:
        BadConfiguration: the origin cannot be a key's name.
    """

    def __init__(
        self, *, origin: str, key: SigningKey, also: Sequence[SigningKey] = (), past: Sequence[bytes] = ()
    ) -> None:
        check_origin(origin)
        self.origin = origin
        self.public_key = bytes(key.verify_key)
        self.verifier_key = verifier_key(origin, self.public_key)
        signing = [(bytes(one.verify_key), bytes(one)) for one in (key, *also)]
        self.public_keys = tuple(dict.fromkeys([*(public for public, _ in signing), *past]))
        self._keys = [(key_id(origin, public), secret + public) for public, secret in signing]

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the signed note of a head; the caller has made sure it extends every head signed before.

        Raises:
            BadConfiguration: the head is another log's.
        """
        if checkpoint.origin != self.origin:
            raise BadConfiguration("origin of the log")
        return self.sign_text(checkpoint.text)

    def sign_text(self, text: str) -> str:
        """Return a note of text that ends in a newline."""
        message = text.encode()
        signed = [one + crypto_sign(message, secret)[:SIGNATURE_BYTES] for one, secret in self._keys]
        lines = [f"{MARK}{self.origin} {b64encode(one).decode()}\n" for one in signed]
        return f"{text}\n{''.join(lines)}"


def open_note(note: str, *, name: str, keys: Sequence[bytes]) -> str:
    """Return the text of a note that at least one of the keys has signed.

    Args:
        note: the signed note, at most 16,384 characters and 32 signatures.
        name: the name that all the keys bear.
        keys: Ed25519, 32 bytes each.

    Raises:
        ReceiptBroken: the form is wrong, no key signed it, or a key's signature does not verify.
    """
    text, lines = part_note(note)
    by_id: dict[bytes, list[bytes]] = {}
    for key in keys:
        by_id.setdefault(key_id(name, key), []).append(key)
    message, trusted = text.encode(), False
    for line in lines:
        signer, _, encoded = line.removeprefix(MARK).partition(" ")
        signature = decode_base64(encoded)
        if not line.startswith(MARK) or not signer or len(signature) <= ID_BYTES:
            raise ReceiptBroken("signature line")
        known = by_id.get(signature[:ID_BYTES]) if signer == name else None
        if known:
            _verify(message, signature[ID_BYTES:], known)
            trusted = True
    if not trusted:
        raise ReceiptBroken("no signature by a key of the log")
    return text


def part_note(note: str) -> tuple[str, list[str]]:
    """Part a note into its text, with the final newline, and its signature lines; nothing is verified.

    Raises:
        ReceiptBroken: the form is wrong, it is longer than 16,384 characters or has more than 32 signatures.
    """
    if len(note) > MAX_NOTE_CHARS:
        raise ReceiptBroken("checkpoint too long")
    at = note.rfind("\n\n")
    lines = note[at + 2 :].split("\n")
    if at < 0 or lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise ReceiptBroken("signed note")
    if _FORBIDDEN.search(note):
        raise ReceiptBroken("signed note")
    return note[: at + 1], lines


def _verify(message: bytes, signature: bytes, keys: Sequence[bytes]) -> None:
    """Check a signature by one of the keys that share an id."""
    for key in keys:
        try:
            crypto_sign_open(signature + message, key)
        except (BadSignatureError, ValueError):
            continue
        if len(signature) == SIGNATURE_BYTES:
            return
    raise ReceiptBroken("checkpoint signature")


def decode_base64(text: str) -> bytes:
    """Return the bytes of standard base64 in its one form.

    Raises:
        ReceiptBroken: it is none.
    """
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ReceiptBroken("base64") from None
    if b64encode(raw).decode() != text:
        raise ReceiptBroken("base64")
    return raw


def parse_number(text: str) -> int:
    """Return a size or index from its one decimal form.

    Raises:
        ReceiptBroken: it is none, or is above 2^63 - 1.
    """
    if not 0 < len(text) <= 19 or not text.isascii() or not text.isdigit() or str(int(text)) != text:
        raise ReceiptBroken("number")
    if int(text) > MAX_SIZE:
        raise ReceiptBroken("number")
    return int(text)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the head that a note's text states; extension lines are signed but have no meaning here.

    Raises:
        ReceiptBroken: the form is wrong.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise ReceiptBroken("checkpoint")
    root = decode_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise ReceiptBroken("checkpoint")
    return Checkpoint(lines[0], parse_number(lines[1]), root)


def open_checkpoint(note: str, *, origin: str, log_keys: Sequence[bytes]) -> Checkpoint:
    """Return the head that a note states, signed by a key of that log.

    Args:
        note: the C2SP signed note, at most 16,384 characters.
        origin: the log expected.
        log_keys: its Ed25519 keys, 32 bytes each.

    Raises:
        ReceiptBroken: form, signature or origin are wrong.
    """
    checkpoint = parse_checkpoint(open_note(note, name=origin, keys=log_keys))
    if checkpoint.origin != origin:
        raise ReceiptBroken("another log")
    return checkpoint


class CheckpointCache:
    """Opens the checkpoints of one log, each once.

    Args:
        origin: the log.
        log_keys: its Ed25519 keys, 32 bytes each; with other keys, make another cache.
        remembered: how many checkpoints are kept.
    """

    def __init__(self, *, origin: str, log_keys: Sequence[bytes], remembered: int = 64) -> None:
        self.origin = origin
        self.log_keys = tuple(log_keys)
        self._remembered = remembered
        self._opened: OrderedDict[str, tuple[Checkpoint, InclusionMemo]] = OrderedDict()

    def open(self, note: str) -> Checkpoint:
        """Return the head that a note states (see `open_checkpoint`)."""
        return self._open(note)[0]

    def memo(self, note: str) -> InclusionMemo:
        """Return what verifies leaves against a note's head, opening it first (see `open_checkpoint`)."""
        return self._open(note)[1]

    def _open(self, note: str) -> tuple[Checkpoint, InclusionMemo]:
        found = self._opened.get(note)
        if found is None:
            head = open_checkpoint(note, origin=self.origin, log_keys=self.log_keys)
            found = self._opened[note] = head, InclusionMemo(head.size, head.root)
            if len(self._opened) > self._remembered:
                self._opened.popitem(last=False)
        return found
