"""Tools that nobody here wrote follow our log and verify it whole: over HTTPS, and as exported files.

They are tessera's fsck and tracker, torchwood's client, and the note and tlog packages of the Go project, put
together by the small Go program beside this file. Needs `go` and, once, its modules.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exchange.identity import Role
from exchange.tlog_tiles import EntryBundle, HashTile
from gateway.audit.log.tiles import Tiles
from gateway.audit.verification.offline import offline_log
from shuqiao.log_client import LogClient
from shuqiao.tile_export import Exported, export_tiles
from tests.support.audit import ORIGIN, SIGNER, write_log
from tests.support.log_world import SHARD, LogWorld, Member, log_world

# The first build compiles Go's own library, too.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
ENTRIES = 3000
PATIENCE_S = 120


@pytest.fixture(scope="session")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built once."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    had = subprocess.run([go, "mod", "download"], cwd=HERE, capture_output=True, text=True, check=False)
    if had.returncode:
        pytest.skip(f"the Go modules cannot be had: {had.stderr.strip()[-200:]}")
    program = tmp_path_factory.mktemp("interop") / "follow"
    subprocess.run(
        [go, "build", "-buildvcs=false", "-mod=readonly", "-o", program, "."], cwd=HERE, check=True
    )
    return program


@dataclass
class Outside:
    """The Go program with what it may know of a log: its key, and a root certificate."""

    program: Path
    folder: Path

    async def run(self, url: str, *more: str) -> tuple[dict[str, Any], str]:
        """Return what it verified, or else what it says is wrong."""
        key = self.folder / "outside-key.pub"
        key.write_text(SIGNER.verifier_key + "\n")
        process = await asyncio.create_subprocess_exec(
            self.program, "-url", url, "-key", key, *more, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, fault = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        if process.returncode == 0:
            return json.loads(out), ""
        return {}, fault.decode()

    def over_https(self, world: LogWorld, member: Member | None = None) -> list[str]:
        """Return the arguments with which it comes as a member, or as nobody."""
        files = {"root": world.authority.root_pem}
        if member is not None:
            files |= {"cert": member.chain_pem, "certkey": member.key_pem}
        for name, content in files.items():
            (self.folder / f"{name}.pem").write_bytes(content)
        return [part for name in files for part in (f"-{name}", str(self.folder / f"{name}.pem"))]


@pytest.fixture
def outside(follow: Path, tmp_path: Path) -> Outside:
    return Outside(program=follow, folder=tmp_path)


@pytest.fixture
async def world(follow: Path, tmp_path: Path) -> AsyncIterator[LogWorld]:
    async with log_world(tmp_path / "gateway", entries=ENTRIES) as world:
        yield world


class Auditor:
    """The command's own way to a log, as an auditor."""

    def __init__(self, world: LogWorld) -> None:
        self._world = world
        self.member = world.authority.member(Role.AUDITOR, "chen")

    def key_pem(self) -> bytes:
        return self.member.key_pem

    def chain_pem(self) -> bytes:
        return self.member.chain_pem

    def root_pem(self) -> bytes:
        return self._world.authority.root_pem

    async def export(self, folder: Path) -> Exported:
        """Export over HTTPS, in a thread of its own, for the log is served by this loop."""
        return await asyncio.to_thread(self._export, folder)

    def _export(self, folder: Path) -> Exported:
        address = f"127.0.0.1:{self._world.port}"
        with LogClient(address=address, shard=SHARD, holder=self) as client:  # type: ignore[arg-type]
            return export_tiles(
                folder, fetch=client.fetch, origin=ORIGIN, log_keys=[SIGNER.public_key], entries=True
            )


async def test_outside_tools_follow_a_gateway_over_https_and_verify_it_whole(
    world: LogWorld, outside: Outside
) -> None:
    auditor = world.authority.member(Role.AUDITOR, "chen")
    arguments = outside.over_https(world, auditor)
    head = world.log.head
    found, fault = await outside.run(world.url, *arguments)
    assert not fault
    assert found | {"records": 0} == {
        "origin": ORIGIN,
        "size": ENTRIES,
        "root": head.root.hex(),
        "tracked_from": ENTRIES,
        "fsck": True,
        "entries": ENTRIES,
        "records": 0,
    }
    assert found["records"] > 30
    old = outside.folder / "old"
    old.write_text(SIGNER.sign(head))
    await world.grow(1111)
    found, fault = await outside.run(world.url, *arguments, "-old", str(old))
    assert not fault
    assert (found["tracked_from"], found["fsck"]) == (ENTRIES, True)
    assert found["size"] > ENTRIES + 1111, "reading was entered, too"


async def test_without_a_certificate_hashes_can_be_followed_and_entries_cannot(
    world: LogWorld, outside: Outside
) -> None:
    arguments = outside.over_https(world)
    found, fault = await outside.run(world.url, *arguments, "-hashes")
    assert (found["size"], found["records"], fault) == (ENTRIES, 3, "")
    found, fault = await outside.run(world.url, *arguments)
    assert not found
    assert "401" in fault


async def test_outside_tools_verify_what_was_exported_and_exported_again(
    world: LogWorld, outside: Outside
) -> None:
    auditor, mirror = Auditor(world), outside.folder / "mirror"
    first = await auditor.export(mirror)
    found, fault = await outside.run(f"file://{mirror}/")
    assert (found["size"], found["entries"], fault) == (ENTRIES, ENTRIES, "")
    old = outside.folder / "old"
    shutil.copy(mirror / "checkpoint", old)
    await world.grow(700)
    second = await auditor.export(mirror)
    assert second.old_size == first.head.size == ENTRIES
    found, fault = await outside.run(f"file://{mirror}/", "-old", str(old))
    assert (found["size"], found["tracked_from"], fault) == (second.head.size, ENTRIES, "")
    assert second.head.size > ENTRIES + 700


@pytest.mark.parametrize(
    ("path", "told_by"),
    [
        (HashTile(0, 3).path, "tessera fsck"),
        (HashTile(1, 0, ENTRIES >> 8).path, "tessera fsck"),
        (EntryBundle(5).path, "tessera fsck"),
        (EntryBundle(ENTRIES >> 8, ENTRIES & 255).path, "tessera fsck"),
        ("checkpoint", "tessera tracker"),
    ],
)
async def test_outside_tools_find_a_tile_entry_or_checkpoint_that_was_tampered_with(
    outside: Outside, path: str, told_by: str
) -> None:
    mirror = outside.folder / "mirror"
    await write_log(outside.folder / "gateway", ENTRIES, group=500)
    with offline_log(outside.folder / "gateway") as log:
        export_tiles(mirror, fetch=Tiles(log).read, origin=ORIGIN, log_keys=[SIGNER.public_key], entries=True)
    content = bytearray((mirror / path).read_bytes())
    content[len(content) // 2] ^= 1
    (mirror / path).write_bytes(content)
    found, fault = await outside.run(f"file://{mirror}/")
    assert not found
    assert told_by in fault


async def test_outside_tools_find_a_log_that_forked_since(outside: Outside) -> None:
    seen = outside.folder / "seen"
    seen.write_text(await write_log(outside.folder / "before", 1000))
    await write_log(outside.folder / "after", 900)
    await write_log(outside.folder / "after", 400, first=7000)
    mirror = outside.folder / "mirror"
    with offline_log(outside.folder / "after") as log:
        export_tiles(mirror, fetch=Tiles(log).read, origin=ORIGIN, log_keys=[SIGNER.public_key], entries=True)
    found, fault = await outside.run(f"file://{mirror}/", "-old", str(seen))
    assert not found
    assert "tessera tracker" in fault
