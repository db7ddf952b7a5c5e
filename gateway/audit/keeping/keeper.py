"""Keeps entries for their term: seals what is old, erases what is older still. Small steps, off the loop.

A segment goes through these states, each durable before the next begins; whatever is left half done by a
crash is the next thing done after it:
1. its file is written and synced, read back whole, and every entry in it hashed against the level-0 tiles;
2. the store notes it: from here on it can be read from the file;
3. ACT_SEGMENT_SEALED with the file's digest is durable in the log;
4. its rows are removed, 1,024 at a time, save for those that are kept for good (`stays`);
5. its term is over: ACT_SEGMENT_ERASED is durable in the log;
6. the store notes that: from here on nobody reads it;
7. its key is erased, durably, then its file, and what projections hold of it.
At every line there are rows or a verified file until 5 says otherwise, and the key is never gone before 5.

When: an entry's age is that of the youngest entry up to its segment's end, so that one written while the
clock was set back is not erased early. Nothing is sealed or erased unless the clock is vouched for by a
fresh trust list (`trusted_now`): a clock that jumps ahead leaves the list stale, one that is set back makes
entries younger. Nothing is done while the log is not healthy, and never to the newest segment.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from google.protobuf.message import DecodeError

from exchange.errors import ExchangeError, StoreDamaged
from exchange.identity import Identity
from exchange.merkle import leaf_hash
from exchange.segment import CHUNK_ENTRIES, place_of
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries
from gateway.audit.keeping.terms import Terms, stays
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.ports import Segment, kept_digest
from gateway.storage.segment_file import SegmentDraft
from gateway.storage.segments import SegmentFiles

STRETCH = 1024
PAUSE_S = 0.02
IDLE_S = 60.0
"""Until it looks again where there is nothing to do."""

Forget = Callable[[int, int], Awaitable[None]]
"""Removes what a projection holds of the entries from an index to before another."""

_log = structlog.get_logger("gateway.keeping")


class Keeper:
    """Seals and erases.

    Args:
        log: open; its store can seal.
        files: the sealed files, the same that the store reads.
        terms: how long.
        entries: makes the log's entries.
        actor: the gateway.
        now: the time where it is vouched for, None otherwise.
        forget: of each projection that holds entries.
        pause_s: between two steps, and between two chunks of a segment.
    """

    def __init__(
        self,
        *,
        log: Sequencer,
        files: SegmentFiles,
        terms: Terms,
        entries: ActEntries,
        actor: Identity,
        now: Callable[[], int | None],
        forget: tuple[Forget, ...] = (),
        pause_s: float = PAUSE_S,
    ) -> None:
        self._log = log
        self._store = log.store
        self._files = files
        self._terms = terms
        self._entries = entries
        self._actor = actor
        self._now = now
        self._forget = forget
        self._pause_s = pause_s
        self._not_before = (0, 0)
        self.fault: StoreDamaged | None = None

    async def run(self) -> None:
        """Seal and erase until cancelled."""
        while True:
            more = await self.turn()
            await asyncio.sleep(self._pause_s if more else IDLE_S)

    async def turn(self) -> bool:
        """Do the next thing that is due and take note of what keeps it from being done.

        Returns:
            Whether there may be more to do now.
        """
        try:
            more = await self.step()
        except StoreDamaged as error:
            # What does not verify is neither sealed nor removed: people must look.
            _log.critical("keeping_stopped", reason=error.name, subject=error.subject)
            self.fault = error
            return False
        except ExchangeError as error:
            _log.warning("keeping_waits", reason=error.name, subject=error.subject)
            return False
        if more:
            self.fault = None
        return more

    async def step(self) -> bool:
        """Do the next thing that is due.

        Returns:
            Whether anything was done.

        Raises:
            StoreDamaged: what was to be sealed or removed is not what the log's tiles say.
            ExchangeError: it could not be done now; the next step takes it up again.
        """
        now_ms = self._now()
        if now_ms is None or self._log.fault is not None:
            return False
        segments = self._store.segments()
        for segment in segments:
            if segment.erased:
                if not segment.gone:
                    await self._destroy(segment)
                    return True
            elif segment.sealed_entry is None:
                await self._announce(segment)
                return True
            elif segment.cleared < segment.end:
                await self._clear(segment)
                return True
            elif now_ms - segment.newest_ms > self._terms.keep_ms:
                await self._expire(segment)
                return True
        return await self._seal(segments[-1] if segments else None, now_ms)

    async def _seal(self, last: Segment | None, now_ms: int) -> bool:
        first = last.end if last else 0
        end = first + self._terms.segment_entries
        newest_before = last.newest_ms if last else 0
        bound = now_ms - self._terms.seal_after_ms
        # The newest segment is the one that the newest entry is in.
        if end >= self._log.head.size or not await self._old(first, end, bound):
            return False
        hashes = await asyncio.to_thread(self._hashes, first, end)
        draft = await asyncio.to_thread(self._files.begin, first, end, hashes)
        try:
            newest_ms, kept = newest_before, list[int]()
            for start in range(first, end, CHUNK_ENTRIES):
                entries = await asyncio.to_thread(self._add, draft, start)
                newest_ms = max(newest_ms, *(entry.time_ms for entry in entries))
                kept += (index for index, entry in enumerate(entries, start) if stays(entry))
                if newest_ms >= bound:
                    self._not_before = (first, newest_ms)
                    return False
                await asyncio.sleep(self._pause_s)
            digest = await asyncio.to_thread(draft.finish)
        finally:
            draft.drop()
        await self._read_back(first, end, digest)
        segment = Segment(
            first=first,
            end=end,
            digest=digest,
            kept=kept_digest(kept),
            newest_ms=newest_ms,
            cleared=first,
        )
        # A crash before this is durable: the rows are all there, and the file is written anew.
        await self._note(segment)
        _log.info("segment_sealed", subject=place_of(first, end))
        return True

    async def _old(self, first: int, end: int, bound: int) -> bool:
        """Look at the last entry before reading the whole range; remember a younger one inside it."""
        if self._not_before[0] == first and self._not_before[1] >= bound:
            return False
        last = await asyncio.to_thread(self._log.leaves, end - 1, 1)
        return _entry(last[0]).time_ms < bound

    def _hashes(self, first: int, end: int) -> bytes:
        digest = hashlib.sha256()
        for n in range(first // CHUNK_ENTRIES, end // CHUNK_ENTRIES):
            digest.update(self._tile(n))
        return digest.digest()

    def _tile(self, n: int) -> bytes:
        tile = self._store.tile(0, n)
        if tile is None:
            raise StoreDamaged(f"tile 0/{n} is missing")
        return tile

    def _add(self, draft: SegmentDraft, start: int) -> list[audit_pb2.AuditEntry]:
        """Seal a tile's worth of entries and return them."""
        items = self._store.items(start, CHUNK_ENTRIES)
        self._compare(start, [item.leaf for item in items])
        draft.add(items)
        return [_entry(item.leaf) for item in items]

    def _compare(self, start: int, leaves: list[bytes]) -> None:
        if b"".join(map(leaf_hash, leaves)) != self._tile(start // CHUNK_ENTRIES):
            raise StoreDamaged(f"entries {start} to {start + CHUNK_ENTRIES - 1} differ from their tile")

    async def _read_back(self, first: int, end: int, digest: bytes) -> None:
        """Verify a file as it is on the disk, with the key as it is in the key store."""
        self._files.forget(first, end)
        if await asyncio.to_thread(self._files.digest, first, end) != digest:
            raise StoreDamaged(f"{place_of(first, end)}: is not what was written")
        for number in range((end - first) // CHUNK_ENTRIES):
            await asyncio.to_thread(self._check, first, end, number)
            await asyncio.sleep(self._pause_s)

    def _check(self, first: int, end: int, number: int) -> None:
        start = first + number * CHUNK_ENTRIES
        items = self._files.chunk(first, end, number)
        self._compare(start, [item.leaf for item in items])
        if [tuple(item.beside) for item in items] != [
            tuple(item.beside) for item in self._store.items(start, CHUNK_ENTRIES)
        ]:
            raise StoreDamaged(f"{place_of(first, end)}: what is beside its entries differs")

    async def _announce(self, segment: Segment) -> None:
        index = await self._append(audit_pb2.ACT_SEGMENT_SEALED, segment)
        # A crash here makes a second entry of the same content, which says nothing else.
        await self._note(replace(segment, sealed_entry=index))

    async def _clear(self, segment: Segment) -> None:
        end = min(segment.end, segment.cleared + STRETCH)
        kept = await asyncio.to_thread(self._kept, segment.cleared, end)
        await self._log.between(lambda: self._store.clear(segment, end, kept))

    def _kept(self, first: int, end: int) -> frozenset[int]:
        rows = self._store.rows(first, end, end - first)
        return frozenset(index for index, leaf in rows if stays(_entry(leaf)))

    async def _expire(self, segment: Segment) -> None:
        index = await self._append(audit_pb2.ACT_SEGMENT_ERASED, segment)
        await self._note(replace(segment, erased_entry=index))

    async def _destroy(self, segment: Segment) -> None:
        await asyncio.to_thread(self._files.erase, segment.first, segment.end)
        for forget in self._forget:
            await forget(segment.first, segment.end)
        await self._note(replace(segment, gone=True))
        _log.info("segment_erased", subject=place_of(segment.first, segment.end))

    async def _append(self, act: "audit_pb2.Act.ValueType", segment: Segment) -> int:
        entry = self._entries.act(act, self._actor, f"{segment.first}-{segment.end}")
        record = audit_pb2.SegmentRecord(
            first=segment.first, end=segment.end, digest=segment.digest, kept=segment.kept
        )
        entry.administrative.segment.CopyFrom(record)
        return (await self._log.append(entry.SerializeToString())).index

    async def _note(self, segment: Segment) -> None:
        await self._log.between(lambda: self._store.note(segment))


def _entry(leaf: bytes) -> audit_pb2.AuditEntry:
    try:
        return audit_pb2.AuditEntry.FromString(leaf)
    except DecodeError:
        raise StoreDamaged("an entry that cannot be read") from None
