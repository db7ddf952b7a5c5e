"""`shuqiao audit export --tiles`: keeps a static mirror of a log, from its gateway or from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shuqiao.cli.invocation import Invocation
from shuqiao.words import Text

if TYPE_CHECKING:
    from exchange.tile_reader import Fetch
    from exchange.trust import TrustedGateway
    from shuqiao.trust_files import LogKeys

HASHES_ONLY = Text(
    "此身份无权读取记录，只导出哈希与检查点",
    "This identity may not read entries: hashes and checkpoints only",
)


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """What was typed about a mirror. Each field is an option of the same name."""

    tiles: Annotated[
        Path | None,
        typer.Option(
            "--tiles",
            metavar="DIR",
            help="静态镜像目录（C2SP 瓦片） | Folder of a static mirror (C2SP tiles)",
        ),
    ] = None
    hash_only: Annotated[
        bool, typer.Option("--hash-only", help="只导出哈希，不含记录 | Hashes only, no entries")
    ] = False
    gateway: Annotated[
        str, typer.Option("--gateway", help="网关名（地区有多个网关时） | Name of the gateway, if several")
    ] = ""
    log: Annotated[
        Path | None, typer.Option("--log", help="离线：网关的目录 | Offline: folder of a gateway")
    ] = None
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="离线：信任列表或日志公钥文件 | Offline: trust list or log key file"),
    ] = None
    root: Annotated[Path | None, typer.Option("--root", help="离线：根证书 | Offline: root certificate")] = (
        None
    )


def run(call: Invocation, options: TileOptions) -> None:
    """Mirror the log of a gateway, or of a folder."""
    assert options.tiles is not None
    if options.log is None:
        from_gateway(call, options.tiles, options.gateway, hash_only=options.hash_only)
        return
    from_folder(
        call,
        options.tiles,
        options.log,
        hash_only=options.hash_only,
        trust=options.trust,
        root=options.root,
    )


def from_gateway(call: Invocation, folder: Path, name: str, *, hash_only: bool) -> None:
    """Mirror a gateway's log over HTTPS as the identity of the context."""
    from exchange.identity import Role
    from shuqiao.log_client import LogClient

    keys = call.log_keys()
    gateway = _chosen(call, keys, name)
    if not hash_only and call.holder.identity().role not in (Role.OFFICER, Role.AUDITOR):
        call.out.progress(HASHES_ONLY)
        hash_only = True
    with LogClient(address=_address(call, gateway), shard=gateway.name, holder=call.holder) as client:
        _export(call, folder, client.fetch, gateway.origin, keys, entries=not hash_only)


def from_folder(
    call: Invocation, folder: Path, log: Path, *, hash_only: bool, trust: Path | None, root: Path | None
) -> None:
    """Mirror the log in a gateway's folder, offline."""
    from gateway.audit.log.log_keys import read_log_key
    from gateway.audit.log.tiles import Tiles
    from gateway.audit.verification.offline import offline_log
    from shuqiao.trust_files import FROM_FOLDER, LogKeys, read_log_keys

    with offline_log(log) as opened:
        origin, key = read_log_key(log)
        keys = (
            read_log_keys(trust, root=root)
            if trust is not None
            else LogKeys(by_origin={origin: (key,)}, source=FROM_FOLDER)
        )
        _export(call, folder, Tiles(opened).read, origin, keys, entries=not hash_only)


def _export(
    call: Invocation, folder: Path, fetch: Fetch, origin: str, keys: LogKeys, *, entries: bool
) -> None:
    from shuqiao.tile_export import export_tiles

    def progress(done: int, size: int) -> None:
        call.out.progress(Text("{done} / {size} 条", "{done} of {size} entries").filled(done=done, size=size))

    done = export_tiles(
        folder, fetch=fetch, origin=origin, log_keys=keys.of(origin), entries=entries, progress=progress
    )
    document = {
        "ok": True,
        "mirror": str(folder),
        "origin": done.head.origin,
        "size": done.head.size,
        "root": done.head.root.hex(),
        "old_size": done.old_size,
        "entries": entries,
        "tiles_written": done.tiles,
        "bundles_written": done.bundles,
        "bundles_erased": done.erased,
        "key_source": keys.source._asdict(),
    }

    def people() -> None:
        facts: list[tuple[Text, object]] = [
            (Text("镜像", "Mirror"), folder),
            (Text("日志", "Log"), done.head.origin),
            (Text("记录数", "Entries"), f"{done.old_size} → {done.head.size}"),
            (Text("根", "Root"), done.head.root.hex()),
            (Text("新写瓦片", "Tiles written"), done.tiles),
            (Text("新写记录包", "Entry bundles written"), done.bundles),
            (Text("已到期清除的记录包", "Entry bundles erased at the end of their term"), done.erased),
            (Text("公钥来源", "Key"), keys.source),
        ]
        call.out.facts(Text("日志镜像", "Mirror of the log"), facts)
        call.out.done(Text("镜像完整，并延续先前的检查点", "The mirror is whole and extends the one before"))

    call.out.show(document, people)


def _chosen(call: Invocation, keys: LogKeys, name: str) -> TrustedGateway:
    """Return the gateway that is meant: by name, by the context's address, or the only one."""
    from exchange.errors import BadConfiguration

    known = list(keys.trust.gateways.values()) if keys.trust else []
    fitting = [one for one in known if one.name == name] if name else known
    if len(fitting) > 1 and call.context.has("gateway"):
        fitting = [one for one in fitting if call.context.gateway in one.addresses]
    if len(fitting) != 1:
        raise BadConfiguration(f"--gateway {' | '.join(sorted(one.name for one in known))}")
    return fitting[0]


def _address(call: Invocation, gateway: TrustedGateway) -> str:
    """Return where the log is: as the context says, or on the port that the gateway names."""
    from shuqiao import regional
    from shuqiao.log_client import DEFAULT_PORT

    if call.context.log:
        return call.context.log
    with call.gateway() as channel:
        port = regional.get_log_port(channel) or DEFAULT_PORT
    dialled = call.context.gateway if call.context.has("gateway") else next(iter(gateway.addresses), "")
    return f"{dialled.rpartition(':')[0] or call.gateway_address().rpartition(':')[0]}:{port}"
