"""An agent's own keys: made and kept locally, rotated daily, published as a chain of signed bundles.

- A sealing key lives 24 h; a new one is made every 12 h, so that one old key overlaps. Two minutes after its
  term its private part is erased from the key store and from memory: forward secrecy at that grain.
- A signing key lives 8 days and signs for 7; its public part stays in the bundle until its term ends.
- A bundle is valid 24 h, never beyond the certificate, and is renewed at half of that; at once where the
  certificate is another now: the one that signed it may have been revoked.
- What is signed and said goes by the newest bundle that the log is known to hold: nobody can know the next
  one before it is published. Only a bundle that has ended gives way to one that is not confirmed yet.
- The chain never forks by itself: there is no next bundle before the newest is confirmed to be in the
  region's log. One that expired unconfirmed is made anew under the same sequence; should the old one turn out
  to be logged, the chain goes on from it.

Order of writes: new private keys, then the state that names them, then the erasing of old ones. A crash after
the first leaves strays, which the next start erases; after the second, keys that the next rotation erases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nacl.signing import SigningKey

from exchange.bundle_state import BundleState, OwnKey, is_fresh, load_state, newest, save_state
from exchange.canonical import BUNDLE, NONCE_BYTES, digest
from exchange.clock import Clock, Random, system_random
from exchange.errors import BundleRollback, CertificateExpired, StoreDamaged
from exchange.keystore import KeyStore
from exchange.peer_keys import MAX_BUNDLE_MS, MAX_KEYS, MAX_SEALING_KEY_MS, SEAL, SIGN, key_id
from exchange.statement import StatementSigner
from exchange.suites import suite
from exchange.v1 import common_pb2, directory_pb2

KEY_PREFIX = "key-"
SKEW_MS = 60_000
GRACE_MS = 120_000
SEALING_RENEWAL_MS = 12 * 3_600_000
SIGNING_KEY_MS = 8 * 24 * 3_600_000
SIGNING_RENEWAL_MS = 7 * 24 * 3_600_000
MAX_ATTEMPTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What an agent speaks with: a bundle's digest, and the key in it that signs; None before the first."""

    digest: bytes
    kid: bytes
    key: SigningKey | None
    expires_at_ms: int


class OwnKeys:
    """The keys of this agent. Makes the first bundle when there is none.

    Args:
        keystore: keeps private keys and the state of the chain.
        clock: the time.
        organisation: credit code.
        agent: the agent's name.
        signer: signs bundles with the certificate's key.
        suite: the region's cipher suite.
        random: where keys come from.

    Raises:
        StoreDamaged: what the key store holds does not fit together.
    """

    def __init__(
        self,
        *,
        keystore: KeyStore,
        clock: Clock,
        organisation: str,
        agent: str,
        signer: StatementSigner,
        suite: int,
        random: Random = system_random,
    ) -> None:
        self._keystore = keystore
        self._clock = clock
        self._organisation = organisation
        self._agent = agent
        self._signer = signer
        self._suite = suite
        self._random = random
        self._state = load_state(keystore)
        self._secrets: dict[str, bytes] = {}
        self._sealing: dict[bytes, tuple[int, bytes]] = {}
        self._read_secrets()
        self._voice = Voice(digest=b"", kid=b"", key=None, expires_at_ms=0)
        self.rotate_if_due()

    @property
    def bundle(self) -> common_pb2.Statement:
        """The newest bundle, to be published as it is."""
        return common_pb2.Statement.FromString(bytes.fromhex(self._state.statement))

    @property
    def bundle_digest(self) -> bytes:
        """Digest of the newest bundle, 32 bytes."""
        return bytes.fromhex(self._state.digest)

    @property
    def seq(self) -> int:
        """Sequence of the newest bundle."""
        return self._state.seq

    @property
    def confirmed(self) -> bool:
        """Whether the newest bundle is known to be in the region's log."""
        return self._state.confirmed

    @property
    def spoken_digest(self) -> bytes:
        """Digest of the bundle that counts now, 32 bytes: what is sent names it."""
        return self._voice.digest

    @property
    def signing_kid(self) -> bytes:
        """Id of the key that signs now, 16 bytes."""
        return self._voice.kid

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs now; to be asked for again whenever its id is another."""
        assert self._voice.key is not None
        return self._voice.key

    def sealing_private(self, kid: bytes) -> bytes | None:
        """Return the private sealing key of an id, None where it is unknown or its time is over."""
        held = self._sealing.get(kid)
        return held[1] if held is not None and self._clock.now_ms() < held[0] else None

    def use_signer(self, signer: StatementSigner) -> None:
        """Sign the next bundles with a renewed certificate."""
        self._signer = signer

    def use_suite(self, number: int) -> None:
        """Make the next sealing keys for another suite of the region.

        Raises:
            WrongSuite: it is unknown.
        """
        self._suite = suite(number).id

    def confirm(self, seq: int, bundle_digest: bytes) -> bool:
        """Note that the region's log holds a bundle of ours as the newest.

        Args:
            seq: its sequence.
            bundle_digest: its digest, 32 bytes.

        Returns:
            Whether there is a new bundle to be published: an earlier attempt was logged after all, and the
            chain goes on from that one.

        Raises:
            BundleRollback: we never made it: somebody signs in our name, or our key store is an old copy.
        """
        state, logged = self._state, bundle_digest.hex()
        if seq < state.seq or (state.confirmed and (seq, logged) == (state.seq, state.digest)):
            return False
        if state.confirmed or seq != state.seq or logged not in state.attempts:
            raise BundleRollback(f"{self._organisation}/{self._agent} seq {seq}")
        expires_at_ms = state.expires_at_ms if logged == state.digest else 0
        self._save(replace(state, confirmed=True, digest=logged, expires_at_ms=expires_at_ms))
        if expires_at_ms:
            self._speak(self._clock.now_ms())
        return self.rotate_if_due()

    def rotate_if_due(self) -> bool:
        """Erase keys whose time is over, and make what is due: keys, and a bundle that carries them.

        Returns:
            Whether there is a new bundle, to be published.

        Raises:
            CertificateExpired: a bundle is due and the certificate cannot sign it any more.
        """
        made = self._rotate(self._clock.now_ms())
        self._speak(self._clock.now_ms())
        return made

    def _rotate(self, now_ms: int) -> bool:
        self._erase(now_ms)
        sign_until_ms = now_ms + SIGNING_KEY_MS - SIGNING_RENEWAL_MS - SKEW_MS
        seal_until_ms = now_ms + MAX_SEALING_KEY_MS - SEALING_RENEWAL_MS - SKEW_MS
        keys = [key for key in self._state.keys if key.not_after_ms + GRACE_MS > now_ms]
        signs = is_fresh(keys, SIGN, 0, until_ms=sign_until_ms)
        seals = is_fresh(keys, SEAL, self._suite, until_ms=seal_until_ms)
        if not self._due(now_ms, keys_due=not (signs and seals)):
            return False
        if self._end_of_bundle(now_ms) <= now_ms:
            raise CertificateExpired(f"{self._organisation}/{self._agent}")
        if not signs:
            keys.append(self._make(SIGN, 0, now_ms))
        if not seals:
            keys.append(self._make(SEAL, self._suite, now_ms))
        self._issue(keys, now_ms)
        self._erase(now_ms)
        return True

    def _speak(self, now_ms: int) -> None:
        """Go by the newest bundle, unless it is not confirmed yet and the one before still holds."""
        state = self._state
        if state.digest == self._voice.digest.hex() or not (
            state.confirmed or self._voice.expires_at_ms <= now_ms
        ):
            return
        kid = self._signing().kid
        self._voice = Voice(
            digest=bytes.fromhex(state.digest),
            kid=bytes.fromhex(kid),
            key=SigningKey(self._secrets[kid]),
            expires_at_ms=state.expires_at_ms,
        )

    def _due(self, now_ms: int, *, keys_due: bool) -> bool:
        state = self._state
        if state.expires_at_ms <= now_ms or self.bundle.chain[0] != self._signer.certificate:
            return True
        if not state.confirmed:
            return False
        # Half of its own life: a certificate near its end makes a bundle shorter than a day.
        half_over = now_ms - state.issued_at_ms >= (state.expires_at_ms - state.issued_at_ms) // 2
        return keys_due or (half_over and self._end_of_bundle(now_ms) > state.expires_at_ms)

    def _end_of_bundle(self, now_ms: int) -> int:
        return min(now_ms + MAX_BUNDLE_MS, self._signer.not_after_ms)

    def _make(self, use: int, suite_id: int, now_ms: int) -> OwnKey:
        """Make a key; its private part is durable before anything names it."""
        if use == SIGN:
            private = self._random(32)
            public, term_ms = bytes(SigningKey(private).verify_key), SIGNING_KEY_MS
        else:
            (private, public), term_ms = suite(suite_id).generate(self._random), MAX_SEALING_KEY_MS
        kid = key_id(use, suite_id, public).hex()
        self._keystore.put(KEY_PREFIX + kid, private)
        self._secrets[kid] = private
        not_before_ms = now_ms - SKEW_MS
        return OwnKey(kid, use, suite_id, public.hex(), not_before_ms, not_before_ms + term_ms)

    def _issue(self, keys: Sequence[OwnKey], now_ms: int) -> None:
        old = self._state
        seq = old.seq + 1 if old.confirmed else old.seq
        previous = old.digest if old.confirmed else old.previous
        expires_at_ms = self._end_of_bundle(now_ms)
        body = directory_pb2.KeyBundleBody(
            nonce=self._random(NONCE_BYTES),
            organisation=self._organisation,
            agent=self._agent,
            seq=seq,
            previous=bytes.fromhex(previous),
        )
        body.issued_at.FromMilliseconds(now_ms)
        body.expires_at.FromMilliseconds(expires_at_ms)
        for key in [key for key in keys if key.not_after_ms > now_ms][-MAX_KEYS:]:
            added = body.keys.add(
                kid=bytes.fromhex(key.kid),
                use=SIGN if key.use == SIGN else SEAL,
                suite=key.suite,
                public_key=bytes.fromhex(key.public),
            )
            added.not_before.FromMilliseconds(key.not_before_ms)
            added.not_after.FromMilliseconds(key.not_after_ms)
        statement = self._signer.sign(BUNDLE, body.SerializeToString())
        made = digest(BUNDLE, statement.body).hex()
        attempts = () if old.confirmed else old.attempts
        self._save(
            BundleState(
                seq=seq,
                previous=previous,
                digest=made,
                statement=statement.SerializeToString().hex(),
                issued_at_ms=now_ms,
                expires_at_ms=expires_at_ms,
                confirmed=False,
                attempts=(*attempts[-MAX_ATTEMPTS + 1 :], made),
                keys=tuple(keys),
            )
        )

    def _signing(self) -> OwnKey:
        key = newest(self._state.keys, SIGN)
        if key is None:
            raise StoreDamaged("signing key")
        return key

    def _save(self, state: BundleState) -> None:
        save_state(self._keystore, state)
        self._state = state

    def _erase(self, now_ms: int) -> None:
        """Erase keys past their term, signing keys that sign no more, and strays."""
        signing = newest(self._state.keys, SIGN)
        needed = {
            key.kid
            for key in self._state.keys
            if key.not_after_ms + GRACE_MS > now_ms and (key.use == SEAL or key == signing)
        }
        for kid in self._secrets.keys() - needed:
            self._keystore.delete(KEY_PREFIX + kid)
            del self._secrets[kid]
        self._sealing = {
            bytes.fromhex(key.kid): (key.not_after_ms + GRACE_MS, self._secrets[key.kid])
            for key in self._state.keys
            if key.use == SEAL and key.kid in self._secrets
        }

    def _read_secrets(self) -> None:
        for name in self._keystore.names():
            secret = self._keystore.get(name) if name.startswith(KEY_PREFIX) else None
            if secret is not None:
                self._secrets[name.removeprefix(KEY_PREFIX)] = secret
        signing, now_ms = newest(self._state.keys, SIGN), self._clock.now_ms()
        for key in self._state.keys:
            needed = key.not_after_ms > now_ms and (key.use == SEAL or key == signing)
            if needed and key.kid not in self._secrets:
                raise StoreDamaged(f"key {key.kid}")
