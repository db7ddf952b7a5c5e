"""Entries are shown with a proof that holds; receipts and folders verify offline, or say where not."""

import asyncio
import json
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner
from exchange.keystore import FileKeyStore
from exchange.v1 import audit_pb2
from tests.support.command_region import Person, Region, Shuqiao, exchange_leaf, state_leaf
from tests.support.keeping import DAY_MS, START_MS, KeptLog
from tests.support.region import ORIGIN


@pytest.fixture(autouse=True)
def three_entries(region: Region) -> None:
    region.leaves = [state_leaf(1), exchange_leaf(audit_pb2.DECISION_RELEASED), state_leaf(2)]


def test_an_entry_is_shown_after_its_proof_was_checked(shuqiao: Shuqiao) -> None:
    shown = shuqiao("audit", "show", "1", "--json").document
    assert (shown["decision"], shown["proof_verified"], shown["log"]["size"]) == ("released", True, 3)
    assert "证明有效" in shuqiao("audit", "show", "1").out


def test_an_entry_of_a_log_with_another_key_is_not_shown(shuqiao: Shuqiao, region: Region) -> None:
    region.log = LogSigner(origin=ORIGIN, key=SigningKey(b"\1" * 32))
    ran = shuqiao("audit", "show", "1", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "RECEIPT_BROKEN")


def test_the_trust_list_held_counts_while_the_authority_is_away(
    shuqiao: Shuqiao, context_file: Path, tmp_path: Path
) -> None:
    assert shuqiao("audit", "show", "1").code == 0
    away = tmp_path / "away.toml"
    lines = [line for line in context_file.read_text().splitlines() if not line.startswith("enrolment")]
    away.write_text("\n".join([*lines, 'enrolment = "127.0.0.1:1"']))
    ran = shuqiao("audit", "show", "1", context=away)
    assert ran.code == 0
    assert "使用已有的信任列表" in ran.err


def test_a_proof_written_to_a_file_verifies_offline(
    shuqiao: Shuqiao, region: Region, person: Person, tmp_path: Path
) -> None:
    file = tmp_path / "entry.tlog-proof"
    assert shuqiao("audit", "prove", "1", "--out", str(file)).code == 0
    held = tmp_path / "identity" / "trust-list.pb"
    alone = shuqiao("audit", "verify", str(file), "--trust", str(held), "--json").document
    assert alone["ok"]
    assert "not checked" in alone["key_source"]["en"]
    root = tmp_path / "pinned.pem"
    root.write_bytes(person.root_pem())
    pinned = shuqiao("audit", "verify", str(file), "--trust", str(held), "--root", str(root), "--json")
    assert "signature checked" in pinned.document["key_source"]["en"]
    key = tmp_path / "log-key.pub"
    key.write_text(region.log.verifier_key + "\n")
    assert shuqiao("audit", "verify", str(file), "--trust", str(key)).code == 0


def test_a_receipt_file_with_one_changed_byte_does_not_verify(shuqiao: Shuqiao, tmp_path: Path) -> None:
    file = tmp_path / "entry.tlog-proof"
    shuqiao("audit", "prove", "1", "--out", str(file))
    text = file.read_text()
    at = text.index("extra ") + 40
    file.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    ran = shuqiao("audit", "verify", str(file), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "RECEIPT_BROKEN")


def test_a_trust_file_that_is_neither_list_nor_key_is_a_usage_error(shuqiao: Shuqiao, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"\xff\xfe junk")
    ran = shuqiao("audit", "verify", str(junk), "--trust", str(junk), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")


def test_entries_are_exported_and_the_next_export_goes_on(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl"
    assert shuqiao("audit", "export", "--ocsf", str(file), "--json").document["records"] == 3
    region.leaves.append(exchange_leaf(audit_pb2.DECISION_REFUSED))
    assert shuqiao("audit", "export", "--ocsf", str(file), "--json").document["records"] == 1
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["metadata"]["sequence"] for event in events] == [0, 1, 2, 3]
    ran = shuqiao("audit", "export", "--csv", str(tmp_path / "log.csv"))
    assert "4" in ran.out and (tmp_path / "log.csv").exists()


def test_an_export_without_a_form_or_with_two_is_a_usage_error(shuqiao: Shuqiao, tmp_path: Path) -> None:
    for arguments in ([], ["--ocsf", "a", "--csv", "b"], ["--syslog", "localhost:6514"]):
        ran = shuqiao("audit", "export", *arguments, "--json")
        assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")


async def kept_folder(folder: Path) -> Path:
    """Make a gateway's folder with rows, a sealed segment and an erased one; return its configuration."""
    keys = FileKeyStore(folder=folder / "gateway" / "keys", passphrase=b"a passphrase")
    kept = KeptLog(folder / "gateway", keys=keys)
    await kept.log.open()
    await kept.append(256)
    await kept.append(300, START_MS + 500 * DAY_MS)
    kept.clock.now = START_MS + 600 * DAY_MS
    await kept.settle()
    await kept.erase()
    await kept.log.close()
    (folder / "passphrase").write_text("a passphrase\n")
    config = folder / "gateway.toml"
    config.write_text(
        'folder = "gateway"\npassphrase_file = "passphrase"\n'
        '[authority]\nenrolment = "127.0.0.1:1"\nservice = "127.0.0.1:1"\n'
    )
    return config


def test_a_folder_with_segments_verifies_with_its_keys_and_without(shuqiao: Shuqiao, tmp_path: Path) -> None:
    config = asyncio.run(kept_folder(tmp_path))
    verify = ("audit", "verify", "--log", str(tmp_path / "gateway"))
    told = shuqiao(*verify, "--json").document
    assert (told["ok"], told["sealed"], told["erased"]) == (True, {"entries": 256, "opened": False}, 256)
    assert "256 entries, hashes verified by tiles only" in shuqiao("--lang", "en", *verify).out
    told = shuqiao(*verify, "--config", str(config), "--json").document
    assert (told["ok"], told["sealed"]) == (True, {"entries": 256, "opened": True})
    assert "期满已销毁" in shuqiao(*verify, "--config", str(config)).out
    (tmp_path / "gateway" / "keys" / "segment-256-512.key").unlink()
    ran = shuqiao(*verify, "--config", str(config), "--json")
    assert ran.code == 1 and "its key is gone" in ran.document["faults"][0]
    shown = shuqiao(*verify, "--config", str(config)).out
    assert "分段 256 至 512" in shown and "密钥已不在" in shown and "its key" not in shown
    (tmp_path / "passphrase").write_text("another\n")
    ran = shuqiao(*verify, "--config", str(config), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")
