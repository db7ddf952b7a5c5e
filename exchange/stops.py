"""Emergency stops and their ends, as gateway and agents must read them alike.

1. An officer signs a StopBody; it is addressed by its digest and never changes.
2. Organisation and region need two different officers; one alone may stop them for an hour at most, counted
   from the signed time and again from the reader's own clock (`ends_ms`).
3. A stop ends by itself at `until`, or by a LiftBody: one officer, of organisation and region two.
4. A rehearsal follows the same rules and refuses nothing.

How an exchange is matched is `exchange.stop_set`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exchange.bodies import read_body
from exchange.canonical import DIGEST_BYTES, NONCE_BYTES, STOP, digest
from exchange.codes import credit_code
from exchange.errors import BadIdentifier, Malformed, RoleNotAllowed, SecondPersonRequired
from exchange.identity import DIVISION, NAME, Identity, Role
from exchange.resources import check_text, split_id
from exchange.timestamps import milliseconds
from exchange.v1 import stop_pb2

MAX_STOP_BYTES = 4 * 1024
MAX_SIGNERS = 2
MAX_ALONE_MS = 3600 * 1000
"""How long one officer alone may stop an organisation or the region."""
SIGN_WITHIN_MS = 3600 * 1000
"""How long after the first signature the second may come."""
NEVER_MS = 1 << 62
"""The end of a stop that has none."""

FIELD, GRANT = stop_pb2.STOP_SCOPE_FIELD, stop_pb2.STOP_SCOPE_GRANT
RESOURCE, AGENT = stop_pb2.STOP_SCOPE_RESOURCE, stop_pb2.STOP_SCOPE_AGENT
ORGANISATION, REGION = stop_pb2.STOP_SCOPE_ORGANISATION, stop_pb2.STOP_SCOPE_REGION
WIDE = frozenset({ORGANISATION, REGION})
"""Scopes that two officers must sign for."""

_GRANT_ID = re.compile(r"[0-9a-f]{64}")
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stop, well formed; who signed it is not known here.

    Attributes:
        stop_id: digest of the body, 32 bytes.
        scope: a StopScope.
        target: which one, in its scope's form.
        until_ms: Unix milliseconds, NEVER_MS where none is set.
        rehearsal: whether it only counts.
    """

    stop_id: bytes
    scope: int
    target: str
    issued_at_ms: int
    until_ms: int
    rehearsal: bool
    note: str

    @property
    def name(self) -> str:
        """The first 8 hexadecimal digits of the id, for people and log entries."""
        return self.stop_id.hex()[:8]

    @property
    def rule(self) -> str:
        """What the entries of exchanges that it refused name as their rule."""
        return f"stop/{self.name}"

    @property
    def wide(self) -> bool:
        """Whether two officers must sign."""
        return self.scope in WIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """The end of a stop, well formed."""

    stop_id: bytes
    issued_at_ms: int
    note: str


def read_stop(body: bytes) -> Stop:
    """Return what a StopBody orders. Who signed it is not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: a part breaks its bound; the subject names it.
    """
    told = read_body(stop_pb2.StopBody, body, "stop", most=MAX_STOP_BYTES)
    if len(told.nonce) != NONCE_BYTES or not told.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    check_target(told.scope, told.target)
    check_text(told.note, "note")
    issued_at_ms = milliseconds(told.issued_at)
    until_ms = milliseconds(told.until) if told.HasField("until") else NEVER_MS
    if until_ms <= issued_at_ms:
        raise Malformed("until")
    return Stop(
        stop_id=digest(STOP, body),
        scope=told.scope,
        target=told.target,
        issued_at_ms=issued_at_ms,
        until_ms=until_ms,
        rehearsal=told.rehearsal,
        note=told.note,
    )


def read_lift(body: bytes) -> Lift:
    """Return what a LiftBody orders. Who signed it is not looked at.

    Raises:
        Malformed, Oversized: a part breaks its bound; the subject names it.
    """
    told = read_body(stop_pb2.LiftBody, body, "lift", most=MAX_STOP_BYTES)
    if len(told.nonce) != NONCE_BYTES or not told.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    if len(told.stop_id) != DIGEST_BYTES:
        raise Malformed("stop_id")
    check_text(told.note, "note")
    return Lift(stop_id=told.stop_id, issued_at_ms=milliseconds(told.issued_at), note=told.note)


def check_target(scope: int, target: str) -> None:
    """Refuse a target that has not its scope's form.

    Raises:
        Malformed: no such scope.
        BadIdentifier: the target has another form.
    """
    check = _TARGETS.get(scope)
    if check is None:
        raise Malformed("scope")
    check(target)


def split_field(target: str) -> tuple[str, str]:
    """Return resource and name of "<resource>#<field>".

    Raises:
        BadIdentifier: it has another form.
    """
    resource, _, name = target.partition("#")
    split_id(resource)
    if not _FIELD_NAME.fullmatch(name):
        raise BadIdentifier("field")
    return resource, name


def split_agent(target: str) -> tuple[str, str]:
    """Return credit code and name of "<credit code>/<name>".

    Raises:
        BadIdentifier: it has another form.
    """
    code, _, name = target.partition("/")
    if not NAME.fullmatch(name):
        raise BadIdentifier("agent")
    return credit_code(code), name


def check_stop_signers(stop: Stop, signers: Sequence[Identity]) -> None:
    """Refuse a stop that its officers did not sign.

    Args:
        stop: what they signed.
        signers: who signed it, each verified.

    Raises:
        RoleNotAllowed: one of them is no officer.
        SecondPersonRequired: one person twice, or one alone where two are needed.
        Malformed: nobody, or too many.
    """
    _check_officers(signers)
    if stop.wide and len(signers) < MAX_SIGNERS and stop.until_ms - stop.issued_at_ms > MAX_ALONE_MS:
        raise SecondPersonRequired(f"{stop.target}: --minutes 60 / --out FILE")


def check_lift_signers(stop: Stop, signers: Sequence[Identity]) -> None:
    """Refuse a lift that its officers did not sign; raises as `check_stop_signers`."""
    _check_officers(signers)
    if stop.wide and len(signers) < MAX_SIGNERS:
        raise SecondPersonRequired(f"{stop.target}: --out FILE")


def ends_ms(stop: Stop, signers: int, at_ms: int) -> int:
    """Return when a stop ends by itself.

    Args:
        stop: which one.
        signers: how many officers signed it.
        at_ms: when it was taken over, by the reader's clock: an officer's clock buys one person no more time.
    """
    if stop.wide and signers < MAX_SIGNERS:
        return min(stop.until_ms, at_ms + MAX_ALONE_MS)
    return stop.until_ms


def _check_officers(signers: Sequence[Identity]) -> None:
    if not 0 < len(signers) <= MAX_SIGNERS:
        raise Malformed("signatures")
    for signer in signers:
        if signer.role is not Role.OFFICER:
            raise RoleNotAllowed(str(signer))
    if len({signer.uri for signer in signers}) != len(signers):
        raise SecondPersonRequired("two different officers")


def _check_grant(target: str) -> None:
    if not _GRANT_ID.fullmatch(target):
        raise BadIdentifier("grant id")


def _check_region(target: str) -> None:
    if not DIVISION.fullmatch(target):
        raise BadIdentifier("division")


_TARGETS: Mapping[int, Callable[[str], object]] = {
    FIELD: split_field,
    GRANT: _check_grant,
    RESOURCE: split_id,
    ORGANISATION: credit_code,
    AGENT: split_agent,
    REGION: _check_region,
}
