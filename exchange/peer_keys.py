"""The public keys of an agent, as its key bundle certifies them: what signs batches, what seals sessions.

A bundle is verified end to end, against the pinned root of the division authority that no gateway runs:
1. its statement's signature and chain, at the time that counts, against the trust list's revocations;
2. the signer is that very agent;
3. every key id is recomputed from the key; a key has a term, a sealing key's at most a day, a signing key's
   at most 31 days;
4. the bundle is valid now, for at most 24 h, and not beyond the certificate.

Source: design section 3.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from exchange.canonical import BUNDLE, DIGEST_BYTES, KEY, NONCE_BYTES, digest
from exchange.errors import BundleStale, ClockSkew, Malformed, Oversized, RoleNotAllowed
from exchange.identity import Role
from exchange.suites import SUITES
from exchange.timestamps import milliseconds
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import common_pb2, directory_pb2

KID_BYTES = 16
SIGNING_PUBLIC_BYTES = 32
MAX_KEYS = 16
MAX_BUNDLE_BYTES = 64 * 1024
MAX_BUNDLE_MS = 24 * 3_600_000
MAX_SEALING_KEY_MS = 24 * 3_600_000
MAX_SIGNING_KEY_MS = 31 * 24 * 3_600_000
MAX_SKEW_MS = 60_000
SIGN, SEAL = directory_pb2.KEY_USE_SIGN, directory_pb2.KEY_USE_SEAL


class SigningPublic(NamedTuple):
    """An Ed25519 public key, 32 bytes, and its term."""

    public: bytes
    not_before_ms: int
    not_after_ms: int


class SealingPublic(NamedTuple):
    """A sealing key of a suite, raw, and its term."""

    suite: int
    public: bytes
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerKeys:
    """The keys of a verified bundle.

    Attributes:
        organisation: credit code.
        agent: the agent's name.
        seq: of the bundle.
        digest: of the bundle, 32 bytes.
        previous: digest of the bundle before, empty for the first.
        signing: by key id.
        sealing: by key id; keys of unknown suites are left out.
        expires_at_ms: until when the bundle is valid.
        statement: verbatim.
    """

    organisation: str
    agent: str
    seq: int
    digest: bytes
    previous: bytes
    signing: Mapping[bytes, SigningPublic]
    sealing: Mapping[bytes, SealingPublic]
    expires_at_ms: int
    statement: common_pb2.Statement = field(repr=False)

    def sealing_key(
        self, suite: int, *, now_ms: int, trust: TrustList | None = None
    ) -> tuple[bytes, SealingPublic]:
        """Return id and key to wrap a session to: of the suite, in its term, not revoked, the longest-lived.

        Raises:
            BundleStale: there is none.
        """
        revoked = trust.revoked_kids if trust is not None else frozenset()
        usable = [
            (kid, key)
            for kid, key in self.sealing.items()
            if key.suite == suite and key.not_before_ms <= now_ms < key.not_after_ms and kid not in revoked
        ]
        if not usable or self.expires_at_ms <= now_ms:
            raise BundleStale(f"{self.organisation}/{self.agent}")
        return max(usable, key=lambda held: held[1].not_after_ms)


def key_id(use: int, suite: int, public: bytes) -> bytes:
    """Return a key's id.

    Args:
        use: a number of KeyUse.
        suite: of a sealing key, 0 for a signing key.
        public: the raw public key.

    Returns:
        The first 16 bytes of SHA-256 of "shuqiao/key/1\\0", use byte, u16 suite and public key.
    """
    return digest(KEY, struct.pack(">BH", use, suite) + public)[:KID_BYTES]


def read_bundle_body(statement: common_pb2.Statement) -> directory_pb2.KeyBundleBody:
    """Return a bundle's body, checked as far as it can be without knowing who signed it.

    Raises:
        Malformed: it cannot be parsed or breaks a rule.
        Oversized: it is too large or has too many keys.
    """
    if len(statement.body) > MAX_BUNDLE_BYTES:
        raise Oversized("bundle")
    try:
        body = directory_pb2.KeyBundleBody.FromString(statement.body)
    except DecodeError:
        raise Malformed("bundle") from None
    if len(body.keys) > MAX_KEYS:
        raise Oversized("keys")
    first = body.seq == 1
    if len(body.nonce) != NONCE_BYTES or body.seq < 1 or not body.keys:
        raise Malformed("bundle")
    if len(body.previous) != (0 if first else DIGEST_BYTES):
        raise Malformed("previous")
    return body


def open_bundle(
    statement: common_pb2.Statement, anchor: TrustAnchor, *, at_ms: int, trust: TrustList | None
) -> PeerKeys:
    """Return the keys that a bundle certifies.

    Args:
        statement: the signed KeyBundleBody; untrusted.
        anchor: the pinned root.
        at_ms: the time that counts, Unix milliseconds.
        trust: the trust list whose revocations count; revoked keys are left out.

    Raises:
        Malformed, Oversized: the bundle breaks a rule.
        RoleNotAllowed: the signer is not that agent.
        BundleStale: it has expired.
        ClockSkew: it comes from more than 60 s ahead.
        NoIdentity, CertificateExpired, Revoked, BadSignature: the signer will not do.
    """
    body = read_bundle_body(statement)
    signer = anchor.verify_statement(statement, BUNDLE, at_ms=at_ms, trust=trust)
    who = signer.identity
    if (who.role, who.organisation, who.name) != (Role.AGENT, body.organisation, body.agent):
        raise RoleNotAllowed(str(who))
    issued_ms, expires_ms = _term(body.issued_at, body.expires_at)
    name = f"{body.organisation}/{body.agent} seq {body.seq}"
    if expires_ms - issued_ms > MAX_BUNDLE_MS or expires_ms > signer.not_after_ms:
        raise Malformed(f"{name}: term")
    if issued_ms > at_ms + MAX_SKEW_MS:
        raise ClockSkew(name)
    if expires_ms <= at_ms:
        raise BundleStale(name)
    signing, sealing = _keys(body, trust.revoked_kids if trust is not None else frozenset())
    return PeerKeys(
        organisation=body.organisation,
        agent=body.agent,
        seq=body.seq,
        digest=digest(BUNDLE, statement.body),
        previous=body.previous,
        signing=MappingProxyType(signing),
        sealing=MappingProxyType(sealing),
        expires_at_ms=expires_ms,
        statement=statement,
    )


def _keys(
    body: directory_pb2.KeyBundleBody, revoked: frozenset[bytes]
) -> tuple[dict[bytes, SigningPublic], dict[bytes, SealingPublic]]:
    signing: dict[bytes, SigningPublic] = {}
    sealing: dict[bytes, SealingPublic] = {}
    for key in body.keys:
        public, term = key.public_key, _term(key.not_before, key.not_after)
        if key.suite > 0xFFFF or key.use > 0xFF or key.kid != key_id(key.use, key.suite, public):
            raise Malformed("kid")
        if key.kid in signing or key.kid in sealing:
            raise Malformed("key twice")
        if key.kid in revoked:
            continue
        if key.use == SIGN:
            too_long = term[1] - term[0] > MAX_SIGNING_KEY_MS
            if too_long or key.suite or len(public) != SIGNING_PUBLIC_BYTES:
                raise Malformed("signing key")
            signing[key.kid] = SigningPublic(public, *term)
        elif key.use == SEAL and key.suite in SUITES:
            too_long = term[1] - term[0] > MAX_SEALING_KEY_MS
            if too_long or len(public) != SUITES[key.suite].public_bytes:
                raise Malformed("sealing key")
            sealing[key.kid] = SealingPublic(key.suite, public, *term)
    return signing, sealing


class _Moment(NamedTuple):
    from_ms: int
    to_ms: int


def _term(begin: Timestamp, end: Timestamp) -> _Moment:
    term = _Moment(milliseconds(begin), milliseconds(end))
    if not term.from_ms < term.to_ms:
        raise Malformed("time")
    return term
