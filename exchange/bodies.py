"""Parses bodies that somebody signed, within a bound."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from exchange.errors import Malformed, Oversized

M = TypeVar("M", bound=Message)


def read_body(kind: type[M], body: bytes, subject: str, *, most: int) -> M:
    """Return a body as its message; what is in it is for the caller to check.

    Args:
        kind: of the message.
        body: as it was signed.
        subject: what the refusal names.
        most: bytes.

    Raises:
        Oversized: it is larger.
        Malformed: it is no such message.
    """
    if len(body) > most:
        raise Oversized(subject)
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Malformed(subject) from error
