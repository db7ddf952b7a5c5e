"""The command says what a bundle proves and what it does not, in both languages, and where it is broken."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exchange.checkpoint import verifier_key
from shuqiao.cli.app import run
from tests.support.evidence import LOG, POLICY, SmallLog, make_log, records_of, signed_file
from tests.support.region import ORIGIN


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    return make_log(tmp_path_factory.mktemp("log"), 10)


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.out)
        return told


@pytest.fixture
def kept(log: SmallLog, tmp_path: Path) -> Path:
    """The files that an auditor keeps, and a bundle."""
    assert log.region.feed.current is not None
    (tmp_path / "root.pem").write_bytes(log.region.authority.root_pem)
    (tmp_path / "trust-list.pb").write_bytes(log.region.feed.current.statement.SerializeToString())
    (tmp_path / "policy").write_bytes(POLICY)
    (tmp_path / "head").write_text(log.notes[min(log.notes)])
    (tmp_path / "key").write_text(verifier_key(ORIGIN, LOG.public_key))
    (tmp_path / "bundle").write_bytes(signed_file(log, records_of(log)))
    return tmp_path


def verify(folder: Path, *arguments: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    told = [str(folder / one) if (folder / one).exists() else one for one in arguments]
    code = run(["audit", "verify", *told], stdout=out, stderr=err, environ={"HOME": "/nonexistent"})
    return Ran(code, out.getvalue(), err.getvalue())


def test_a_bundle_is_recognised_and_verified_with_all_that_is_brought_along(kept: Path) -> None:
    brought = ["--trust", "trust-list.pb", "--policy", "policy", "--head", "head", "--json"]
    ran = verify(kept, "bundle", *brought)
    assert ran.code == 0, ran.out
    assert ran.document["ok"] is True
    assert ran.document["facts"]["quorum"] is True
    assert ran.document["faults"] == []


def test_people_read_both_lists_in_their_language(kept: Path) -> None:
    chinese = verify(kept, "bundle", "--root", "root.pem").out
    assert "已证明：" in chinese
    assert "未证明：" in chinese
    assert "证据包成立" in chinese
    english = verify(kept, "bundle", "--root", "root.pem", "--lang", "en").out
    assert "Proven:" in english
    assert "Not proven:" in english
    assert "that nothing happened that was not logged" in english


def test_a_log_key_file_serves_where_the_root_is_given(kept: Path) -> None:
    assert verify(kept, "bundle", "--trust", "key", "--root", "root.pem").code == 0


def test_a_broken_bundle_ends_with_1_and_a_table_of_places(kept: Path) -> None:
    content = bytearray((kept / "bundle").read_bytes())
    content[-200] ^= 1
    (kept / "bundle").write_bytes(content)
    ran = verify(kept, "bundle", "--root", "root.pem", "--lang", "en")
    assert ran.code == 1
    assert "manifest" in ran.out
    assert "Proven:\n" not in ran.out.replace("Not proven:", "")
    document = verify(kept, "bundle", "--root", "root.pem", "--json").document
    assert {fault["kind"] for fault in document["faults"]} == {"manifest"}
    assert all(fault["zh"] and fault["en"] for fault in document["faults"])


def test_without_a_root_nothing_is_verified_and_the_option_is_named(kept: Path, tmp_path: Path) -> None:
    (kept / "root.pem").unlink()
    ran = verify(kept, "bundle", "--trust", "trust-list.pb", "--json")
    assert (ran.code, ran.document["error"]["subject"]) == (2, "--root")


@pytest.mark.parametrize("option", ["--policy", "--head"])
def test_what_is_for_bundles_alone_is_refused_for_a_receipt(kept: Path, option: str) -> None:
    assert verify(kept, "head", "--trust", "key", option, "policy").code == 2


@pytest.mark.parametrize(
    ("option", "file"), [("--policy", "head"), ("--head", "policy"), ("--trust", "policy")]
)
def test_a_file_of_another_kind_is_the_callers_fault(kept: Path, option: str, file: str) -> None:
    assert verify(kept, "bundle", "--root", "root.pem", option, file).code == 2
