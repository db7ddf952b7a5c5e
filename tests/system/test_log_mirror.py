"""A running gateway's log is mirrored over HTTPS by whoever acts; the mirror verifies with the log's key."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from exchange.checkpoint import Checkpoint
from exchange.errors import LogForked
from exchange.tile_reader import TiledTree, fetch_checkpoint
from exchange.tlog_tiles import bundles_between
from exchange.v1 import audit_pb2
from shuqiao.cli.app import run
from shuqiao.demo.cast import AUDITOR, HEALTH, OFFICER
from shuqiao.tile_export import mirror_fetch
from tests.support.real_region import RealRegion, ask

pytestmark = pytest.mark.system


def export(world: RealRegion, who: str, folder: Path, *more: str) -> dict[str, Any]:
    context = world.world.layout.people / who / "context.toml"
    out, err = io.StringIO(), io.StringIO()
    arguments = ["--context", str(context), "--json", "audit", "export", "--tiles", str(folder), *more]
    code = run(arguments, stdout=out, stderr=err, environ=dict(os.environ))
    assert code == 0, out.getvalue() + err.getvalue()
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def leaves(world: RealRegion, folder: Path) -> list[bytes]:
    """Verify a mirror against the trust list's key and return its entries."""
    gateway = world.stage.trust_list().gateways[world.stage.origin]
    fetch = mirror_fetch(folder)
    head, _ = fetch_checkpoint(fetch, origin=gateway.origin, log_keys=gateway.log_keys)
    tree = TiledTree(fetch=fetch, head=head)
    with pytest.raises(LogForked):
        tree.consistency(Checkpoint(head.origin, head.size - 1, bytes(32)))
    return [leaf for bundle in bundles_between(0, head.size) for leaf in tree.bundle(bundle)[1]]


def test_an_auditor_mirrors_the_log_again_and_again(world: RealRegion, tmp_path: Path) -> None:
    with world.client() as client:
        ask(client, world.person)
    first = export(world, AUDITOR, tmp_path)
    with world.client() as client:
        receipt = ask(client, world.person).receipt
    assert receipt is not None
    second = export(world, AUDITOR, tmp_path)
    assert (first["entries"], second["old_size"]) == (True, first["size"])
    assert second["size"] > receipt.index >= first["size"]
    found = leaves(world, tmp_path)
    assert audit_pb2.AuditEntry.FromString(found[receipt.index]).HasField("exchange")
    # The first export was entered in the log before it was answered, so the second one has it.
    acts = [audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in found]
    uri = world.world.held(AUDITOR).identity().uri
    assert any(act.actor == uri and act.subject.startswith("tiles, entries 0 to") for act in acts)


def test_a_steward_mirrors_hashes_alone(world: RealRegion, tmp_path: Path) -> None:
    told = export(world, HEALTH.steward, tmp_path)
    assert (told["entries"], told["bundles_written"]) == (False, 0)
    assert not (tmp_path / "tile" / "entries").exists()


def test_an_officer_mirrors_hashes_first_and_entries_later(world: RealRegion, tmp_path: Path) -> None:
    assert export(world, OFFICER, tmp_path, "--hash-only")["bundles_written"] == 0
    assert export(world, OFFICER, tmp_path)["bundles_written"] > 0
    assert leaves(world, tmp_path)
