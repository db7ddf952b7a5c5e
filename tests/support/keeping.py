"""A log that is kept: appends entries of any age, seals and erases by a clock that the test holds."""

from collections.abc import Sequence
from pathlib import Path

from exchange.clock import system_random
from exchange.durable import replace_file, sync_folder
from exchange.identity import Identity, parse_uri
from exchange.keystore import KeyStore, MemoryKeyStore
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries
from gateway.audit.keeping.keeper import Keeper
from gateway.audit.keeping.terms import DAY_MS, Terms
from gateway.audit.writing.folder import segments_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.ports import SegmentStore
from gateway.storage.segments import SegmentFiles
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.audit import ORIGIN, SIGNER, submit

GATEWAY: Identity = parse_uri("spiffe://970100.yunchuan.example/gateway/gateway-1")
TERMS = Terms(seal_after_ms=30 * DAY_MS, keep_ms=1000 * DAY_MS, segment_entries=256)
START_MS = 1_800_000_000_000
ACT_EVERY = 50


class StillClock:
    """A clock that stands where it is put."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


def aged(number: int, time_ms: int = START_MS) -> bytes:
    """Return a leaf: each fiftieth an administrative one that stays, each fifty-first one that does not."""
    entry = audit_pb2.AuditEntry(salt=number.to_bytes(16, "big"), version=1, gateway=ORIGIN, time_ms=time_ms)
    if number % ACT_EVERY < 2:
        entry.administrative.act = audit_pb2.ACT_READ if number % ACT_EVERY else audit_pb2.ACT_ALERT
        entry.administrative.actor = f"number {number}"
    else:
        entry.exchange.exchange_id = number.to_bytes(16, "big")
        entry.exchange.decision = audit_pb2.DECISION_RELEASED
    return entry.SerializeToString()


class KeptLog:
    """A log with its keeper.

    Attributes:
        clock: for keeper and entries.
        trusted: whether the clock is vouched for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keys: KeyStore | None = None,
        files: SegmentFiles | None = None,
        store: SegmentStore | None = None,
        terms: Terms = TERMS,
    ) -> None:
        self.folder = folder
        self.keys = keys or MemoryKeyStore()
        self.files = files or segments_in(folder, origin=ORIGIN, keys=self.keys)
        self.store = store or SqliteAuditStore(folder=folder, files=self.files)
        self.clock = StillClock()
        self.trusted = True
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log-key.pub").write_text(SIGNER.verifier_key + "\n")
        self.log = Sequencer(
            store=self.store,
            high_water=HighWaterFile(path=folder / HIGH_WATER),
            signer=SIGNER,
            retry_s=0.0,
        )
        self.keeper = Keeper(
            log=self.log,
            files=self.files,
            terms=terms,
            entries=ActEntries(origin=ORIGIN, clock=self.clock, random=system_random),
            actor=GATEWAY,
            now=lambda: self.clock.now if self.trusted else None,
            pause_s=0.0,
        )

    async def append(self, count: int, time_ms: int = START_MS) -> None:
        """Append entries of one age."""
        first = self.log.head.size
        for start in range(first, first + count, 256):
            numbers = range(start, min(start + 256, first + count))
            await submit(self.log, [aged(number, time_ms) for number in numbers]).places()

    async def settle(self) -> int:
        """Take all steps that are due; return how many."""
        steps = 0
        while await self.keeper.step():
            steps += 1
        return steps

    async def seal(self) -> None:
        """Go 40 days ahead and take all steps."""
        self.clock.now = START_MS + 40 * DAY_MS
        await self.settle()

    async def erase(self) -> None:
        """Go beyond the term of the first entries and take all steps."""
        self.clock.now = START_MS + 1001 * DAY_MS
        await self.settle()

    def acts(self, *acts: int) -> list[tuple[int, audit_pb2.AdministrativeEntry]]:
        """Return the entries of some acts that are there."""
        found = []
        for index, leaf in present(self.log):
            act = audit_pb2.AuditEntry.FromString(leaf).administrative
            if act.act in acts:
                found.append((index, act))
        return found


def present(log: Sequencer) -> Sequence[tuple[int, bytes]]:
    """Return all entries that are there."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < log.head.size:
        entries, at = log.present(at, 256)
        found += entries
    return found


class FolderKeyStore:
    """Keeps secrets as plain files, written as durably as the real store's: a child need not derive a key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        path = self._folder / name
        return path.read_bytes() if path.exists() else None

    def put(self, name: str, secret: bytes) -> None:
        replace_file(self._folder / name, secret)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        sync_folder(self._folder)

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))


def child_keys(folder: Path) -> KeyStore:
    """Return the keys of a log that a child process keeps."""
    return FolderKeyStore(folder / "keys")
