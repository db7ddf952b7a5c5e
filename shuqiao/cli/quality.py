"""`shuqiao quality`: how complete, valid, timely and accurate what is shared turns out to be."""

from typing import Annotated, Any

import typer

from shuqiao.cli.invocation import of
from shuqiao.local_time import WHOLE_DAY, WHOLE_DAY_EN, typed_ms
from shuqiao.words import Text

app = typer.Typer(name="quality", help="数据质量 | Quality of data")

_COLUMNS = (
    Text("资源", "Resource"),
    Text("完整性 ‰", "Complete ‰"),
    Text("有效性 ‰", "Valid ‰"),
    Text("时效性 ‰", "Timely ‰"),
    Text("准确性 ‰", "Accurate ‰"),
    Text("交换", "Exchanges"),
    Text("报告", "Reports"),
    Text("异议/属实", "Disputes/upheld"),
)


@app.command("list", help="各资源的数据质量 | Quality of resources")
def listed(
    context: typer.Context,
    resource: Annotated[str, typer.Option("--resource", help="只看一个资源 | Only this resource")] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since",
            help=f"自此时刻起，默认 30 天前：RFC 3339，或{WHOLE_DAY}"
            f" | From then on, by default 30 days ago: RFC 3339, or {WHOLE_DAY_EN}",
        ),
    ] = "",
) -> None:
    """Print what consumers reported, summed, and what disputes came to."""
    from shuqiao import ticket_views, ticketing

    call = of(context)
    since_ms = typed_ms("--since", since)
    with call.gateway() as channel:
        found = ticketing.list_quality(channel, resource=resource, since_ms=since_ms)
    views = [ticket_views.quality(one) for one in found]
    call.out.show(
        {"resources": views},
        lambda: call.out.table(Text("数据质量", "Quality"), _COLUMNS, [_row(view) for view in views]),
    )


def _row(view: dict[str, Any]) -> list[object]:
    return [
        view["resource"],
        view["complete_permille"],
        view["valid_permille"],
        view["timely_permille"],
        view["accurate_permille"],
        view["exchanges"],
        view["reports"],
        f"{view['disputes']}/{view['upheld']}",
    ]
