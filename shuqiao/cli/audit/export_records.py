"""`shuqiao audit export --ocsf|--csv|--parquet|--syslog`: entries to where officers already work."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation
from shuqiao.words import Text

if TYPE_CHECKING:
    from exchange.errors import SinkAway
    from exchange.v1 import audit_pb2
    from shuqiao.exports.run import Progress
    from shuqiao.exports.sinks import Sink
    from shuqiao.following import Frame

STANDARD_OUTPUT = Path("-")
AWAY = Text(
    "接收方不可用（{subject}），{seconds} 秒后重试", "Receiver away ({subject}); trying again in {seconds} s"
)
DONE = Text(
    "已导出 {count} 条记录；下次从记录 {next} 继续", "Exported {count} entries; next time from entry {next}"
)
PLACE = ".place"


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What was typed about exporting records. Each field is an option of the same name."""

    ocsf: Annotated[
        Path | None,
        typer.Option("--ocsf", metavar="FILE|-", help="OCSF 1.6 JSON 行 | OCSF 1.6 as JSON lines"),
    ] = None
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="CSV 表格 | A CSV table")] = None
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="DIR", help="Parquet 目录 | A folder of Parquet parts")
    ] = None
    syslog: Annotated[
        str,
        typer.Option(
            "--syslog", metavar="HOST:PORT", help="经 TLS 的 RFC 5424 | RFC 5424 over TLS, with OCSF"
        ),
    ] = ""
    ca: Annotated[
        Path | None, typer.Option("--ca", help="接收方的 CA 证书 | CA certificates of the receiver (PEM)")
    ] = None
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="向接收方出示的证书 | Certificate shown to the receiver"),
    ] = None
    key: Annotated[Path | None, typer.Option("--key", help="该证书的私钥 | Its private key (PEM)")] = None
    place: Annotated[
        Path | None,
        typer.Option(
            "--place",
            help="断点文件；默认在导出文件旁 | File that keeps the place; by default beside what is written",
        ),
    ] = None
    follow: Annotated[bool, typer.Option("--follow", "-f", help="持续导出新记录 | Go on as entries come")] = (
        False
    )
    first: Annotated[int, typer.Option("--from", min=0, help="起始序号 | First index")] = 0
    pseudonyms: Annotated[
        Path | None,
        typer.Option(
            "--pseudonyms",
            metavar="KEYFILE",
            help="出地区时以此密钥将经办人与办件编号化名"
            " | For records that leave the region: operator and case as pseudonyms under this key",
        ),
    ] = None

    @property
    def chosen(self) -> bool:
        """Whether records are to be exported."""
        return any((self.ocsf, self.csv, self.parquet, self.syslog))


def run(call: Invocation, options: RecordOptions, wanted: "audit_pb2.EntryFilter") -> None:
    """Export until the log ends, or for ever with --follow."""
    from exchange.errors import BadConfiguration
    from shuqiao import regional
    from shuqiao.cli.audit.reading import check_place
    from shuqiao.cursor import Cursor
    from shuqiao.exports.pseudonyms import read_key
    from shuqiao.exports.run import export

    if sum(map(bool, (options.ocsf, options.csv, options.parquet, options.syslog))) != 1:
        raise BadConfiguration("--ocsf | --csv | --parquet | --syslog")
    sink, kept = _sink(options)
    place = Cursor(kept) if kept is not None else None
    if place is not None:
        check_place(call, place)

    def read(first: int) -> "Iterator[Frame]":
        return regional.follow(call.gateway, first=first, wanted=wanted, go_on=options.follow)

    def away(error: "SinkAway", pause_s: float) -> None:
        call.out.notice(AWAY.filled(subject=error.subject, seconds=f"{pause_s:g}"))

    def settled(progress: "Progress") -> None:
        if options.follow:
            return
        call.out.progress(DONE.filled(count=progress.records, next=progress.next_index))

    done = export(
        read,
        sink,
        place=place,
        first=options.first,
        pseudonyms=read_key(options.pseudonyms) if options.pseudonyms else None,
        go_on=options.follow,
        settled=settled,
        away=away,
    )
    if options.ocsf != STANDARD_OUTPUT:
        call.out.show(
            {"ok": True, "records": done.records, "next_index": done.next_index, "log": done.origin},
            lambda: call.out.done(DONE.filled(count=done.records, next=done.next_index)),
        )


def _sink(options: RecordOptions) -> "tuple[Sink, Path | None]":
    """Return where records go, and where the place is kept."""
    from shuqiao.exports.parquet import ParquetSink
    from shuqiao.exports.sinks import FileSink, StreamSink, csv_head, csv_line, ocsf_lines

    sink: Any
    if options.ocsf == STANDARD_OUTPUT:
        return StreamSink(sys.stdout, ocsf_lines), options.place
    if options.syslog:
        return _syslog(options)
    if options.parquet is not None:
        return ParquetSink(options.parquet), options.place or options.parquet / PLACE
    if options.csv is not None:
        path, sink = options.csv, FileSink(options.csv, csv_line, head=csv_head())
    else:
        path = options.ocsf or Path()
        sink = FileSink(path, ocsf_lines)
    return sink, options.place or path.with_name(path.name + PLACE)


def _syslog(options: RecordOptions) -> "tuple[Sink, Path]":
    from exchange.errors import BadConfiguration
    from shuqiao.exports.syslog import Receiver, SyslogSink
    from shuqiao.installing import host_and_port

    if options.ca is None or options.place is None:
        raise BadConfiguration("--syslog HOST:PORT --ca FILE --place FILE")
    host, port = host_and_port("--syslog", options.syslog)
    receiver = Receiver(
        host=host, port=port, ca_file=options.ca, certificate_file=options.certificate, key_file=options.key
    )
    return SyslogSink(receiver, sender=platform.node() or "-"), options.place
