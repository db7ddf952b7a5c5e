"""`shuqiao doctor`: which hop fails, why, and what to do."""

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

COLUMNS = (
    Text("", ""),
    Text("环节", "Hop"),
    Text("所见", "Found"),
    Text("代码", "Code"),
    Text("处理", "What to do"),
)
HOPS = {
    "modules": "模块",
    "context": "上下文文件",
    "certificate": "证书",
    "authority": "认证机构",
    "gateway": "网关",
    "agent": "前置节点",
    "name": "名称",
    "port": "端口",
    "tls": "TLS",
    "identity": "身份",
    "clock": "时钟",
    "trust-list": "信任列表",
    "link": "链路",
    "keys": "密钥",
    "grants": "授权",
    "source": "数据源",
}
"""The parts of the names of hops, "gateway/port"."""
MARKS = {True: Cell("✓", GOOD), False: Cell("✗", BAD), None: Cell("·", UNSURE)}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help="逐环节检查连接 | Check the connection hop by hop")(doctor)


def doctor(context: typer.Context) -> int:
    """Examine everything that the context names; exit 1 where a hop fails."""
    from shuqiao.doctor import Doctor, Finding
    from shuqiao.probe import SocketProbe

    call = of(context)
    examination = Doctor(
        context=call.context,
        hold=call.door.hold,
        dial=call.door.dial,
        status=call.door.status,
        probe=SocketProbe(),
        clock=call.clock,
    )
    findings = list(examination.examine())
    failed = [finding for finding in findings if finding.ok is False]

    def view(finding: Finding) -> dict[str, object]:
        remedy = finding.remedy
        return {
            "hop": finding.hop,
            "ok": finding.ok,
            "found": {"zh": finding.found.zh, "en": finding.found.en},
            "code": finding.reason,
            "remedy": {"zh": remedy.zh, "en": remedy.en} if remedy else None,
        }

    def people() -> None:
        rows = [[MARKS[f.ok], named(f.hop), f.found, f.reason or " ", f.remedy or " "] for f in findings]
        call.out.table(Text("检查结果", "Findings"), COLUMNS, rows)
        _verdict(call, len(failed))

    call.out.show({"ok": not failed, "findings": [view(finding) for finding in findings]}, people)
    return 1 if failed else 0


def named(hop: str) -> Text:
    """Return a hop for people: in Chinese beside its name, a source by its resource."""
    parts = [part for name in hop.partition(":")[0].split("/") for part in [HOPS.get(name, "")] if part]
    return Text(f"{'·'.join(parts)} {hop}".strip(), hop)


def _verdict(call: Invocation, failed: int) -> None:
    if failed:
        said = Text("{n} 个环节未通过；先处理最上面的一个", "hops that fail: {n}; mend the topmost first")
        call.out.say(said.filled(n=failed), BAD)
    else:
        call.out.done(Text("各环节正常", "Every hop works"))
