"""`shuqiao audit review assign`, `justify`, `close`, `confirm`, `contest`, `reopen`: one step with items."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from shuqiao.cli.audit.review_words import WORDS
from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import UNSURE
from shuqiao.words import Text

Review = Annotated[
    str,
    typer.Argument(metavar="REVIEW", help="抽查编号，可只写前几位 | Id of the review, or how it begins"),
]
Items = Annotated[
    list[int] | None,
    typer.Argument(metavar="ITEM", min=0, help="条目：记录序号 | Items: indexes of entries"),
]
All = Annotated[
    bool,
    typer.Option("--all", help="所有等您办理这一步的条目 | Every item that waits for this step by you"),
]
Told = Annotated[
    str,
    typer.Option(
        "--text", "-t", help="说明，500 字以内，不得含个人信息 | At most 500 characters; no personal data"
    ),
]


class Verdict(StrEnum):
    """How an item ends."""

    IN_ORDER = "in-order"
    FINDING = "finding"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("assign", help="分派给安全员或审计 | Assign to an officer or auditor")(assign)
    app.command(
        "justify", help="说明缘由（使用部门数据专员等） | Explain (steward of the consumer and others)"
    )(justify)
    app.command("close", help="提出结论（承办人） | State the outcome (assignee)")(close)
    app.command("confirm", help="复核同意（第二人） | Agree as the second person")(confirm)
    app.command("contest", help="复核不同意（第二人） | Disagree as the second person")(contest)
    app.command("reopen", help="重新办理已办结的条目 | Look at closed items again")(reopen)


def assign(
    context: typer.Context,
    review: Review,
    items: Items = None,
    everything: All = False,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="承办人，如 officer/zhao，默认本人 | Whom, for example officer/zhao; by default oneself",
        ),
    ] = "",
    text: Told = "",
) -> None:
    """Say who looks at items, and what is asked."""
    call = of(context)
    me = call.holder.identity()
    assignee = me.uri if not to else _uri(to, me)
    _step(call, review, items, everything, "assign", assignee=assignee, text=text)


def justify(
    context: typer.Context, review: Review, text: Told, items: Items = None, everything: All = False
) -> None:
    """Explain what the entries record."""
    _step(of(context), review, items, everything, "justify", text=text)


def close(
    context: typer.Context,
    review: Review,
    verdict: Annotated[
        Verdict, typer.Option("--verdict", help="无异常或有问题 | In order, or a finding (with --text)")
    ],
    items: Items = None,
    everything: All = False,
    text: Told = "",
) -> None:
    """State the outcome; a second person confirms it."""
    _step(of(context), review, items, everything, "close", verdict=verdict, text=text)


def confirm(
    context: typer.Context, review: Review, items: Items = None, everything: All = False, text: Told = ""
) -> None:
    """Confirm the outcome that another person stated; this closes the item."""
    _step(of(context), review, items, everything, "confirm", text=text)


def contest(
    context: typer.Context, review: Review, text: Told, items: Items = None, everything: All = False
) -> None:
    """Send items back to their assignee."""
    _step(of(context), review, items, everything, "contest", text=text)


def reopen(context: typer.Context, review: Review, text: Told, items: Items = None) -> None:
    """Open closed items again."""
    _step(of(context), review, items, False, "reopen", text=text)


def _step(
    call: Invocation,
    review: str,
    items: list[int] | None,
    everything: bool,
    action: str,
    *,
    assignee: str = "",
    text: str = "",
    verdict: Verdict | None = None,
) -> None:
    from exchange.errors import BadConfiguration
    from exchange.v1 import review_pb2
    from shuqiao import review_views, reviewing

    if bool(items) == everything:
        raise BadConfiguration("ITEM... | --all")
    if verdict is Verdict.FINDING and not text:
        raise BadConfiguration("--verdict finding --text TEXT")
    number = review_pb2.ReviewAction.Value(f"REVIEW_ACTION_{action.upper()}")
    stated = verdict.name if verdict else "UNSPECIFIED"
    taken: list[dict[str, object]] = []
    with call.gateway() as channel:
        review_id = reviewing.find_review(channel, review)
        found = reviewing.get_review(channel, review_id, items or ()).items
        chosen, left = _chosen(call, found, items, number, assignee)
        for stepped in reviewing.step(
            channel,
            call.signer,
            review_id,
            chosen,
            number,
            clock=call.clock,
            random=call.random,
            assignee=assignee,
            text=text,
            verdict=review_pb2.ReviewVerdict.Value(f"REVIEW_VERDICT_{stated}"),
        ):
            state = review_views.state(stepped.state)
            taken.append({"item": stepped.item, "state": state, "index": stepped.entry})
            said = Text("条目 {item} 现为：{zh}，记录 {index}", "Item {item} is now {en}, entry {index}")
            word = WORDS[state]
            call.out.done(said.filled(item=stepped.item, index=stepped.entry, zh=word.zh, en=word.en))
    call.out.show(
        {"ok": True, "review_id": review_id.hex(), "items": taken, "left": left},
        lambda: _rest(call, bool(taken), left),
    )


def _rest(call: Invocation, taken: bool, left: list[int]) -> None:
    """Say what `--all` did not touch."""
    if left:
        said = Text("须由他人办理的条目：{items}", "Items that are for others to deal with: {items}")
        call.out.say(said.filled(items=" ".join(map(str, left))), UNSURE)
    elif not taken:
        call.out.say(Text("没有可以这样办理的条目", "There is no item with which this can be done"))


def _chosen(
    call: Invocation, found: list[Any], items: list[int] | None, action: int, assignee: str
) -> tuple[list[Any], list[int]]:
    """Return the items named, all of them there.

    Without names: those that wait for the action by the caller, and the indexes of those that wait for it by
    somebody else.
    """
    from exchange.errors import UnknownEntry
    from shuqiao import reviewing

    if not items:
        me = call.holder.identity()
        waiting = [item for item in found if reviewing.waits(item, action)]
        mine = [item for item in waiting if reviewing.may(item, action, me, assignee=assignee)]
        due = {item.entry.index for item in mine}
        return mine, [item.entry.index for item in waiting if item.entry.index not in due]
    missing = set(items) - {item.entry.index for item in found}
    if missing:
        raise UnknownEntry(", ".join(map(str, sorted(missing))), hop="gateway")
    return found, []


def _uri(to: str, me: Any) -> str:
    """Return the SPIFFE id that "officer/zhao" means in the caller's own division; a whole id as it is."""
    from exchange.identity import SCHEME

    return to if to.startswith(SCHEME) else f"{SCHEME}{me.division}.{me.trust_domain}/{to}"
