"""`log-state.json`: under which origin and with which keys a gateway's log is signed.

The file is the one point at which a change of key or epoch counts: it is replaced whole, and every step on
either side of it can be repeated. Private keys are in the key store under the names given here; a key that no
state names has never signed anything. A log without such a file is in its first epoch and has one key, "log".
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from exchange.checkpoint import KEY_BYTES, LogSigner
from exchange.durable import replace_file
from exchange.errors import BadConfiguration, ExchangeError, StoreDamaged
from exchange.keystore import KeyStore
from exchange.lineage import Lineage, Start, split_origin
from exchange.log_keys import Epoch, read_epoch
from exchange.trust import MAX_LOG_KEYS
from exchange.v1 import common_pb2
from gateway.audit.log.ancestry import Ancestry

STATE = "log-state.json"
FIRST_KEY = "log"
MAX_STATE_BYTES = 1024 * 1024
NEXT, SIGNING, OVERLAP, PAST = "next", "signing", "overlap", "past"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key of the log: its name in the key store, its public part in hexadecimal, and what it does now."""

    name: str
    public: str
    use: str


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change under way.

    Attributes:
        ordered_by: SPIFFE id of the administrator who ordered it.
        overlap_s: how long both keys sign.
        named_ms: issue time of the first trust list seen that names the next key, Unix ms; 0 before.
        body: the LogKeyBody that is to be an entry, hexadecimal; "" while the region is told.
    """

    ordered_by: str
    overlap_s: int
    named_ms: int = 0
    body: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """An epoch that has ended: its origin, its keys, none of which signs any more, and where it began."""

    origin: str
    keys: tuple[HeldKey, ...]
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """Origin, keys and epochs of a log.

    Attributes:
        keys: of this origin, newest first.
        change: the planned change under way, if there is one.
        first: index of this epoch's first entry.
        opening: the signed LogEpochBodys that opened this epoch, in hexadecimal; none in the first.
        ended: the epochs before, oldest first.
    """

    origin: str
    keys: tuple[HeldKey, ...]
    change: Change | None = None
    first: int = 0
    opening: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 1."""
        return split_origin(self.origin)[1]

    @property
    def statements(self) -> list[common_pb2.Statement]:
        """The signed statements by which this epoch was opened."""
        return [common_pb2.Statement.FromString(bytes.fromhex(one)) for one in self.opening]

    @property
    def opened(self) -> Epoch | None:
        """What two people opened this epoch with; None in the first."""
        return read_epoch(self.statements[0].body) if self.opening else None

    @property
    def ancestry(self) -> Ancestry:
        """The epochs before, as the log needs to know them."""
        opened = self.opened
        keys = {origin: public for origin, public in self.verifying().items() if origin != self.origin}
        root = opened.kept_root if opened else b""
        return Ancestry(keys=keys, lineage=self.lineage, first=self.first, root=root)

    @property
    def lineage(self) -> Lineage:
        """Where this epoch and those before begin."""
        starts = [
            Start(epoch=split_origin(one.origin)[1], origin=one.origin, first=one.first) for one in self.ended
        ]
        return Lineage([*starts, Start(epoch=self.epoch, origin=self.origin, first=self.first)])

    def public(self, *uses: str) -> tuple[bytes, ...]:
        """Return the public keys of these uses, 32 bytes each, newest first."""
        return tuple(bytes.fromhex(key.public) for key in self.keys if key.use in uses)

    def verifying(self) -> dict[str, tuple[bytes, ...]]:
        """Return the keys that have signed, by origin, of this epoch and those before."""
        before = {one.origin: tuple(bytes.fromhex(key.public) for key in one.keys) for one in self.ended}
        return {**before, self.origin: self.public(SIGNING, OVERLAP, PAST, NEXT)}

    def with_use(self, was: str, now: str) -> "LogState":
        """Return the state in which the keys of one use have another."""
        keys = tuple(replace(key, use=now) if key.use == was else key for key in self.keys)
        return replace(self, keys=keys[:MAX_LOG_KEYS])


def load_state(folder: Path, keystore: KeyStore, origin: str) -> LogState:
    """Return the state of a folder's log; a log without one gets its first key.

    Args:
        folder: the gateway's.
        keystore: the gateway's.
        origin: of the first epoch.

    Raises:
        StoreDamaged: the file cannot be read, or is of another log.
    """
    path = folder / STATE
    try:
        content = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise StoreDamaged(STATE) from error
    if content is None:
        key = keystore.get(FIRST_KEY)
        if key is None:
            key = bytes(SigningKey.generate())
            keystore.put(FIRST_KEY, key)
        public = bytes(SigningKey(key).verify_key).hex()
        return LogState(origin=origin, keys=(HeldKey(FIRST_KEY, public, SIGNING),))
    state = _parse(content)
    if split_origin(state.origin)[0] != origin:
        raise StoreDamaged(f"{STATE} is of another log")
    return state


def save_state(folder: Path, state: LogState) -> None:
    """Replace the state durably; it counts from here on.

    Raises:
        StoreDamaged: it could not be written; the state before stands.
    """
    try:
        replace_file(folder / STATE, json.dumps(asdict(state), indent=1).encode())
    except OSError as error:
        raise StoreDamaged(STATE) from error


def new_key(keystore: KeyStore, state: LogState) -> HeldKey:
    """Make the next key; its private part is durable on return, and nothing names it yet."""
    taken = {key.name for key in state.keys} | set(keystore.names())
    name = next(name for name in (f"{FIRST_KEY}-{n}" for n in range(2, 1 << 20)) if name not in taken)
    key = SigningKey.generate()
    keystore.put(name, bytes(key))
    return HeldKey(name, bytes(key.verify_key).hex(), NEXT)


def signer_of(state: LogState, keystore: KeyStore) -> LogSigner:
    """Return what signs the log in a state.

    Raises:
        StoreDamaged: the key store lacks a key that is to sign, or holds another under its name.
    """
    signing = [key for use in (SIGNING, OVERLAP) for key in state.keys if key.use == use]
    keys = [_private(key, keystore) for key in signing]
    if not keys:
        raise StoreDamaged(f"{STATE}: no key signs")
    return LogSigner(origin=state.origin, key=keys[0], also=keys[1:], past=state.public(PAST))


def erase_past(state: LogState, keystore: KeyStore) -> None:
    """Erase the private parts of keys that sign no more; may be repeated."""
    held = set(keystore.names())
    ended = [key for one in state.ended for key in one.keys]
    for key in [*ended, *(key for key in state.keys if key.use == PAST)]:
        if key.name in held:
            keystore.delete(key.name)


def _private(held: HeldKey, keystore: KeyStore) -> SigningKey:
    raw = keystore.get(held.name)
    if raw is None or len(raw) != KEY_BYTES:
        raise StoreDamaged(f"key {held.name}")
    key = SigningKey(raw)
    if bytes(key.verify_key).hex() != held.public:
        raise StoreDamaged(f"key {held.name} is another than {STATE} names")
    return key


def _keys(rows: list[dict[str, str]]) -> tuple[HeldKey, ...]:
    return tuple(HeldKey(**row) for row in rows)


def _parse(content: bytes) -> LogState:
    try:
        if len(content) > MAX_STATE_BYTES:
            raise ValueError("length")
        told: Mapping[str, Any] = json.loads(content)
        state = LogState(
            origin=told["origin"],
            keys=_keys(told["keys"]),
            change=Change(**told["change"]) if told["change"] else None,
            first=told["first"],
            opening=tuple(told["opening"]),
            ended=tuple(Ended(one["origin"], _keys(one["keys"]), one["first"]) for one in told["ended"]),
        )
        state.verifying()
        if sum(key.use == SIGNING for key in state.keys) != 1 or not isinstance(state.first, int):
            raise ValueError("keys")
        opened = state.opened
        if (opened.origin if opened else state.origin) != state.origin:
            raise ValueError("opening")
    except (ValueError, TypeError, KeyError, BadConfiguration, ExchangeError) as error:
        raise StoreDamaged(STATE) from error
    return state
