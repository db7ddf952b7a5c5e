"""Sealing sessions: one key agreement for up to five minutes of exchanges between two agents, both ways.

The consumer draws a secret and wraps it to the provider agent's sealing key. HPKE base mode has no sender, so
the wrap's `info` names suite, both parties with their keys, session and expiry: a wrap pasted into another
consumer's request does not open. The wrap travels in every request, so the provider needs no memory; it keeps
unwrapped secrets only to be quick, under everything the wrap is bound to.

Source: design section 4; the shape of Oblivious HTTP (RFC 9458).
"""

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from exchange import canonical
from exchange.clock import Clock, Random, system_random
from exchange.errors import BundleStale, SealBroken
from exchange.suites import SECRET_BYTES, Suite, suite
from exchange.v1 import exchange_pb2

LIFETIME_MS = 5 * 60_000
MARGIN_MS = 30_000
SKEW_MS = 60_000
MAX_EXCHANGES = 1 << 16
MAX_SESSIONS = 4096
SESSION_ID_BYTES = 16
_SWEEP_MS = 60_000


class Parties(NamedTuple):
    """Who seals to whom: credit codes, names, ids of the consumer's signing and provider's sealing key."""

    consumer_organisation: str
    consumer_agent: str
    consumer_kid: bytes
    provider_organisation: str
    provider_agent: str
    provider_kid: bytes


class _Bound(NamedTuple):
    """Everything a wrap is bound to; a remembered secret is found by it, so that no check is skipped."""

    suite: int
    consumer_organisation: str
    consumer_agent: str
    consumer_kid: bytes
    provider_organisation: str
    provider_agent: str
    provider_kid: bytes
    session_id: bytes
    expiry_ms: int


def session_info(
    *,
    suite: int,
    consumer_organisation: str,
    consumer_agent: str,
    consumer_kid: bytes,
    provider_organisation: str,
    provider_agent: str,
    provider_kid: bytes,
    session_id: bytes,
    expiry_ms: int,
) -> bytes:
    """Return what a session's wrap is bound to.

    Args:
        suite: number of the suite.
        consumer_organisation: credit code.
        consumer_agent: the agent's name.
        consumer_kid: id of the consumer's signing key, 16 bytes.
        provider_organisation: credit code.
        provider_agent: the agent's name.
        provider_kid: id of the provider's sealing key, 16 bytes.
        session_id: 16 bytes.
        expiry_ms: when the session ends, Unix milliseconds.

    Returns:
        "shuqiao/session/1\\0" and the SHA-256 of the items, each text and id with its length before it.
    """
    parts = [struct.pack(">I", suite)]
    for item in (
        consumer_organisation.encode(),
        consumer_agent.encode(),
        consumer_kid,
        provider_organisation.encode(),
        provider_agent.encode(),
        provider_kid,
        session_id,
    ):
        parts.append(struct.pack(">I", len(item)))
        parts.append(item)
    parts.append(struct.pack(">q", expiry_ms))
    return canonical.SESSION + hashlib.sha256(b"".join(parts)).digest()


@dataclass(frozen=True, slots=True)
class Session:
    """A consumer's session with one provider agent.

    Args:
        id: 16 random bytes.
        expiry_ms: when it ends, Unix milliseconds.
        secret: 32 bytes; never leaves the process.
        wrap: the secret, wrapped.
    """

    id: bytes
    expiry_ms: int
    secret: bytes
    wrap: bytes

    def __repr__(self) -> str:
        return f"Session(id={self.id.hex()}, expiry_ms={self.expiry_ms})"


class ConsumerSessions:
    """The sessions of a consumer, at most one per pair of keys, the least used forgotten first.

    Args:
        clock: the time.
        random: for ids and secrets.
        max_sessions: how many are kept.
    """

    def __init__(
        self, *, clock: Clock, random: Random = system_random, max_sessions: int = MAX_SESSIONS
    ) -> None:
        self._clock = clock
        self._random = random
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[tuple[int, Parties], tuple[Session, int]] = OrderedDict()

    def current(self, chosen: Suite, parties: Parties, public: bytes, *, until_ms: int) -> Session:
        """Return the session to use for one more exchange; a new one where the old is used up.

        Args:
            chosen: the region's suite.
            parties: who seals to whom.
            public: the provider agent's sealing key.
            until_ms: when that key ends, Unix milliseconds; the session ends no later.

        Returns:
            A session with at least 30 s to live where the key has them.

        Raises:
            BundleStale: the provider's key has ended.
            SealBroken: the public key is not one.
        """
        key = (chosen.id, parties)
        now_ms = self._clock.now_ms()
        held = self._sessions.get(key)
        if held is not None and held[1] < MAX_EXCHANGES and held[0].expiry_ms - MARGIN_MS > now_ms:
            self._sessions[key] = (held[0], held[1] + 1)
            self._sessions.move_to_end(key)
            return held[0]
        if until_ms <= now_ms:
            raise BundleStale(f"{parties.provider_organisation}/{parties.provider_agent}")
        session = self._begin(chosen, parties, public, min(now_ms + LIFETIME_MS, until_ms))
        self._sessions[key] = (session, 1)
        self._sessions.move_to_end(key)
        if len(self._sessions) > self._max_sessions:
            self._sessions.popitem(last=False)
        return session

    def forget_ended(self) -> None:
        """Forget ended sessions and their secrets; to be called now and then."""
        now_ms = self._clock.now_ms()
        for key in [key for key, held in self._sessions.items() if held[0].expiry_ms <= now_ms]:
            del self._sessions[key]

    def _begin(self, chosen: Suite, parties: Parties, public: bytes, expiry_ms: int) -> Session:
        session_id, secret = self._random(SESSION_ID_BYTES), self._random(SECRET_BYTES)
        info = session_info(suite=chosen.id, **parties._asdict(), session_id=session_id, expiry_ms=expiry_ms)
        wrap = chosen.wrap(public, info, secret)
        return Session(id=session_id, expiry_ms=expiry_ms, secret=secret, wrap=wrap)


class ProviderSessions:
    """The secrets a provider has unwrapped, bounded, dropped when their session ends.

    Args:
        clock: the time.
        max_sessions: how many are kept.
    """

    def __init__(self, *, clock: Clock, max_sessions: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._max_sessions = max_sessions
        self._secrets: OrderedDict[tuple[_Bound, bytes], tuple[int, bytes]] = OrderedDict()
        self._swept_ms = 0

    def secret(self, header: exchange_pb2.RequestHeader, wrap: bytes, private: bytes) -> bytes:
        """Return the secret of the session that a request belongs to.

        The caller has checked that the request is signed by `consumer_kid` and that this key belongs to the
        consumer named; the wrap then cannot be another's.

        Args:
            header: the request's header.
            wrap: the wrap beside it.
            private: the sealing key that the header names.

        Returns:
            32 bytes.

        Raises:
            SealBroken: the session has ended or lives too long, or the wrap is not for this request.
            WrongSuite: the suite is unknown.
        """
        expiry_ms, now_ms = header.session_expiry_ms, self._clock.now_ms()
        if not now_ms - SKEW_MS < expiry_ms <= now_ms + LIFETIME_MS + SKEW_MS:
            raise SealBroken("session expiry")
        bound = _bound_to(header)
        key = (bound, wrap)
        held = self._secrets.get(key)
        if held is not None:
            self._secrets.move_to_end(key)
            return held[1]
        chosen = suite(header.suite)
        if len(wrap) != chosen.wrap_bytes or len(header.session_id) != SESSION_ID_BYTES:
            raise SealBroken("wrap")
        secret = chosen.unwrap(private, session_info(**bound._asdict()), wrap)
        if now_ms >= self._swept_ms + _SWEEP_MS:
            self.forget_ended()
        self._secrets[key] = (expiry_ms, secret)
        if len(self._secrets) > self._max_sessions:
            self._secrets.popitem(last=False)
        return secret

    def forget_ended(self) -> None:
        """Forget the secrets of ended sessions; to be called now and then where no new session may come."""
        now_ms = self._swept_ms = self._clock.now_ms()
        for key in [key for key, held in self._secrets.items() if held[0] + SKEW_MS <= now_ms]:
            del self._secrets[key]


def _bound_to(header: exchange_pb2.RequestHeader) -> _Bound:
    return _Bound(
        header.suite,
        header.consumer_organisation,
        header.consumer_agent,
        header.consumer_kid,
        header.provider_organisation,
        header.provider_agent,
        header.provider_kid,
        header.session_id,
        header.session_expiry_ms,
    )
