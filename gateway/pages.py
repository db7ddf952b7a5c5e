"""Pages of long lists: bounded in number and bytes, with opaque tokens that are checked.

A token holds the list's name and the last key told, so a page goes on rightly though the list has grown.
It is no secret and grants nothing: its digest only tells a mangled one from a whole one.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from exchange.errors import Malformed

DEFAULT_SIZE = 100
MAX_SIZE = 500
MAX_BYTES = 2 * 1024 * 1024
TURN = 16
MAX_TOKEN = 400
MAX_DIGITS = 18
_DOMAIN = b"shuqiao/page/1\0"
_CHECK_BYTES = 8

S = TypeVar("S")
T = TypeVar("T")


def page_size(wanted: int) -> int:
    """Return how many items a page has: 0 means 100.

    Raises:
        Malformed: more than 500.
    """
    if wanted > MAX_SIZE:
        raise Malformed("page_size")
    return wanted or DEFAULT_SIZE


def token(name: str, key: str) -> str:
    """Return the token that goes on after a key of a list."""
    payload = f"{name}\0{key}".encode()
    return base64.urlsafe_b64encode(_check(payload) + payload).decode().rstrip("=")


def key_of(name: str, text: str) -> str:
    """Return the key after which to go on; empty for an empty token.

    Raises:
        Malformed: not a token of that list.
    """
    if not text:
        return ""
    if len(text) > MAX_TOKEN or not text.isascii():
        raise Malformed("page_token")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        payload = raw[_CHECK_BYTES:]
        held, key = payload.decode().split("\0", 1)
    except (binascii.Error, ValueError) as error:
        raise Malformed("page_token") from error
    if held != name or raw[:_CHECK_BYTES] != _check(payload):
        raise Malformed("page_token")
    return key


def token_at(name: str, scope: str, position: int | None) -> str:
    """Return the token that goes on from a position in the log; empty for None, the end.

    Args:
        name: of the list.
        scope: what is listed, without a colon: the token is good for nothing else.
        position: an index of the log.
    """
    return "" if position is None else token(name, f"{scope}:{position}")


def position_of(name: str, scope: str, text: str) -> int | None:
    """Return the position from which to go on; None for an empty token.

    Raises:
        Malformed: not a token of that list and scope.
    """
    key = key_of(name, text)
    if not key:
        return None
    held, _, number = key.partition(":")
    if held != scope or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise Malformed("page_token")
    return int(number)


def fitting(items: Iterable[T], size: Callable[[T], int], *, most: int) -> list[T]:
    """Return the first items, at most so many and of at most 2 MiB; one at least, where there is one."""
    taken: list[T] = []
    total = 0
    for item in items:
        total += size(item)
        if taken and (total > MAX_BYTES or len(taken) == most):
            break
        taken.append(item)
    return taken


async def read_fitting(
    items: Sequence[S], read: Callable[[S], T], size: Callable[[T], int], *, most: int
) -> list[tuple[S, T]]:
    """Return the first items with what is read for each, bounded as `fitting` bounds them.

    Others get their turn of the event loop in between: what is read for a page takes milliseconds.
    """
    taken: list[tuple[S, T]] = []
    total = 0
    for item in items[:most]:
        found = read(item)
        total += size(found)
        if taken and total > MAX_BYTES:
            break
        taken.append((item, found))
        if len(taken) % TURN == 0:
            await asyncio.sleep(0)
    return taken


def _check(payload: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + payload).digest()[:_CHECK_BYTES]
