"""What people see of a demonstration: step by step as it happens, Chinese first, English beside it.

Programs see nothing of this: they get one document at the end.
"""

from collections.abc import Mapping, Sequence

from shuqiao.demo.cast import LEVELS, TITLES
from shuqiao.demo.outcome import REFUSED, RELEASED, Exchanged, Outcome
from shuqiao.output import BAD, GOOD, UNSURE, Cell, Output
from shuqiao.words import Language, Text, term

NUMBERS = "①②③④⑤⑥⑦⑧⑨"
COLOURS = {RELEASED: GOOD, REFUSED: UNSURE}


def both(text: Text) -> Text:
    """Return a text whose Chinese form has the English beside it."""
    return Text(f"{text.zh}  {text.en}", text.en)


class Show:
    """Tells people what happens.

    Args:
        out: where it goes; silent for programs.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._chapters = 0

    def title(self, text: Text) -> None:
        """Say what this is."""
        self._out.say(both(text), style="bold")

    def chapter(self, text: Text) -> None:
        """Begin a chapter."""
        number = NUMBERS[self._chapters]
        self._chapters += 1
        told = both(text)
        self._out.say(Text(f"\n{number} {told.zh}", f"\n{number} {told.en}"), style="bold cyan")

    def done(self, text: Text) -> None:
        """Say that a step is done."""
        told = both(text)
        self._out.done(Text(f"{told.zh}", told.en))

    def note(self, text: Text) -> None:
        """Say something beside the steps."""
        told = both(text)
        self._out.say(Text(f"  {told.zh}", f"  {told.en}"), style="dim")

    def record(self, title: Text, values: Mapping[str, object]) -> None:
        """Show what arrived: field by field, with its level."""
        if self._out.json_mode:
            return
        pairs = [
            (self._named(name), Cell(value, GOOD if value is not None else ""))
            for name, value in values.items()
        ]
        self._out.facts(Text(f"  {both(title).zh}", f"  {title.en}"), pairs)

    def exchanged(self, what: Text, one: Exchanged) -> None:
        """Tell of an exchange that was released."""
        proof = Text("回执已验证", "receipt verified") if one.receipt_verified else Text("无回执", "no receipt")
        told = both(what)
        took = f"{one.latency_ms:.1f} ms"
        self._out.done(
            Text(f"{told.zh}  {took}  {proof.zh} {proof.en}", f"{told.en}  {took}  {proof.en}")
        )

    def refused(self, what: Text, reason: str, sentence: Text) -> None:
        """Tell of a refusal that had to come."""
        told, said = both(what), both(sentence)
        self._out.done(Text(f"{told.zh}  → {reason}", f"{told.en}  → {reason}"))
        self._out.say(Text(f"    {said.zh}", f"    {said.en}"), style="dim")

    def summary(self, outcome: Outcome) -> None:
        """Show the whole in tables."""
        self._out.raw("\n")
        self._exchanges(outcome.exchanges)
        self._refusals(outcome.refusals)
        audit = outcome.audit
        self._out.facts(
            both(Text("审计日志", "Audit log")),
            [
                (both(Text("条目", "entries")), audit.entries),
                (both(Text("根哈希", "root")), audit.root),
                (
                    both(Text("离线验证", "verified offline")),
                    Cell(audit.verified, GOOD if audit.verified else BAD),
                ),
            ],
        )
        for fault in outcome.faults:
            self._out.say(Text(f"✗ {fault}", f"✗ {fault}"), style=BAD)
        said = (
            Text("演示成功，用时 {s:.1f} 秒", "All as it must be, {s:.1f} s")
            if outcome.ok
            else Text("演示失败，用时 {s:.1f} 秒", "Not as it must be, {s:.1f} s")
        )
        self._out.raw("\n")
        self._out.say(both(said.filled(s=outcome.elapsed_s)), style=f"bold {GOOD if outcome.ok else BAD}")

    def _exchanges(self, exchanges: Sequence[Exchanged]) -> None:
        columns = [
            Text("谁问", "Consumer"),
            Text("方式", "Kind"),
            Text("信息项", "Fields"),
            Text("结果", "Status"),
            Text("毫秒", "ms"),
            Text("回执", "Receipt"),
        ]
        language = self._out.language
        rows = [
            [
                one.consumer,
                term(one.kind, language),
                [self._named(name).of(language) for name in one.fields],
                Cell(term(one.status, language), COLOURS.get(one.status, BAD)),
                f"{one.latency_ms:.1f}",
                Cell("✓" if one.receipt_verified else "✗", GOOD if one.receipt_verified else BAD),
            ]
            for one in exchanges
        ]
        self._out.table(both(Text("交换", "Exchanges")), [self._heading(text) for text in columns], rows)

    def _refusals(self, refusals: Sequence[tuple[str, str]]) -> None:
        rows = [[why, Cell(reason, UNSURE)] for why, reason in refusals]
        columns = [self._heading(Text("为何", "Why")), self._heading(Text("原因代码", "Reason"))]
        self._out.table(both(Text("应有的拒绝", "Refusals that had to come")), columns, rows)

    def _heading(self, text: Text) -> Text:
        return Text(f"{text.zh} {text.en}", text.en)

    def _named(self, name: str) -> Text:
        title, level = TITLES.get(name, Text(name, name)), LEVELS.get(name, "")
        zh = f"{title.zh} {level}" if self._out.language is Language.ZH else title.en
        return Text(zh.strip(), f"{title.en} {level}".strip())
