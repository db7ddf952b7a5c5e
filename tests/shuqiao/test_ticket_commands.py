"""What the commands of disputes, demands and quality send, and what they show."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from exchange import canonical
from exchange.tickets import read_event, read_ticket
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, ticket_pb2, trust_pb2
from shuqiao import views
from tests.support.command_region import CONSUMER, HOUSEHOLD, Person, Region, Shuqiao
from tests.support.region import POLICE, moment, resource_body
from tests.support.sealing import NOW_MS
from tests.support.tickets import FATHER, MOTHER, demand, dispute, event, quality

EXCHANGE = "0197d7a0-0000-7000-8000-000000000001"
ID = b"\xab" * 32
SUPPLEMENT = ("dispute", "supplement", "ab")
CORRECT = ("dispute", "correct", "ab", "--field", "name", "--text", "x")


def signed(body: Any) -> common_pb2.Statement:
    return common_pb2.Statement(body=body.SerializeToString())


@pytest.fixture(autouse=True)
def tickets(region: Region) -> None:
    region.resources.append(common_pb2.Statement(body=resource_body(NOW_MS, id=HOUSEHOLD)))
    corrected = ticket_pb2.TicketRecord(
        ticket_id=ID,
        ticket=signed(dispute(uuid.UUID(EXCHANGE).bytes)),
        events=[signed(event(ID, ticket_pb2.TICKET_ACTION_CORRECT, 1))],
        state=ticket_pb2.TICKET_STATE_CORRECTED,
        revision=1,
        told=[CONSUMER, POLICE],
        acknowledged=[POLICE],
        told_all=True,
        untraceable=True,
        told_periods=["2026Q2"],
        erased_periods=["2026Q1"],
        unsearched_periods=["2026Q3"],
    )
    open_ = ticket_pb2.TicketRecord(
        ticket_id=b"\xcd" * 32,
        ticket=signed(demand()),
        state=ticket_pb2.TICKET_STATE_OPEN,
        waits_for="admin",
        due_at=moment(NOW_MS),
    )
    told = ticket_pb2.TicketRecord(
        ticket_id=b"\xef" * 32, state=ticket_pb2.TICKET_STATE_CORRECTED, told=[CONSUMER]
    )
    region.tickets = [corrected, open_, told]


def last(region: Region, kind: type) -> Any:
    return next(one for one in reversed(region.received) if isinstance(one, kind))


def test_a_dispute_is_signed_and_handed_in(shuqiao: Shuqiao, region: Region, person: Person) -> None:
    ran = shuqiao(
        "dispute", "raise", "--exchange", EXCHANGE, "--resource", HOUSEHOLD, "--field", "name",
        "--text", "不符",
    )  # fmt: skip
    assert ran.code == 0 and ID.hex() in ran.out and "21" in ran.out
    statement = last(region, ticket_pb2.RaiseTicketRequest).ticket
    ticket = read_ticket(statement)
    assert ticket.dispute is not None and (ticket.raised_by, ticket.text) == (CONSUMER, "不符")
    assert (ticket.dispute.provider, ticket.dispute.exchange_id) == (POLICE, uuid.UUID(EXCHANGE).bytes)
    person.anchor().verify_statement(statement, canonical.TICKET, at_ms=NOW_MS, trust=None)


def test_a_dispute_of_what_was_withdrawn_goes_to_who_provided_it(
    shuqiao: Shuqiao, region: Region, person: Person
) -> None:
    (resource,) = region.resources
    raising = (
        "dispute", "raise", "--exchange", EXCHANGE, "--resource", HOUSEHOLD, "--field", "name",
        "--text", "不符", "--json",
    )  # fmt: skip
    region.versions = [
        directory_pb2.VersionRecord(resource=resource, standing=directory_pb2.RESOURCE_STANDING_WITHDRAWN),
        directory_pb2.VersionRecord(resource=resource, standing=directory_pb2.RESOURCE_STANDING_REJECTED),
    ]
    assert shuqiao(*raising).code == 0
    ticket = read_ticket(last(region, ticket_pb2.RaiseTicketRequest).ticket)
    assert ticket.dispute is not None and ticket.dispute.provider == POLICE
    del region.versions[0]
    assert shuqiao(*raising).document["error"]["code"] == "UNKNOWN_RESOURCE"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--exchange", "no-uuid"),
        ("--exchange", EXCHANGE, "--detail-file", "/nowhere/detail.txt"),
    ],
)
def test_a_dispute_that_cannot_be_written_is_refused_before_anything_is_sent(
    shuqiao: Shuqiao, region: Region, arguments: tuple[str, ...]
) -> None:
    ran = shuqiao("dispute", "raise", "--resource", HOUSEHOLD, "--field", "name", "--text", "x", *arguments)
    assert ran.code == 2 and not region.received


def test_a_detail_that_is_too_long_or_no_text_is_refused(shuqiao: Shuqiao, tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"x" * 8000):
        file = tmp_path / "detail.txt"
        file.write_bytes(content)
        ran = shuqiao(
            "dispute", "raise", "--exchange", EXCHANGE, "--resource", HOUSEHOLD, "--field", "name",
            "--text", "x", "--detail-file", str(file),
        )  # fmt: skip
        assert ran.code == 2, content[:4]


@pytest.mark.parametrize(
    ("arguments", "action", "told"),
    [
        (
            ("dispute", "correct", "ab", "--field", "name", "--text", "x", "--without-subject"),
            "CORRECT",
            {"fields": {"name"}},
        ),
        (("dispute", "decline", "ab", "--text", "x"), "DECLINE", {"text": "x"}),
        (("dispute", "withdraw", "ab"), "WITHDRAW", {"revision": 2}),
        (("dispute", "acknowledge", "ab"), "ACKNOWLEDGE", {"revision": 0}),
        (("demand", "assign", "ab", "--to", POLICE), "ASSIGN", {"assigned_to": POLICE}),
        (("demand", "answer", "ab", "--resource", HOUSEHOLD), "ANSWER", {"resource": HOUSEHOLD}),
        (("demand", "decline", "ab", "--text", "x"), "DECLINE", {"text": "x"}),
        (("demand", "withdraw", ID.hex()), "WITHDRAW", {}),
    ],
)
def test_steps_are_signed_with_the_revision_that_is_due(
    shuqiao: Shuqiao, region: Region, arguments: tuple[str, ...], action: str, told: dict[str, Any]
) -> None:
    ran = shuqiao(*arguments)
    assert ran.code == 0, ran.err
    step = read_event(last(region, ticket_pb2.ActOnTicketRequest).event)
    assert (step.ticket_id, step.action) == (ID, ticket_pb2.TicketAction.Value(f"TICKET_ACTION_{action}"))
    for name, value in told.items():
        assert getattr(step, name) == value


def test_a_correction_says_how_many_were_told(shuqiao: Shuqiao, region: Region) -> None:
    ran = shuqiao(*CORRECT, "--without-subject", lang="en")
    assert "2 departments told so far" in ran.out
    assert "not told: 2026Q1" in ran.out and "not told: 2026Q3" in ran.out
    assert "dispute supplement" not in ran.out, "nothing can be shown of an exchange without tags"
    region.tickets[0].untraceable = False
    assert "dispute supplement" in shuqiao(*CORRECT, "--without-subject", lang="en").out
    ran = shuqiao(*CORRECT, "--without-subject", "--json")
    assert ran.document == {
        "ok": True, "ticket_id": ID.hex(), "state": "corrected", "index": 22, "told": 2,
        "told_periods": ["2026Q2"], "erased_periods": ["2026Q1"], "unsearched_periods": ["2026Q3"],
    }  # fmt: skip


@pytest.mark.parametrize("lines", ["", "\n".join([MOTHER] * 9)], ids=["empty", "too many"])
def test_a_supplement_names_somebody(shuqiao: Shuqiao, region: Region, tmp_path: Path, lines: str) -> None:
    file = tmp_path / "subjects.txt"
    file.write_text(lines)
    assert shuqiao(*SUPPLEMENT).code == shuqiao(*SUPPLEMENT, "--subject", f"@{file}").code == 2
    assert not [one for one in region.received if isinstance(one, ticket_pb2.ActOnTicketRequest)]


def test_a_supplement_says_how_many_were_told(shuqiao: Shuqiao, region: Region, tmp_path: Path) -> None:
    file = tmp_path / "subjects.txt"
    file.write_text(MOTHER)
    ran = shuqiao(*SUPPLEMENT, "--subject", f"@{file}", "--json")
    assert (ran.document["told"], ran.document["told_periods"]) == (2, ["2026Q2"])
    step = read_event(last(region, ticket_pb2.ActOnTicketRequest).event)
    assert (step.action, step.revision) == (ticket_pb2.TICKET_ACTION_SUPPLEMENT, 2)


@pytest.mark.parametrize("format", ["citizen_id", "credit_code"])
@pytest.mark.parametrize("step", ["correct", "supplement"])
def test_whom_a_correction_is_about_goes_to_the_authority_alone_and_its_tags_to_the_gateway(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, format: str, step: str
) -> None:
    file = tmp_path / "subjects.txt"
    file.write_text(f"{MOTHER}\n\n {FATHER} \n")
    begin = CORRECT if step == "correct" else SUPPLEMENT
    ran = shuqiao(*begin, "--subject", f"@{file}", "--format", format)
    assert ran.code == 0, ran.err
    asked = [one for one in region.received if isinstance(one, trust_pb2.DeriveCorrectionTagsRequest)]
    assert [(one.identifier, one.format, one.ticket_id) for one in asked] == [
        (MOTHER, format, ID),
        (FATHER, format, ID),
    ]
    sent = last(region, ticket_pb2.ActOnTicketRequest)
    assert [one.body for one in sent.subjects] == [MOTHER.encode(), FATHER.encode()]
    assert MOTHER.encode() not in sent.event.SerializeToString()
    assert MOTHER not in ran.out + ran.err


@pytest.mark.parametrize(
    "lines", [None, "", "\n\n", "\n".join([MOTHER] * 9)], ids=["nothing said", "empty", "blank", "too many"]
)
def test_a_correction_says_whom_it_is_about_or_that_it_names_nobody(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, lines: str | None
) -> None:
    more: list[str] = []
    if lines is not None:
        file = tmp_path / "subjects.txt"
        file.write_text(lines)
        more = ["--subject", f"@{file}"]
    ran = shuqiao(*CORRECT, *more)
    assert ran.code == 2 and MOTHER not in ran.out + ran.err
    assert not [one for one in region.received if isinstance(one, ticket_pb2.ActOnTicketRequest)]


@pytest.mark.parametrize("short", ["12", "zz"])
def test_an_id_that_nothing_begins_with_is_unknown(shuqiao: Shuqiao, short: str) -> None:
    ran = shuqiao("dispute", "show", short, "--json")
    assert ran.code == 1 and ran.document["error"]["code"] == "UNKNOWN_TICKET"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_lists_and_single_tickets_are_shown_to_people(shuqiao: Shuqiao, lang: str) -> None:
    disputes, demands = shuqiao("dispute", "list", lang=lang), shuqiao("demand", "list", lang=lang)
    assert "abababababab" in disputes.out and "2/1" in disputes.out
    assert "cdcdcdcdcdcd" in demands.out and "学籍信息" in demands.out
    shown = shuqiao("dispute", "show", "ab", lang=lang)
    assert EXCHANGE in shown.out and POLICE in shown.out
    words = "已更正", "标签已擦除", "2026Q2", "无从查找、未告知：2026Q1", "未查找、未告知：2026Q3"
    if lang == "en":
        words = "corrected", "has no tags", "2026Q2", "were not told: 2026Q1", "not told: 2026Q3"
    assert all(word in shown.out for word in words)
    assert shuqiao("demand", "show", "cd", lang=lang).code == 0
    # Who was only told of a correction sees that and nothing of the dispute.
    assert shuqiao("dispute", "show", "ef", lang=lang).code == 0


def test_entries_of_tickets_say_what_they_are_about() -> None:
    correction = audit_pb2.CorrectionRecord(recipient=POLICE, exchange_ids=[uuid.UUID(EXCHANGE).bytes])
    ended = audit_pb2.CorrectionRecord(ends=True, tag_period="2026Q3", unsearched_periods=["2026Q2"])
    for act, body, detail, said in (
        (audit_pb2.ACT_TICKET, dispute(uuid.UUID(EXCHANGE).bytes), None, EXCHANGE),
        (audit_pb2.ACT_TICKET, demand(), None, "学籍信息"),
        (audit_pb2.ACT_TICKET_EVENT, event(ID, ticket_pb2.TICKET_ACTION_DECLINE, 1), None, "decline"),
        (audit_pb2.ACT_QUALITY, quality(), None, "health-1"),
        (audit_pb2.ACT_CORRECTION, event(ID, ticket_pb2.TICKET_ACTION_CORRECT, 1), correction, EXCHANGE),
        (audit_pb2.ACT_CORRECTION, event(ID, ticket_pb2.TICKET_ACTION_CORRECT, 1), ended, "2026Q3"),
        (audit_pb2.ACT_CORRECTION, event(ID, ticket_pb2.TICKET_ACTION_CORRECT, 1), ended, "2026Q2"),
    ):
        told = audit_pb2.AdministrativeEntry(act=act, statement=signed(body), correction=detail)
        leaf = audit_pb2.AuditEntry(administrative=told).SerializeToString()
        assert said in str(views.entry(7, leaf))


def test_filters_are_sent(shuqiao: Shuqiao, region: Region) -> None:
    assert shuqiao("demand", "list", "--state", "open", "--overdue").code == 0
    request = last(region, ticket_pb2.ListTicketsRequest)
    assert (request.state, request.demands, request.disputes, request.overdue) == (
        ticket_pb2.TICKET_STATE_OPEN, True, False, True,
    )  # fmt: skip
    assert shuqiao("dispute", "list", "--state", "lost").code == 2


def test_the_quality_of_resources_is_shown(shuqiao: Shuqiao, region: Region) -> None:
    region.qualities.append(
        ticket_pb2.ResourceQuality(
            resource=HOUSEHOLD,
            reports=2,
            exchanges=100,
            complete_permille=800,
            accurate_permille=990,
            disputes=2,
            upheld=1,
            fields=[ticket_pb2.FieldQuality(name="name", values=10, missing=2)],
        )
    )
    ran = shuqiao("quality", "list", "--resource", HOUSEHOLD, "--since", "2026-01-01")
    assert ran.code == 0 and "800" in ran.out and "2/1" in ran.out
    request = last(region, ticket_pb2.ListQualityRequest)
    assert request.resource == HOUSEHOLD and request.since.ToJsonString() == "2025-12-31T16:00:00Z"
    (told,) = shuqiao("quality", "list", "--json").document["resources"]
    assert (told["accurate_permille"], told["fields"][0]["missing"]) == (990, 2)
