"""One-time tokens: who may be enrolled, by whom it was decided, and that it happens once.

Rules:
1. A token is bound to role, organisation, name and hosts, works once, and for at most 24 hours. Only the
   hash of its secret is kept; it is compared in constant time. Presenting a used one raises an alarm.
2. Two persons: people, gateways and an organisation's first agent need a second administrator.
3. Every further agent needs a countersignature by a key that its organisation holds already.
4. Whoever created, approved or countersigned must still be in good standing when the token is used.
5. One role per person: a name that was enrolled in one role is refused in another.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from certs.profiles import check_hosts
from certs.records import CERTIFICATES, PEOPLE, TOKENS, note
from certs.registry import enter_person
from exchange.clock import Random
from exchange.codes import credit_code
from exchange.errors import BadToken, Malformed, RoleNotAllowed, SecondPersonRequired, WrongState
from exchange.identity import PEOPLE as PERSONAL
from exchange.identity import Identity, Role, parse_uri

MAX_LIFETIME_S = 24 * 3600
DEFAULT_LIFETIME_S = 3600
MAX_TOKEN_CHARS = 128
READY = "ready"
SECOND_PERSON = "second-person"
COUNTERSIGNATURE = "countersignature"


@dataclass(frozen=True, slots=True)
class OpenToken:
    """A token that waits to be used: public id, whom it is for, who made it, until when, what it needs."""

    token_id: str
    identity: Identity
    hosts: Sequence[str]
    created_by: str
    expires_at_ms: int
    needs: str


class TokenReused(Exception):
    """A token that was used already was presented again: somebody else may hold it."""

    def __init__(self, token_id: str) -> None:
        super().__init__(token_id)
        self.token_id = token_id


class TokenDesk:
    """Makes, approves and redeems tokens. Every method runs within its caller's transaction.

    Args:
        random: where ids and secrets come from.
    """

    def __init__(self, *, random: Random) -> None:
        self._random = random

    def create(
        self,
        connection: sa.Connection,
        who: Identity,
        hosts: Sequence[str],
        *,
        creator: Identity,
        lifetime_s: int,
        now_ms: int,
    ) -> tuple[str, str, str]:
        """Make a token.

        Returns:
            Its public id, its secret (told once) and what it still needs.

        Raises:
            Malformed, BadIdentifier: lifetime, hosts or organisation will not do.
            RoleNotAllowed: the person holds another role.
        """
        if who.role is Role.AUTHORITY or not 0 <= lifetime_s <= MAX_LIFETIME_S:
            raise Malformed("token: role or lifetime")
        if (who.role is Role.GATEWAY) != bool(hosts):
            raise Malformed(f"{who}: hosts")
        check_hosts(hosts)
        if who.organisation:
            credit_code(who.organisation)
        check_person(connection, who)
        token_id = f"t-{self._random(8).hex()}"
        secret = f"{token_id}.{urlsafe_b64encode(self._random(32)).decode().rstrip('=')}"
        connection.execute(
            TOKENS.insert().values(
                id=token_id,
                secret_hash=_hash(secret),
                uri=who.uri,
                hosts=list(hosts),
                created_by=creator.uri,
                expires_at_ms=now_ms + (lifetime_s or DEFAULT_LIFETIME_S) * 1000,
                reuses=0,
            )
        )
        note(connection, now_ms, creator.uri, "create-token", f"{token_id} {who.uri}")
        return token_id, secret, self._kind(connection, who, now_ms)

    def second(
        self, connection: sa.Connection, token_id: str, *, by: Identity, kind: str, now_ms: int
    ) -> str:
        """Enter the second person's approval, or the organisation's countersignature.

        Args:
            connection: the transaction.
            token_id: the token's public id.
            by: who approves or countersigns.
            kind: SECOND_PERSON or COUNTERSIGNATURE.
            now_ms: Unix milliseconds.

        Returns:
            What the token still needs.

        Raises:
            BadToken: it is unknown, used or expired.
            SecondPersonRequired: the same person, or another kind of consent is needed.
            RoleNotAllowed: another organisation.
        """
        row = self._open(connection, token_id, now_ms)
        needs = self._needs(connection, row, now_ms)
        if needs == READY:
            if row.seconded_by == by.uri:
                return READY
            raise WrongState(token_id)
        if needs != kind or row.created_by == by.uri:
            raise SecondPersonRequired(f"{token_id}: {needs}")
        if kind == COUNTERSIGNATURE and by.organisation != parse_uri(row.uri).organisation:
            raise RoleNotAllowed(str(by))
        connection.execute(TOKENS.update().where(TOKENS.c.id == token_id).values(seconded_by=by.uri))
        note(connection, now_ms, by.uri, kind, token_id)
        return READY

    def open_tokens(
        self, connection: sa.Connection, *, organisation: str, after: str, limit: int, now_ms: int
    ) -> list[OpenToken]:
        """Return tokens that wait to be used, by their ids.

        Args:
            connection: the transaction.
            organisation: whose; empty for everybody's.
            after: only ids beyond this one.
            limit: how many at most.
            now_ms: Unix milliseconds.
        """
        waiting = (TOKENS.c.used_at_ms.is_(None), TOKENS.c.expires_at_ms > now_ms, TOKENS.c.id > after)
        found: list[OpenToken] = []
        for row in connection.execute(sa.select(TOKENS).where(*waiting).order_by(TOKENS.c.id)):
            who = parse_uri(row.uri)
            if len(found) < limit and organisation in ("", who.organisation):
                needs = self._needs(connection, row, now_ms)
                found.append(
                    OpenToken(row.id, who, list(row.hosts), row.created_by, row.expires_at_ms, needs)
                )
        return found

    def described(self, connection: sa.Connection, token_id: str, now_ms: int) -> tuple[Identity, list[str]]:
        """Return who an open token is for, and with which hosts."""
        row = self._open(connection, token_id, now_ms)
        return parse_uri(row.uri), list(row.hosts)

    def redeem(self, connection: sa.Connection, secret: str, now_ms: int) -> tuple[Identity, list[str]]:
        """Use a token up.

        Returns:
            Who is to be enrolled, and with which hosts.

        Raises:
            BadToken: it is unknown or expired.
            TokenReused: it was used before; whoever sees it counts it.
            SecondPersonRequired: somebody's consent is missing, or whoever gave it was revoked since.
            RoleNotAllowed: the person was enrolled in another role meanwhile.
        """
        token_id = secret.partition(".")[0][:MAX_TOKEN_CHARS]
        row = connection.execute(sa.select(TOKENS).where(TOKENS.c.id == token_id)).one_or_none()
        kept = row.secret_hash if row is not None else bytes(32)
        if not hmac.compare_digest(kept, _hash(secret[:MAX_TOKEN_CHARS])) or row is None:
            raise BadToken("unknown")
        if row.used_at_ms is not None:
            raise TokenReused(token_id)
        if row.expires_at_ms <= now_ms:
            raise BadToken(f"{token_id}: expired")
        needs = self._needs(connection, row, now_ms)
        if needs != READY:
            raise SecondPersonRequired(f"{token_id}: {needs}")
        for uri in (row.created_by, row.seconded_by):
            if not in_good_standing(connection, uri, now_ms):
                raise SecondPersonRequired(f"{token_id}: {uri}")
        who = parse_uri(row.uri)
        check_person(connection, who)
        if who.role in PERSONAL:
            enter_person(connection, who)
        connection.execute(TOKENS.update().where(TOKENS.c.id == token_id).values(used_at_ms=now_ms))
        note(connection, now_ms, who.uri, "enrol", token_id)
        return who, list(row.hosts)

    def count_reuse(self, connection: sa.Connection, token_id: str, now_ms: int) -> None:
        """Enter that a used token was presented again."""
        connection.execute(TOKENS.update().where(TOKENS.c.id == token_id).values(reuses=TOKENS.c.reuses + 1))
        note(connection, now_ms, "", "token-reused", token_id)

    def close_all(self, connection: sa.Connection, uri: str, now_ms: int) -> int:
        """End every open token of an identity, for it was revoked; return how many there were."""
        of_it = sa.and_(TOKENS.c.uri == uri, TOKENS.c.used_at_ms.is_(None), TOKENS.c.expires_at_ms > now_ms)
        return connection.execute(TOKENS.update().where(of_it).values(expires_at_ms=now_ms)).rowcount

    def _needs(self, connection: sa.Connection, row: Any, now_ms: int) -> str:
        """Return what a token needs now; its organisation may have got an agent since it was approved."""
        kind = self._kind(connection, parse_uri(row.uri), now_ms)
        if row.seconded_by is None:
            return kind
        by_admin = parse_uri(row.seconded_by).role is Role.ADMIN
        return COUNTERSIGNATURE if kind == COUNTERSIGNATURE and by_admin else READY

    def _kind(self, connection: sa.Connection, who: Identity, now_ms: int) -> str:
        if who.role is not Role.AGENT:
            return SECOND_PERSON
        held = sa.select(CERTIFICATES.c.id).where(
            CERTIFICATES.c.role == str(Role.AGENT),
            CERTIFICATES.c.organisation == who.organisation,
            *_valid(now_ms),
        )
        return COUNTERSIGNATURE if connection.execute(held.limit(1)).first() else SECOND_PERSON

    def _open(self, connection: sa.Connection, token_id: str, now_ms: int) -> Any:
        row = connection.execute(sa.select(TOKENS).where(TOKENS.c.id == token_id)).one_or_none()
        if row is None or row.used_at_ms is not None or row.expires_at_ms <= now_ms:
            raise BadToken(token_id[:MAX_TOKEN_CHARS])
        return row


def check_person(connection: sa.Connection, who: Identity) -> None:
    """Refuse a person who was enrolled as anything else.

    Raises:
        RoleNotAllowed.
    """
    if who.role not in PERSONAL:
        return
    held = connection.execute(sa.select(PEOPLE.c.uri).where(PEOPLE.c.name == who.name)).scalar_one_or_none()
    if held is not None and held != who.uri:
        raise RoleNotAllowed(f"{who}: holds {parse_uri(held)}")


def in_good_standing(connection: sa.Connection, uri: str | None, now_ms: int) -> bool:
    """Return whether an identity holds a certificate that is neither revoked nor expired."""
    held = sa.select(CERTIFICATES.c.id).where(CERTIFICATES.c.uri == uri, *_valid(now_ms))
    return connection.execute(held.limit(1)).first() is not None


def _valid(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return CERTIFICATES.c.revoked_at_ms.is_(None), CERTIFICATES.c.not_after_ms > now_ms


def _hash(secret: str) -> bytes:
    return hashlib.sha256(b"shuqiao/token/1\0" + secret.encode()).digest()
