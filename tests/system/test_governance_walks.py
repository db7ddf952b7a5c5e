"""Four flows of governance walked to their ends with real processes, by the commands of the documentation.

docs/grants.md: a supervisor in force. docs/masking.md: a department's own allow-list. docs/catalogue.md: data
that are passed on; a withdrawal.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shuqiao.demo.cast import AUDITOR, CIVIL, HEALTH, INSURANCE, POLICE
from shuqiao.local_time import shown as local
from tests.support.real_region import until
from tests.support.walked_region import ALLOW, FAMILY, HOUSEHOLD, RESIDENCE, Walk, walked_region

pytestmark = pytest.mark.system

PARTIES = (HEALTH.steward, POLICE.steward, INSURANCE.steward)


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    with tempfile.TemporaryDirectory(prefix="sq-") as folder, walked_region(Path(folder)) as region:
        yield region


def day(after: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=after):%Y-%m-%d}"


def clock_of(walk: Walk, who: str, grant_id: str) -> tuple[str, str] | None:
    """Return which clock runs for a grant and whose turn it is, as somebody sees it."""
    told = walk.do(who, "grant", "clocks")["grants"]
    found = [(one["clock"], one["waits_for"]) for one in told if one["grant_id"] == grant_id]
    return found[0] if found else None


def listed(walk: Walk, who: str, grant_id: str) -> Any:
    """Return a grant as somebody's list shows it, None where it does not."""
    told = walk.do(who, "grant", "list")["grants"]
    return next((one for one in told if one["grant_id"] == grant_id), None)


# -- a supervisor in force: docs/grants.md ---------------------------------------------------------------


def test_a_conditional_grant_counts_once_its_supervisor_agrees_and_so_does_its_extension(walk: Walk) -> None:
    grant_id = walk.apply(HEALTH, HOUSEHOLD, "name", "relation")
    assert clock_of(walk, POLICE.steward, grant_id) == ("decide", POLICE.credit_code)
    assert walk.refused(INSURANCE.steward, "grant", "supervise", grant_id) == "UNKNOWN_GRANT"
    approved = walk.say(POLICE.steward, "grant", "approve", HOUSEHOLD)
    assert f"待监督部门同意（{INSURANCE.credit_code}）" in approved

    assert walk.outcome(HEALTH, HOUSEHOLD, "name") == "GRANT_PENDING"
    pending = walk.shuqiao(HEALTH.steward, *walk.asking(HOUSEHOLD, "name")).err
    assert "监督部门" in pending and "grant show" in pending
    for who in PARTIES:
        assert listed(walk, who, grant_id)["state"] == "supervising"
        assert clock_of(walk, who, grant_id) == ("supervise", INSURANCE.credit_code)
        assert f"监督部门          {INSURANCE.credit_code}" in walk.say(who, "grant", "show", grant_id)
    assert listed(walk, CIVIL.steward, grant_id) is None
    for who, code in (
        (HEALTH.steward, "ROLE_NOT_ALLOWED"),
        (POLICE.steward, "ROLE_NOT_ALLOWED"),
        (AUDITOR, "ROLE_NOT_ALLOWED"),
        (CIVIL.steward, "UNKNOWN_GRANT"),
    ):
        assert walk.refused(who, "grant", "supervise", grant_id) == code
    assert "所属部门无权" in walk.shuqiao(POLICE.steward, "grant", "supervise", grant_id).err

    walk.do(INSURANCE.steward, "grant", "supervise", HOUSEHOLD)
    walk.answered(HEALTH, HOUSEHOLD, "name")
    history = walk.do(HEALTH.steward, "grant", "show", grant_id)["events"]
    assert [(one["action"], one["signed_by"].rpartition("/")[2]) for one in history] == [
        ("accept", POLICE.steward),
        ("supervise", INSURANCE.steward),
    ]

    before = listed(walk, HEALTH.steward, grant_id)["not_after"]
    extended = walk.say(POLICE.steward, "grant", "extend", grant_id, "--until", day(600))
    assert f"仍至 {local(before)}；待 {INSURANCE.credit_code} 同意后延长至" in extended
    assert walk.refused(POLICE.steward, "grant", "extend", grant_id, "--until", day(610)) == "WRONG_STATE"
    for who in PARTIES:
        shown = listed(walk, who, grant_id)
        assert (shown["state"], shown["not_after"], shown["extended_to"] > before) == ("active", before, True)
        assert clock_of(walk, who, grant_id) == ("supervise", INSURANCE.credit_code)
    walk.answered(HEALTH, HOUSEHOLD, "name")
    walk.do(INSURANCE.steward, "grant", "overrule", HOUSEHOLD, "--note", "期限过长")
    shown = walk.do(HEALTH.steward, "grant", "show", grant_id)
    assert (shown["not_after"], shown["extended_to"], shown["clock"]) == (before, "", "")
    walk.do(POLICE.steward, "grant", "extend", grant_id, "--until", day(500))
    walk.do(INSURANCE.steward, "grant", "supervise", grant_id)
    assert listed(walk, HEALTH.steward, grant_id)["not_after"] > before
    assert walk.refused(INSURANCE.steward, "grant", "supervise", grant_id) == "WRONG_STATE"


def test_what_a_supervisor_overrules_never_counts_and_what_nobody_decides_needs_none(walk: Walk) -> None:
    grant_id = walk.apply(CIVIL, RESIDENCE, "name")
    walk.do(POLICE.steward, "grant", "approve", grant_id)
    walk.do(INSURANCE.steward, "grant", "overrule", RESIDENCE, "--note", "与职责无关")
    assert walk.outcome(CIVIL, RESIDENCE, "name") == "GRANT_REVOKED"
    for who in (CIVIL.steward, POLICE.steward, INSURANCE.steward):
        shown = walk.do(who, "grant", "show", grant_id)
        assert (shown["state"], shown["events"][-1]["note"]) == ("rejected", "与职责无关")
        assert clock_of(walk, who, grant_id) is None
    automatic = walk.apply(CIVIL, RESIDENCE, "police_station")
    walk.answered(CIVIL, RESIDENCE, "police_station")
    assert listed(walk, INSURANCE.steward, automatic) is None, "it was never supervised"


def test_nobody_supervises_what_they_ask_for_themselves(walk: Walk) -> None:
    grant_id = walk.apply(INSURANCE, RESIDENCE, "name")
    assert walk.refused(POLICE.steward, "grant", "approve", grant_id) == "SECOND_PERSON_REQUIRED"
    walk.do(POLICE.steward, "grant", "reject", grant_id)
    assert listed(walk, INSURANCE.steward, grant_id)["state"] == "rejected"


# -- what may be passed on: docs/catalogue.md, docs/grants.md --------------------------------------------


def test_what_is_made_of_others_data_goes_to_those_alone_whom_the_source_names(walk: Walk) -> None:
    made = walk.resource_file(FAMILY, more=f'derived_from = ["{RESIDENCE}"]', title="新生儿家庭")
    publish = ("catalog", "publish", made)
    assert walk.refused(CIVIL.steward, *publish) == "REDISCLOSURE"
    more = f'redisclosure_to = ["{HEALTH.credit_code}"]'
    # All it asks for is unconditional; what is passed on a person decides all the same.
    source = walk.apply(CIVIL, RESIDENCE, "police_station", more=more)
    assert clock_of(walk, CIVIL.steward, source) == ("decide", POLICE.credit_code)
    shown = walk.say(POLICE.steward, "grant", "show", source)
    assert f"转提供            {HEALTH.credit_code}" in shown
    walk.do(POLICE.steward, "grant", "approve", source)
    assert walk.refused(CIVIL.steward, *publish) == "REDISCLOSURE", "the supervisor has not agreed"
    walk.do(INSURANCE.steward, "grant", "supervise", source)
    walk.do(CIVIL.steward, *publish)
    assert walk.do(HEALTH.steward, "catalog", "show", FAMILY)["derived_from"] == [RESIDENCE]

    with pytest.raises(AssertionError, match="REDISCLOSURE"):
        walk.apply(INSURANCE, FAMILY, "police_station")
    assert walk.outcome(HEALTH, FAMILY, "police_station") == "NO_GRANT"
    derived = walk.apply(HEALTH, FAMILY, "police_station")
    walk.answered(HEALTH, FAMILY, "police_station")
    assert listed(walk, CIVIL.steward, derived)["state"] == "active"

    walk.do(POLICE.steward, "grant", "revoke", source, "--note", "不再转提供")
    walk.answered(HEALTH, FAMILY, "police_station")
    walk.do(CIVIL.steward, "grant", "pause", derived)
    for refused in (
        ("grant", "resume", derived),
        ("grant", "extend", derived, "--until", day(500)),
        publish,
    ):
        assert walk.refused(CIVIL.steward, *refused) == "REDISCLOSURE"
    walk.do(CIVIL.steward, "grant", "revoke", derived)
    assert walk.outcome(HEALTH, FAMILY, "police_station") == "GRANT_REVOKED"


def source_of(walk: Walk, resource: str) -> str:
    """Return what the provider's doctor says of a resource's source."""
    findings = walk.do(POLICE.steward, "doctor")["findings"]
    return next(one["found"]["en"] for one in findings if one["hop"] == f"agent/source:{resource}")


# -- a withdrawal to its end: docs/catalogue.md ----------------------------------------------------------


def test_a_withdrawn_resource_is_gone_for_good_and_its_grants_say_so(walk: Walk) -> None:
    """The last one of it: the resource does not come back."""
    active = walk.grant(HEALTH, RESIDENCE, "name")
    walk.answered(HEALTH, RESIDENCE, "name")
    paused = walk.grant(CIVIL, RESIDENCE, "relation")
    walk.do(POLICE.steward, "grant", "pause", paused)
    pending = walk.apply(CIVIL, RESIDENCE, "name", "relation")
    withdraw = ("catalog", "withdraw", RESIDENCE, "--yes")
    assert walk.refused(HEALTH.steward, *withdraw) == "ROLE_NOT_ALLOWED"
    walk.do(POLICE.steward, *withdraw, "--note", "数据移交")

    assert walk.outcome(HEALTH, RESIDENCE, "name") == "WITHDRAWN"
    assert "已下架" in walk.shuqiao(HEALTH.steward, *walk.asking(RESIDENCE, "name")).err
    explained = walk.shuqiao(
        HEALTH.steward, "grant", "explain", "--resource", RESIDENCE, "--field", "name", "--purpose", "x",
        "--matter", "x",
    )  # fmt: skip
    assert explained.code == 1 and "WITHDRAWN" in explained.out
    assert walk.refused(POLICE.steward, *withdraw) == "WRONG_STATE"
    again = walk.shuqiao(POLICE.steward, "catalog", "publish", walk.resource_file(RESIDENCE))
    assert "WRONG_STATE" in again.err and f"{RESIDENCE} is withdrawn" in again.err
    for act in ("suspend", "resume", "show"):
        assert walk.refused(POLICE.steward, "catalog", act, RESIDENCE) == "WITHDRAWN"

    for found in (("list",), ("search", "户籍"), ("search", "--provider", POLICE.agent)):
        ids = [one["id"] for one in walk.do(HEALTH.steward, "catalog", *found)["resources"]]
        assert HOUSEHOLD in ids and RESIDENCE not in ids
    assert "已下架" in walk.say(HEALTH.steward, "catalog", "search", "--standing", "withdrawn")
    (version,) = walk.do(HEALTH.steward, "catalog", "versions", RESIDENCE)["versions"]
    assert version["standing"] == "withdrawn"

    assert "有效（资源已下架）" in walk.say(HEALTH.steward, "grant", "list", "--resource", RESIDENCE)
    for who in (CIVIL.steward, POLICE.steward):
        assert listed(walk, who, pending)["resource_standing"] == "withdrawn"
        assert clock_of(walk, who, pending) is None
    for refused in (
        ("approve", pending),
        ("resume", paused),
        ("extend", active, "--until", day(500)),
    ):
        assert walk.refused(POLICE.steward, "grant", *refused) == "WITHDRAWN"
    with pytest.raises(AssertionError, match="WITHDRAWN"):
        walk.apply(HEALTH, RESIDENCE, "name")
    walk.do(POLICE.steward, "grant", "reject", pending)
    walk.do(POLICE.steward, "grant", "revoke", paused)
    walk.do(HEALTH.steward, "grant", "exit", active)
    assert listed(walk, POLICE.steward, active)["state"] == "ended"

    until(lambda: "withdrawn" in source_of(walk, RESIDENCE), "the provider's agent knows")
    walk.answered(HEALTH, HOUSEHOLD, "name")


# -- a department's own allow-list: docs/masking.md ------------------------------------------------------


def test_what_a_department_does_not_list_is_refused_whatever_was_granted(walk: Walk) -> None:
    """Health was granted `relation` above, and is listed for `name` alone."""
    walk.answered(HEALTH, HOUSEHOLD, "name")
    vetoed = walk.shuqiao(HEALTH.steward, *walk.asking(HOUSEHOLD, "relation"), "--json").error
    assert (vetoed["code"], vetoed["hop"]) == ("PROVIDER_VETO", f"provider/{POLICE.agent}")
    entry = walk.do(AUDITOR, "audit", "search", "--reason", "PROVIDER_VETO", "--newest", "--limit", "1")
    assert (entry["consumer"], entry["resource"]) == (HEALTH.credit_code, HOUSEHOLD)

    walk.grant(CIVIL, HOUSEHOLD, "relation")
    walk.answered(CIVIL, HOUSEHOLD, "relation")


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        ('consumer = "11970100MB1A00028B"', ["allow[4].consumer: 须为统一社会信用代码"]),
        ('resource = "970100/public-security/house*"', ["allow[4].resource: 须为资源编号"]),
        ("purposes = []", ["allow[4].purposes: 不得为空"]),
        (
            'hours = "8-18"\nuse = "any"',
            ["allow[4].hours: 须如 must be like", "allow[4].use: 不认识的项"],
        ),
        ("allow = []", ["allow[4].allow: 不认识的项"]),
        ('purposes = "*', ["at line"]),
    ],
)
def test_an_agent_with_a_bad_rule_does_not_start_and_names_file_place_and_remedy(
    walk: Walk, rule: str, faults: list[str]
) -> None:
    good = {"consumer": '"*"', "resource": '"*"', "purposes": '["*"]'}
    good.pop(rule.partition(" ")[0], None)
    rules = "".join(f"{name} = {value}\n" for name, value in good.items())
    before = walk.world.layout.config(POLICE.agent)
    bad = before.with_name("bad.toml")
    bad.write_text(f"{before.read_text(encoding='utf-8')}\n[[allow]]\n{rules}{rule}\n", encoding="utf-8")
    ran = walk.shuqiao(POLICE.steward, "agent", "serve", "--config", str(bad))
    assert ran.code == 2 and "BAD_CONFIGURATION" in ran.err and "按提示逐项修改配置" in ran.err
    told = ran.err.replace("\n", "").replace(" ", "")
    assert all(part.replace(" ", "") in told for part in (str(bad), *faults)), ran.err


def test_an_empty_list_lets_nothing_pass(walk: Walk) -> None:
    """The very last one: nothing passes from here on."""
    config = walk.world.layout.config(POLICE.agent)
    before = config.read_text(encoding="utf-8")
    walk.world.processes[POLICE.agent].stop()
    config.write_text("allow = []\n" + before.replace(ALLOW, ""), encoding="utf-8")
    walk.world.restart(POLICE.agent)
    for who, field in ((HEALTH, "name"), (CIVIL, "relation")):
        until(lambda w=who, f=field: walk.outcome(w, HOUSEHOLD, f) == "PROVIDER_VETO", "nothing passes")
    assert "withdrawn" in source_of(walk, RESIDENCE), "what was withdrawn stays so after a restart"
