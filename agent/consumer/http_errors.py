"""Errors as the HTTP face tells them: one JSON shape, and the status that fits."""

import json
import re
from collections.abc import Iterable

from pydantic import ValidationError

from exchange.errors import BadParameter, Code, ExchangeError, Malformed

_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 502,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

Headers = list[tuple[bytes, bytes]]


def status_of(error: ExchangeError) -> int:
    """Return the HTTP status; a bound that trying again does not move (ROW_CAP) is 422, not 429."""
    if error.code is Code.RESOURCE_EXHAUSTED and not error.retryable:
        return 422
    return _STATUS[error.code]


def error_json(error: ExchangeError, *, exchange_id: str = "") -> bytes:
    """Return the error's JSON document.

    Args:
        error: what happened.
        exchange_id: the exchange, as a UUID, where there is one.
    """
    sentence = error.sentence
    document: dict[str, object] = {
        "code": error.name,
        "reason": {"zh": sentence.zh, "en": sentence.en},
        "remedy": {"zh": sentence.remedy_zh, "en": sentence.remedy_en},
        "hop": error.hop,
        "subject": error.subject,
        "retryable": error.retryable,
    }
    if error.retry_after_ms:
        document["retry_after_ms"] = error.retry_after_ms
    if exchange_id:
        document["exchange_id"] = exchange_id
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def error_headers(error: ExchangeError, status: int) -> Headers:
    """Return the headers that go with a status: how to authenticate, when to come back."""
    headers: Headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"cache-control", b"no-store"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (429, 503):
        headers.append((b"retry-after", b"%d" % max(1, -(-error.retry_after_ms // 1000))))
    return headers


def malformed(fault: ValidationError) -> ExchangeError:
    """Return what is wrong with a body, by the names of its places; never a value."""
    details = fault.errors(include_url=False, include_context=False, include_input=False)
    places = ", ".join(f"{_place(each['loc'])}: {each['type']}" for each in details[:5])
    if any(each["loc"][:1] in (("parameters",), ("claims",)) for each in details):
        return BadParameter(places)
    return Malformed(places)


def _place(loc: Iterable[int | str]) -> str:
    """Name a place; a key that is no name may be a value in the wrong place, so it is not repeated."""
    parts = [str(each) if isinstance(each, int) or _NAME.fullmatch(each) else "?" for each in loc]
    return ".".join(parts) or "body"
