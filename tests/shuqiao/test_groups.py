"""What each group of commands sends, and what it shows of the answers."""

import json
from pathlib import Path

import pytest

from exchange import canonical
from exchange.errors import FieldNotGranted
from exchange.rpc_errors import to_failure
from exchange.v1 import (
    agent_pb2,
    audit_pb2,
    common_pb2,
    directory_pb2,
    grant_pb2,
    reason_pb2,
    trust_pb2,
)
from shuqiao.context import ContextFile, read_context
from tests.support.command_region import (
    CONSUMER,
    HOUSEHOLD,
    Person,
    Region,
    Shuqiao,
    exchange_leaf,
    state_leaf,
)
from tests.support.sealing import NOW_MS

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def statement(body: directory_pb2.OrganisationBody | directory_pb2.ResourceBody) -> common_pb2.Statement:
    return common_pb2.Statement(body=body.SerializeToString())


def grant_record(first: int = 0xAB, revision: int = 0) -> grant_pb2.GrantRecord:
    body = grant_pb2.GrantBody(consumer=CONSUMER, resource=HOUSEHOLD, fields=["name"], purposes=["p"])
    body.not_after.FromMilliseconds(NOW_MS)
    return grant_pb2.GrantRecord(
        grant_id=bytes([first]) * 32,
        grant=common_pb2.Statement(body=body.SerializeToString()),
        state=grant_pb2.GRANT_STATE_PENDING,
        revision=revision,
    )


def test_the_example_organisation_is_signed_and_added(
    shuqiao: Shuqiao, region: Region, person: Person
) -> None:
    ran = shuqiao("org", "add", str(EXAMPLES / "organisation.toml"), "--json")
    assert ran.document == {"ok": True, "credit_code": "11970100MB1A0001XA", "index": 7}
    signed = region.received[0].organisation
    body = directory_pb2.OrganisationBody.FromString(signed.body)
    assert (body.alias, body.name_zh, len(body.nonce)) == ("public-security", "临江市公安局", 16)
    assert body.issued_at.ToMilliseconds() == NOW_MS
    expected = person.statement_signer().sign(canonical.ORGANISATION, signed.body)
    assert (signed.chain, bool(signed.signature)) == (expected.chain, True)


def test_all_pages_of_the_organisations_are_listed(shuqiao: Shuqiao, region: Region) -> None:
    for code in ("A", "B", "C"):
        region.organisations.append(statement(directory_pb2.OrganisationBody(credit_code=code, name_zh="局")))
    ran = shuqiao("org", "list", "--json")
    assert [one["credit_code"] for one in ran.document["organisations"]] == ["A", "B", "C"]
    assert "局" in shuqiao("org", "list").out


def handed_in(region: Region) -> common_pb2.Statement:
    """The version that was handed in last; whether it waits for a review is asked after it."""
    requests = [one for one in region.received if isinstance(one, directory_pb2.PublishResourceRequest)]
    return requests[-1].resource


def test_the_example_resource_is_published_as_the_next_version(shuqiao: Shuqiao, region: Region) -> None:
    region.resources.append(statement(directory_pb2.ResourceBody(id=HOUSEHOLD, version=4)))
    ran = shuqiao("catalog", "publish", str(EXAMPLES / "resource.toml"), "--json")
    assert (ran.document["version"], ran.document["index"]) == (5, 8)
    body = directory_pb2.ResourceBody.FromString(handed_in(region).body)
    fields = {each.name: each for each in body.fields}
    assert fields["address"].level == common_pb2.LEVEL_L4
    assert fields["address"].padding == 256
    assert fields["police_station"].share_type == directory_pb2.SHARE_TYPE_UNCONDITIONAL
    assert body.parameters[0].format == "citizen_id"
    assert list(body.kinds) == [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]


def test_every_fault_of_a_form_is_reported_at_once(shuqiao: Shuqiao, region: Region, tmp_path: Path) -> None:
    file = tmp_path / "grant.toml"
    file.write_text('provider = 3\nresource = "r"\nfields = []\nkinds = ["steal"]\nsurprise = 1\n')
    ran = shuqiao("grant", "apply", str(file), "--json")
    assert ran.code == 2
    told = ran.document["error"]["subject"]
    assert all(
        part in told for part in ("provider", "fields", "kinds[1]", "purposes", "not_after", "surprise")
    )
    assert region.received == []


def test_a_resource_is_suspended_at_its_version_and_the_next_revision(
    shuqiao: Shuqiao, region: Region
) -> None:
    region.resources.append(statement(directory_pb2.ResourceBody(id=HOUSEHOLD, version=4)))
    region.revision = 2
    assert shuqiao("catalog", "suspend", HOUSEHOLD).code == 0
    body = directory_pb2.ResourceStateBody.FromString(region.received[-1].state.body)
    assert (body.version, body.revision, body.suspended) == (4, 3, True)


def test_showing_an_unknown_resource_is_unknown_resource(shuqiao: Shuqiao) -> None:
    ran = shuqiao("catalog", "show", "970100/a/b", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "UNKNOWN_RESOURCE")


def test_a_resource_is_shown_with_level_and_share_type_of_every_field(
    shuqiao: Shuqiao, region: Region
) -> None:
    shuqiao("catalog", "publish", str(EXAMPLES / "resource.toml"))
    region.resources.append(handed_in(region))
    shown = shuqiao("catalog", "show", HOUSEHOLD).out
    assert all(part in shown for part in ("户籍信息", "户籍地址", "L4", "有条件", "citizen_id"))


def test_the_example_grant_is_applied_for(shuqiao: Shuqiao, region: Region) -> None:
    ran = shuqiao("grant", "apply", str(EXAMPLES / "grant.toml"), "--json")
    assert ran.document == {"ok": True, "grant_id": "ab" * 32, "index": 10}
    body = grant_pb2.GrantBody.FromString(region.received[0].grant.body)
    assert body.not_before.ToMilliseconds() == NOW_MS
    assert (body.consumer, list(body.purposes), body.case_required) == (
        CONSUMER,
        ["newborn-registration"],
        True,
    )


@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("approve", grant_pb2.GRANT_ACTION_ACCEPT),
        ("reject", grant_pb2.GRANT_ACTION_REJECT),
        ("pause", grant_pb2.GRANT_ACTION_PAUSE),
        ("resume", grant_pb2.GRANT_ACTION_RESUME),
        ("revoke", grant_pb2.GRANT_ACTION_REVOKE),
    ],
)
def test_a_decision_is_signed_with_the_next_revision(
    shuqiao: Shuqiao, region: Region, word: str, action: int
) -> None:
    region.grants = [grant_record(revision=3), grant_record(first=0xCD)]
    ran = shuqiao("grant", word, "abab", "--note", "why", "--json")
    assert ran.document["state"] == "active"
    (request,) = [one for one in region.received if isinstance(one, grant_pb2.DecideGrantRequest)]
    event = grant_pb2.GrantEventBody.FromString(request.event.body)
    assert (event.action, event.revision, event.note) == (action, 4, "why")
    assert event.grant_id == b"\xab" * 32


@pytest.mark.parametrize(("text", "code"), [("ff", "UNKNOWN_GRANT"), ("xyz", "BAD_CONFIGURATION")])
def test_a_grant_that_is_not_there_is_told_from_one_that_is_no_id(
    shuqiao: Shuqiao, region: Region, text: str, code: str
) -> None:
    region.grants = [grant_record()]
    assert shuqiao("grant", "show", text, "--json").document["error"]["code"] == code


def test_grants_are_listed_with_their_state_in_words(shuqiao: Shuqiao, region: Region) -> None:
    region.grants = [grant_record()]
    assert "待审批" in shuqiao("grant", "list").out
    assert "pending" in shuqiao("grant", "list", lang="en").out


def test_tail_with_json_prints_one_line_per_entry(shuqiao: Shuqiao, region: Region) -> None:
    refused = exchange_leaf(audit_pb2.DECISION_REFUSED, reason_pb2.REASON_NO_GRANT)
    region.leaves = [state_leaf(1), refused]
    lines = [json.loads(line) for line in shuqiao("audit", "tail", "--json").out.splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert (lines[0]["resource_action"], lines[0]["resource_revision"]) == ("suspend", 1)
    assert (lines[0]["act"], lines[1]["decision"], lines[1]["reason"]) == (
        "resource_state",
        "refused",
        "NO_GRANT",
    )


@pytest.mark.parametrize("follow", [(), ("--follow", "--limit", "1")])
def test_tail_for_people_says_what_happened(
    shuqiao: Shuqiao, region: Region, follow: tuple[str, ...]
) -> None:
    region.leaves = [exchange_leaf(audit_pb2.DECISION_REFUSED, reason_pb2.REASON_NO_GRANT)]
    ran = shuqiao("audit", "tail", *follow)
    shown = ran.out
    assert ran.code == 0
    assert all(part in shown for part in ("已拒绝", "NO_GRANT", CONSUMER, HOUSEHOLD))


def asked(region: Region) -> agent_pb2.AskRequest:
    request, metadata = region.received[-1]
    assert metadata["authorization"] == "Bearer local-secret"
    assert isinstance(request, agent_pb2.AskRequest)
    return request


def test_a_query_goes_through_the_agent_and_prints_the_records(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("970102199001010011\n")
    region.answer.exchange_id = b"\1" * 16
    region.answer.answer.records = 2
    region.answer.answer.columns.add(name="name", type="text", values=["云舒", ""], nulls=[1])
    region.answer.receipt.index = 41
    ran = shuqiao(
        "query", HOUSEHOLD, f"citizen_id=@{tmp_path / 'id'}", "-f", "name", "--purpose", "p", "--case", "c",
        "--json",
    )  # fmt: skip
    assert ran.document["records"] == [{"name": "云舒"}, {"name": None}]
    assert ran.document["receipt"] == {"index": 41, "verified": True}
    request = asked(region)
    assert request.parameters[0].value == "970102199001010011"
    assert (request.purpose, request.case_number, list(request.fields)) == ("p", "c", ["name"])
    people = shuqiao("query", HOUSEHOLD, "citizen_id=1").out
    assert all(part in people for part in ("云舒", "回执已验证", "41"))


def test_a_verification_prints_match_mismatch_and_unknown(shuqiao: Shuqiao, region: Region) -> None:
    region.answer.answer.records = 1
    for name, value, nulls in (("name", "true", []), ("address", "false", []), ("household_number", "", [0])):
        region.answer.answer.columns.add(name=name, type="boolean", values=[value], nulls=nulls)
    shown = shuqiao("verify", HOUSEHOLD, "citizen_id=1", "--claim", "name=云舒").out
    assert all(part in shown for part in ("一致", "不一致", "无记录"))
    request = asked(region)
    assert (request.kind, request.claims[0].value) == (common_pb2.KIND_VERIFY, "云舒")


def test_a_refused_query_exits_1_with_the_exchange_it_was(shuqiao: Shuqiao, region: Region) -> None:
    failure = to_failure(FieldNotGranted("address", hop="gateway/gateway-1"), b"\1" * 16)
    region.answer = agent_pb2.AskResponse(exchange_id=b"\1" * 16, failure=failure)
    ran = shuqiao("query", HOUSEHOLD, "citizen_id=1", "--json")
    assert ran.code == 1
    assert ran.document["error"]["code"] == "FIELD_NOT_GRANTED"
    assert ran.document["exchange_id"] == "01010101-0101-0101-0101-010101010101"


def test_a_grant_is_decided_by_its_resource_where_only_one_waits(shuqiao: Shuqiao, region: Region) -> None:
    region.grants = [grant_record()]
    assert shuqiao("grant", "approve", HOUSEHOLD, "--json").document["grant_id"] == "ab" * 32
    assert shuqiao("grant", "pause", HOUSEHOLD, "--json").document["error"]["code"] == "UNKNOWN_GRANT"
    region.grants.append(grant_record(first=0xAC))
    ran = shuqiao("grant", "approve", HOUSEHOLD, "--json")
    assert ran.document["error"]["subject"] == f"{HOUSEHOLD}: 须指明一项 name one: {'ab' * 6}, {'ac' * 6}"


@pytest.mark.parametrize("term", ["", "days = 30\nnot_after = 2027-01-01\n"])
def test_a_grant_names_its_term_once(shuqiao: Shuqiao, tmp_path: Path, term: str) -> None:
    text = (EXAMPLES / "grant.toml").read_text(encoding="utf-8").replace("days = 365\n", term)
    (tmp_path / "grant.toml").write_text(text, encoding="utf-8")
    ran = shuqiao("grant", "apply", str(tmp_path / "grant.toml"), "--json")
    assert ran.code == 2
    assert "either not_after or days" in ran.document["error"]["subject"]


def _token(token_id: str, name: str, organisation: str = "") -> trust_pb2.TokenRecord:
    role = trust_pb2.ROLE_AGENT if organisation else trust_pb2.ROLE_GATEWAY
    who = trust_pb2.Enrolment(role=role, name=name, organisation=organisation)
    return trust_pb2.TokenRecord(token_id=token_id, enrolment=who, created_by="wang", needs="second-person")


def test_countersigning_signs_what_the_token_is_for(shuqiao: Shuqiao, region: Region) -> None:
    region.tokens = [_token("t-1", "agent-2", CONSUMER)]
    ran = shuqiao("certs", "countersign", "agent-2", "--json")
    assert ran.document["needs"] == "second-person"
    body = trust_pb2.CountersignBody.FromString(region.received[-1].countersignature.body)
    assert (body.token_id, body.enrolment.organisation, body.enrolment.name) == ("t-1", CONSUMER, "agent-2")


@pytest.mark.parametrize("wanted", ["gateway-1", "t-2"])
def test_a_token_is_approved_by_the_name_or_the_id_that_is_shown(
    shuqiao: Shuqiao, region: Region, wanted: str
) -> None:
    region.tokens = [_token("t-1", "health", CONSUMER), _token("t-2", "gateway-1")]
    ran = shuqiao("certs", "approve", wanted, lang="en")
    assert region.received[-1].token_id == "t-2"
    assert "gateway gateway-1, made by wang" in ran.out


def test_a_name_that_two_tokens_are_for_is_not_approved(shuqiao: Shuqiao, region: Region) -> None:
    region.tokens = [_token("t-1", "health", CONSUMER), _token("t-2", "health", CONSUMER)]
    ran = shuqiao("certs", "approve", "health", "--json")
    assert ran.code == 1
    assert ran.document["error"]["code"] == "BAD_TOKEN"
    assert "t-1, t-2" in ran.document["error"]["subject"]


def test_waiting_tokens_are_listed(shuqiao: Shuqiao, region: Region) -> None:
    region.tokens = [_token("t-1", "health", CONSUMER), _token("t-2", "gateway-1")]
    listed = shuqiao("certs", "tokens", "--json").document["tokens"]
    assert [(one["role"], one["name"]) for one in listed] == [("agent", "health"), ("gateway", "gateway-1")]


def test_exactly_one_thing_is_revoked(shuqiao: Shuqiao, region: Region) -> None:
    assert shuqiao("certs", "revoke", "--serial", "AB", "--json").document["trust_list"] == 12
    assert region.received[-1].serial == "ab"
    assert shuqiao("certs", "revoke", "--serial", "AB", "--kid", "00").code == 2


def test_certificates_are_shown_with_their_state(shuqiao: Shuqiao, person: Person) -> None:
    assert "已吊销" in shuqiao("certs", "show", "--all").out
    own = shuqiao("certs", "show", "--json").document
    assert (own["role"], own["serial"]) == ("steward", f"{person.certificate.serial_number:x}")


def test_the_example_context_names_every_key() -> None:
    context = read_context(EXAMPLES / "context.toml")
    assert context.gateway.endswith(":7443")
    assert context.identity == EXAMPLES / "identity"
    assert all(context.has(key) for key in ContextFile.model_fields if key != "keys")
