"""Changes of a log's key: planned, vouched for by the key before; or after a loss, opened by two people.

1. A planned change keeps the origin. `LogKeyBody` is signed by the gateway's certificate and is an entry; the
   authority takes the new key on the word of the one before, a note that no head can be mistaken for.
2. After a loss the log goes on under a new origin. `LogEpochBody` is one body signed by two different
   administrators: it names what is kept, what is lost, and the new key. Whoever signs alone opens nothing.
Source: docs/adr/0022-log-epochs.md, c2sp.org/signed-note.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from exchange.canonical import LOG_EPOCH, NONCE_BYTES
from exchange.checkpoint import (
    KEY_BYTES,
    MAX_SIZE,
    Checkpoint,
    LogSigner,
    check_origin,
    open_note,
    parse_checkpoint,
    parse_verifier_key,
    verifier_key,
)
from exchange.errors import (
    BadConfiguration,
    BadSignature,
    ExchangeError,
    Malformed,
    Oversized,
    ReceiptBroken,
    RoleNotAllowed,
    SecondPersonRequired,
)
from exchange.identity import Identity, Role
from exchange.lineage import MAX_EPOCH, split_origin
from exchange.merkle import HASH_BYTES
from exchange.statement import check_one_body
from exchange.timestamps import milliseconds
from exchange.trust import MAX_SKEW_MS, TrustAnchor, TrustList
from exchange.v1 import audit_pb2, common_pb2

MAX_BODY_BYTES = 48 * 1024
MAX_NOTE_TEXT = 500
MAX_LOST_CHARS = 8192
MAX_AGE_MS = 7 * 86_400_000
MAX_ORIGIN_CHARS = 255
MIN_OVERLAP_S = 60
MAX_OVERLAP_S = 90 * 86_400
DEFAULT_OVERLAP_S = 86_400
SIGNERS = 2
_CHANGE = "shuqiao/log-key/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A planned change of a log's key, as a verified or a stored LogKeyBody states it. Keys: 32 bytes."""

    origin: str
    previous_key: bytes
    next_key: bytes
    overlap_until_ms: int
    issued_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The opening of an epoch, as a LogEpochBody states it.

    Attributes:
        kept_size, kept_root: what of the log before is still there; the root is 32 bytes.
        lost_size: size of the newest head known; entries from `kept_size` to here are lost.
        lost_checkpoint: the note that states it.
        log_key: Ed25519, 32 bytes.
        body: as it was signed.
    """

    origin: str
    previous_origin: str
    epoch: int
    kept_size: int
    kept_root: bytes
    lost_size: int
    lost_checkpoint: str = field(repr=False)
    log_key: bytes
    note: str
    issued_at_ms: int
    body: bytes = field(repr=False)

    @property
    def lost_head(self) -> Checkpoint:
        """The newest head known of the log before; its signature is not looked at."""
        return parse_checkpoint(self.lost_checkpoint.rpartition("\n\n")[0] + "\n")


def read_key_change(body: bytes) -> KeyChange:
    """Return what a LogKeyBody states.

    Raises:
        Malformed, Oversized: a part breaks its bound.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Oversized("log key")
    try:
        told = audit_pb2.LogKeyBody.FromString(body)
        check_origin(told.origin)
    except (DecodeError, BadConfiguration) as error:
        raise Malformed("log key") from error
    keys = (told.previous_key, told.next_key)
    if len(told.nonce) != NONCE_BYTES or any(len(key) != KEY_BYTES for key in keys) or keys[0] == keys[1]:
        raise Malformed("log key: nonce or keys")
    change = KeyChange(
        origin=told.origin,
        previous_key=keys[0],
        next_key=keys[1],
        overlap_until_ms=milliseconds(told.overlap_until, "log key: overlap"),
        issued_at_ms=milliseconds(told.issued_at, "issued_at"),
    )
    if not 0 < change.overlap_until_ms - change.issued_at_ms <= MAX_OVERLAP_S * 1000:
        raise Malformed("log key: overlap")
    return change


def vouch(signer: LogSigner, next_key: bytes) -> str:
    """Return the note by which a log's key vouches for the next one, 32 bytes."""
    return signer.sign_text(f"{_CHANGE}\n{verifier_key(signer.origin, next_key)}\n")


def vouched(note: str, *, origin: str, by: bytes) -> bytes:
    """Return the key that a log's key vouches for.

    Args:
        note: at most 16,384 characters.
        origin: of the log.
        by: the key that must have signed it, Ed25519, 32 bytes.

    Raises:
        BadSignature: it is none, is of another log, or that key has not signed it.
    """
    try:
        first, key, end = open_note(note, name=origin, keys=[by]).split("\n")
        name, public = parse_verifier_key(key)
    except (ValueError, ExchangeError) as error:
        raise BadSignature(f"{origin}: change of the log's key") from error
    if first != _CHANGE or end or name != origin:
        raise BadSignature(f"{origin}: change of the log's key")
    return public


def read_epoch(body: bytes) -> Epoch:
    """Return what a LogEpochBody states. Who signed it is not looked at.

    Raises:
        Malformed, Oversized: a part breaks its bound, or parts contradict each other.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Oversized("log epoch")
    try:
        told = audit_pb2.LogEpochBody.FromString(body)
        check_origin(told.origin)
        check_origin(told.previous_origin)
    except (DecodeError, BadConfiguration) as error:
        raise Malformed("log epoch") from error
    (base, number), (old_base, old_number) = split_origin(told.origin), split_origin(told.previous_origin)
    if base != old_base or len(told.origin) > MAX_ORIGIN_CHARS or not old_number < number <= MAX_EPOCH:
        raise Malformed("log epoch: origins")
    if number != told.epoch:
        raise Malformed("log epoch: number")
    if len(told.nonce) != NONCE_BYTES or len(told.log_key) != KEY_BYTES or len(told.kept_root) != HASH_BYTES:
        raise Malformed("log epoch: nonce, key or root")
    if not told.kept_size <= told.lost_size <= MAX_SIZE or len(told.lost_checkpoint) > MAX_LOST_CHARS:
        raise Malformed("log epoch: sizes")
    if not told.note.strip() or len(told.note) > MAX_NOTE_TEXT:
        raise Malformed("log epoch: note")
    epoch = Epoch(
        origin=told.origin,
        previous_origin=told.previous_origin,
        epoch=told.epoch,
        kept_size=told.kept_size,
        kept_root=told.kept_root,
        lost_size=told.lost_size,
        lost_checkpoint=told.lost_checkpoint,
        log_key=told.log_key,
        note=told.note,
        issued_at_ms=milliseconds(told.issued_at, "issued_at"),
        body=body,
    )
    if told.lost_checkpoint:
        _check_lost_head(epoch)
    elif epoch.lost_size:
        raise Malformed("log epoch: lost checkpoint")
    return epoch


def _check_lost_head(epoch: Epoch) -> None:
    try:
        head = epoch.lost_head
    except ReceiptBroken as error:
        raise Malformed("log epoch: lost checkpoint") from error
    base, number = split_origin(head.origin)
    if head.size != epoch.lost_size or base != split_origin(epoch.origin)[0] or number >= epoch.epoch:
        raise Malformed("log epoch: lost checkpoint")


def check_opening(
    statements: Sequence[common_pb2.Statement], anchor: TrustAnchor, *, at_ms: int, trust: TrustList | None
) -> tuple[Epoch, tuple[Identity, Identity]]:
    """Show that two administrators have opened an epoch.

    Args:
        statements: one body, signed by each.
        anchor: the division's root.
        at_ms: the time that counts for their certificates, Unix milliseconds.
        trust: the trust list whose revocations count; None where they were counted when the epoch was opened.

    Returns:
        What they opened, and who they are.

    Raises:
        SecondPersonRequired: fewer than two, or one person twice.
        BadSignature, NoIdentity, CertificateExpired, Revoked: a signature will not do, or the bodies differ.
        RoleNotAllowed: one of them is no administrator.
        Malformed, Oversized: the body will not do.
    """
    if not statements:
        raise SecondPersonRequired("the opening of the epoch")
    epoch = read_epoch(statements[0].body)
    if len(statements) > SIGNERS:
        raise Malformed("log epoch: signatures")
    check_one_body(statements)
    people: list[Identity] = []
    for statement in statements:
        if not statement.signature:
            continue
        signer = anchor.verify_statement(statement, LOG_EPOCH, at_ms=at_ms, trust=trust).identity
        if signer.role is not Role.ADMIN:
            raise RoleNotAllowed(str(signer))
        people.append(signer)
    if len({person.uri for person in people}) != SIGNERS:
        raise SecondPersonRequired(f"{epoch.origin}: two different administrators")
    return epoch, (people[0], people[1])


def check_age(epoch: Epoch, now_ms: int) -> None:
    """Refuse an opening that was signed more than a week ago, or ahead of time: it may be about another loss.

    Raises:
        BadSignature.
    """
    if not -MAX_SKEW_MS <= now_ms - epoch.issued_at_ms <= MAX_AGE_MS:
        raise BadSignature(f"{epoch.origin}: opened too long ago, or ahead of time")
