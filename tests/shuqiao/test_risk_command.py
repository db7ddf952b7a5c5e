"""`shuqiao risk`: what was found, and what people decide about it."""

from pathlib import Path

import pytest

from exchange import canonical
from exchange.identity import Role
from exchange.v1 import audit_pb2, common_pb2, risk_pb2
from shuqiao import views
from shuqiao.exports import ocsf
from shuqiao.exports.pseudonyms import Pseudonyms
from shuqiao.exports.records import record
from tests.support.command_region import CONSUMER, HOUSEHOLD, Person, Region, Shuqiao
from tests.support.region import ORIGIN
from tests.support.sealing import NOW_MS

ROOT = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000


def row(number: int, *, holds: bool = True, rule: str = "in-a-row") -> risk_pb2.FindingRow:
    finding = audit_pb2.FindingRecord(
        finding_id=bytes([number]) * 16,
        rule=rule,
        severity="critical",
        action="refuse",
        consumer=CONSUMER,
        agent="health-1",
        operator="op-17",
        resources=[HOUSEHOLD],
        count=20,
        window_s=600,
        exchange_ids=[bytes(16)],
        since_ms=NOW_MS - 600_000,
        until_ms=NOW_MS + HOUR_MS,
    )
    return risk_pb2.FindingRow(index=number, finding=finding, holds=holds)


@pytest.fixture(autouse=True)
def found(region: Region) -> None:
    region.findings = [row(0xA3), row(0xA2, holds=False, rule="other"), row(0x11)]


def test_findings_of_all_pages_are_listed_in_both_languages(shuqiao: Shuqiao) -> None:
    listed = shuqiao("risk", "list", "--json").document["findings"]
    assert [one["index"] for one in listed] == [0xA3, 0xA2, 0x11]
    assert listed[0]["exchange_ids"] == ["00000000-0000-0000-0000-000000000000"]
    assert [one["index"] for one in shuqiao("risk", "list", "--holding", "--json").document["findings"]] == [
        0xA3,
        0x11,
    ]
    assert len(shuqiao("risk", "list", "--rule", "other", "--json").document["findings"]) == 1
    assert len(shuqiao("risk", "list", "--limit", "2", "--json").document["findings"]) == 2
    for lang, word in (("zh", "约束中"), ("en", "holds")):
        ran = shuqiao("risk", "list", lang=lang)
        assert ran.code == 0
        assert word in ran.out


def test_a_finding_is_shown_with_what_was_decided(shuqiao: Shuqiao, region: Region, person: Person) -> None:
    body = risk_pb2.FindingDecisionBody(
        finding_id=bytes([0x11]) * 16, verdict=risk_pb2.FINDING_VERDICT_UPHOLD, note="under enquiry"
    )
    region.findings[2].decisions.append(common_pb2.Statement(body=body.SerializeToString()))
    ran = shuqiao("risk", "show", "1111", lang="en")
    assert ran.code == 0
    assert "under enquiry" in ran.out
    shown = shuqiao("risk", "show", "1111", "--json").document
    assert shown["decisions"][0]["verdict"] == "uphold"


@pytest.mark.parametrize("verdict", ["approve", "uphold", "dismiss"])
def test_a_decision_is_signed_and_says_until_when(
    shuqiao: Shuqiao, region: Region, person: Person, verdict: str
) -> None:
    until = () if verdict == "dismiss" else ("--hours", "8")
    ran = shuqiao("risk", verdict, "11", *until, "--note", "seen to", "--json")
    assert (ran.code, ran.document["index"]) == (0, 14)
    sent = region.received[-1].decision
    body = risk_pb2.FindingDecisionBody.FromString(sent.body)
    assert body.finding_id == bytes([0x11]) * 16
    assert body.note == "seen to"
    assert body.HasField("until") is (verdict != "dismiss")
    if until:
        assert body.until.ToMilliseconds() - body.issued_at.ToMilliseconds() == 8 * HOUR_MS
    verified = person.anchor().verify_statement(
        sent, canonical.FINDING_DECISION, at_ms=body.issued_at.ToMilliseconds(), trust=None
    )
    assert verified.identity.role is Role.STEWARD


def test_a_decision_holds_until_the_day_that_was_typed(shuqiao: Shuqiao, region: Region) -> None:
    assert shuqiao("risk", "uphold", "11", "--until", "2026-12-01").code == 0
    body = risk_pb2.FindingDecisionBody.FromString(region.received[-1].decision.body)
    assert body.until.ToJsonString() == "2026-11-30T16:00:00Z"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("approve", "11"), 2),
        (("approve", "11", "--hours", "1", "--until", "2026-12-01"), 2),
        (("approve", "not-hex", "--hours", "1"), 2),
        (("approve", "a", "--hours", "1"), 1),
        (("show", "ff"), 1),
    ],
)
def test_what_names_no_finding_or_no_time_is_refused(
    shuqiao: Shuqiao, region: Region, arguments: tuple[str, ...], code: int
) -> None:
    assert shuqiao("risk", *arguments).code == code
    assert not any(isinstance(one, risk_pb2.DecideFindingRequest) for one in region.received)


def test_rules_are_checked_offline_and_every_fault_is_told(shuqiao: Shuqiao, tmp_path: Path) -> None:
    shipped = ROOT / "deploy" / "policies" / "risk.toml"
    told = shuqiao("risk", "check", str(shipped), "--json", context=tmp_path / "none")
    assert told.code == 0
    assert {"cases-missing-in-a-row", "death-address-bank"} <= {one["id"] for one in told.document["rules"]}
    bad = tmp_path / "bad.toml"
    bad.write_text(shipped.read_text().replace("least = 8\n", "least = 0\n").replace('"10m"', '"soon"'))
    ran = shuqiao("risk", "check", str(bad), "--json")
    assert ran.code == 1
    subject = ran.document["error"]["subject"]
    assert ran.document["error"]["code"] == "RULES_INVALID"
    assert "least" in subject
    assert "window" in subject


def entry_of(act: int, **told: object) -> bytes:
    entry = audit_pb2.AuditEntry(time_ms=NOW_MS, gateway=ORIGIN)
    entry.administrative.act, entry.administrative.subject = act, "in-a-row"
    if "finding" in told:
        entry.administrative.finding.CopyFrom(told["finding"])
    if "body" in told:
        entry.administrative.statement.body = told["body"]
    return entry.SerializeToString()


def test_a_finding_reads_in_the_log_and_goes_out_as_a_detection_finding_without_names_of_operators() -> None:
    leaf = entry_of(audit_pb2.ACT_FINDING, finding=row(7).finding)
    view = views.entry(3, leaf)
    assert (view["act"], view["finding_rule"], view["severity"]) == ("finding", "in-a-row", "critical")
    events = ocsf.events(record(3, leaf, ORIGIN))
    assert [event["class_uid"] for event in events] == [ocsf.API_ACTIVITY, ocsf.DETECTION_FINDING]
    assert [event["severity_id"] for event in events] == [ocsf.CRITICAL, ocsf.CRITICAL]
    assert events[1]["finding_info"]["analytic"]["name"] == "in-a-row"
    outside = ocsf.events(record(3, leaf, ORIGIN, Pseudonyms(b"k" * 32)))
    assert "op-17" not in str(outside)


def test_a_decision_reads_in_the_log() -> None:
    body = risk_pb2.FindingDecisionBody(
        finding_id=bytes(16), verdict=risk_pb2.FINDING_VERDICT_DISMISS, note="a batch day"
    ).SerializeToString()
    view = views.entry(4, entry_of(audit_pb2.ACT_FINDING_DECISION, body=body))
    assert (view["finding_verdict"], view["finding_note"]) == ("dismiss", "a batch day")
    broken = views.entry(4, entry_of(audit_pb2.ACT_FINDING_DECISION, body=b"\xff"))
    assert broken["act"] == "finding_decision"
