"""`shuqiao audit review`: samples of the log, drawn, assigned, justified, and closed by two people."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from shuqiao.cli.audit import review_steps, review_tables
from shuqiao.cli.audit.review_steps import Items, Review
from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, Cell
from shuqiao.words import Text

app = typer.Typer(
    name="review", help="抽查：抽样、分派、说明、两人办结 | Reviews: drawn, justified, closed by two"
)


class Strategy(StrEnum):
    """How a sample is drawn."""

    RANDOM = "random"
    RISK = "risk"


def register(parent: typer.Typer) -> None:
    """Add the group."""
    review_steps.register(app)
    parent.add_typer(app, no_args_is_help=True)


@app.command("draw", help="抽样（安全员、审计） | Draw a sample (officer, auditor)")
def draw(
    context: typer.Context,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=500, help="条数 | How many")] = 20,
    strategy: Annotated[
        Strategy, typer.Option("--strategy", "-s", help="随机或按风险 | At random or by risk")
    ] = Strategy.RANDOM,
    first: Annotated[
        int | None,
        typer.Option(
            "--from", min=0, help="起始序号，默认最近一百万条 | First index; by default the last million"
        ),
    ] = None,
    end: Annotated[
        int | None,
        typer.Option("--to", min=1, help="结束序号（不含），默认最新 | Index after the last; by default all"),
    ] = None,
    organisation: Annotated[
        str, typer.Option("--organisation", help="只抽涉及该部门的记录 | Only entries of this organisation")
    ] = "",
    resource: Annotated[
        str,
        typer.Option(
            "--resource", help="只抽该资源，或以 /* 结尾的前缀 | Only this resource, or a prefix ending in /*"
        ),
    ] = "",
    note: Annotated[str, typer.Option("--note", help="缘由，不得含个人信息 | Why; no personal data")] = "",
) -> None:
    """Sign a draw over a verified head, and wait until the gateway has stated the items."""
    from exchange.checkpoint import open_checkpoint
    from exchange.review import RANDOM, RISK
    from shuqiao import regional, reviewing

    call = of(context)
    keys = call.log_keys()
    with call.gateway() as channel:
        checkpoint = regional.get_checkpoint(channel)
        origin = checkpoint.partition("\n")[0]
        head = open_checkpoint(checkpoint, origin=origin, log_keys=keys.of(origin))
        drawn = reviewing.draw(
            channel,
            call.signer,
            head,
            strategy=RISK if strategy is Strategy.RISK else RANDOM,
            count=count,
            clock=call.clock,
            random=call.random,
            first=first,
            end=end,
            organisation=organisation,
            resource=resource,
            note=note,
        )
    said = Text("已抽样 {id}，记录 {index} 与 {items}", "Drew {id}, entries {index} and {items}")
    document = {
        "ok": True,
        "review_id": drawn.review_id.hex(),
        "index": drawn.entry,
        "selection_index": drawn.selection,
    }
    filled = said.filled(id=drawn.review_id.hex(), index=drawn.entry, items=drawn.selection)
    call.out.show(document, lambda: call.out.done(filled))


@app.command("list", help="列出抽查 | List the reviews")
def listed(context: typer.Context) -> None:
    """Print the reviews that concern the caller."""
    from shuqiao import reviewing

    call = of(context)
    with call.gateway() as channel:
        found = [_summary(one) for one in reviewing.list_reviews(channel)]
    call.out.show({"reviews": found}, lambda: review_tables.reviews(call, found))


@app.command("show", help="查看抽查：每条记录及其经过 | Show a review: every entry and its history")
def show(context: typer.Context, review: Review, items: Items = None) -> None:
    """Print the items that the caller may see."""
    from shuqiao import reviewing

    call = of(context)
    with call.gateway() as channel:
        held = reviewing.get_review(channel, reviewing.find_review(channel, review), items or ())
    view = _summary(held.summary)
    view |= {"items_seen": view["items"], "items": [_item(one) for one in held.items]}
    call.out.show(view, lambda: review_tables.review(call, view))


@app.command("verify", help="用日志重算样本，检验网关是否如实抽样 | Draw the sample again and compare")
def verify(context: typer.Context, review: Review) -> int:
    """Fetch the range with proofs, recompute the sample; exit 1 where the gateway drew something else."""
    from shuqiao import review_check, reviewing

    call = of(context)
    keys = call.log_keys()
    with call.gateway() as channel:
        review_id = reviewing.find_review(channel, review)
        summary = reviewing.get_review(channel, review_id).summary
        checked = review_check.check(channel, summary, keys=keys, anchor=call.holder.anchor())
    document = {
        "ok": checked.honest,
        "review_id": review_id.hex(),
        "range": {"first": checked.draw.first, "end": checked.draw.end},
        "population": checked.population,
        "population_stated": checked.population_stated,
        "drawn": checked.drawn,
        "missing": list(checked.missing),
        "extra": list(checked.extra),
        "wrong": list(checked.wrong),
        "log": {"origin": checked.head.origin, "size": checked.head.size, "root": checked.head.root.hex()},
        "key_source": keys.source._asdict(),
    }
    call.out.show(document, lambda: _print_checked(call, document))
    return 0 if checked.honest else 1


def _print_checked(call: Invocation, document: dict[str, Any]) -> None:
    span, honest = document["range"], document["ok"]
    call.out.facts(
        Text("重算的样本", "The sample, drawn again"),
        [
            (Text("范围", "Range"), f"{span['first']} – {span['end'] - 1}"),
            (Text("可抽条目", "Population"), document["population"]),
            (Text("应抽", "To be drawn"), document["drawn"]),
            (Text("漏抽", "Missing"), document["missing"]),
            (Text("多抽", "Extra"), document["extra"]),
            (Text("缘由或部门不符", "Wrong rules or party"), document["wrong"]),
            (Text("公钥来源", "Key"), Text(**document["key_source"])),
            (
                Text("结论", "Outcome"),
                Cell(
                    Text("网关如实抽样", "The gateway drew honestly")
                    if honest
                    else Text("网关所抽与重算不符", "The gateway did not draw what follows from the log"),
                    GOOD if honest else BAD,
                ),
            ),
        ],
    )


def _summary(told: Any) -> dict[str, Any]:
    from shuqiao import review_views, views

    return {**review_views.summary(told), "drawn": views.unix_ms(told.drawn_ms)}


def _item(told: Any) -> dict[str, Any]:
    from shuqiao import review_views, views

    return {
        "entry": (
            views.entry(told.entry.index, told.entry.leaf)
            if told.entry.leaf
            else {"index": told.entry.index, "type": "erased"}
        ),
        "party": told.party,
        "rules": [review_views.rule(rule) for rule in told.rules],
        "state": review_views.state(told.state),
        "revision": told.revision,
        "assignee": told.assignee,
        "verdict": review_views.verdict(told.verdict),
        "history": [_past(each) for each in told.history],
    }


def _past(found: Any) -> dict[str, object]:
    from shuqiao import views

    view = views.entry(found.index, found.leaf)
    kept = {name: view[f"review_{name}"] for name in ("action", "revision", "assignee", "verdict", "text")}
    return {"index": view["index"], "time": view["time"], "actor": view["actor"], **kept}
