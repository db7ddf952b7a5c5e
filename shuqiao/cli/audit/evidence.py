"""Bundles of evidence on the command line: `audit export --evidence FILE` and `audit verify FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shuqiao.cli.invocation import Invocation
from shuqiao.output import BAD, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from exchange.evidence.findings import Fault, Report, Said
    from exchange.evidence.trusted import Trusted
    from exchange.v1 import audit_pb2
    from shuqiao.evidence_export import Wanted

PROVEN = Text("已证明：", "Proven:")
UNPROVEN = Text("未证明：", "Not proven:")
COLUMNS = (
    Text("检查", "Check"),
    Text("包内记录", "Record"),
    Text("种类", "Kind"),
    Text("日志记录", "Entry"),
    Text("说明", "What is wrong"),
    Text("细节", "Particulars"),
)
KINDS = {
    "description": "说明",
    "trust-list": "信任列表",
    "policy": "见证策略",
    "head": "日志头",
    "attachment": "附件",
    "entries": "日志记录",
    "manifest": "清单",
}
"""What the records of a bundle are, in Chinese."""
SHOWN_FAULTS = 50
MAX_ATTACHED_BYTES = 2 * 1024 * 1024


def is_bundle(file: Path) -> bool:
    """Return whether a file says of itself that it is a bundle of evidence."""
    from exchange.evidence.records import MAGIC
    from exchange.evidence.records import is_bundle as starts_as_bundle

    try:
        with file.open("rb") as opened:
            return starts_as_bundle(opened.read(len(MAGIC)))
    except OSError:
        # Whoever reads it next says why it cannot be read.
        return False


def verify(
    call: Invocation,
    file: Path,
    *,
    trust: Path | None,
    root: Path | None,
    policy: Path | None,
    heads: Sequence[Path],
) -> int:
    """Verify a bundle and print what it proves, what it does not and what does not hold; exit 1 on faults."""
    from shuqiao.evidence_trust import read_trusted

    identity = _identity(call) if trust is None and root is None else None
    trusted = read_trusted(trust=trust, root=root, policy=policy, heads=heads, identity=identity)
    report = _verified(file, trusted)
    call.out.show({"bundle": str(file), **document(report)}, lambda: show(call, file, report))
    return 0 if report.ok else 1


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions:
    """What was typed about a bundle. Each field is an option of the same name."""

    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence",
            metavar="FILE",
            help="证据包，可离线验证（审计、安全员）"
            " | Bundle of evidence that verifies offline (auditor, officer)",
        ),
    ] = None
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="证据包：末尾序号（含） | Bundle: last index, included")
    ] = None
    exchange: Annotated[
        list[str] | None,
        typer.Option(
            "--exchange", help="证据包：只含这些交换，可重复 | Bundle: these exchanges only, repeatable"
        ),
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="证据包：随附的见证策略 | Bundle: witness policy to include"),
    ] = None
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="证据包：须证明为同一历史的日志头，可重复"
            " | Bundle: heads to be shown of one history, repeatable",
        ),
    ] = None
    attach: Annotated[
        list[Path] | None,
        typer.Option(
            "--attach",
            help="证据包：随附的回执或签名原文，可重复 | Bundle: receipts or signed bodies, repeatable",
        ),
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="证据包：覆盖已有文件 | Bundle: replace a file that exists")
    ] = False


def run(call: Invocation, options: EvidenceOptions, first: int, fitting: "audit_pb2.EntryFilter") -> int:
    """Make a bundle of what was asked for; `first` is the first index wanted."""
    assert options.evidence is not None
    asked = wanted(first, options.last, options.exchange or (), fitting)
    return export(call, options.evidence, asked, options)


def export(call: Invocation, out: Path, asked: "Wanted", parts: EvidenceOptions) -> int:
    """Make a bundle, sign it as whoever exports, and verify what was made.

    Args:
        call: the invocation.
        out: the file.
        asked: which entries.
        parts: what goes with them.

    Returns:
        0, or 1 where something in what was exported does not hold; it is written all the same.
    """
    from exchange.evidence.trusted import Trusted
    from exchange.files import read_bounded
    from exchange.witness_policy import MAX_POLICY_BYTES
    from shuqiao.evidence_attached import Attached
    from shuqiao.evidence_export import Exporter
    from shuqiao.evidence_source import GatewaySource
    from shuqiao.evidence_trust import read_heads

    known, attached = read_heads(parts.head or ()), Attached()
    for path in parts.attach or ():
        attached.add(read_bounded(path, MAX_ATTACHED_BYTES), str(path))
    text = read_bounded(parts.policy, MAX_POLICY_BYTES) if parts.policy is not None else None
    trust = call.trust_list()
    read = Text("已读取 {n} 条", "Read {n} entries")
    with call.gateway() as channel:
        exporter = Exporter(
            source=GatewaySource(channel),
            trust=trust,
            signer=call.signer,
            policy=text,
            tool=_tool(),
            clock=call.clock,
            random=call.random,
            progress=lambda count: call.out.progress(read.filled(n=count)),
        )
        notes = [one.note for one in known]
        made = exporter.write(out, asked, heads=notes, attached=attached, force=parts.force)
    call.out.progress(Text("正在验证所导出的内容", "Verifying what was exported"))
    root = call.holder.root_pem()
    trusted = Trusted(root_pem=root, trust_list=trust.statement, heads=known)
    report = _verified(out, trusted)
    said = Text(
        "已写入 {file}：选取 {n} 条，佐证 {m} 条", "Wrote {file}: {n} entries selected, {m} supporting"
    )

    def people() -> None:
        call.out.done(said.filled(file=out, n=made.selected, m=made.supporting))
        show(call, out, report)

    told = {"bundle": str(out), "selected": made.selected, "supporting": made.supporting}
    call.out.show({**told, **document(report)}, people)
    return 0 if report.ok else 1


def wanted(first: int, last: int | None, exchanges: Sequence[str], fits: "audit_pb2.EntryFilter") -> "Wanted":
    """Return which entries were asked for.

    Args:
        first, last: indexes of the range; None for all that there is.
        exchanges: exchange ids; then range and filter do not count.
        fits: the filter; an empty one fits everything, and then the range is shown to be whole.

    Raises:
        BadConfiguration: an exchange id is none.
    """
    from exchange.errors import BadConfiguration
    from shuqiao.evidence_export import Wanted

    try:
        ids = tuple(UUID(one).bytes for one in exchanges)
    except ValueError as error:
        raise BadConfiguration(f"--exchange: {error}") from error
    end = 0 if last is None else last + 1
    return Wanted(first=first, end=end, filter=fits if fits.ByteSize() else None, exchange_ids=ids)


def document(report: "Report") -> dict[str, object]:
    """Return a report as programs get it."""
    return {
        "ok": report.ok,
        "proven": [one._asdict() for one in report.proven],
        "not_proven": [one._asdict() for one in report.unproven],
        "faults": [_fault(fault) for fault in report.faults],
        "fault_count": report.fault_count,
        "facts": report.facts,
    }


def show(call: Invocation, file: Path, report: "Report") -> None:
    """Print a report for people."""
    out = call.out
    if not report.ok:
        rows = [_row(fault) for fault in report.faults[:SHOWN_FAULTS]]
        out.table(Text(f"{file}：不成立之处", f"{file}: what does not hold"), COLUMNS, rows)
        if report.fault_count > len(rows):
            more = Text("共 {n} 处，其余见 --json", "{n} in all; the others with --json")
            out.say(more.filled(n=report.fault_count))
    for title, said, mark in ((PROVEN, report.proven, "✓"), (UNPROVEN, report.unproven, "?")):
        if said:
            out.say(title, "bold")
            for one in said:
                out.say(Text(f"  {mark} {one.zh}", f"  {mark} {one.en}"))
    if report.ok:
        out.done(Text("证据包成立", "The bundle holds"))


def _verified(file: Path, trusted: "Trusted") -> "Report":
    from exchange.errors import BadConfiguration
    from exchange.evidence.verify import verify_bundle

    try:
        with file.open("rb") as opened:
            return verify_bundle(opened, trusted)
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from error


def _identity(call: Invocation) -> Path | None:
    """Return the identity folder of the context, where there is a context."""
    from exchange.errors import BadConfiguration

    try:
        return call.context.identity
    except BadConfiguration:
        return None


def _fault(fault: "Fault") -> dict[str, object]:
    return {
        "check": fault.check.number,
        "name": fault.check.name.lower(),
        "record": fault.record,
        "kind": fault.kind.word if fault.kind else "",
        "entry": fault.entry,
        "about": fault.about,
        **_text(fault.check.says)._asdict(),
    }


def _row(fault: "Fault") -> list[object]:
    code = fault.kind.word if fault.kind else ""
    kind = Text(f"{KINDS[code]} {code}", code) if code else ""
    entry = "" if fault.entry is None else fault.entry
    mark = Cell(f"✗ {fault.check.number}", BAD)
    return [mark, fault.record, kind, entry, _text(fault.check.says), fault.about]


def _text(said: "Said") -> Text:
    return Text(said.zh, said.en)


def _tool() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"shuqiao {version('shuqiao')}"
    except PackageNotFoundError:
        return "shuqiao"
