"""`shuqiao audit export`: offline from a folder, and what it says when it will not."""

import asyncio
from pathlib import Path

from tests.support.audit import OTHER_SIGNER, write_log
from tests.support.command_region import Shuqiao


def test_a_folder_is_mirrored_offline_and_the_source_of_the_key_is_named(
    shuqiao: Shuqiao, tmp_path: Path
) -> None:
    log, mirror = tmp_path / "gateway", tmp_path / "mirror"
    asyncio.run(write_log(log, 300))
    told = shuqiao("audit", "export", "--tiles", str(mirror), "--log", str(log), "--json").document
    assert (told["size"], told["tiles_written"], told["bundles_written"]) == (300, 3, 2)
    assert "from the folder" in told["key_source"]["en"]
    ran = shuqiao("audit", "export", "--tiles", str(mirror), "--log", str(log), "--hash-only")
    assert ran.code == 0
    assert "300 → 300" in ran.out


def test_a_folder_is_believed_only_by_the_key_that_was_given(shuqiao: Shuqiao, tmp_path: Path) -> None:
    log, key = tmp_path / "gateway", tmp_path / "log-key.pub"
    asyncio.run(write_log(log, 10))
    key.write_text(OTHER_SIGNER.verifier_key + "\n")
    ran = shuqiao(
        "audit", "export", "--tiles", str(tmp_path / "m"), "--log", str(log), "--trust", str(key), "--json"
    )
    assert (ran.code, ran.document["error"]["code"]) == (1, "RECEIPT_BROKEN")
    assert not (tmp_path / "m" / "checkpoint").exists()


def test_without_a_form_or_a_log_it_is_a_usage_error(shuqiao: Shuqiao, tmp_path: Path) -> None:
    for arguments in (
        [],
        ["--tiles", str(tmp_path / "m"), "--log", str(tmp_path / "nothing")],
    ):
        ran = shuqiao("audit", "export", *arguments, "--json")
        assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")


def test_a_gateway_that_is_not_in_the_trust_list_is_a_usage_error(shuqiao: Shuqiao, tmp_path: Path) -> None:
    ran = shuqiao("audit", "export", "--tiles", str(tmp_path), "--gateway", "gateway-9", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")
