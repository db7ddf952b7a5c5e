"""The authority's rules as plain functions: who gets a certificate, who loses it, what the trust list says.

Every method runs on one thread, in one transaction; what it returns is durable. Certificates are recorded in
the transaction that uses up the token, so that a crash leaves either both or neither.
"""

import sqlalchemy as sa
from google.protobuf.message import DecodeError

from certs.gateways import GatewayDesk
from certs.own_keys import OwnKeys
from certs.profiles import DAY_MS, hosts_of, key_of_request
from certs.records import CERTIFICATES, REVOKED_KIDS, Records, note
from certs.registry import Issued, certificates_after, record
from certs.tag_desk import TagDesk
from certs.tokens import COUNTERSIGNATURE, SECOND_PERSON, OpenToken, TokenDesk, TokenReused
from certs.trust_list import TrustListPublisher
from exchange.canonical import COUNTERSIGN, SUBJECT_TAGS
from exchange.clock import Clock, Random
from exchange.errors import (
    BadSignature,
    BadToken,
    Malformed,
    NoIdentity,
    Revoked,
    RoleNotAllowed,
    TooMany,
    UnknownEntry,
)
from exchange.identity import OF_ORGANISATION, Identity, Role
from exchange.statement import public_bytes
from exchange.timestamps import milliseconds, timestamp
from exchange.trust import KID_BYTES, Verified
from exchange.v1 import common_pb2, trust_pb2

MAX_VALID_CERTIFICATES = 8
MAX_NOTE_CHARS = 200


class Authority:
    """A division's authority.

    Args:
        keys: what it issues and signs with.
        records: what it remembers.
        trust_lists: makes the trust list.
        tags: keeps the providers' tag keys.
        clock, random: time and randomness.
    """

    def __init__(
        self,
        *,
        keys: OwnKeys,
        records: Records,
        trust_lists: TrustListPublisher,
        tags: TagDesk,
        clock: Clock,
        random: Random,
    ) -> None:
        self.keys = keys
        self.trust_lists = trust_lists
        self.tags = tags
        self._records = records
        self._clock = clock
        self._desk = TokenDesk(random=random)
        self.alarms = 0

    def create_token(
        self, enrolment: trust_pb2.Enrolment, *, creator: Identity, lifetime_s: int
    ) -> tuple[str, str, str]:
        """Make a token; return its id, its secret and what it needs. Raises as TokenDesk.create."""
        who = self._who(enrolment)
        with self._records.begin() as connection:
            return self._desk.create(
                connection,
                who,
                enrolment.hosts,
                creator=creator,
                lifetime_s=lifetime_s,
                now_ms=self._clock.now_ms(),
            )

    def approve(self, token_id: str, *, by: Identity) -> str:
        """Approve a token as the second person; return what it still needs. Raises as TokenDesk.second."""
        with self._records.begin() as connection:
            return self._desk.second(
                connection, token_id, by=by, kind=SECOND_PERSON, now_ms=self._clock.now_ms()
            )

    def tokens(self, *, by: Identity, after: str, limit: int) -> list[OpenToken]:
        """Return tokens that wait to be used; an organisation's people and agents see its own only."""
        with self._records.begin() as connection:
            return self._desk.open_tokens(
                connection,
                organisation=by.organisation,
                after=after,
                limit=limit,
                now_ms=self._clock.now_ms(),
            )

    def countersign(self, statement: common_pb2.Statement, *, by: Identity) -> str:
        """Enter an organisation's countersignature; return what the token still needs.

        Raises:
            BadSignature: it does not verify, is not the caller's, or says something else than the token.
            BadToken, SecondPersonRequired, RoleNotAllowed: as TokenDesk.second.
        """
        now_ms = self._clock.now_ms()
        signer = self.keys.anchor.verify_statement(
            statement, COUNTERSIGN, at_ms=now_ms, trust=self.trust_lists.current
        ).identity
        if signer != by or signer.role not in OF_ORGANISATION:
            raise BadSignature(str(signer))
        try:
            body = trust_pb2.CountersignBody.FromString(statement.body)
        except DecodeError as error:
            raise Malformed("countersignature") from error
        if abs(milliseconds(body.issued_at, "issued_at") - now_ms) > DAY_MS:
            raise BadSignature(f"{body.token_id}: countersignature too old")
        with self._records.begin() as connection:
            who, hosts = self._desk.described(connection, body.token_id, now_ms)
            if self._who(body.enrolment) != who or list(body.enrolment.hosts) != hosts:
                raise BadSignature(f"{body.token_id}: countersigned for somebody else")
            return self._desk.second(connection, body.token_id, by=by, kind=COUNTERSIGNATURE, now_ms=now_ms)

    def correction_tags(
        self, request: trust_pb2.DeriveCorrectionTagsRequest, *, by: Identity
    ) -> common_pb2.Statement:
        """Return the tags of whom a corrected value is about, signed for that dispute and organisation alone.

        Args:
            request: whom, and the dispute.
            by: the steward who corrects.

        Raises:
            BadIdentifier, Malformed, TooMany, StoreDamaged: as TagDesk.derive_for_correction.
        """
        tags = self.tags.derive_for_correction(request.format, request.identifier, request.ticket_id, by=by)
        now_ms = self._clock.now_ms()
        body = trust_pb2.SubjectTagsBody(
            ticket_id=request.ticket_id,
            organisation=by.organisation,
            issued_at=timestamp(now_ms),
            tags=[trust_pb2.DerivedTag(period=period, tag=tag) for period, tag in tags.items()],
        )
        return self.keys.signer(now_ms).sign(SUBJECT_TAGS, body.SerializeToString())

    def enrol(self, token: str, csr: bytes) -> list[bytes]:
        """Turn a token into a certificate; return its chain, DER.

        Raises:
            Oversized, Malformed: of the request; the token stays usable.
            BadToken, SecondPersonRequired, RoleNotAllowed: as TokenDesk.redeem.
        """
        now_ms = self._clock.now_ms()
        key = key_of_request(csr)
        try:
            with self._records.begin() as connection:
                who, hosts = self._desk.redeem(connection, token, now_ms)
                certificate = self.keys.issue(who, key, now_ms=now_ms, hosts=hosts)
                record(connection, who, certificate)
        except TokenReused as error:
            self.alarms += 1
            with self._records.begin() as connection:
                self._desk.count_reuse(connection, error.token_id, now_ms)
            raise BadToken(f"{error.token_id}: used before") from error
        return self.keys.chain(certificate)

    def renew(self, caller: Verified, csr: bytes) -> list[bytes]:
        """Issue a new certificate of the same identity and hosts for a new key; return its chain, DER.

        Raises:
            Oversized, Malformed: of the request, or its key is the old one.
            Revoked, NoIdentity: the caller's certificate is revoked or not of this authority's making.
            TooMany: the identity holds too many certificates already.
        """
        now_ms = self._clock.now_ms()
        key = key_of_request(csr)
        who = caller.identity
        if who.role is Role.AUTHORITY:
            raise RoleNotAllowed(str(who))
        if public_bytes(key) == public_bytes(caller.certificate.public_key()):
            raise Malformed(f"{who}: a new key is needed")
        with self._records.begin() as connection:
            rows = connection.execute(
                sa.select(CERTIFICATES).where(
                    CERTIFICATES.c.uri == who.uri, CERTIFICATES.c.not_after_ms > now_ms
                )
            ).all()
            held = next((row for row in rows if row.serial == f"{caller.serial:x}"), None)
            if held is None:
                raise NoIdentity(f"{who}: unknown certificate")
            if held.revoked_at_ms is not None:
                raise Revoked(str(who))
            if sum(row.revoked_at_ms is None for row in rows) >= MAX_VALID_CERTIFICATES:
                raise TooMany(f"{who}: certificates")
            certificate = self.keys.issue(who, key, now_ms=now_ms, hosts=hosts_of(caller.certificate))
            record(connection, who, certificate)
            note(connection, now_ms, who.uri, "renew", f"{certificate.serial_number:x}")
        return self.keys.chain(certificate)

    def revoke(self, request: trust_pb2.RevokeRequest, *, by: Identity) -> int:
        """Revoke a certificate, an identity's certificates or a key; return the new trust list's number.

        Raises:
            Malformed: nothing or something ill-formed is named.
            UnknownEntry: there is no such certificate, nor an open token for such an identity.
        """
        now_ms = self._clock.now_ms()
        target = request.WhichOneof("target")
        with self._records.begin() as connection:
            if target == "kid":
                if len(request.kid) != KID_BYTES:
                    raise Malformed("kid")
                connection.execute(REVOKED_KIDS.insert().prefix_with("OR IGNORE").values(kid=request.kid))
                subject = request.kid.hex()
            elif target is not None:
                subject = getattr(request, target)
                self._revoke_certificates(connection, target, subject, now_ms)
            else:
                raise Malformed("nothing to revoke")
            note(connection, now_ms, by.uri, "revoke", f"{subject} {request.note[:MAX_NOTE_CHARS]}")
        return self.trust_lists.make(now_ms).number

    def certificates(self, *, after: int, limit: int) -> list[Issued]:
        """Return the certificates whose record follows another's, in the order in which they were issued."""
        with self._records.begin() as connection:
            return certificates_after(connection, after, limit)

    def register_gateway(self, request: trust_pb2.RegisterGatewayRequest, *, by: Identity) -> int:
        """Enter a gateway's log and addresses; return the number of the trust list that says so.

        Raises:
            As GatewayDesk.enter.
        """
        now_ms = self._clock.now_ms()
        desk = GatewayDesk(anchor=self.keys.anchor, trust=self.trust_lists.current, now_ms=now_ms)
        with self._records.begin() as connection:
            if not desk.enter(connection, request, by):
                return self.trust_lists.current.number
        return self.trust_lists.make(now_ms).number

    def _revoke_certificates(self, connection: sa.Connection, target: str, subject: str, now_ms: int) -> None:
        closed = 0
        if target == "spiffe_id":
            chosen = CERTIFICATES.c.uri == subject
            closed = self._desk.close_all(connection, subject, now_ms)
        else:
            chosen = CERTIFICATES.c.serial == subject.lower().lstrip("0")
        issued = connection.execute(sa.select(CERTIFICATES.c.id).where(chosen).limit(1)).first()
        if issued is None and not closed:
            raise UnknownEntry(subject[:MAX_NOTE_CHARS])
        still = sa.and_(chosen, CERTIFICATES.c.revoked_at_ms.is_(None))
        connection.execute(CERTIFICATES.update().where(still).values(revoked_at_ms=now_ms))

    def _who(self, enrolment: trust_pb2.Enrolment) -> Identity:
        own = self.keys.identity
        if enrolment.role not in trust_pb2.Role.values() or not enrolment.role:
            raise Malformed("role")
        role = Role(trust_pb2.Role.Name(enrolment.role).removeprefix("ROLE_").lower())
        try:
            return Identity(own.trust_domain, own.division, role, enrolment.organisation, enrolment.name)
        except NoIdentity as error:
            raise Malformed(error.subject) from error
