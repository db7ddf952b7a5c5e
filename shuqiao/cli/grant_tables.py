"""How `shuqiao grant` shows grants to people: as rows, as clocks that run, and one with all that it says."""

from collections.abc import Mapping, Sequence
from typing import Any

from shuqiao.cli.invocation import Invocation
from shuqiao.local_time import shown, shown_day
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

STATE_STYLES = {
    "active": GOOD,
    "pending": UNSURE,
    "supervising": UNSURE,
    "paused": UNSURE,
    "rejected": BAD,
    "revoked": BAD,
    "ended": BAD,
}
LIVE = ("pending", "supervising", "active", "paused")
OUT_OF_USE = {"suspended": UNSURE, "withdrawn": BAD}
SHORT_HEX = 12

_View = Mapping[str, Any]


def show_list(call: Invocation, views: Sequence[_View]) -> None:
    """Print grants as a table."""
    columns = (
        Text("授权", "Grant"),
        Text("状态", "State"),
        Text("使用部门", "Consumer"),
        Text("资源", "Resource"),
        Text("信息项", "Fields"),
        Text("用途", "Purposes"),
        Text("有效期至（UTC+8）", "Until (UTC+8)"),
        Text("待办", "Waits for"),
    )
    call.out.table(Text("授权", "Grants"), columns, [_row(call, view) for view in views])


def show_clocks(call: Invocation, views: Sequence[_View], *, now: str) -> None:
    """Print the clocks that run, what is due first.

    Args:
        now: RFC 3339 in UTC, as views tell times.
    """
    columns = (
        Text("授权", "Grant"),
        Text("待办", "Clock"),
        Text("期限", "Due"),
        Text("办理部门", "Waits for"),
        Text("状态", "State"),
        Text("使用部门", "Consumer"),
        Text("资源", "Resource"),
    )
    rows = [
        [
            view["grant_id"][:SHORT_HEX],
            term(view["clock"], call.out.language),
            _due(view, now),
            view["waits_for"],
            state(call, view),
            view["consumer"],
            view["resource"],
        ]
        for view in views
    ]
    call.out.table(Text("时限", "Clocks"), columns, rows, empty=Text("没有运行中的时限", "No clock runs"))


def show_one(call: Invocation, view: _View, *, now: str) -> None:
    """Print one grant: what it covers, where it stands, which clock runs, what was done to it."""
    title = Text("授权 {id}", "Grant {id}").filled(id=view["grant_id"])
    call.out.facts(title, [*_standing(call, view, now), *_covered(call, view), *_limits(call, view)])
    call.out.table(
        Text("经过", "History"),
        (
            Text("修订", "Revision"),
            Text("操作", "Action"),
            Text("签署人", "Signed by"),
            Text("时间", "Time"),
            Text("至（UTC+8）", "Until (UTC+8)"),
            Text("说明", "Note"),
        ),
        [
            [
                event["revision"],
                term(event["action"], call.out.language),
                _person(event["signed_by"]),
                shown(event["issued_at"]),
                shown_day(event["not_after"] or event["deleted_before"]),
                event["note"],
            ]
            for event in view["events"]
        ],
        empty=Text("尚无决定", "No decision yet"),
    )


def term_of(view: _View) -> Text:
    """Return what to say of a grant's term, and for whom it waits, after something was done to it."""
    if not view or view["state"] not in LIVE:
        return Text("", "")
    facts = {name: shown(view[name]) for name in ("not_after", "extended_to")}
    if view["state"] == "supervising":
        said = Text("（{supervisor}）", " ({supervisor})")
    elif view["extended_to"]:
        said = Text(
            "，仍至 {not_after}；待 {supervisor} 同意后延长至 {extended_to}",
            ", still until {not_after}; extended to {extended_to} once {supervisor} agrees",
        )
    else:
        said = Text("，有效期至 {not_after}", " until {not_after}")
    return said.filled(**facts, supervisor=view["supervisor"])


def state(call: Invocation, view: _View) -> Cell:
    """Return where a grant stands, in its colour; and that its resource is suspended or withdrawn."""
    said, style = term(view["state"], call.out.language), STATE_STYLES.get(view["state"], "")
    standing = view["resource_standing"]
    if view["state"] not in LIVE or standing not in OUT_OF_USE:
        return Cell(said, style)
    word = term(f"resource_{standing}", call.out.language)
    also = Text(f"{said}（资源{word}）", f"{said} (resource {word})")
    return Cell(also, OUT_OF_USE[standing])


def _row(call: Invocation, view: _View) -> list[object]:
    return [
        view["grant_id"][:SHORT_HEX],
        state(call, view),
        view["consumer"],
        view["resource"],
        view["fields"],
        view["purposes"],
        shown_day(view["not_after"]),
        f"{term(view['clock'], call.out.language)} {shown_day(view['due_at'])}" if view["clock"] else "",
    ]


def _person(uri: str) -> str:
    """Return role, organisation and name of a SPIFFE id, without its trust domain."""
    return uri.removeprefix("spiffe://").partition("/")[2]


def _due(view: _View, now: str) -> Cell:
    return Cell(shown(view["due_at"]), BAD if view["due_at"] <= now else "")


def _standing(call: Invocation, view: _View, now: str) -> list[tuple[Text, object]]:
    pairs: list[tuple[Text, object]] = [
        (Text("状态", "State"), state(call, view)),
        (Text("申请时间", "Applied for"), shown(view["applied_at"])),
        (Text("申请人", "Applied by"), _person(view["applied_by"])),
    ]
    if view["extended_to"]:
        waits = Text("延长（待监督部门同意）至", "Extended, once the supervisor agrees, to")
        pairs.append((waits, shown(view["extended_to"])))
    if view["clock"]:
        pairs += [
            (Text("待办", "Clock"), term(view["clock"], call.out.language)),
            (Text("办理部门", "Waits for"), view["waits_for"]),
            (Text("期限", "Due"), _due(view, now)),
        ]
    return pairs


def _covered(call: Invocation, view: _View) -> list[tuple[Text, object]]:
    language = call.out.language
    return [
        (Text("使用部门", "Consumer"), view["consumer"]),
        (Text("提供部门", "Provider"), view["provider"]),
        *([(Text("监督部门", "Supervisor"), view["supervisor"])] if view["supervisor"] else []),
        (Text("资源", "Resource"), view["resource"]),
        (Text("信息项", "Fields"), view["fields"]),
        (Text("方式", "Kinds"), [term(kind, language) for kind in view["kinds"]]),
        (Text("用途", "Purposes"), view["purposes"]),
        (Text("授权范围", "Scope"), term(view["scope"], language)),
        *([(Text("领域", "Domains"), view["domains"])] if view["domains"] else []),
        (Text("事项", "Matters"), view["matters"] or Text("不限", "any")),
        (Text("环节", "Steps"), view["steps"] or Text("不限", "any")),
        (Text("须有办件编号", "Case required"), view["case_required"]),
        (Text("有效期自", "From"), shown(view["not_before"])),
        (Text("有效期至", "Until"), shown(view["not_after"])),
        (Text("理由", "Justification"), view["justification"]),
    ]


def _limits(call: Invocation, view: _View) -> list[tuple[Text, object]]:
    language, none = call.out.language, Text("不限", "no limit")
    filters = [
        f"{item['field']} {term(item['operator'], language)} {' '.join(item['values'])}"
        for item in view["row_filters"]
    ]
    quotas = [
        f"{item['exchanges']} / {term(item['period'], language)}"
        + (f" ({item['used']})" if item["used"] is not None else "")
        for item in view["quotas"]
    ]
    days = view["data_life_days"]
    return [
        (Text("行过滤", "Row filters"), filters or none),
        (Text("用量上限（已用）", "Quotas (used)"), quotas or none),
        (Text("取用方式", "Fetched"), [term(mode, language) for mode in view["fetch_modes"]]),
        (Text("数据保存", "Data life"), Text(f"{days} 天", f"{days} days") if days else none),
        (Text("转提供", "Passed on to"), view["redisclosure_to"] or Text("不得", "nobody")),
    ]
