"""`shuqiao agent corrections` and `shuqiao agent disputes`: what an agent keeps for its department's people.

Read beside the agent, on its own machine, with its passphrase: nothing of it is ever asked over a network.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import of
from shuqiao.words import Text, term

if TYPE_CHECKING:
    from agent.disputes import Shown

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]
SHORT_HEX = 12


def register(app: typer.Typer) -> None:
    """Add the commands to the group of the agent."""
    app.command(
        "corrections", help="须在本部门更正的数据 | Values received that were corrected at the source"
    )(corrections)
    app.command(
        "disputes", help="对本部门数据的异议及详情（仅本机） | Disputes about our data, on this machine only"
    )(disputes)


def corrections(context: typer.Context, config: Config) -> None:
    """Print the corrections that this department was told of."""
    from agent.config import load
    from agent.consumer.correction_view import by_ticket, correction
    from agent.corrections import KIND, Correction
    from agent.disputes import read_kept

    call = of(context)
    kept = read_kept(load(config).folder, KIND)
    held = sorted((Correction.of(*item) for item in kept.items()), key=lambda one: (one.told_ms, one.key))
    found: list[dict[str, Any]] = [correction(entries) for entries in by_ticket(held)]
    columns = (
        Text("异议", "Dispute"),
        Text("资源", "Resource"),
        Text("信息项", "Fields"),
        Text("本部门交换", "Our exchanges"),
        Text("已更正", "Done"),
        Text("说明", "Text"),
    )
    rows = [
        [
            one["ticket"][:SHORT_HEX],
            one["resource"],
            one["fields"],
            one["exchanges"],
            one["done"],
            one["text"],
        ]
        for one in found
    ]
    call.out.show({"corrections": found}, lambda: call.out.table(Text("更正", "Corrections"), columns, rows))


def disputes(context: typer.Context, config: Config) -> None:
    """Print the disputes about what this agent provides, with what is wrong where it was sealed to it."""
    from agent.config import load
    from agent.disputes import show_disputes
    from exchange.configuration import read_passphrase
    from exchange.keystore import FileKeyStore

    call = of(context)
    loaded = load(config)
    keystore = FileKeyStore(folder=loaded.folder / "keys", passphrase=read_passphrase(loaded.passphrase_file))
    found = [_view(one) for one in show_disputes(loaded.folder, keystore)]
    columns = (
        Text("异议", "Dispute"),
        Text("状态", "State"),
        Text("资源", "Resource"),
        Text("信息项", "Fields"),
        Text("交换编号", "Exchange"),
        Text("说明", "Text"),
        Text("错误详情", "What is wrong"),
    )
    language = call.out.language
    rows = [
        [
            one["ticket"][:SHORT_HEX],
            term(one["state"], language),
            one["resource"],
            one["fields"],
            one["exchange_id"],
            one["text"],
            one["detail"] if one["detail"] is not None else term(one["detail_state"], language),
        ]
        for one in found
    ]
    call.out.show({"disputes": found}, lambda: call.out.table(Text("异议", "Disputes"), columns, rows))


def _view(shown: "Shown") -> dict[str, Any]:
    from exchange.v1 import ticket_pb2
    from shuqiao import ticket_views, views

    one = shown.dispute
    return {
        "ticket": one.ticket,
        "state": ticket_views.state(ticket_pb2.TicketState.ValueType(one.state)),
        "raised_by": one.raised_by,
        "raised_at": views.unix_ms(one.raised_ms),
        "resource": one.resource,
        "fields": list(one.fields),
        "exchange_id": one.exchange,
        "text": one.text,
        "sealed_to": one.agent,
        "detail_state": one.detail,
        "detail": shown.detail,
    }
