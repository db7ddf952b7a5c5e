"""What people see of a demonstration: step by step as it happens, Chinese first, English beside it.

Programs see nothing of this: they get one document at the end.
"""

from collections.abc import Mapping, Sequence

from shuqiao.demo.cast import LEVELS, TITLES
from shuqiao.demo.outcome import REFUSED, RELEASED, Audited, Exchanged, Outcome
from shuqiao.output import BAD, GOOD, UNSURE, Cell, Output
from shuqiao.words import Language, Text, term

NUMBERS = "①②③④⑤⑥⑦⑧⑨"
COLOURS = {RELEASED: GOOD, REFUSED: UNSURE}


def both(zh: str, en: str, *, lead: str = "") -> Text:
    """Return a text whose Chinese form has the English beside it.

    Args:
        zh: in Chinese.
        en: in English.
        lead: what either begins with.
    """
    return Text(f"{lead}{zh}  {en}", f"{lead}{en}")


class Show:
    """Tells people what happens.

    Args:
        out: where it goes; silent for programs.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._chapters = 0

    def title(self, zh: str, en: str) -> None:
        """Say what this is."""
        self._out.say(Text(f"{zh}\n{en}", en), style="bold")

    def chapter(self, zh: str, en: str) -> None:
        """Begin a chapter."""
        number = NUMBERS[self._chapters]
        self._chapters += 1
        self._out.say(both(zh, en, lead=f"\n{number} "), style="bold cyan")

    def done(self, zh: str, en: str) -> None:
        """Say that a step is done."""
        self._out.done(both(zh, en))

    def note(self, zh: str, en: str) -> None:
        """Say something beside the steps."""
        self._out.say(both(zh, en, lead="    "), style="dim")

    def record(self, zh: str, en: str, values: Mapping[str, object]) -> None:
        """Show what arrived: field by field, with its level."""
        pairs = [(self._named(name), Cell(value, GOOD)) for name, value in values.items()]
        self._facts(zh, en, pairs)

    def entry(self, zh: str, en: str, values: Mapping[str, object]) -> None:
        """Show what the log says: names and values of an entry."""
        self._facts(zh, en, [(Text(name, name), value) for name, value in values.items()])

    def exchanged(self, zh: str, en: str, one: Exchanged) -> None:
        """Tell of an exchange that was released."""
        took = f"{one.latency_ms:.1f} ms"
        proof = ("回执已验证", "receipt verified") if one.receipt_verified else ("无回执", "no receipt")
        self._out.done(both(f"{zh} · {took} · {proof[0]}", f"{en} · {took} · {proof[1]}"))

    def refused(self, what: Text, reason: str, sentence: Text) -> None:
        """Tell of a refusal that had to come."""
        self._out.done(both(what.zh, f"{what.en}  → {reason}"))
        self.note(sentence.zh, sentence.en)

    def summary(self, outcome: Outcome) -> None:
        """Show the whole in tables."""
        self._out.raw("\n")
        if outcome.exchanges:
            self._exchanges(outcome.exchanges)
        if outcome.refusals:
            self._refusals(outcome.refusals)
        self._audit(outcome.audit)
        for fault in outcome.faults:
            self._out.say(Text(f"✗ {fault}", f"✗ {fault}"), style=BAD)
        took = f"{outcome.elapsed_s:.1f} s"
        said = (
            both(f"一切如约 · {took}", f"everything as it must be · {took}")
            if outcome.ok
            else both(f"与约定不符 · {took}", f"not as it must be · {took}")
        )
        self._out.raw("\n")
        self._out.say(said, style=f"bold {GOOD if outcome.ok else BAD}")

    def _exchanges(self, exchanges: Sequence[Exchanged]) -> None:
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
        columns = [
            both("使用部门", "Consumer"),
            both("方式", "Kind"),
            both("信息项", "Fields"),
            both("结果", "Status"),
            both("毫秒", "ms"),
            both("回执", "Receipt"),
        ]
        self._out.table(both("交换", "Exchanges"), columns, rows)

    def _refusals(self, refusals: Sequence[tuple[Text, str]]) -> None:
        rows = [[both(why.zh, why.en), Cell(reason, UNSURE)] for why, reason in refusals]
        columns = [both("情形", "Why"), both("原因代码", "Reason")]
        self._out.table(both("应有的拒绝", "Refusals that had to come"), columns, rows)

    def _audit(self, audit: Audited) -> None:
        pairs = [
            (both("条目", "entries"), audit.entries),
            (both("根哈希", "root"), audit.root),
            (both("离线验证", "verified offline"), Cell(audit.verified, GOOD if audit.verified else BAD)),
        ]
        self._out.facts(both("审计日志", "Audit log"), pairs)

    def _facts(self, zh: str, en: str, pairs: Sequence[tuple[Text, object]]) -> None:
        if not self._out.json_mode:
            indented = [(Text(f"  {name.zh}", f"  {name.en}"), value) for name, value in pairs]
            self._out.facts(both(zh, en, lead="    "), indented)

    def _named(self, name: str) -> Text:
        title, level = TITLES.get(name, Text(name, name)), LEVELS.get(name, "")
        said = Text(f"{title.zh} {level}".strip(), f"{title.en} {level}".strip())
        return said if self._out.language is Language.ZH else Text(said.en, said.en)
