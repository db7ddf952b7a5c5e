"""`shuqiao dispute`: values that are wrong, put right at the source and for everybody who received them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.cli.subject import Format, FormatOption, identifiers
from shuqiao.cli.ticket_tables import (
    Overdue,
    State,
    TicketId,
    Words,
    list_tickets,
    show_ticket,
    take_step,
)
from shuqiao.words import Text, unread

if TYPE_CHECKING:
    from exchange.v1 import common_pb2

MAX_SUBJECTS = 8

app = typer.Typer(name="dispute", help="数据异议 | Disputes about values")

Fields = Annotated[list[str], typer.Option("--field", help="信息项，可重复 | Field, repeatable")]


@app.command("raise", help="提出异议（使用部门数据专员） | Dispute a value (consumer's steward)")
def raised(
    context: typer.Context,
    exchange: Annotated[
        str, typer.Option("--exchange", help="交换编号（UUID） | The exchange that brought it, a UUID")
    ],
    resource: Annotated[str, typer.Option("--resource", help="资源编号 | The resource")],
    field: Fields,
    text: Words,
    detail_file: Annotated[
        Path | None,
        typer.Option(
            "--detail-file",
            help="错误详情（可含个人信息），密封给提供部门前置节点，网关不可见"
            " | What is wrong, with personal data: sealed to the provider's agent, never seen by the gateway",
        ),
    ] = None,
    agent: Annotated[
        str,
        typer.Option(
            "--agent", help="密封给提供部门的哪个前置节点 | Which agent of the provider's it is for"
        ),
    ] = "",
) -> None:
    """Sign and hand in a dispute."""
    from shuqiao import ticketing

    call = of(context)
    detail = b"" if detail_file is None else _read(detail_file)
    trusted = None
    if detail:
        trusted = ticketing.Trusted(anchor=call.holder.anchor(), trust=call.trust_list())
    with call.gateway() as channel:
        ticket_id, index = ticketing.raise_dispute(
            channel,
            call.signer,
            exchange_id=_exchange_id(exchange),
            resource=resource,
            fields=field,
            text=text,
            clock=call.clock,
            random=call.random,
            detail=detail,
            agent=agent,
            trusted=trusted,
        )
    said = Text("已提出异议 {id}，记录 {index}", "Raised dispute {id}, entry {index}")
    call.out.show(
        {"ok": True, "ticket_id": ticket_id.hex(), "index": index},
        lambda: call.out.done(said.filled(id=ticket_id.hex(), index=index)),
    )


@app.command("list", help="列出异议 | List disputes")
def listed(context: typer.Context, state: State = "", overdue: Overdue = False) -> None:
    """Print the disputes that the caller may see."""
    list_tickets(of(context), demands=False, state=state, overdue=overdue)


@app.command("show", help="查看异议 | Show a dispute")
def show(context: typer.Context, ticket: TicketId) -> None:
    """Print one dispute with its course."""
    show_ticket(of(context), ticket, demands=False)


@app.command(
    "correct", help="已在源头更正（提供部门数据专员） | It was right and is corrected (provider's steward)"
)
def correct(
    context: typer.Context,
    ticket: TicketId,
    field: Fields,
    text: Words,
    subject: Annotated[
        str,
        typer.Option(
            "--subject",
            metavar="@FILE|-",
            help="从文件或标准输入（-）读取被更正者的标识，每行一个，以告知各季度的接收方"
            " | Reads whom the value is about from a file or standard input (-), one a line, so that"
            " recipients of every quarter are told",
        ),
    ] = "",
    without_subject: Annotated[
        bool,
        typer.Option(
            "--without-subject",
            help="不提供标识：只告知被异议交换所在季度的接收方"
            " | Name nobody: only recipients of the disputed exchange's quarter are told",
        ),
    ] = False,
    format: FormatOption = Format.CITIZEN_ID,
) -> None:
    """Say that the source was corrected; every past recipient is told."""
    from exchange.errors import BadConfiguration

    call = of(context)
    if bool(subject) == without_subject:
        raise BadConfiguration("--subject @FILE|- | --without-subject")
    people = [] if without_subject else _people(subject)
    take_step(
        call, ticket, "correct", fields=field, text=text, subjects=partial(_derived, call, people, format)
    )


@app.command(
    "supplement",
    help="更正时未提供标识，事后补充（提供部门数据专员）"
    " | Name whom a value is about, which was corrected without (provider's steward)",
)
def supplement(
    context: typer.Context,
    ticket: TicketId,
    subject: Annotated[
        str,
        typer.Option(
            "--subject",
            metavar="@FILE|-",
            help="从文件或标准输入（-）读取被更正者的标识，每行一个，以告知其余季度的接收方"
            " | Reads whom the value is about from a file or standard input (-), one a line, so that"
            " recipients of the other quarters are told",
        ),
    ],
    format: FormatOption = Format.CITIZEN_ID,
    text: Words = "",
) -> None:
    """Have the recipients of the quarters told that were not searched."""
    call = of(context)
    take_step(
        call, ticket, "supplement", text=text, subjects=partial(_derived, call, _people(subject), format)
    )


@app.command("decline", help="不予采纳（提供部门数据专员） | Turn it down (provider's steward)")
def decline(context: typer.Context, ticket: TicketId, text: Words) -> None:
    """Turn a dispute down, with reasons."""
    take_step(of(context), ticket, "decline", text=text)


@app.command("withdraw", help="撤回（提出部门数据专员） | Take it back (steward of who raised it)")
def withdraw(context: typer.Context, ticket: TicketId, text: Words = "") -> None:
    """Take a dispute back."""
    take_step(of(context), ticket, "withdraw", text=text)


@app.command(
    "acknowledge",
    help="确认本部门已更正（接收部门数据专员） | Our own records are put right (recipient's steward)",
)
def acknowledge(context: typer.Context, ticket: TicketId, text: Words = "") -> None:
    """Say that a correction that the department was told of is done here."""
    take_step(of(context), ticket, "acknowledge", text=text)


def _people(subject: str) -> Sequence[str]:
    """Return the identifiers that `--subject` names, 1 to MAX_SUBJECTS.

    Raises:
        BadConfiguration.
    """
    from exchange.errors import BadConfiguration

    people = identifiers(subject, most=MAX_SUBJECTS + 1)
    if not 0 < len(people) <= MAX_SUBJECTS:
        raise BadConfiguration(f"--subject: 1 to {MAX_SUBJECTS} lines")
    return people


def _derived(
    call: Invocation, people: Sequence[str], format: Format, ticket_id: bytes
) -> list["common_pb2.Statement"]:
    """Return whom a corrected value is about, as the authority signs it for a dispute."""
    from shuqiao import tracing

    if not people:
        return []
    with call.authority() as channel:
        return [
            tracing.derive_correction_tags(channel, format=format.value, identifier=one, ticket_id=ticket_id)
            for one in people
        ]


def _exchange_id(text: str) -> bytes:
    from exchange.errors import BadConfiguration

    try:
        return UUID(text).bytes
    except ValueError:
        raise BadConfiguration(f"--exchange: {text[:80]}") from None


def _read(path: Path) -> bytes:
    """Return what a file of at most 7 KiB holds.

    Raises:
        BadConfiguration: it cannot be read, is empty or too large, or is no text.
    """
    from exchange.errors import BadConfiguration
    from exchange.sealed_text import MAX_TEXT_BYTES

    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {unread(error)}") from None
    if not 0 < len(content) <= MAX_TEXT_BYTES:
        raise BadConfiguration(f"{path}: 1 to {MAX_TEXT_BYTES} bytes")
    return content
