"""Files that travel between people who sign the same body: a message, and the signatures so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from exchange.errors import BadConfiguration, SecondPersonRequired
from exchange.files import read_bounded
from exchange.identity import Identity
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2
from shuqiao.words import unread

MAX_FILE_BYTES = 256 * 1024

M = TypeVar("M", bound=Message)


def write_message(path: Path, message: Message) -> None:
    """Write a file.

    Raises:
        BadConfiguration: it cannot be written.
    """
    try:
        path.write_bytes(message.SerializeToString())
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error


def read_message(path: Path, kind: type[M]) -> M:
    """Return the message in a file.

    Raises:
        BadConfiguration: it cannot be read or is no such file.
    """
    try:
        return kind.FromString(read_bounded(path, MAX_FILE_BYTES))
    except DecodeError as error:
        raise BadConfiguration(f"{path}: {unread(error)}") from error


def signers_of(
    statements: Sequence[common_pb2.Statement], domain: bytes, anchor: TrustAnchor, now_ms: int
) -> list[Identity]:
    """Return who has signed so far; a statement may lack its signature yet.

    Raises:
        ExchangeError: a signature does not verify.
    """
    signed = [one for one in statements if one.signature]
    return [anchor.verify_statement(one, domain, at_ms=now_ms, trust=None).identity for one in signed]


def check_signs_once(who: Identity, people: Sequence[Identity]) -> None:
    """Refuse whoever has signed already.

    Raises:
        SecondPersonRequired.
    """
    if who.uri in [one.uri for one in people]:
        raise SecondPersonRequired(f"{who}: signed already")
