"""`shuqiao audit show`, `prove` and `verify`: entries with their proofs, online and offline."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from shuqiao.cli.audit import entry_facts, evidence
from shuqiao.cli.audit.archive import verify_log
from shuqiao.cli.invocation import Invocation, of
from shuqiao.words import Text, unread

Key = Annotated[
    str,
    typer.Argument(
        metavar="INDEX|EXCHANGE_ID", help="记录序号或交换编号 | Index of the entry, or exchange id"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("show", help="查看一条记录 | Show one entry")(show)
    app.command(
        "prove", help="导出一条记录的证明（C2SP tlog-proof） | Write the proof of an entry (C2SP tlog-proof)"
    )(prove)
    app.command(
        "verify",
        help="离线验证日志目录、回执文件或证据包"
        " | Verify a log folder, a receipt file or a bundle of evidence offline",
    )(verify)


def show(context: typer.Context, key: Key) -> None:
    """Print one entry whole, after checking its proof against the checkpoint that came with it."""
    from shuqiao import regional, views

    call = of(context)
    with call.gateway() as channel:
        found = regional.get_entry(channel, _key(key))
    head, keys = _proven(call, found)
    view = views.entry(found.receipt.index, found.receipt.leaf)

    def people() -> None:
        title = Text("记录 {i}", "Entry {i}").filled(i=found.receipt.index)
        call.out.facts(title, entry_facts.facts(view))
        call.out.done(Text(f"证明有效：{keys.source.zh}", f"The proof holds: {keys.source.en}"))

    call.out.show({**view, "proof_verified": True, "log": _head(head)}, people)


def prove(
    context: typer.Context,
    key: Key,
    out: Annotated[Path, typer.Option("--out", "-o", help="写入的文件 | File to write")],
) -> None:
    """Fetch an entry with its proof and keep both in a file that verifies offline."""
    from exchange.receipt import to_tlog_proof
    from shuqiao import regional

    call = of(context)
    with call.gateway() as channel:
        found = regional.get_entry(channel, _key(key))
    _proven(call, found)
    out.write_text(to_tlog_proof(found.receipt, found.checkpoint), encoding="utf-8")
    said = Text("记录 {index} 的证明已写入 {file}", "Wrote the proof of entry {index} to {file}")
    call.out.show(
        {"ok": True, "index": found.receipt.index, "file": str(out)},
        lambda: call.out.done(said.filled(index=found.receipt.index, file=out)),
    )


def verify(
    context: typer.Context,
    receipt: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="回执文件或证据包 | Receipt file or bundle of evidence"),
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="网关的目录 | Folder of a gateway")] = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="信任列表或日志公钥文件 | Trust list (trust-list.pb) or log key file"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="根证书，用于验证信任列表 | Root certificate, against which the trust list is checked",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="网关配置，用于解密已封存的记录 | Gateway configuration: opens sealed segments",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="证据包：要求达到其法定数的见证策略"
            " | Bundle: witness policy whose quorum is demanded (C2SP tlog-policy)",
        ),
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="证据包：见过的日志头：检查点、回执、heads.json 或较早的证据包"
            " | Bundle: heads seen before: a checkpoint, receipt, heads.json or earlier bundle",
        ),
    ] = None,
) -> int:
    """Verify one of them; exit 0 when whole, exit 1 and the place when not."""
    from exchange.errors import BadConfiguration

    call = of(context)
    if (receipt is None) == (log is None):
        raise BadConfiguration("FILE | --log DIR")
    if log is not None:
        return verify_log(call, log, trust, root, config)
    if receipt is not None and evidence.is_bundle(receipt):
        return evidence.verify(call, receipt, trust=trust, root=root, policy=policy, heads=head or ())
    if policy is not None or head:
        raise BadConfiguration("--policy, --head")
    return _verify_receipt(call, receipt or Path(), trust, root)


def _proven(call: Invocation, found: Any) -> tuple[Any, Any]:
    """Show that an entry is in the log, on the word of the newest trust list."""
    from exchange.checkpoint import open_checkpoint
    from exchange.receipt import verify_receipt

    keys = call.log_keys()
    origin = found.checkpoint.partition("\n")[0]
    head = open_checkpoint(found.checkpoint, origin=origin, log_keys=keys.of(origin))
    verify_receipt(found.receipt, head, lineage=keys.lineage(origin))
    return head, keys


def _verify_receipt(call: Invocation, file: Path, trust: Path | None, root: Path | None) -> int:
    from exchange.errors import BadConfiguration
    from exchange.receipt import from_tlog_proof, verify_receipt_file
    from shuqiao import views
    from shuqiao.trust_files import read_log_keys

    keys = read_log_keys(trust, root=root) if trust is not None else call.log_keys()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file}: {unread(error)}") from error
    receipt, note = from_tlog_proof(text)
    origin = note.partition("\n")[0]
    _, head = verify_receipt_file(text, origin=origin, log_keys=keys.of(origin), lineage=keys.lineage(origin))
    entry = views.entry(receipt.index, receipt.leaf)

    def people() -> None:
        call.out.facts(Text("回执", "Receipt"), entry_facts.facts(entry))
        said = Text("回执有效：{origin} 共 {size} 条；{zh}", "Receipt holds: {origin}, {size} entries; {en}")
        call.out.done(said.filled(origin=head.origin, size=head.size, zh=keys.source.zh, en=keys.source.en))

    call.out.show({"ok": True, **_head(head), "key_source": keys.source._asdict(), "entry": entry}, people)
    return 0


def _head(head: Any) -> dict[str, object]:
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def _key(text: str) -> int | bytes:
    from exchange.errors import BadConfiguration

    if text.isdecimal() and len(text) < 20:
        return int(text)
    try:
        return UUID(text).bytes
    except ValueError as error:
        raise BadConfiguration(f"INDEX|EXCHANGE_ID: {text}") from error
