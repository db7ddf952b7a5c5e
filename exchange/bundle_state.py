"""Where an agent's own chain of bundles stands, as the key store keeps it: no private part is in it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from exchange.errors import StoreDamaged
from exchange.keystore import KeyStore

STATE = "bundle-state"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours, without its private part."""

    kid: str
    use: int
    suite: int
    public: str
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class BundleState:
    """Where the chain of bundles stands; `attempts` are the digests made under this sequence."""

    seq: int = 0
    previous: str = ""
    digest: str = ""
    statement: str = ""
    issued_at_ms: int = 0
    expires_at_ms: int = 0
    confirmed: bool = True
    attempts: tuple[str, ...] = ()
    keys: tuple[OwnKey, ...] = field(default=())


def is_fresh(keys: Sequence[OwnKey], use: int, suite: int, *, until_ms: int) -> bool:
    """Return whether a key of a use and suite lasts beyond a time, Unix milliseconds."""
    return any(key.use == use and key.suite == suite and key.not_after_ms > until_ms for key in keys)


def newest(keys: Sequence[OwnKey], use: int) -> OwnKey | None:
    """Return the longest-lived key of a use, None where there is none."""
    return max((key for key in keys if key.use == use), key=lambda key: key.not_after_ms, default=None)


def load_state(keystore: KeyStore) -> BundleState:
    """Return the state kept, or that of a chain not yet begun.

    Raises:
        StoreDamaged: it cannot be read.
    """
    stored = keystore.get(STATE)
    if stored is None:
        return BundleState()
    try:
        content = json.loads(stored)
        content["keys"] = tuple(OwnKey(**key) for key in content["keys"])
        content["attempts"] = tuple(content["attempts"])
        return BundleState(**content)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreDamaged(STATE) from error


def save_state(keystore: KeyStore, state: BundleState) -> None:
    """Keep the state durably."""
    keystore.put(STATE, json.dumps(asdict(state)).encode())
