"""What the commands of disputes and demands share: options, and how tickets are shown."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation
from shuqiao.local_time import shown, shown_day
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text, term

if TYPE_CHECKING:
    from exchange.v1 import common_pb2

SHORT_HEX = 12
STYLES = {"assigned": UNSURE, "open": UNSURE, "answered": GOOD, "corrected": GOOD, "declined": BAD}
TELLING = ("correct", "supplement")
"""Steps after which past recipients are told."""
STATES = "open assigned answered declined corrected withdrawn"

TicketId = Annotated[
    str,
    typer.Argument(metavar="TICKET", help="编号（可只写前几位） | Its id, or how the id begins"),
]
Words = Annotated[str, typer.Option("--text", help="说明，不得含个人信息 | Why, in words; no personal data")]
State = Annotated[str, typer.Option("--state", help=f"状态：{STATES} | Only in a state: {STATES}")]
Overdue = Annotated[bool, typer.Option("--overdue", help="只列已超期的 | Only what is overdue")]

_DISPUTES = (
    Text("编号", "Id"),
    Text("状态", "State"),
    Text("待办方", "Waits for"),
    Text("期限（UTC+8）", "Due (UTC+8)"),
    Text("资源", "Resource"),
    Text("信息项", "Fields"),
    Text("已告知/已确认", "Told/acknowledged"),
)
_DEMANDS = (
    Text("编号", "Id"),
    Text("状态", "State"),
    Text("待办方", "Waits for"),
    Text("期限（UTC+8）", "Due (UTC+8)"),
    Text("标题", "Title"),
    Text("提出部门", "Raised by"),
)


def take_step(
    call: Invocation,
    ticket: str,
    action: str,
    *,
    demands: bool = False,
    subjects: Callable[[bytes], Sequence["common_pb2.Statement"]] = lambda ticket_id: (),
    **told: Any,
) -> None:
    """Take a step with a ticket and say where it stands.

    Args:
        call: the command.
        ticket: its id, or how that begins.
        action: for example "correct".
        demands: whether it is a demand.
        subjects: returns whom a corrected value is about, by the ticket's id of 32 bytes.
        told: the arguments of `ticketing.act`.
    """
    from exchange.v1 import ticket_pb2
    from shuqiao import ticket_views, ticketing

    number = ticket_pb2.TicketAction.Value(f"TICKET_ACTION_{action.upper()}")
    with call.gateway() as channel:
        ticket_id = ticketing.find_ticket(channel, ticket, demands=demands)
        acted = ticketing.act(
            channel,
            call.signer,
            ticket_id,
            number,
            clock=call.clock,
            random=call.random,
            subjects=subjects(ticket_id),
            **told,
        )
        quarters, untraceable = {}, False
        if action in TELLING:
            record = ticketing.get_ticket(channel, ticket_id)
            quarters, untraceable = ticket_views.quarters(record), record.untraceable
    state = ticket_views.state(acted.state)
    document = {"ok": True, "ticket_id": ticket_id.hex(), "state": state, "index": acted.entry}
    said = Text("{id} 现为：{state}，记录 {index}", "{id} is now {state}, entry {index}")
    if action in TELLING:
        document |= {"told": acted.told} | quarters
        said = Text(
            "{id} 现为：{state}，记录 {index}；已告知 {told} 个部门",
            "{id} is now {state}, entry {index}; {told} departments told so far",
        )
    name, word = ticket_id.hex()[:SHORT_HEX], term(state, call.out.language)

    def people() -> None:
        call.out.done(said.filled(id=name, state=word, index=acted.entry, told=acted.told))
        _say_missing(call, quarters | {"untraceable": untraceable})

    call.out.show(document, people)


def list_tickets(call: Invocation, *, demands: bool, state: str, overdue: bool) -> None:
    """Print the tickets that the caller may see.

    Raises:
        BadConfiguration: the state is none.
    """
    from exchange.errors import BadConfiguration
    from exchange.v1 import ticket_pb2
    from shuqiao import ticket_views, ticketing

    number = ticket_pb2.TICKET_STATE_UNSPECIFIED
    if state:
        if state not in STATES.split():
            raise BadConfiguration(f"--state: {state}")
        number = ticket_pb2.TicketState.Value(f"TICKET_STATE_{state.upper()}")
    with call.gateway() as channel:
        records = ticketing.list_tickets(channel, demands=demands, state=number, overdue=overdue)
    views = [ticket_views.ticket(record) for record in records]
    title = Text("需求", "Demands") if demands else Text("异议", "Disputes")
    row = _demand_row if demands else _dispute_row
    call.out.show(
        {"tickets": views},
        lambda: call.out.table(
            title, _DEMANDS if demands else _DISPUTES, [row(call, view) for view in views]
        ),
    )


def show_ticket(call: Invocation, ticket: str, *, demands: bool) -> None:
    """Print one ticket with its course."""
    from shuqiao import ticket_views, ticketing

    with call.gateway() as channel:
        record = ticketing.get_ticket(channel, ticketing.find_ticket(channel, ticket, demands=demands))
    view = ticket_views.ticket(record)
    call.out.show(view, lambda: _print(call, view))


def _dispute_row(call: Invocation, view: dict[str, Any]) -> list[object]:
    told, acknowledged = len(view["told"]), len(view["acknowledged"])
    return [
        *_head(call, view),
        view.get("resource", ""),
        view.get("fields", ""),
        f"{told}/{acknowledged}" if told else "",
    ]


def _demand_row(call: Invocation, view: dict[str, Any]) -> list[object]:
    return [*_head(call, view), view.get("title", ""), view.get("raised_by", "")]


def _head(call: Invocation, view: dict[str, Any]) -> list[object]:
    waits = term(view["waits_for"], call.out.language)
    return [view["ticket_id"][:SHORT_HEX], _state(call, view), waits, shown_day(view["due_at"])]


def _state(call: Invocation, view: dict[str, Any]) -> Cell:
    return Cell(term(view["state"], call.out.language), STYLES.get(view["state"], ""))


_FACTS = (
    ("raised_by", Text("提出部门", "Raised by")),
    ("issued_at", Text("时间", "Time")),
    ("text", Text("说明", "Text")),
    ("resource", Text("资源", "Resource")),
    ("provider", Text("提供部门", "Provider")),
    ("exchange_id", Text("交换编号", "Exchange")),
    ("fields", Text("信息项", "Fields")),
    ("sealed_to", Text("密封给前置节点", "Sealed to agent")),
    ("title", Text("标题", "Title")),
    ("wanted", Text("所需信息项", "Wanted")),
    ("division", Text("区划", "Division")),
    ("purpose", Text("用途", "Purpose")),
    ("matter", Text("事项", "Matter")),
    ("waits_for", Text("待办方", "Waits for")),
    ("due_at", Text("期限", "Due")),
    ("told", Text("已告知部门", "Told")),
    ("acknowledged", Text("已确认部门", "Acknowledged")),
    ("told_periods", Text("按标签查找的季度", "Quarters that were searched")),
    ("erased_periods", Text("密钥已擦除的季度", "Quarters whose keys are erased")),
    ("unsearched_periods", Text("未查找的季度", "Quarters that were not searched")),
)
_TIMES = frozenset({"issued_at", "due_at"})
UNTRACEABLE = Text(
    "被异议的交换没有标签或标签已擦除：所在季度只告知了提出部门，其他接收方无从查找",
    "The disputed exchange has no tags, or no more: of its quarter only who disputed was told, others cannot"
    " be found",
)
ERASED = Text(
    "密钥已擦除，以下季度的接收方无从查找、未告知：{periods}",
    "Keys erased: recipients of these quarters cannot be found and were not told: {periods}",
)
UNSEARCHED = Text(
    "提供部门未提供标识，以下季度的接收方未查找、未告知：{periods}；可由安全员追溯",
    "The provider named nobody: recipients of these quarters were not looked for and not told: {periods}; an"
    " officer can trace them",
)
SUPPLEMENT = Text(
    "提供部门可补充标识：shuqiao dispute supplement",
    "The provider can still name them: shuqiao dispute supplement",
)


def _print(call: Invocation, view: dict[str, Any]) -> None:
    language = call.out.language
    facts: list[tuple[Text, object]] = [(Text("状态", "State"), _state(call, view))]
    for name, word in _FACTS:
        value = view.get(name)
        if name in _TIMES:
            value = shown(value or "")
        if value:
            facts.append((word, term(value, language) if name == "waits_for" else value))
    call.out.facts(Text("编号 {id}", "Ticket {id}").filled(id=view["ticket_id"]), facts)
    if view["untraceable"]:
        call.out.say(UNTRACEABLE, UNSURE)
    _say_missing(call, view)
    call.out.table(
        Text("经过", "Course"),
        (Text("修订", "Revision"), Text("操作", "Action"), Text("时间", "Time"), Text("说明", "Text")),
        [
            [
                one["revision"],
                term(one["action"], language),
                shown(one["issued_at"]),
                [part for part in (one["assigned_to"], one["resource"], *one["fields"], one["text"]) if part],
            ]
            for one in view["events"]
        ],
        empty=Text("尚无办理", "Nothing yet"),
    )


def _say_missing(call: Invocation, view: dict[str, Any]) -> None:
    """Say in which quarters nobody was looked for, and why."""
    for name, said in (("erased_periods", ERASED), ("unsearched_periods", UNSEARCHED)):
        if view.get(name):
            call.out.say(said.filled(periods=" ".join(view[name])), UNSURE)
    if view.get("unsearched_periods") and not view["untraceable"]:
        call.out.say(SUPPLEMENT)
