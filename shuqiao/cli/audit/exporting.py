"""`shuqiao audit export`: takes the log away; the options choose the form, each in a module of its own."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.audit import evidence as bundles
from shuqiao.cli.audit import export_tiles
from shuqiao.cli.audit.filters import FilterOptions, filter_from, filtered
from shuqiao.cli.invocation import of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help="导出日志 | Take the log away")(filtered(export))


def export(
    context: typer.Context,
    options: FilterOptions,
    tiles: Annotated[
        Path | None,
        typer.Option(
            "--tiles",
            metavar="DIR",
            help="静态镜像目录（C2SP 瓦片） | Folder of a static mirror (C2SP tiles)",
        ),
    ] = None,
    hash_only: Annotated[
        bool, typer.Option("--hash-only", help="只导出哈希，不含记录 | Hashes only, no entries")
    ] = False,
    gateway: Annotated[
        str, typer.Option("--gateway", help="网关名（地区有多个网关时） | Name of the gateway, if several")
    ] = "",
    log: Annotated[
        Path | None, typer.Option("--log", help="离线：网关的目录 | Offline: folder of a gateway")
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="离线：信任列表或日志公钥文件 | Offline: trust list or log key file"),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="离线：根证书 | Offline: root certificate")
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence",
            metavar="FILE",
            help="证据包，可离线验证（审计、安全员）"
            " | Bundle of evidence that verifies offline (auditor, officer)",
        ),
    ] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="证据包：起始序号 | Bundle: first index")] = 0,
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="证据包：末尾序号（含） | Bundle: last index, included")
    ] = None,
    exchange: Annotated[
        list[str] | None,
        typer.Option(
            "--exchange", help="证据包：只含这些交换，可重复 | Bundle: these exchanges only, repeatable"
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="证据包：随附的见证策略 | Bundle: witness policy to include"),
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="证据包：须证明为同一历史的日志头，可重复"
            " | Bundle: heads to be shown of one history, repeatable",
        ),
    ] = None,
    attach: Annotated[
        list[Path] | None,
        typer.Option(
            "--attach",
            help="证据包：随附的回执或签名原文，可重复 | Bundle: receipts or signed bodies, repeatable",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="证据包：覆盖已有文件 | Bundle: replace a file that exists")
    ] = False,
) -> int:
    """Export in the form that was chosen; exactly one must be."""
    from exchange.errors import BadConfiguration

    call = of(context)
    if evidence is not None and tiles is None:
        wanted = bundles.wanted(first, last, exchange or (), filter_from(options))
        parts = bundles.Parts(policy=policy, heads=head or (), attach=attach or ())
        return bundles.export(call, evidence, wanted, parts, force=force)
    if tiles is None or evidence is not None:
        raise BadConfiguration("--tiles DIR | --evidence FILE")
    if log is not None:
        export_tiles.from_folder(call, tiles, log, hash_only=hash_only, trust=trust, root=root)
    else:
        export_tiles.from_gateway(call, tiles, gateway, hash_only=hash_only)
    return 0
