"""The options that say which entries are wanted; the same for every command that reads the log.

A command takes them as one `FilterOptions` (see `shuqiao.cli.audit.options`); `filter_from` makes the
contract's filter of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.local_time import WHOLE_DAY, WHOLE_DAY_EN, typed_ms
from shuqiao.words import unread

if TYPE_CHECKING:
    from exchange.v1 import audit_pb2

MAX_FILE_BYTES = 4096
FIRST_LINE = "；写作 @文件 时从文件读取首行"
FIRST_LINE_EN = "; @FILE takes the file's first line"

Texts = list[str] | None


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """What was typed. Each field is an option of the same name."""

    organisation: Annotated[
        str,
        typer.Option(
            "--organisation", help="使用方、提供方或操作者的部门 | Organisation of a party or actor"
        ),
    ] = ""
    resource: Annotated[
        str,
        typer.Option("--resource", help="资源编号，或以 /* 结尾的前缀 | Resource, or a prefix ending in /*"),
    ] = ""
    decision: Annotated[
        Texts,
        typer.Option(
            "--decision",
            help="结果，可重复：released refused failed | Outcome, repeatable: released refused failed",
        ),
    ] = None
    reason: Annotated[
        Texts, typer.Option("--reason", help="原因代码，可重复 | Code of a reason, repeatable")
    ] = None
    purpose: Annotated[str, typer.Option("--purpose", help="用途代码 | Coded purpose")] = ""
    matter: Annotated[str, typer.Option("--matter", help="事项代码 | Coded matter")] = ""
    case: Annotated[
        str, typer.Option("--case", help=f"办件编号{FIRST_LINE} | Case number{FIRST_LINE_EN}")
    ] = ""
    operator: Annotated[
        str,
        typer.Option("--operator", help=f"经办人代号{FIRST_LINE} | Pseudonym of the operator{FIRST_LINE_EN}"),
    ] = ""
    actor: Annotated[
        str, typer.Option("--actor", help="操作者的 SPIFFE 标识 | SPIFFE id of who acted or was refused")
    ] = ""
    act: Annotated[
        Texts,
        typer.Option(
            "--act", help="管理操作，可重复，例如 grant read | Act, repeatable, such as grant or read"
        ),
    ] = None
    grant: Annotated[str, typer.Option("--grant", help="授权编号 | Grant id")] = ""
    since: Annotated[
        str,
        typer.Option(
            "--since",
            help=f"自此时刻起：RFC 3339，或{WHOLE_DAY} | From then on: RFC 3339, or {WHOLE_DAY_EN}",
        ),
    ] = ""
    until: Annotated[
        str,
        typer.Option(
            "--until",
            help=f"至此时刻前：RFC 3339，或{WHOLE_DAY} | Before then: RFC 3339, or {WHOLE_DAY_EN}",
        ),
    ] = ""


def filter_from(options: FilterOptions) -> "audit_pb2.EntryFilter":
    """Return the filter that was asked for.

    Raises:
        BadConfiguration: names the option that cannot be read.
    """
    from exchange.v1 import audit_pb2, reason_pb2

    return audit_pb2.EntryFilter(
        organisation=options.organisation,
        resource=options.resource,
        decisions=_numbers("--decision", options.decision, audit_pb2.Decision.items(), "DECISION_"),
        reasons=_numbers("--reason", options.reason, reason_pb2.Reason.items(), "REASON_"),
        purpose=options.purpose,
        matter=options.matter,
        case_number=typed("--case", options.case),
        operator=typed("--operator", options.operator),
        actor=options.actor,
        acts=_numbers("--act", options.act, audit_pb2.Act.items(), "ACT_"),
        since_ms=typed_ms("--since", options.since),
        until_ms=typed_ms("--until", options.until, whole_day=True),
        grant_id=_grant(options.grant),
    )


def _numbers(option: str, names: Texts, known: Iterable[tuple[str, int]], prefix: str) -> list[Any]:
    from exchange.errors import BadConfiguration

    numbers = {name.removeprefix(prefix): number for name, number in known if number}
    found = []
    for name in names or []:
        number = numbers.get(name.upper().replace("-", "_"))
        if number is None:
            raise BadConfiguration(f"{option} {name}: {', '.join(sorted(numbers)).lower()}")
        found.append(number)
    return found


def typed(option: str, text: str) -> str:
    """Return a text; "@file" stands for the file's first line, which then is in no list of processes."""
    from exchange.errors import BadConfiguration

    if not text.startswith("@"):
        return text
    try:
        with Path(text[1:]).open(encoding="utf-8") as file:
            return file.readline(MAX_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{option} {text}: {unread(error)}") from error


def _grant(text: str) -> bytes:
    from exchange.errors import BadConfiguration

    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadConfiguration(f"--grant {text}") from error
