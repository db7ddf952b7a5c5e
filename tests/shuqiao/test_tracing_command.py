"""`shuqiao audit trace` and `certs erase-tag-key`: what goes to whom, and what is shown."""

import io
from pathlib import Path

import pytest

from exchange.errors import TooMany
from exchange.v1 import audit_pb2, trust_pb2
from tests.support.command_region import HOUSEHOLD, Region, Shuqiao, exchange_leaf

CITIZEN = "970102199001010011"
TAG = b"t" * 32


@pytest.fixture
def file(tmp_path: Path, region: Region) -> Path:
    region.tags = [trust_pb2.DerivedTag(period="2026Q4", tag=TAG)]
    region.leaves = [exchange_leaf(audit_pb2.DECISION_RELEASED), exchange_leaf(audit_pb2.DECISION_FAILED)]
    path = tmp_path / "subject"
    path.write_text(f"{CITIZEN}\nsomething else\n")
    return path


def test_the_identifier_goes_to_the_authority_and_its_tags_to_the_gateway(
    shuqiao: Shuqiao, region: Region, file: Path
) -> None:
    ran = shuqiao("audit", "trace", "--subject", f"@{file}", "--why", "complaint 17", "--json")
    derived, *traced = region.received
    assert derived == trust_pb2.DeriveTagsRequest(
        format="citizen_id", identifier=CITIZEN, justification="complaint 17"
    )
    subject = audit_pb2.SubjectTags(tags=[audit_pb2.SubjectTag(period="2026Q4", tag=TAG)])
    assert [(one.subject, one.justification, one.page_token) for one in traced] == [
        (subject, "complaint 17", ""),
        (subject, "complaint 17", "1"),
    ]
    assert [one["index"] for one in ran.document["entries"]] == [0, 1]
    assert ran.document["entries"][0]["resource"] == HOUSEHOLD
    assert ran.document["delayed_purpose_days"] == {"investigation": 30}
    assert ran.document["erased_periods"] == ["2026Q1"]
    assert ran.document["searched_size"] == 2
    assert CITIZEN not in ran.out + ran.err


def test_standard_input_will_do_too_and_a_body_is_named_by_its_credit_code(
    shuqiao: Shuqiao, region: Region, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("91350100M000100Y43\n"))
    options = ("--format", "credit_code", "--why", "audit")
    assert shuqiao("audit", "trace", "--subject", "-", *options).code == 0
    assert (region.received[0].format, region.received[0].identifier) == ("credit_code", "91350100M000100Y43")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_people_see_who_received_what_and_what_the_trace_may_lack(
    shuqiao: Shuqiao, region: Region, file: Path, lang: str
) -> None:
    out = shuqiao("audit", "trace", "--subject", f"@{file}", "--why", "complaint 17", lang=lang).out
    for part in (HOUSEHOLD, "name", "investigation", "30", "2026Q1"):
        assert part in out
    for word in ("接收方", "已放行") if lang == "zh" else ("Received by", "released"):
        assert word in out


def test_a_case_needs_no_authority(shuqiao: Shuqiao, region: Region, file: Path) -> None:
    assert shuqiao("audit", "trace", "--case", "LJ-1", "--why", "complaint 17").code == 0
    assert {type(one) for one in region.received} == {audit_pb2.TraceRequest}
    assert region.received[0].case_number == "LJ-1"


def test_a_case_may_come_from_a_file(shuqiao: Shuqiao, region: Region, tmp_path: Path) -> None:
    (tmp_path / "case").write_text("LJ-1\nsomething else\n")
    assert shuqiao("audit", "trace", "--case", f"@{tmp_path / 'case'}", "--why", "complaint 17").code == 0
    assert region.received[0].case_number == "LJ-1"


@pytest.mark.parametrize(
    "options",
    [
        ("--subject", CITIZEN),
        ("--subject", "@/nowhere/at/all"),
        (),
        ("--subject", "-", "--case", "LJ-1"),
    ],
)
def test_an_identifier_on_the_command_line_is_refused_unread_and_not_repeated(
    shuqiao: Shuqiao, region: Region, options: tuple[str, ...]
) -> None:
    ran = shuqiao("audit", "trace", *options, "--why", "complaint 17")
    assert ran.code == 2 and region.received == []
    assert CITIZEN not in ran.out + ran.err


def test_a_reason_is_demanded(shuqiao: Shuqiao, region: Region, file: Path) -> None:
    assert shuqiao("audit", "trace", "--subject", f"@{file}").code == 2
    assert region.received == []


def test_without_any_tag_the_gateway_is_not_asked(shuqiao: Shuqiao, region: Region, file: Path) -> None:
    region.tags = []
    ran = shuqiao("audit", "trace", "--subject", f"@{file}", "--why", "complaint 17", "--json")
    assert ran.document["entries"] == [] and len(region.received) == 1


def test_a_refusal_is_told_with_its_code(shuqiao: Shuqiao, region: Region, file: Path) -> None:
    region.refuse = TooMany("derivations")
    ran = shuqiao("audit", "trace", "--subject", f"@{file}", "--why", "complaint 17", "--json")
    assert ran.code == 1 and ran.document["error"]["code"] == "TOO_MANY"


def test_a_key_is_erased_when_the_second_person_says_so(shuqiao: Shuqiao, region: Region) -> None:
    first = shuqiao("certs", "erase-tag-key", "2026Q1", "--json").document
    second = shuqiao("certs", "erase-tag-key", "2026Q1", "--json").document
    assert (first["needs"], second["needs"]) == ("second-person", "erased")
    assert [one.period for one in region.received] == ["2026Q1", "2026Q1"]
    assert "2026Q1" in shuqiao("certs", "erase-tag-key", "2026Q1", lang="en").out
