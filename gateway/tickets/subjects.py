"""Whom a corrected value is about, as the provider names it: tags that find recipients in other quarters.

Tags differ by quarter, and the gateway cannot make one quarter's from another's. The steward who corrects has
the authority derive the person's inner tags of every quarter (`DeriveCorrectionTags`) and hands them in with
that step, or with a later one that supplements it. Nobody can trace more by this than before:

1. The tags are signed by the authority, for this dispute and the provider: those of two people cannot be
   mixed, and those of another dispute are refused.
2. In the disputed exchange's quarter they must be one of the tags beside its entry: whom that exchange is
   not about is not looked for. Where that quarter has no tag any more, they prove nothing and are not used.
3. What is found is of the provider's own resource, so that it answered it itself, and goes to the recipients;
   the ticket names these departments and no exchange.
4. Inner tags are turned into outer ones at once. These are kept in the key store once the provider's step is
   admitted, durable before it is, and erased when everybody is told: a crash in between loses nobody, and of
   a step that is refused nothing is kept.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from exchange import canonical
from exchange.bodies import read_body
from exchange.clock import Clock
from exchange.errors import Malformed, RoleNotAllowed, StoreDamaged
from exchange.grants import check_issued
from exchange.identity import Identity, Role
from exchange.keystore import KeyStore
from exchange.timestamps import milliseconds
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import audit_pb2, common_pb2, trust_pb2
from gateway.audit.projections.trace import check_subject
from gateway.subject_tags import GatewayTagKeys

MAX_SUBJECTS = 8
MAX_BODY_BYTES = 8 * 1024
_PREFIX = "correction-"

_log = structlog.get_logger("gateway.tickets")


class CorrectedSubjects:
    """Takes and keeps the tags of whom corrected values are about.

    Args:
        keystore: keeps them until everybody is told.
        keys: the gateway's tag keys.
        anchor: the division's root.
        trust: returns the newest trust list.
        clock: the time.
    """

    def __init__(
        self,
        *,
        keystore: KeyStore,
        keys: GatewayTagKeys,
        anchor: TrustAnchor,
        trust: Callable[[], TrustList | None],
        clock: Clock,
    ) -> None:
        self._keystore = keystore
        self._keys = keys
        self._anchor = anchor
        self._trust = trust
        self._clock = clock

    def read(
        self, ticket_id: bytes, statements: Sequence[common_pb2.Statement], by: Identity
    ) -> list[Mapping[str, bytes]]:
        """Return the inner tags that the authority signed, by quarter; of each subject a mapping.

        Args:
            ticket_id: the dispute, 32 bytes.
            statements: signed SubjectTagsBody.
            by: the provider's steward.

        Raises:
            Malformed: there are too many, or one cannot be read, or is of another dispute.
            RoleNotAllowed: one is not signed by the authority, or for another organisation.
            ClockSkew: one is old.
            BadSignature, NoIdentity, CertificateExpired, Revoked, Oversized: one does not verify.
        """
        if len(statements) > MAX_SUBJECTS:
            raise Malformed("number of subjects")
        return [self._read(ticket_id, one, by) for one in statements]

    def _read(self, ticket_id: bytes, statement: common_pb2.Statement, by: Identity) -> Mapping[str, bytes]:
        now_ms = self._clock.now_ms()
        body = read_body(trust_pb2.SubjectTagsBody, statement.body, "subjects", most=MAX_BODY_BYTES)
        verified = self._anchor.verify_statement(
            statement, canonical.SUBJECT_TAGS, at_ms=now_ms, trust=self._trust()
        )
        signer = verified.identity
        if signer.role is not Role.AUTHORITY or signer.division != self._anchor.division:
            raise RoleNotAllowed(str(signer))
        if body.organisation != by.organisation:
            raise RoleNotAllowed(by.uri)
        if body.ticket_id != ticket_id:
            raise Malformed("subjects of another dispute")
        check_issued(milliseconds(body.issued_at, "issued_at"), now_ms)
        told = audit_pb2.SubjectTags(
            tags=[audit_pb2.SubjectTag(period=one.period, tag=one.tag) for one in body.tags]
        )
        if not told.tags:
            return {}
        check_subject(told)
        return {one.period: one.tag for one in told.tags}

    def vouched(
        self, subjects: Sequence[Mapping[str, bytes]], period: str, beside: Sequence[bytes]
    ) -> audit_pb2.SubjectTags:
        """Return the outer tags of those that the disputed exchange is shown to be about.

        Args:
            subjects: as `read` returns them.
            period: of the disputed exchange's tags; empty where its entry is erased.
            beside: these tags.

        Raises:
            Malformed: the exchange is about somebody else.
        """
        kept: list[audit_pb2.SubjectTag] = []
        for inner in subjects:
            own = self._keys.outer(period, inner[period]) if period in inner else None
            if own is None:
                # One of that quarter's keys is erased: nothing shows whose tags these are (rule 2).
                continue
            if own not in beside:
                raise Malformed("subjects: the disputed exchange is not about them")
            for quarter, tag in inner.items():
                outer = self._keys.outer(quarter, tag)
                if outer is not None:
                    kept.append(audit_pb2.SubjectTag(period=quarter, tag=outer))
        return audit_pb2.SubjectTags(tags=kept)

    def keep(self, ticket_id: bytes, tags: audit_pb2.SubjectTags) -> None:
        """Keep outer tags for a dispute, in place of any; durable on return.

        Also that there are none is kept: whom the provider named could not be looked for.

        Raises:
            StoreDamaged: they cannot be kept; what was kept before stands.
        """
        self._keystore.put(_name(ticket_id), tags.SerializeToString())

    def of(self, ticket_id: bytes) -> Mapping[str, list[bytes]] | None:
        """Return the outer tags that are kept for a dispute, by quarter; None where nobody was named."""
        try:
            held = self._keystore.get(_name(ticket_id))
        except StoreDamaged as error:
            # Told without them, and the ticket says which quarters were not searched.
            _log.error("subjects of a correction lost", name=ticket_id[:8].hex(), reason=error.name)
            return None
        if held is None:
            return None
        found: dict[str, list[bytes]] = {}
        for one in audit_pb2.SubjectTags.FromString(held).tags:
            found.setdefault(one.period, []).append(one.tag)
        return found

    def forget(self, ticket_id: bytes) -> None:
        """Erase what is kept for a dispute.

        Raises:
            StoreDamaged: it cannot be deleted; the next start tries again.
        """
        self._keystore.delete(_name(ticket_id))

    def sweep(self, needed: Callable[[bytes], bool]) -> None:
        """Erase what a crash, or a step that could not be made durable, has left; once, at the start.

        Args:
            needed: whether a dispute, by its id, is still to be told of.
        """
        for name in self._keystore.names():
            if name.startswith(_PREFIX) and not needed(bytes.fromhex(name.removeprefix(_PREFIX))):
                try:
                    self._keystore.delete(name)
                except StoreDamaged as error:
                    _log.warning("subjects of a correction not erased", reason=error.name)


def _name(ticket_id: bytes) -> str:
    return f"{_PREFIX}{ticket_id.hex()}"
