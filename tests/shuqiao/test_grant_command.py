"""`shuqiao grant`: what it signs and sends, and what it shows."""

import json
from pathlib import Path
from typing import Any

from exchange.v1 import common_pb2, directory_pb2, grant_pb2
from shuqiao.local_time import shown
from tests.support.command_region import Person, Region
from tests.support.region import CIVIL, HEALTH, POLICE, grant_body, moment
from tests.support.sealing import NOW_MS

G = grant_pb2
DAY_MS = 24 * 3600 * 1000
RECORDED = (
    "clock",
    "due_at",
    "waits_for",
    "used",
    "extended_to",
    "supervisor",
    "resource_standing",
    "events",
)
DATES = {"extend": "2027-12-31T16:00:00Z", "attest": "2026-09-01T04:00:00Z"}
"""What the dates and times that are typed here mean: they are of UTC+8."""


def held(**changes: Any) -> grant_pb2.GrantRecord:
    told = {name: changes.pop(name) for name in RECORDED if name in changes}
    return G.GrantRecord(
        grant_id=changes.pop("grant_id", b"\x0a" * 32),
        state=changes.pop("state", G.GRANT_STATE_ACTIVE),
        grant=common_pb2.Statement(body=grant_body(NOW_MS, **changes)),
        revision=3,
        not_after=moment(NOW_MS + 3 * DAY_MS),
        **told,
    )


def sent(region: Region) -> grant_pb2.GrantEventBody:
    (request,) = [one for one in region.received if isinstance(one, G.DecideGrantRequest)]
    return G.GrantEventBody.FromString(request.event.body)


def test_an_application_says_what_the_form_says(region: Region, shuqiao: Any, tmp_path: Path) -> None:
    form = tmp_path / "grant.toml"
    form.write_text(
        f"""
provider = "{POLICE}"
resource = "970100/police/household"
fields = ["name"]
kinds = ["query"]
purposes = ["birth"]
matters = ["newborn"]
days = 30
scope = "scenario"
steps = ["newborn/file"]
fetch_modes = ["on_demand", "batch"]
data_life_days = 60
redisclosure_to = ["{CIVIL}"]

[[row_filters]]
field = "division"
operator = "prefix"
values = ["970102"]

[[quotas]]
period = "day"
exchanges = 100
""",
        encoding="utf-8",
    )
    ran = shuqiao("grant", "apply", str(form))
    assert ran.code == 0, ran.err
    (request,) = [one for one in region.received if isinstance(one, G.ApplyGrantRequest)]
    body = G.GrantBody.FromString(request.grant.body)
    assert (body.scope, list(body.steps), list(body.fetch_modes)) == (
        G.GRANT_SCOPE_SCENARIO,
        ["newborn/file"],
        [1, 2],
    )
    assert body.row_filters[0] == G.RowFilter(
        field="division", operator=G.FILTER_OPERATOR_PREFIX, values=["970102"]
    )
    assert body.quotas[0] == G.Quota(period=G.QUOTA_PERIOD_DAY, exchanges=100)
    assert (body.data_life_days, list(body.redisclosure_to)) == (60, [CIVIL])


def test_each_thing_done_to_a_grant_is_signed_as_such(region: Region, shuqiao: Any) -> None:
    region.grants = [held()]
    for words, action in (
        (("supervise",), G.GRANT_ACTION_SUPERVISE),
        (("overrule",), G.GRANT_ACTION_OVERRULE),
        (("exit",), G.GRANT_ACTION_EXIT),
        (("extend", "--until", "2028-01-01"), G.GRANT_ACTION_EXTEND),
        (("attest", "--before", "2026-09-01T12:00:00"), G.GRANT_ACTION_ATTEST_DELETION),
    ):
        region.received.clear()
        ran = shuqiao("grant", words[0], "0a0a", *words[1:], "--note", "说明")
        assert ran.code == 0, ran.err
        event = sent(region)
        assert (event.action, event.revision, event.note) == (action, 4, "说明")
        assert event.HasField("not_after") == (words[0] == "extend")
        assert event.HasField("deleted_before") == (words[0] == "attest")
        told = event.not_after if words[0] == "extend" else event.deleted_before
        assert told.ToJsonString() == DATES.get(words[0], told.ToJsonString())


def test_a_term_is_shown_by_the_day_that_was_typed(region: Region, shuqiao: Any) -> None:
    record = held()
    record.not_after.FromJsonString(DATES["extend"])
    region.grants = [record]
    assert "2028-01-01" in shuqiao("grant", "list").out
    assert "2028-01-01T00:00:00+08:00" in shuqiao("grant", "show", "0a0a").out
    assert (
        json.loads(shuqiao("grant", "show", "0a0a", "--json").out)["not_after"] == "2027-12-31T16:00:00.000Z"
    )


def test_a_list_asks_for_state_resource_and_what_is_overdue(region: Region, shuqiao: Any) -> None:
    ran = shuqiao(
        "grant", "list", "--state", "supervising", "--resource", "a", "--consumer", "b", "--overdue"
    )
    assert ran.code == 0, ran.err
    (request,) = [one for one in region.received if isinstance(one, G.ListGrantsRequest)]
    assert (request.state, request.resource, request.consumer, request.overdue) == (
        G.GRANT_STATE_SUPERVISING,
        "a",
        "b",
        True,
    )
    assert shuqiao("grant", "list", "--state", "sleeping").code == 2


def test_clocks_are_listed_with_what_is_due_first(region: Region, shuqiao: Any) -> None:
    late = {"clock": "decide", "due_at": moment(NOW_MS - DAY_MS), "waits_for": POLICE}
    soon = {"clock": "delete", "due_at": moment(NOW_MS + DAY_MS), "waits_for": HEALTH}
    region.grants = [held(**soon), held(**late)]
    ran = shuqiao("grant", "clocks")
    assert ran.code == 0 and ran.out.index(POLICE) < ran.out.index("声明删除")
    assert all(request.timed for request in region.received)
    told = json.loads(shuqiao("grant", "clocks", "--json").out)
    assert [view["clock"] for view in told["grants"]] == ["decide", "delete"]


def test_one_grant_is_shown_with_all_that_it_says(region: Region, shuqiao: Any) -> None:
    region.grants = [
        held(
            steps=["newborn/file"],
            row_filters=[G.RowFilter(field="division", operator=G.FILTER_OPERATOR_PREFIX, values=["970102"])],
            quotas=[G.Quota(period=G.QUOTA_PERIOD_DAY, exchanges=100)],
            used=[7],
            data_life_days=60,
            redisclosure_to=[CIVIL],
            clock="delete",
            due_at=moment(NOW_MS + DAY_MS),
            waits_for=HEALTH,
        )
    ]
    people = shuqiao("grant", "show", "0a" * 32).out
    for said in (
        "依场景授权",
        "newborn/file",
        "division 前缀为 970102",
        "100 / 天 (7)",
        "60 天",
        CIVIL,
        "声明删除",
    ):
        assert said in people, said
    view = json.loads(shuqiao("grant", "show", "0a" * 32, "--json").out)
    assert (view["scope"], view["waits_for"], view["quotas"]) == (
        "scenario",
        HEALTH,
        [{"period": "day", "exchanges": 100, "used": 7}],
    )
    assert view["not_after"] != view["not_before"] and view["due_at"]


def test_an_extension_that_waits_says_for_whom_and_what_holds_until_then(
    region: Region, shuqiao: Any
) -> None:
    region.grants = [held(extended_to=moment(NOW_MS + 9 * DAY_MS), supervisor=CIVIL)]
    told = shuqiao("grant", "extend", "0a", "--until", "2030-01-01", "--json").document
    assert (told["supervisor"], told["state"]) == (CIVIL, "active")
    assert told["not_after"] < told["extended_to"]
    said = shuqiao("grant", "extend", "0a", "--until", "2030-01-01").out
    not_after, extended_to = shown(told["not_after"]), shown(told["extended_to"])
    assert f"仍至 {not_after}；待 {CIVIL} 同意后延长至 {extended_to}" in said
    one = shuqiao("grant", "show", "0a").out
    assert extended_to in one and CIVIL in one


def test_a_supervisor_finds_by_resource_what_waits_for_it_alone(region: Region, shuqiao: Any) -> None:
    waits = {"extended_to": moment(NOW_MS + 9 * DAY_MS), "supervisor": CIVIL}
    region.grants = [held(), held(grant_id=b"\x0b" * 32, **waits)]
    resource = shuqiao("grant", "list", "--json").document["grants"][0]["resource"]
    assert shuqiao("grant", "supervise", resource).code == 0
    assert sent(region).grant_id == b"\x0b" * 32
    region.grants.pop()
    assert "UNKNOWN_GRANT" in shuqiao("grant", "overrule", resource).err


def test_a_grant_tells_that_its_resource_was_withdrawn_unless_it_is_over(
    region: Region, shuqiao: Any
) -> None:
    gone = {"resource_standing": directory_pb2.RESOURCE_STANDING_WITHDRAWN}
    region.grants = [held(**gone)]
    assert "有效（资源已下架）" in shuqiao("grant", "list").out
    assert shuqiao("grant", "show", "0a", "--json").document["resource_standing"] == "withdrawn"
    region.grants = [held(**gone, state=G.GRANT_STATE_REVOKED)]
    assert "资源已下架" not in shuqiao("grant", "list").out


def test_a_history_tells_who_signed_each_step(region: Region, shuqiao: Any, person: Person) -> None:
    event = G.GrantEventBody(grant_id=b"\x0a" * 32, revision=1, action=G.GRANT_ACTION_ACCEPT)
    statement = person.statement_signer().sign(b"x", event.SerializeToString())
    region.grants = [held(events=[statement])]
    (told,) = shuqiao("grant", "show", "0a", "--json").document["events"]
    assert told["signed_by"] == person.identity().uri
    assert str(person.identity()) in shuqiao("grant", "show", "0a").out
