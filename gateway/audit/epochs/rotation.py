"""The planned change of the log's key: same origin, same tree, another key, nothing interrupted.

Each step ends in a durable state and may be repeated after a crash:
1. ordered    the next key is in the key store and in the state; the gateway announces it to the authority
2. announced  a trust list names both keys and has been out for its max_age: every agent has it or has stopped
3. overlap    the LogKeyBody is signed and in the state; from the next group on both keys sign; then its entry
4. over       past `overlap_until` the new key signs alone, and the old one's private part is erased
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import structlog

from exchange.canonical import LOG_KEY, NONCE_BYTES
from exchange.checkpoint import LogSigner
from exchange.clock import Clock, Random, system_random
from exchange.errors import ExchangeError, Malformed
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.log_keys import DEFAULT_OVERLAP_S, MAX_OVERLAP_S, MIN_OVERLAP_S, read_key_change, vouch
from exchange.statement import StatementSigner
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.epochs.log_state import (
    NEXT,
    OVERLAP,
    PAST,
    SIGNING,
    Change,
    LogState,
    erase_past,
    new_key,
    save_state,
    signer_of,
)

ANNOUNCING, BOTH_SIGN = "announcing", "overlap"
MAX_SUBJECT = 180

Enter = Callable[[common_pb2.Statement, str], Awaitable[object]]
"""Enters a signed LogKeyBody, once, with what it is about."""


class KeyRotation:
    """Changes the log's key, a step at a time.

    Args:
        folder: of the gateway.
        keystore: of the gateway.
        state: as it was loaded.
        statement_signer: signs with the gateway's certificate of this moment.
        use_signer: has the log signed by other keys from the next group on.
        enter: makes the entry.
        published: writes the public keys beside the log.
        clock: the time.
        random: for the nonce.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keystore: KeyStore,
        state: LogState,
        statement_signer: Callable[[], StatementSigner],
        use_signer: Callable[[LogSigner], None],
        enter: Enter,
        published: Callable[[LogState], None],
        clock: Clock,
        random: Random = system_random,
    ) -> None:
        self._folder = folder
        self._keystore = keystore
        self.state = state
        self._statement_signer = statement_signer
        self._use_signer = use_signer
        self._enter = enter
        self._published = published
        self._clock = clock
        self._random = random
        self._log = structlog.get_logger("gateway.audit")
        self._entered = ""
        erase_past(state, keystore)

    @property
    def announced(self) -> tuple[bytes, ...]:
        """The keys that the trust list is to name, newest first."""
        return self.state.public(NEXT, SIGNING, OVERLAP)

    def key_change(self) -> str:
        """Return the note by which the key that signs vouches for the next; "" while none is announced."""
        waiting = self.state.public(NEXT)
        return vouch(signer_of(self.state, self._keystore), waiting[0]) if waiting else ""

    def order(self, overlap_s: int, *, by: Identity) -> tuple[bytes, str]:
        """Order a change, or tell how far the one under way has come.

        Args:
            overlap_s: how long both keys sign, seconds; 0 for a day.
            by: the administrator.

        Returns:
            The next key, 32 bytes, and "announcing" or "overlap".

        Raises:
            Malformed: the overlap is out of bounds.
            StoreDamaged: the key or the state cannot be kept; nothing was ordered.
        """
        chosen = overlap_s or DEFAULT_OVERLAP_S
        if not MIN_OVERLAP_S <= chosen <= MAX_OVERLAP_S:
            raise Malformed("overlap_s")
        if self.state.change is None:
            # A crash between the two leaves a key that nothing names and that never signs.
            key = new_key(self._keystore, self.state)
            change = Change(ordered_by=by.uri, overlap_s=chosen)
            self._save(replace(self.state, keys=(key, *self.state.keys), change=change))
            self._log.info("log_key_ordered", key=key.public, by=by.uri)
        waiting = self.state.public(NEXT)
        return (waiting[0], ANNOUNCING) if waiting else (self.state.public(SIGNING)[0], BOTH_SIGN)

    async def step(self, trust: TrustList | None) -> None:
        """Do what is due; to be called every second or so.

        Raises:
            ExchangeError: it could not be done now, and is tried again at the next call.
        """
        change = self.state.change
        if change is None:
            return
        if not change.body:
            self._announce(change, trust)
            return
        if self._entered != change.body:
            statement = common_pb2.Statement.FromString(bytes.fromhex(change.body))
            named = read_key_change(statement.body).next_key.hex()
            # The same body again makes no second entry, so a crash on either side of this line loses nothing.
            await self._enter(statement, f"{named} {change.ordered_by}"[:MAX_SUBJECT])
            self._entered = change.body
        if self._clock.now_ms() >= self._overlap_until(change):
            self._save(replace(self.state.with_use(OVERLAP, PAST), change=None))
            self._use_signer(signer_of(self.state, self._keystore))
            # A crash before this line: the next start erases it.
            erase_past(self.state, self._keystore)
            self._log.info("log_key_changed", key=self.state.public(SIGNING)[0].hex())

    def _announce(self, change: Change, trust: TrustList | None) -> None:
        """Wait until whoever goes by a trust list that is not stale knows both keys; then sign with both."""
        named = trust.gateways.get(self.state.origin) if trust else None
        if trust is None or named is None or not set(self.announced) <= set(named.log_keys):
            return
        if not change.named_ms:
            change = replace(change, named_ms=trust.issued_at_ms)
            self._save(replace(self.state, change=change))
        now_ms = self._clock.now_ms()
        if now_ms < change.named_ms + trust.max_age_s * 1000:
            return
        body = audit_pb2.LogKeyBody(
            nonce=self._random(NONCE_BYTES),
            origin=self.state.origin,
            previous_key=self.state.public(SIGNING)[0],
            next_key=self.state.public(NEXT)[0],
        )
        body.issued_at.FromMilliseconds(now_ms)
        body.overlap_until.FromMilliseconds(now_ms + change.overlap_s * 1000)
        statement = self._statement_signer().sign(LOG_KEY, body.SerializeToString())
        change = replace(change, body=statement.SerializeToString().hex())
        state = self.state.with_use(SIGNING, OVERLAP).with_use(NEXT, SIGNING)
        self._save(replace(state, change=change))
        self._use_signer(signer_of(self.state, self._keystore))

    @staticmethod
    def _overlap_until(change: Change) -> int:
        statement = common_pb2.Statement.FromString(bytes.fromhex(change.body))
        return read_key_change(statement.body).overlap_until_ms

    def _save(self, state: LogState) -> None:
        save_state(self._folder, state)
        self.state = state
        self._published(state)


async def keep_rotating(
    rotation: KeyRotation, trust: Callable[[], TrustList | None], pause: Callable[[], Awaitable[None]]
) -> None:
    """Do each step of a change when it is due, until cancelled.

    Args:
        rotation: the change.
        trust: the newest trust list.
        pause: returns when it is time to look again.
    """
    log = structlog.get_logger("gateway.audit")
    while True:
        try:
            await rotation.step(trust())
        except ExchangeError as error:
            log.warning("log_key_waits", reason=error.name, subject=error.subject)
        await pause()
