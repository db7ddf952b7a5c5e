"""`shuqiao demand`: data that nobody offers yet."""

from typing import Annotated

import typer

from shuqiao.cli.invocation import of
from shuqiao.cli.ticket_tables import (
    Overdue,
    State,
    TicketId,
    Words,
    list_tickets,
    show_ticket,
    take_step,
)
from shuqiao.words import Text

app = typer.Typer(name="demand", help="数据需求 | Demands for data")


@app.command("raise", help="提出需求（数据专员） | Raise a demand (steward)")
def raised(
    context: typer.Context,
    title: Annotated[str, typer.Option("--title", help="所需数据 | What is wanted")],
    want: Annotated[
        list[str], typer.Option("--want", help="所需信息项，可重复 | A field wanted, repeatable")
    ],
    division: Annotated[str, typer.Option("--division", help="区划代码 | Division, 6 digits")],
    text: Words,
    purpose: Annotated[str, typer.Option("--purpose", help="用途 | Purpose")] = "",
    matter: Annotated[str, typer.Option("--matter", help="事项 | Matter")] = "",
    to: Annotated[
        str, typer.Option("--to", help="认为由谁掌握：信用代码 | Who is thought to have it: credit code")
    ] = "",
) -> None:
    """Sign and hand in a demand."""
    from exchange.v1 import ticket_pb2
    from shuqiao import ticketing

    call = of(context)
    demand = ticket_pb2.Demand(
        title=title, wanted=want, division=division, purpose=purpose, matter=matter, addressed_to=to
    )
    with call.gateway() as channel:
        ticket_id, index = ticketing.raise_demand(
            channel, call.signer, demand, text=text, clock=call.clock, random=call.random
        )
    said = Text("已提出需求 {id}，记录 {index}", "Raised demand {id}, entry {index}")
    call.out.show(
        {"ok": True, "ticket_id": ticket_id.hex(), "index": index},
        lambda: call.out.done(said.filled(id=ticket_id.hex(), index=index)),
    )


@app.command("assign", help="交办（管理员） | Give it to an organisation (administrator)")
def assign(
    context: typer.Context,
    ticket: TicketId,
    to: Annotated[str, typer.Option("--to", help="信用代码 | Credit code")],
    text: Words = "",
) -> None:
    """Give a demand to an organisation to answer."""
    take_step(of(context), ticket, "assign", demands=True, assigned_to=to, text=text)


@app.command("answer", help="以资源答复（承办部门数据专员） | Answer by a resource (steward it is with)")
def answer(
    context: typer.Context,
    ticket: TicketId,
    resource: Annotated[str, typer.Option("--resource", help="资源编号 | The resource")],
    text: Words = "",
) -> None:
    """Answer a demand by a resource of one's own."""
    take_step(of(context), ticket, "answer", demands=True, resource=resource, text=text)


@app.command("decline", help="不予提供（承办部门数据专员） | Turn it down (steward it is with)")
def decline(context: typer.Context, ticket: TicketId, text: Words) -> None:
    """Turn a demand down, with reasons."""
    take_step(of(context), ticket, "decline", demands=True, text=text)


@app.command("withdraw", help="撤回（提出部门数据专员） | Take it back (steward of who raised it)")
def withdraw(context: typer.Context, ticket: TicketId, text: Words = "") -> None:
    """Take a demand back."""
    take_step(of(context), ticket, "withdraw", demands=True, text=text)


@app.command("list", help="列出需求 | List demands")
def listed(context: typer.Context, state: State = "", overdue: Overdue = False) -> None:
    """Print the demands of the region."""
    list_tickets(of(context), demands=True, state=state, overdue=overdue)


@app.command("show", help="查看需求 | Show a demand")
def show(context: typer.Context, ticket: TicketId) -> None:
    """Print one demand with its course."""
    show_ticket(of(context), ticket, demands=True)
