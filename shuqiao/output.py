"""What the command prints: tables for people, or exactly one JSON document (or JSON lines) for programs.

Invariant: with --json nothing but JSON reaches standard output, errors included; without it errors go to
standard error. Nothing else in shuqiao/cli prints.
"""

import io
import json
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text as Rich

from exchange.errors import ExchangeError
from shuqiao.subjects import about
from shuqiao.usage import translated
from shuqiao.words import Language, Text

PIPE_WIDTH = 160
"""Columns where standard output is no terminal: wide enough that nothing is cut off."""

GOOD, BAD, UNSURE = "green", "red", "yellow"


class Cell(NamedTuple):
    """A value with a colour."""

    value: object
    style: str = ""


Row = Sequence[object]


def error_document(error: ExchangeError) -> dict[str, object]:
    """Return an error as programs get it: stable code, hop, both languages, retry and remedy."""
    said = error.sentence
    return {
        "ok": False,
        "error": {
            "code": error.name,
            "grpc_code": error.code.name,
            "hop": error.hop,
            "subject": error.subject,
            "retryable": error.retryable,
            "retry_after_ms": error.retry_after_ms,
            "reason": {"zh": said.zh, "en": said.en},
            "remedy": {"zh": said.remedy_zh, "en": said.remedy_en},
        },
    }


class Output:
    """Prints for one invocation.

    Args:
        language: of the words.
        json_mode: whether a program reads.
        stdout: where results go.
        stderr: where errors and progress go for people.
    """

    def __init__(self, *, language: Language, json_mode: bool, stdout: IO[str], stderr: IO[str]) -> None:
        self.language = language
        self.json_mode = json_mode
        self._stdout = stdout
        self._people = _console(stdout)
        self._errors = _console(stderr)

    def show(self, document: Mapping[str, object], people: Callable[[], None]) -> None:
        """Print one result.

        Args:
            document: what programs get.
            people: prints the same for people.
        """
        if self.json_mode:
            self.line(document)
        else:
            people()

    def line(self, document: Mapping[str, object]) -> None:
        """Print one JSON line and flush it."""
        self._stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        self._stdout.flush()

    def table(
        self, title: Text, columns: Sequence[Text], rows: Iterable[Row], *, empty: Text | None = None
    ) -> None:
        """Print an aligned table; one sentence where there are no rows."""
        listed = list(rows)
        if not listed:
            self.say(empty or Text(f"{title.zh}：无", f"{title.en}: none"))
            return
        table = Table(
            box=box.ROUNDED,
            border_style="dim",
            header_style="bold cyan",
        )
        for column in columns:
            table.add_column(column.of(self.language), overflow="fold")
        for row in listed:
            table.add_row(*(self._cell(value) for value in row))
        # Not the table's own title, which folds at the width of the columns.
        self._people.print(Rich(harmless(title.of(self.language)), style="bold"), soft_wrap=True)
        self._people.print(table)

    def facts(self, title: Text, pairs: Iterable[tuple[Text, object]]) -> None:
        """Print names and values under a title, the values aligned."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(f"  {name.of(self.language)}", self._cell(value))
        self._people.print(Rich(title.of(self.language), style="bold"))
        self._people.print(grid)

    def say(self, text: Text, style: str = "") -> None:
        """Print one sentence for people; nothing for programs."""
        if not self.json_mode:
            self._people.print(Rich(harmless(text.of(self.language), keep="\n"), style=style), soft_wrap=True)

    def done(self, text: Text) -> None:
        """Print that something succeeded, for people."""
        if not self.json_mode:
            told = harmless(text.of(self.language), keep="\n")
            self._people.print(Rich("✓ ", style=GOOD) + Rich(told), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Print prepared text as it is, for people."""
        self._stdout.write(text)
        self._stdout.flush()

    def sync(self) -> None:
        """Bring what was printed out of this process's hands; to the disk where it goes to a file."""
        self._stdout.flush()
        try:
            descriptor = self._stdout.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fsync(descriptor)
        except io.UnsupportedOperation:
            return  # A stream in memory.

    def notice(self, text: Text) -> None:
        """Print on standard error what has happened, for people and beside JSON as well."""
        self._errors.print(Rich(text.of(self.language), style="dim"), soft_wrap=True)

    def progress(self, text: Text) -> None:
        """Print on standard error what is going on, for people."""
        if not self.json_mode:
            self._errors.print(Rich(text.of(self.language), style="dim"), soft_wrap=True)

    def error(self, error: ExchangeError) -> None:
        """Print a refusal or failure: code, reason in both languages, hop, whether to retry, what to do."""
        if self.json_mode:
            self.line(error_document(error))
            return
        said, zh = error.sentence, self.language is Language.ZH
        first, second = (said.zh, said.en) if zh else (said.en, said.zh)
        head = Rich("✗ ", style=BAD) + Rich(error.name, style=f"bold {BAD}") + Rich(f"  {first}")
        self._errors.print(head, soft_wrap=True)
        self._errors.print(Rich(f"  {second}", style="dim"), soft_wrap=True)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in self._particulars(error):
            grid.add_row(f"  {name.of(self.language)}", harmless(value))
        self._errors.print(grid)

    def usage(self, message: str, *, code: int) -> None:
        """Print that the command was used wrongly."""
        said = translated(message)
        if self.json_mode:
            reason = {"zh": said.zh, "en": said.en}
            self.line({"ok": False, "error": {"code": "USAGE", "exit": code, "reason": reason}})
            return
        lead = Text("用法有误", "Wrong usage").of(self.language)
        hint = Text("用 --help 查看用法", "See --help").of(self.language)
        self._errors.print(Rich("✗ ", style=BAD) + Rich(f"{lead}: {said.of(self.language)}"), soft_wrap=True)
        self._errors.print(Rich(f"  {hint}", style="dim"))

    def _particulars(self, error: ExchangeError) -> list[tuple[Text, str]]:
        zh = self.language is Language.ZH
        retry = Text("可以", "yes") if error.retryable else Text("无用", "of no use")
        pairs = [
            (Text("对象", "About"), about(error.subject).of(self.language)),
            (Text("环节", "Hop"), error.hop),
            (Text("重试", "Retry"), retry.of(self.language)),
            (Text("处理", "Remedy"), error.sentence.remedy_zh if zh else error.sentence.remedy_en),
        ]
        return [(name, value) for name, value in pairs if value]

    def _cell(self, value: object) -> Rich:
        if isinstance(value, Cell):
            return Rich(_plain(value.value, self.language), style=value.style)
        return Rich(_plain(value, self.language))


def _plain(value: object, language: Language) -> str:
    if isinstance(value, Text):
        return value.of(language)
    if value is None or value == "":
        return "—"
    if isinstance(value, bool):
        return Text("是" if value else "否", "yes" if value else "no").of(language)
    if isinstance(value, (list, tuple)):
        return ("、" if language is Language.ZH else ", ").join(
            _plain(item, language) for item in value
        ) or "—"
    return harmless(str(value), keep="\n")


def harmless(text: str, *, keep: str = "") -> str:
    """Return a text without what steers a terminal: it may come from a department that is not to be trusted.

    Args:
        text: as it is in the log.
        keep: characters that stay all the same.

    Returns:
        The text, with control and format characters as Python writes them, for example \\x1b.
    """
    if text.isprintable():
        return text
    steering = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(
        one if one in keep or unicodedata.category(one) not in steering else ascii(one)[1:-1] for one in text
    )


def _console(stream: IO[str]) -> Console:
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)
