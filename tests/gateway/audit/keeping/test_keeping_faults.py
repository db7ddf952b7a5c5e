"""Sealing and erasing that are cut off at any line leave rows or a verified file, and are taken up again."""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from exchange.errors import AuditUnavailable, EntryErased, StoreDamaged
from exchange.keystore import MemoryKeyStore
from exchange.v1 import audit_pb2
from gateway.audit.keeping import keeper
from gateway.audit.verification.verify import verify_folder
from gateway.audit.writing.folder import segments_in
from gateway.storage import segment_file, segment_table, segments, sqlite
from gateway.storage.segment_file import SegmentDraft
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.audit import KEYS, ORIGIN, MemoryAuditStore
from tests.support.keeping import ACT_EVERY, DAY_MS, START_MS, KeptLog, aged

SIZE = 300
TRACED = {module.__file__ for module in (keeper, segments, segment_file, segment_table, sqlite)}


# These hold a lock, which a death between two of their lines would leave locked in the next one's process.
LOCKED = {"_read", "chunk", "forget"}
# The sequencer's own writes have tests of their own.
OF_THE_SEQUENCER = {"stage", "commit", "open", "close", "_open_writer", "_disconnect"}


class Crash(BaseException):
    """The process dies here."""


Line = tuple[str, int]


class Tracer:
    """Notes the lines that are run, and dies the first time at a given one."""

    def __init__(self, at: Line | None = None) -> None:
        self.seen: dict[Line, None] = {}
        self._at = at

    def __enter__(self) -> "Tracer":
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in TRACED or frame.f_code.co_name in LOCKED | OF_THE_SEQUENCER:
            return None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            first = line not in self.seen
            self.seen[line] = None
            if first and line == self._at:
                raise Crash(f"{Path(line[0]).name}:{line[1]}")
        return self._trace


async def age(kept: KeptLog) -> None:
    """Take all steps of sealing, then of erasing."""
    kept.clock.now = max(kept.clock.now, START_MS + 40 * DAY_MS)
    await kept.settle()
    kept.clock.now = START_MS + 1001 * DAY_MS
    await kept.settle()


def there_or_erased(kept: KeptLog) -> None:
    """Every entry is there as it was, unless the log itself says that it was erased."""
    erased = bool(kept.acts(audit_pb2.ACT_SEGMENT_ERASED))
    for number in range(SIZE):
        try:
            assert kept.log.leaves(number, 1) == [aged(number)]
        except EntryErased:
            assert erased and number < 256 and number % ACT_EVERY


async def prepared(folder: Path, keys: MemoryKeyStore) -> KeptLog:
    kept = KeptLog(folder, keys=keys)
    await kept.log.open()
    await kept.append(SIZE)
    return kept


def lines_run(folder: Path) -> list[Line]:
    tracer = Tracer()

    async def whole() -> None:
        kept = await prepared(folder, MemoryKeyStore())
        # A thread pool of its own, made while the lines are traced.
        with tracer:
            await age(kept)
        await kept.log.close()

    asyncio.run(whole())
    return list(tracer.seen)


def die_at(folder: Path, line: Line) -> None:
    """Die at a line, look at what is there, and let the next process finish."""
    keys = MemoryKeyStore()

    async def first() -> None:
        kept = await prepared(folder, keys)
        with Tracer(line):
            try:
                await age(kept)
            except Crash:
                pass
            else:
                raise AssertionError(f"{line} was not reached")
        await kept.log.close()

    async def second() -> None:
        kept = KeptLog(folder, keys=keys)
        await kept.log.open()
        there_or_erased(kept)
        report = verify_folder(folder, KEYS)
        assert report.whole, (line, report.faults)
        await age(kept)
        there_or_erased(kept)
        assert kept.log.gaps() == ((0, 256),) and keys.names() == []
        assert list((folder / "segments").iterdir()) == []
        report = verify_folder(folder, KEYS, keys=keys)
        assert report.whole, (line, report.faults)
        await kept.log.close()

    asyncio.run(first())
    asyncio.run(second())


def die_at_lines(folder: Path, stride: int) -> None:
    lines = lines_run(folder / "whole")
    assert len(lines) > 150, "the tracer sees the worker threads too"
    for number, line in enumerate(lines[::stride]):
        die_at(folder / str(number), line)


@pytest.mark.timeout(180)
def test_a_crash_at_some_lines_leaves_rows_or_a_verified_segment_and_the_next_start_finishes(
    tmp_path: Path,
) -> None:
    die_at_lines(tmp_path, 7)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_crash_at_any_line_leaves_rows_or_a_verified_segment_and_the_next_start_finishes(
    tmp_path: Path,
) -> None:
    die_at_lines(tmp_path, 1)


# -- failures that are told, in pairs: it did not persist, or it did -----------------------------------------


def failing(target: Any, name: str, *, persists: bool, error: Exception) -> Callable[[], int]:
    """Make a method fail once, before or after its work; return what tells how often it did."""
    real, failed = getattr(target, name), 0

    def fail(*arguments: Any) -> Any:
        nonlocal failed
        if failed:
            return real(*arguments)
        if persists:
            real(*arguments)
        failed += 1
        raise error

    async def fail_later(*arguments: Any) -> Any:
        nonlocal failed
        if failed:
            return await real(*arguments)
        if persists:
            await real(*arguments)
        failed += 1
        raise error

    setattr(target, name, fail_later if asyncio.iscoroutinefunction(real) else fail)
    return lambda: failed


PLACES = [
    ("keys", "put", StoreDamaged("key")),
    ("keys", "delete", StoreDamaged("key")),
    ("files", "erase", AuditUnavailable("file")),
    ("store", "note", AuditUnavailable("in doubt")),
    ("store", "clear", AuditUnavailable("in doubt")),
    ("log", "append", AuditUnavailable("in doubt")),
]


@pytest.mark.parametrize("persists", [False, True])
@pytest.mark.parametrize(("where", "what", "error"), PLACES)
async def test_each_write_that_fails_is_taken_up_by_the_next_turn(
    tmp_path: Path, where: str, what: str, error: Exception, persists: bool
) -> None:
    keys = MemoryKeyStore()
    kept = await prepared(tmp_path, keys)
    failed = failing(
        {"keys": keys, "files": kept.files, "store": kept.store, "log": kept.log}[where],
        what,
        persists=persists,
        error=error,
    )
    for days in (40, 1001):
        kept.clock.now = START_MS + days * DAY_MS
        quiet = 0
        while quiet < 2:
            quiet = 0 if await kept.keeper.turn() else quiet + 1
            await kept.log.between(lambda: None) if kept.log.fault is None else await reloaded(kept)
            there_or_erased(kept)
    assert failed() == 1
    assert kept.log.gaps() == ((0, 256),) and keys.names() == []
    report = verify_folder(tmp_path, KEYS, keys=keys)
    assert report.whole, report.faults
    await kept.log.close()


async def reloaded(kept: KeptLog) -> None:
    """Wait until the log has been read anew."""
    await kept.log._idle.wait()
    if kept.log._recovery._retry is not None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("persists", [False, True])
async def test_a_transaction_in_doubt_is_decided_by_what_is_on_the_disk(
    tmp_path: Path, persists: bool
) -> None:
    class Doubtful(SqliteAuditStore):
        fails = 0

        def _write(self, change: Any) -> None:
            if self.fails:
                self.fails -= 1
                if persists:
                    super()._write(change)
                raise AuditUnavailable("in doubt")
            super()._write(change)

    keys = MemoryKeyStore()
    files = segments_in(tmp_path, origin=ORIGIN, keys=keys)
    store = Doubtful(folder=tmp_path, files=files)
    kept = KeptLog(tmp_path, keys=keys, files=files, store=store)
    await kept.log.open()
    await kept.append(SIZE)
    kept.clock.now = START_MS + 40 * DAY_MS
    store.fails = 1
    assert not await kept.keeper.turn()
    await reloaded(kept)
    assert len(store.segments()) == persists
    there_or_erased(kept)
    await kept.settle()
    assert store.segments()[0].cleared == 256
    assert verify_folder(tmp_path, KEYS, keys=keys).whole
    await kept.log.close()


@pytest.mark.parametrize("fault", ["lost", "kept"])
async def test_appends_wait_for_a_note_in_doubt_and_go_on(tmp_path: Path, fault: str) -> None:
    keys = MemoryKeyStore()
    files = segments_in(tmp_path, origin=ORIGIN, keys=keys)
    store = MemoryAuditStore(files=files)
    kept = KeptLog(tmp_path, keys=keys, files=files, store=store)
    await kept.log.open()
    await kept.append(SIZE)
    kept.clock.now = START_MS + 40 * DAY_MS
    store.note_fault = fault
    assert not await kept.keeper.turn()
    await reloaded(kept)
    await kept.append(10)
    assert len(store.segments()) == (fault == "kept")
    await kept.settle()
    there_or_erased(kept)
    await kept.log.close()


@pytest.mark.parametrize("name", ["fsync", "replace"])
async def test_a_disk_that_takes_no_file_leaves_the_rows(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await prepared(tmp_path, MemoryKeyStore())
    kept.clock.now = START_MS + 40 * DAY_MS

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if name == "fsync":
            patched.setattr("gateway.storage.segment_file.os.fsync", full)
        else:
            patched.setattr("gateway.storage.segment_file.Path.replace", full)
        assert not await kept.keeper.turn()
    assert kept.store.segments() == () and kept.log.fault is None
    assert list((tmp_path / "segments").iterdir()) == [], "no draft is left"
    await kept.settle()
    assert kept.store.segments()[0].cleared == 256
    await kept.log.close()


async def test_a_file_that_the_disk_gives_back_otherwise_is_not_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await prepared(tmp_path, MemoryKeyStore())
    kept.clock.now = START_MS + 40 * DAY_MS
    finish = SegmentDraft.finish

    def rotten(draft: SegmentDraft) -> bytes:
        digest = finish(draft)
        path = tmp_path / "segments/0-256.seg"
        content = bytearray(path.read_bytes())
        content[500] ^= 1
        path.write_bytes(content)
        return digest

    monkeypatch.setattr(SegmentDraft, "finish", rotten)
    assert not await kept.keeper.turn()
    assert "is not what was written" in str(kept.keeper.fault)
    assert kept.store.segments() == ()
    there_or_erased(kept)
    await kept.log.close()
