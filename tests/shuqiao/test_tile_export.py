"""A mirror is brought up to date, whole or not at all, and never follows a fork."""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.checkpoint import Checkpoint
from exchange.errors import (
    BadConfiguration,
    EntryErased,
    ExchangeError,
    GatewayAway,
    LogBehind,
    LogForked,
    ReceiptBroken,
    StoreDamaged,
    UnknownEntry,
    WrongState,
)
from exchange.tile_reader import Fetch, TiledTree, fetch_checkpoint
from exchange.tlog_tiles import EntryBundle, HashTile, bundles_between, parse_path, tiles_between
from gateway.audit.log.tiles import Tiles
from gateway.audit.verification.offline import offline_log
from shuqiao.tile_export import Exported, export_tiles, mirror_fetch
from tests.support.audit import ORIGIN, SIGNER, entry, write_log
from tests.support.paper_log import PaperLog

KEYS = [SIGNER.public_key]


class Source:
    """A log that counts what is fetched and spoils what it is told to."""

    def __init__(self, size: int) -> None:
        self.paper = PaperLog([entry(number) for number in range(size)])
        self.fetched: list[str] = []
        self.spoil: Callable[[str, bytes], bytes] = lambda path, content: content

    def fetch(self, path: str) -> bytes:
        self.fetched.append(path)
        return self.spoil(path, self.paper.read(path))

    def grow(self, count: int) -> None:
        first = len(self.paper.entries)
        self.paper.entries += [entry(number) for number in range(first, first + count)]


def export(folder: Path, source: Source, *, entries: bool = True) -> Exported:
    source.fetched.clear()
    return export_tiles(folder, fetch=source.fetch, origin=ORIGIN, log_keys=KEYS, entries=entries)


def check(folder: Path, *, size: int, entries: bool = True) -> Checkpoint:
    """Verify a mirror with nothing but the log's key; return its head."""
    fetch: Fetch = mirror_fetch(folder)
    head, _ = fetch_checkpoint(fetch, origin=ORIGIN, log_keys=KEYS)
    assert head.size == size
    tree = TiledTree(fetch=fetch, head=head)
    for tile in tiles_between(0, size):
        tree.tile(tile)
    for bundle in bundles_between(0, size) if entries else ():
        assert tree.bundle(bundle)[1] == [entry(number) for number in range(bundle.first, bundle.end)]
    return head


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".export.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("size", [0, 1, 256, 700])
def test_a_mirror_has_exactly_the_files_of_the_tree(tmp_path: Path, size: int) -> None:
    done = export(tmp_path / "mirror", Source(size))
    parts = [*tiles_between(0, size), *bundles_between(0, size)]
    assert set(files(tmp_path / "mirror")) == {"checkpoint", *(part.path for part in parts)}
    assert (done.tiles + done.bundles, done.erased) == (len(parts), 0)
    check(tmp_path / "mirror", size=size)


def test_the_next_export_fetches_only_what_is_new(tmp_path: Path) -> None:
    source = Source(1000)
    export(tmp_path, source)
    assert export(tmp_path, source).tiles == 0
    assert set(source.fetched) == {"checkpoint", HashTile(0, 3, 232).path, HashTile(1, 0, 3).path}
    source.grow(30)
    done = export(tmp_path, source)
    assert (done.old_size, done.head.size) == (1000, 1030)
    assert not {HashTile(0, n).path for n in range(3)} & set(source.fetched)
    assert {path for path in source.fetched if "entries" in path} == {
        EntryBundle(3).path,
        EntryBundle(4, 6).path,
    }
    check(tmp_path, size=1030)
    assert not (tmp_path / (HashTile(0, 3).path + ".p")).exists()
    assert not (tmp_path / (EntryBundle(3).path + ".p")).exists()


def test_hashes_alone_are_mirrored_and_the_entries_later(tmp_path: Path) -> None:
    source = Source(600)
    export(tmp_path, source, entries=False)
    assert not [path for path in files(tmp_path) if "entries" in path]
    check(tmp_path, size=600, entries=False)
    assert export(tmp_path, source).bundles == 3
    check(tmp_path, size=600)
    source.grow(300)
    export(tmp_path, source, entries=False)
    assert export(tmp_path, source).bundles == 2
    check(tmp_path, size=900)


def test_entries_are_their_owners_alone_and_hashes_for_everybody(tmp_path: Path) -> None:
    os.umask(0o077)
    export(tmp_path, Source(300))
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in files(tmp_path)}
    assert {mode for name, mode in modes.items() if "entries" in name} == {0o600}
    assert {mode for name, mode in modes.items() if "entries" not in name} == {0o644}


def test_a_log_that_is_behind_or_forked_changes_nothing(tmp_path: Path) -> None:
    export(tmp_path, Source(600))
    before = files(tmp_path)
    with pytest.raises(LogBehind):
        export(tmp_path, Source(599))
    for size in (600, 700):
        forked = Source(size)
        forked.paper.entries[17] = entry(99)
        with pytest.raises(LogForked):
            export(tmp_path, forked)
    assert files(tmp_path) == before


def test_a_mirror_of_an_earlier_epoch_is_left_as_it_is(tmp_path: Path) -> None:
    source = Source(300)
    export(tmp_path, source)
    before = files(tmp_path)
    source.grow(1)
    (tmp_path / "checkpoint").write_bytes(
        before["checkpoint"].replace(ORIGIN.encode(), f"{ORIGIN}/epoch-2".encode())
    )
    with pytest.raises(BadConfiguration, match="epoch-2"):
        export(tmp_path, source)


def test_a_checkpoint_of_another_key_changes_nothing(tmp_path: Path) -> None:
    source = Source(300)
    export(tmp_path, source)
    before = files(tmp_path)
    source.grow(1)
    with pytest.raises(ReceiptBroken):
        export_tiles(tmp_path, fetch=source.fetch, origin=ORIGIN, log_keys=[bytes(range(32))], entries=True)
    (tmp_path / "checkpoint").write_text("torn")
    with pytest.raises(StoreDamaged):
        export(tmp_path, source)
    (tmp_path / "checkpoint").write_bytes(before["checkpoint"])
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", range(8))
def test_an_export_that_breaks_off_leaves_the_mirror_of_before_and_the_next_one_finishes(
    tmp_path: Path, place: int
) -> None:
    source = Source(400)
    export(tmp_path, source)
    source.grow(400)

    def breaks(path: str, content: bytes) -> bytes:
        if len(source.fetched) > place:
            raise GatewayAway("lost")
        return content

    source.spoil = breaks
    with pytest.raises(GatewayAway):
        export(tmp_path, source)
    check(tmp_path, size=400)
    source.spoil = lambda path, content: content
    export(tmp_path, source)
    check(tmp_path, size=800)


@pytest.mark.parametrize("place", range(7))
def test_a_write_that_fails_leaves_the_mirror_of_before_and_the_next_export_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    source, written = Source(400), []
    export(tmp_path, source)
    source.grow(400)
    replace = os.replace

    def full(draft: Path, target: Path) -> None:
        written.append(target)
        if len(written) > place:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(draft, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(BadConfiguration, match="No space left"):
            export(tmp_path, source)
    check(tmp_path, size=400)
    export(tmp_path, source)
    check(tmp_path, size=800)


def test_every_changed_tile_or_bundle_is_refused_before_the_checkpoint_moves(tmp_path: Path) -> None:
    source = Source(400)
    export(tmp_path, source)
    source.grow(400)
    new = [*tiles_between(400, 800), *bundles_between(400, 800)]
    for part in new:
        target = part.path

        def spoil(path: str, content: bytes, target: str = target) -> bytes:
            middle = len(content) // 2
            changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            return changed if path == target else content

        source.spoil = spoil
        with pytest.raises(ReceiptBroken):
            export(tmp_path, source)
        check(tmp_path, size=400)


def test_a_tile_that_the_log_does_not_serve_ends_the_export(tmp_path: Path) -> None:
    source = Source(600)

    def missing(path: str, content: bytes) -> bytes:
        if path == HashTile(0, 1).path:
            raise UnknownEntry(path)
        return content

    source.spoil = missing
    with pytest.raises(UnknownEntry):
        export(tmp_path, source)
    assert not (tmp_path / "checkpoint").exists()


def test_erased_entries_are_left_out_and_their_hashes_stay(tmp_path: Path) -> None:
    source = Source(1200)

    def erased(path: str, content: bytes) -> bytes:
        if path != "checkpoint" and isinstance(part := parse_path(path), EntryBundle) and part.n < 2:
            raise EntryErased(path)
        return content

    source.spoil = erased
    done = export(tmp_path, source)
    assert (done.erased, done.bundles) == (2, 3)
    check(tmp_path, size=1200, entries=False)
    again = export(tmp_path, source)
    assert (again.erased, again.bundles) == (1, 0)
    assert source.fetched.count(EntryBundle(1).path) == 1 and EntryBundle(0).path not in source.fetched


def test_two_exports_into_one_folder_are_refused(tmp_path: Path) -> None:
    source = Source(300)
    second: list[ExchangeError] = []

    def inside(path: str, content: bytes) -> bytes:
        if path == "checkpoint" and not second:
            second.append(WrongState())
            with pytest.raises(WrongState):
                export_tiles(tmp_path, fetch=Source(300).fetch, origin=ORIGIN, log_keys=KEYS, entries=True)
        return content

    source.spoil = inside
    export(tmp_path, source)
    assert second


def test_a_gateways_folder_is_mirrored_offline(tmp_path: Path) -> None:
    folder, mirror = tmp_path / "gateway", tmp_path / "mirror"
    asyncio.run(write_log(folder, 700))
    for more in (0, 66_000):
        if more:
            asyncio.run(write_log(folder, more, first=700, group=4000))
        with offline_log(folder) as log:
            done = export_tiles(mirror, fetch=Tiles(log).read, origin=ORIGIN, log_keys=KEYS, entries=True)
        assert done.head.size == 700 + more
        check(mirror, size=700 + more)
    shutil.rmtree(mirror / "tile" / "1")
    with pytest.raises(UnknownEntry):
        check(mirror, size=66_700)
