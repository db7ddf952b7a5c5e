"""`shuqiao audit export`: takes the log away; the options choose the form, each in a module of its own."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.audit import export_tiles
from shuqiao.cli.invocation import of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help="导出日志 | Take the log away")(export)


def export(
    context: typer.Context,
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
) -> None:
    """Export in the form that was chosen; exactly one must be."""
    from exchange.errors import BadConfiguration

    call = of(context)
    if tiles is None:
        raise BadConfiguration("--tiles DIR")
    if log is not None:
        export_tiles.from_folder(call, tiles, log, hash_only=hash_only, trust=trust, root=root)
    else:
        export_tiles.from_gateway(call, tiles, gateway, hash_only=hash_only)
