"""Witnesses and logs for tests: a log that can be forked, requests about it, a store that fails on demand."""

from collections.abc import Sequence

from nacl.signing import SigningKey

from exchange import merkle
from exchange.add_checkpoint import AddCheckpoint
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.cosignature import Cosigner
from witness.judge import Witness
from witness.store import NOTHING, Held, SqliteWitnessStore

ORIGIN = "970100.yunchuan.example/gateway-1"
SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(range(32))))
START_MS = 1_780_000_000_000


class StillClock:
    """A clock that goes when it is told to."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


class GrowingLog:
    """A log of hashes; `fork` gives another one with the same first entries."""

    def __init__(self, count: int, *, signer: LogSigner = SIGNER, branch: str = "") -> None:
        self.signer = signer
        self.hashes = [merkle.leaf_hash(f"{n}".encode()) for n in range(count)]
        self.branch = branch

    def grow(self, count: int) -> "GrowingLog":
        size = len(self.hashes)
        self.hashes += [merkle.leaf_hash(f"{self.branch}{n}".encode()) for n in range(size, size + count)]
        return self

    def fork(self, kept: int, added: int) -> "GrowingLog":
        other = GrowingLog(0, signer=self.signer, branch="other ")
        other.hashes = self.hashes[:kept]
        return other.grow(added)

    def head(self, size: int | None = None) -> Checkpoint:
        known = self.hashes[:size]
        return Checkpoint(self.signer.origin, len(known), merkle.root_of(known))

    def note(self, size: int | None = None) -> str:
        return self.signer.sign(self.head(size))

    def proof(self, old: int, new: int | None = None) -> bytes:
        def node(level: int, index: int) -> bytes:
            return merkle.root_of(self.hashes[index << level : (index + 1) << level])

        return merkle.consistency_proof(old, new or len(self.hashes), node) if old else b""

    def request(self, old: int, new: int | None = None) -> bytes:
        return AddCheckpoint(old, self.proof(old, new), self.note(new)).body


class MemoryWitnessStore:
    """Keeps heads in memory; `fault` is "lost" or "kept" for the next change, `meanwhile` runs before it."""

    def __init__(self) -> None:
        self.heads: dict[str, Held] = {}
        self.fault = ""
        self.meanwhile: Sequence[object] = ()

    def held(self, origin: str) -> Held:
        return self.heads.get(origin, NOTHING)

    def replace(self, origin: str, expected: Held, new: Held) -> bool:
        if self.held(origin) != expected:
            return False
        self.heads[origin] = new
        return True


class FailingStore(SqliteWitnessStore):
    """The real store; its next commit fails without persisting ("lost") or after it ("kept")."""

    fault = ""

    def _commit(self, db: object) -> None:
        fault, self.fault = self.fault, ""
        if fault == "lost":
            raise OSError("disk full")
        super()._commit(db)  # type: ignore[arg-type]
        if fault == "kept":
            raise OSError("the answer of the disk was lost")


def cosigner(seed: int = 1) -> Cosigner:
    """Return a witness's signer."""
    return Cosigner(name=f"witness{seed}.example/w", key=SigningKey(bytes([seed]) * 32))


def witness(store: object, *, clock: StillClock | None = None, keys: Sequence[bytes] = ()) -> Witness:
    """Return a witness of the log above."""
    return Witness(
        cosigner=cosigner(),
        logs={ORIGIN: tuple(keys) or (SIGNER.public_key,)},
        store=store,  # type: ignore[arg-type]
        clock=clock or StillClock(),
    )
