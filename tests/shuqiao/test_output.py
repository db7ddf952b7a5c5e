"""What is printed for people does what it says, whoever chose the words."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shuqiao.cli.audit.tables import followed
from shuqiao.output import Output, harmless
from shuqiao.words import Language, Text

STEERING = ["\x1b[2J", "\x9b2J", "\r", "\x07", "\u202e", "\u2028", "\u200b"]


@pytest.mark.parametrize("steering", STEERING)
def test_what_steers_a_terminal_is_written_out(steering: str) -> None:
    stdout = io.StringIO()
    out = Output(language=Language.EN, json_mode=False, stdout=stdout, stderr=io.StringIO())
    text = f"LJ-1{steering}x"
    out.table(Text("表", "Table"), [Text("列", "Column")], [[text]])
    out.facts(Text("表", "Table"), [(Text("列", "Column"), [text])])
    out.say(Text(text, text))
    out.done(Text(text, text))
    assert steering not in stdout.getvalue() and stdout.getvalue().count("LJ-1") == 4


def test_a_title_longer_than_its_table_stays_on_one_line() -> None:
    stdout = io.StringIO()
    out = Output(language=Language.ZH, json_mode=False, stdout=stdout, stderr=io.StringIO())
    title = "970100/public-security/household：记录 1 条"
    out.table(Text(title, title), [Text("姓名", "name")], [["李雷"]])
    assert stdout.getvalue().splitlines()[0] == title


def test_a_followed_entry_is_one_line_whatever_a_consumer_wrote_into_it() -> None:
    call = cast(Any, SimpleNamespace(out=SimpleNamespace(language=Language.EN)))
    view = {
        "index": 7,
        "type": "exchange",
        "time": "2026-11-26T00:00:00Z",
        "decision": "refused",
        "reason": "BAD_IDENTIFIER",
        "consumer": "91970100MA00000001",
        "resource": "x\n       8  released",
        "fields": ["a\x1b[1A"],
    }
    line = followed(call, view)
    assert line.count("\n") == 1 and line.endswith("\n") and "\x1b" not in line


def test_words_of_any_script_stay_as_they_are() -> None:
    for text in ("家庭　申请", "Ümit – ✓ 👪", ""):
        assert harmless(text) == text
    assert harmless("a\nb", keep="\n") == "a\nb"
