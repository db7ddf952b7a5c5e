"""The file that travels between those who open an epoch of the log: one body, and the signatures so far."""

from collections.abc import Sequence
from pathlib import Path

from exchange.canonical import LOG_EPOCH
from exchange.clock import Clock
from exchange.errors import BadConfiguration, RoleNotAllowed
from exchange.identity import Identity, Role
from exchange.lineage import split_origin
from exchange.log_keys import SIGNERS, Epoch, check_age, read_epoch
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2, trust_pb2
from shuqiao.regional import Signer
from shuqiao.signed_file import check_signs_once, read_message, signers_of, write_message
from shuqiao.words import Text


def write(path: Path, statements: Sequence[common_pb2.Statement]) -> None:
    """Write the file.

    Raises:
        BadConfiguration: it cannot be written.
    """
    write_message(path, trust_pb2.RegisterGatewayRequest(epoch=statements))


def read(path: Path) -> tuple[Epoch, list[common_pb2.Statement]]:
    """Return what a file is to open, and the statements in it; a statement may lack its signature.

    Raises:
        BadConfiguration: it cannot be read or is no such file.
        Malformed, Oversized: the body will not do.
    """
    statements = list(read_message(path, trust_pb2.RegisterGatewayRequest).epoch)
    if not 0 < len(statements) <= SIGNERS:
        raise BadConfiguration(f"{path}: no opening of an epoch")
    return read_epoch(statements[0].body), statements


def signers(statements: Sequence[common_pb2.Statement], anchor: TrustAnchor, now_ms: int) -> list[Identity]:
    """Return who has signed so far; raises what `signers_of` does."""
    return signers_of(statements, LOG_EPOCH, anchor, now_ms)


def sign(
    body: bytes, statements: Sequence[common_pb2.Statement], signer: Signer, anchor: TrustAnchor, clock: Clock
) -> list[common_pb2.Statement]:
    """Return the statements with one more signature.

    Args:
        body: LogEpochBody.
        statements: those so far.
        signer: an administrator.
        anchor: the division's root.
        clock: the time.

    Raises:
        RoleNotAllowed: the signer is no administrator.
        SecondPersonRequired: the signer has signed already.
        ExchangeError: what was signed before does not verify, is of another division, or is too old.
    """
    now_ms, who = clock.now_ms(), signer.identity
    epoch = read_epoch(body)
    check_age(epoch, now_ms)
    if who.role is not Role.ADMIN or not epoch.origin.startswith(f"{who.division}.{who.trust_domain}/"):
        raise RoleNotAllowed(str(who))
    check_signs_once(who, signers(statements, anchor, now_ms))
    return [*(one for one in statements if one.signature), signer.sign(LOG_EPOCH, body)]


def described(epoch: Epoch, people: Sequence[Identity]) -> list[tuple[Text, object]]:
    """Return everything that an opening says, for a person who is to sign it."""
    lost = f"{epoch.kept_size} – {epoch.lost_size - 1}" if epoch.lost_size > epoch.kept_size else "—"
    known = epoch.lost_head if epoch.lost_checkpoint else None
    return [
        (Text("日志", "Log"), split_origin(epoch.origin)[0]),
        (Text("此前", "Before"), epoch.previous_origin),
        (Text("此后", "From here on"), f"{epoch.origin} ({epoch.epoch})"),
        (Text("保留记录数", "Entries kept"), epoch.kept_size),
        (Text("保留部分的根", "Root over them"), epoch.kept_root.hex()),
        (Text("丢失的记录", "Entries lost"), lost),
        (Text("已知最新位置", "Newest head known"), f"{known.origin} {known.size}" if known else "—"),
        (Text("其根", "Its root"), known.root.hex() if known else "—"),
        (Text("新公钥", "New key"), epoch.log_key.hex()),
        (Text("说明", "Note"), epoch.note),
        (Text("已签名", "Signed by"), ", ".join(str(one) for one in people) or "—"),
    ]


def document(epoch: Epoch, people: Sequence[Identity]) -> dict[str, object]:
    """Return the same for programs."""
    return {
        "origin": epoch.origin,
        "previous_origin": epoch.previous_origin,
        "epoch": epoch.epoch,
        "kept_size": epoch.kept_size,
        "kept_root": epoch.kept_root.hex(),
        "lost_size": epoch.lost_size,
        "lost_checkpoint": epoch.lost_checkpoint,
        "log_key": epoch.log_key.hex(),
        "note": epoch.note,
        "issued_at_ms": epoch.issued_at_ms,
        "signed_by": [one.uri for one in people],
    }
