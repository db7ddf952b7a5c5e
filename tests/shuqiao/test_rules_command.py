"""`shuqiao rules` and `grant explain`: rules that hold together, two people, and what they decide."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, reason_pb2
from shuqiao import rules_folder
from shuqiao.rules_form import line_of
from tests.support.region import CIVIL, HEALTH, POLICE, RESOURCE, Authority, Region
from tests.support.rules import HOUR_MS, MORNING_MS, POLICIES, ReadLog, enter, morning
from tests.support.rules_region import RulesRegion, rules_region

AUTHORITY = Authority()
LI, WANG = (AUTHORITY.person(Role.ADMIN, name) for name in ("li", "wang"))
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "sun", CIVIL)
SECOND, WRONG = "SECOND_PERSON_REQUIRED", "WRONG_STATE"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RulesRegion]:
    def make() -> Region:
        region = Region(tmp_path, authority=AUTHORITY, log=ReadLog())
        morning(region)
        return region

    with rules_region(make, tmp_path) as made:
        made.do(made.region.settled())
        yield made


@pytest.fixture
def folder(served: RulesRegion, tmp_path: Path) -> Path:
    assert served.shuqiao(LI, "rules", "init", str(tmp_path / "rules")).code == 0
    return tmp_path / "rules"


def change(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after, 1))


def test_the_rules_that_travel_with_the_product_hold_and_pass_their_cases() -> None:
    checked = rules_folder.check_folder(POLICIES)
    assert [str(fault) for fault in checked.faults] == []
    assert checked.cases > 20 and checked.body is not None
    assert {file.name for file in checked.body.guards} == {"important", "levels", "parties"}


def test_examples_are_written_once_and_never_over_what_is_there(served: RulesRegion, folder: Path) -> None:
    assert served.shuqiao(LI, "rules", "check", str(folder)).code == 0
    again = served.shuqiao(LI, "--json", "rules", "init", str(folder))
    assert again.code == 2 and "region.toml" in again.document["error"]["subject"]


FAULTS: list[tuple[str, str, str, int, str]] = [
    ("region.toml", 'case_mode = "claims"', 'case_mode = "perhaps"', 0, "case_mode"),
    ("region.toml", "dispute_days = 10", "dispute_days = 251", 0, "clocks.dispute_days"),
    ("region.toml", "case_services = []", 'case_services = ["1"]', 0, "credit code"),
    ("region.toml", 'code = "emergency-care"', 'cod = "x"', 0, "purposes.1.cod: Extra"),
    ("region.toml", "[clocks]", "[clocks", 0, "Expected"),
    ("cases.toml", "hour = 22", "hour = 24", 0, "cases.5.hour"),
    ("cases.toml", "hour = 22", "hour = 12", 1, "allowed, not l4-working-hours"),
    ("cases.toml", 'decides = "l4-scenario"', 'decides = "l4-senario"', 0, "l4-scenario, not"),
    ("guards/levels.cedar", "context.hour < 8", "context.hours < 8", -4, "hours"),
    ("guards/levels.cedar", "forbid", "permit", -3, "only forbid"),
    ("guards/parties.cedar", '@id("cross-province")', '@id("l4-scenario")', 0, "twice"),
    ("guards.cedarschema", "// ", "// x ", 0, "rules init"),
]


@pytest.mark.parametrize(("name", "before", "after", "below", "said"), FAULTS)
def test_a_fault_is_told_with_file_and_line(
    tmp_path: Path, name: str, before: str, after: str, below: int, said: str
) -> None:
    """The fault lies so many lines below the text that was changed."""
    rules_folder.write_examples(POLICIES, tmp_path)
    text = (tmp_path / name).read_text()
    line = text[: text.index(before)].count("\n") + 1 + below
    change(tmp_path, name, before, after)
    faults = rules_folder.check_folder(tmp_path).faults
    assert any(said in fault.text and fault[:2] == (name, line) for fault in faults), faults


def test_what_only_the_whole_shows_is_a_fault_as_well(tmp_path: Path) -> None:
    rules_folder.write_examples(POLICIES, tmp_path)
    change(tmp_path, "region.toml", 'code = "emergency-care"', 'code = "account-opening"')
    assert "a purpose twice" in str(rules_folder.check_folder(tmp_path).faults)


def test_every_fault_is_told_at_once(served: RulesRegion, folder: Path) -> None:
    change(folder, "region.toml", "dispute_days = 10", "dispute_days = -1")
    change(folder, "region.toml", 'title_zh = "急救身份核实"', "")
    change(folder, "cases.toml", "level = 4", "level = 5")
    change(folder, "guards/levels.cedar", "forbid", "permit")
    ran = served.shuqiao(LI, "--json", "rules", "check", str(folder))
    assert ran.code == 1 and not ran.document["ok"]
    files = [fault["file"] for fault in ran.document["faults"]]
    assert files == ["region.toml", "region.toml", "cases.toml", "guards/levels.cedar"]
    shown = served.shuqiao(LI, "rules", "check", str(folder))
    assert shown.code == 1 and "guards/levels.cedar" in shown.out


def test_a_guard_without_a_case_is_a_fault(tmp_path: Path) -> None:
    rules_folder.write_examples(POLICIES, tmp_path)
    text = (
        '@id("new") @reason_zh("新") @reason_en("new")\nforbid (principal, action, resource) when { false };'
    )
    (tmp_path / "guards" / "new.cedar").write_text(text)
    faults = rules_folder.check_folder(tmp_path).faults
    assert [str(fault) for fault in faults] == ["guards/new.cedar:1: new: no case in cases.toml"]
    (tmp_path / "cases.toml").unlink()
    assert "cases.toml" in {fault.file for fault in rules_folder.check_folder(tmp_path).faults}


def test_risk_rules_travel_verbatim(tmp_path: Path) -> None:
    rules_folder.write_examples(POLICIES, tmp_path)
    body = rules_folder.check_folder(tmp_path).body
    assert body is not None and body.risk == (POLICIES / "risk.toml").read_text()
    (tmp_path / "risk.toml").write_text("[[rules]]\nid = 5\n")
    faults = rules_folder.check_folder(tmp_path).faults
    assert [fault.file for fault in faults] == ["risk.toml"]
    (tmp_path / "risk.toml").unlink()
    body = rules_folder.check_folder(tmp_path).body
    assert body is not None and body.risk == ""


def test_a_place_in_a_form_is_found_in_its_text() -> None:
    text = "a = 1\n[[b]]\nc = 1\n[[b]]\nd = 1\nc = 2\n[e]\nf = 3\n"
    places: list[tuple[tuple[int | str, ...], int]] = [
        (("a",), 1),
        (("b", 0, "c"), 3),
        (("b", 1, "c"), 6),
        (("b", 1, "missing"), 4),
        (("e", "f"), 8),
        (("missing",), 1),
        ((), 1),
    ]
    assert [line_of(text, place) for place, _ in places] == [line for _, line in places]


def propose(served: RulesRegion, folder: Path, file: Path, who: StatementSigner = LI) -> Any:
    return served.shuqiao(who, "--json", "rules", "propose", str(folder), "--out", str(file))


def test_two_administrators_set_rules_and_everybody_sees_them(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.bin"
    assert propose(served, folder, file).document["version"] == 1
    signed = served.shuqiao(WANG, "rules", "sign", str(file), lang="en")
    assert signed.code == 0
    assert "l4-needs-case" in signed.out and "Proposed" in signed.out and "li" in signed.out
    assert "Risk rules one-case-for-many" in signed.out and "# Risk rules" not in signed.out
    published = served.shuqiao(WANG, "--json", "rules", "publish", str(file))
    entries = served.region.log.entries
    assert published.document == {"ok": True, "version": 1, "index": len(entries) - 1}
    entry = audit_pb2.AuditEntry.FromString(entries[-1]).administrative
    assert entry.actor == WANG.identity.uri and len(entry.countersignatures) == 1
    shown = served.shuqiao(served.region.health, "--json", "rules", "show").document
    assert shown["version"] == 1 and shown["case_mode"] == "claims"
    assert shown["guards"]["l4-needs-case"]["reason_zh"] == "查询含 L4 信息项的，须有办件编号"
    words = served.shuqiao(served.region.health, "rules", "show").out
    assert "新生儿出生一件事" in words and "l4-working-hours" in words
    assert "使用部门自述" in words and "异议：10" in words and "one-case-for-many" in words
    assert "title_zh" not in words and "dispute_days" not in words


def test_a_change_is_shown_part_by_part_before_it_is_signed(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.bin"
    propose(served, folder, file)
    served.shuqiao(WANG, "rules", "sign", str(file))
    served.shuqiao(LI, "rules", "publish", str(file))
    assert served.shuqiao(LI, "--json", "rules", "diff", str(folder)).document["changes"] == []
    change(folder, "region.toml", "dispute_days = 10", "dispute_days = 5")
    change(folder, "guards/levels.cedar", "context.hour < 8", "context.hour < 7")
    change(folder, "cases.toml", "hour = 7\n", "hour = 6\n")
    told = served.shuqiao(LI, "--json", "rules", "diff", str(folder)).document
    assert (told["in_force"], told["version"]) == (1, 2)
    assert [one["what"] for one in told["changes"]] == ["clocks.dispute_days", "guards.l4-working-hours"]
    assert (told["changes"][0]["before"], told["changes"][0]["after"]) == ("10", "5")


def test_one_administrator_alone_is_refused_and_the_refusal_is_an_entry(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.bin"
    propose(served, folder, file)
    again = served.shuqiao(LI, "--json", "rules", "sign", str(file))
    assert (again.code, again.document["error"]["code"]) == (1, SECOND)
    alone = served.shuqiao(LI, "--json", "rules", "publish", str(file))
    assert (alone.code, alone.document["error"]["code"]) == (1, SECOND)
    refused = served.region.log.acts()[-1]
    assert (refused.act, refused.reason) == (
        audit_pb2.ACT_REFUSED,
        reason_pb2.REASON_SECOND_PERSON_REQUIRED,
    )
    assert served.region.state.rules.current.version == 0


def test_of_two_proposals_that_race_the_second_is_refused(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for file, one, other in ((first, LI, WANG), (second, WANG, LI)):
        propose(served, folder, file, one)
        assert served.shuqiao(other, "rules", "sign", str(file)).code == 0
    assert served.shuqiao(LI, "rules", "publish", str(first)).code == 0
    late = served.shuqiao(WANG, "--json", "rules", "publish", str(second))
    assert (late.code, late.document["error"]["code"]) == (1, WRONG)


def test_nobody_but_an_administrator_proposes_or_signs(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.bin"
    assert propose(served, folder, file, OFFICER).document["error"]["code"] == "ROLE_NOT_ALLOWED"
    propose(served, folder, file)
    signed = served.shuqiao(OFFICER, "--json", "rules", "sign", str(file))
    assert signed.document["error"]["code"] == "ROLE_NOT_ALLOWED"


def test_rules_with_a_fault_are_not_proposed(served: RulesRegion, folder: Path, tmp_path: Path) -> None:
    change(folder, "cases.toml", "hour = 22", "hour = 12")
    ran = propose(served, folder, tmp_path / "rules.bin")
    assert (ran.code, ran.document["error"]["code"]) == (1, "RULES_INVALID")
    assert "cases.toml:" in ran.document["error"]["subject"]
    assert not (tmp_path / "rules.bin").exists()


def test_a_file_that_is_none_or_was_altered_is_refused(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.bin"
    file.write_bytes(b"\xff\xff")
    assert served.shuqiao(WANG, "rules", "sign", str(file)).code == 2
    propose(served, folder, file)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"newborn-registration", b"newborn-registratian"))
    altered = served.shuqiao(WANG, "--json", "rules", "sign", str(file))
    assert altered.document["error"]["code"] == "BAD_SIGNATURE"


def granted(served: RulesRegion) -> bytes:
    async def make() -> bytes:
        kinds = [common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY]
        purposes = ["newborn-registration"]
        grant = await served.region.apply(kinds=kinds, purposes=purposes)
        await served.region.decide(grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
        return grant

    return served.do(make())


def publish(served: RulesRegion, folder: Path, file: Path) -> None:
    propose(served, folder, file)
    served.shuqiao(WANG, "rules", "sign", str(file))
    assert served.shuqiao(WANG, "rules", "publish", str(file)).code == 0


def test_a_dry_run_tells_whose_exchanges_would_be_decided_otherwise(
    served: RulesRegion, folder: Path
) -> None:
    grant = granted(served)

    async def entries() -> None:
        for hours in (0, 1, 11, 12):
            about = {"fields": ["address"], "purpose": "newborn-registration"}
            enter(served.region, grant, MORNING_MS + hours * HOUR_MS, **about)
        served.region.clock.ms = MORNING_MS + 13 * HOUR_MS
        served.region.feed.offer(AUTHORITY.trust_list(served.region.clock.ms))

    served.do(entries())
    ran = served.shuqiao(OFFICER, "--json", "rules", "dry-run", str(folder))
    assert ran.code == 0
    assert (ran.document["examined"], ran.document["same"]) == (4, 2)
    [group] = ran.document["groups"]
    assert (group["rule"], group["consumer"], group["refused"]) == ("guard/l4-working-hours", HEALTH, True)
    shown = served.shuqiao(OFFICER, "rules", "dry-run", str(folder), "--since", "2026-09-22", lang="en")
    assert "guard/l4-working-hours" in shown.out and "4 exchanges, 2 decided the same" in shown.out
    assert "Quotas stand in grants: no rules change them" in " ".join(shown.out.split())
    assert ran.document["not_covered"] == ["verify_limits"]
    assert served.shuqiao(OFFICER, "rules", "dry-run", str(folder), "--since", "soon").code == 2


def test_a_dry_run_tells_what_risk_rules_would_have_found(served: RulesRegion, folder: Path) -> None:
    grant = granted(served)

    async def entries() -> None:
        for _ in range(3):
            enter(served.region, grant, MORNING_MS)
        served.region.clock.ms = MORNING_MS + HOUR_MS
        served.region.feed.offer(AUTHORITY.trust_list(served.region.clock.ms))

    served.do(entries())
    (folder / "risk.toml").write_text(
        '[[rule]]\nid = "load"\nkind = "case_load"\ntitle_zh = "题"\ntitle_en = "title"\n'
        'severity = "notice"\nwindow = "1h"\nleast = 3\n'
    )
    ran = served.shuqiao(OFFICER, "--json", "rules", "dry-run", str(folder), "--since", "2026-09-22")
    assert ran.code == 0
    [rule] = ran.document["risk"]["rules"]
    assert (rule["rule"], rule["in_force"], rule["proposed"]) == ("load", None, 1)
    [first] = rule["first"]
    assert (first["consumer"], first["resources"], first["count"]) == (HEALTH, [RESOURCE], 3)
    shown = served.shuqiao(OFFICER, "rules", "dry-run", str(folder), "--since", "2026-09-22", lang="en")
    for part in ("What risk rules would have found", "load", HEALTH, "3 exchanges with what windows look"):
        assert part in shown.out
    (folder / "risk.toml").unlink()
    without = served.shuqiao(OFFICER, "rules", "dry-run", str(folder), "--since", "2026-09-22")
    assert "没有风险规则" in without.out


def test_explain_prints_every_rule_with_reason_and_remedy(
    served: RulesRegion, folder: Path, tmp_path: Path
) -> None:
    grant = granted(served)
    publish(served, folder, tmp_path / "rules.bin")
    asked = ["grant", "explain", "--resource", RESOURCE, "--purpose", "newborn-registration"]
    asked += ["--matter", "newborn", "--case", "C-1", "--grant", grant.hex(), "--field"]
    allowed = served.shuqiao(served.region.health, *asked, "name")
    assert allowed.code == 0 and "会通过" in allowed.out and "✗" not in allowed.out
    night = "2026-09-22T22:00+08:00"
    about = ["--consumer", HEALTH, "--at", night]
    refused = served.shuqiao(served.region.police, *asked, "address", *about, lang="en")
    assert refused.code == 1
    for part in ("✗", "guard/l4-working-hours", "FORBIDDEN_BY_RULE", "非工作时间", "outside working hours"):
        assert part in refused.out
    document = served.shuqiao(OFFICER, "--json", *asked, "address", *about).document
    assert not document["allowed"] and document["grant_id"] == grant.hex()
    last = document["steps"][-1]
    assert last["rule"] == "guard/l4-working-hours" and last["guard"]["en"].startswith("No query")
    assert last["remedy"]["zh"] and served.region.log.acts()[-1].act == audit_pb2.ACT_READ


def test_explain_answers_no_stranger_and_no_nonsense(served: RulesRegion) -> None:
    asked = ["grant", "explain", "--resource", RESOURCE, "--purpose", "birth", "--field", "name"]
    stranger = served.shuqiao(CIVIL_STEWARD, "--json", *asked, "--consumer", HEALTH)
    assert (stranger.code, stranger.document["error"]["code"]) == (1, "ROLE_NOT_ALLOWED")
    assert served.shuqiao(served.region.health, *asked, "--kind", "guess").code == 2
    none = served.shuqiao(served.region.health, *asked)
    assert none.code == 1 and "NO_GRANT" in none.out
    assert POLICE not in none.out
