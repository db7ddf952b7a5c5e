"""How the command is used: exit codes, languages, JSON and nothing else, the gateway away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from exchange.errors import BadConfiguration, NoGrant, RoleNotAllowed
from exchange.sentences import SENTENCES
from shuqiao.cli.app import GROUPS, SINGLE, build, hoist
from shuqiao.context import find_context
from shuqiao.words import Language, Text, language_from, pick
from tests.support.command_region import Region, Shuqiao

WRONG = [
    (),
    ("nonsense",),
    ("grant",),
    ("grant", "show"),
    ("org", "list", "--nonsense"),
    ("audit", "tail", "--from", "minus"),
    ("audit", "verify"),
    ("query", "--timeout", "0", "970100/a/b"),
    ("--lang", "fr", "org", "list"),
    ("certs", "revoke"),
    ("verify", "970100/a/b", "citizen_id=1"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_exits_2(shuqiao: Shuqiao, arguments: tuple[str, ...]) -> None:
    assert shuqiao(*arguments).code == 2


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_with_json_is_one_json_document(
    shuqiao: Shuqiao, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    ran = shuqiao(*arguments, "--json")
    assert ran.code == 2
    assert ran.document["ok"] is False
    assert (ran.err, capsys.readouterr().out) == ("", "")


def commands_of(word: str) -> list[str]:
    return sorted(typer.main.get_command(build(help_alone=True, word=word)).commands)  # type: ignore[attr-defined]


def test_a_word_is_all_that_is_needed_to_load_its_command() -> None:
    every = [*GROUPS, *(name for names in SINGLE.values() for name in names)]
    assert commands_of("") == commands_of("nonsense") == sorted(every)
    for group in GROUPS:
        assert commands_of(group) == [group]
    for names in SINGLE.values():
        for name in names:
            assert commands_of(name) == sorted(names)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rules", "check", "x"),
        ("--lang", "en", "rules", "--json"),
        ("--as=here", "--lang=zh", "rules", "init"),
    ],
    ids=" ".join,
)
def test_a_command_loads_no_module_of_another(arguments: tuple[str, ...]) -> None:
    code = f"""
import sys
from shuqiao.cli.app import run
run({arguments!r}, stdout=sys.stderr, stderr=sys.stderr, environ={{}})
print(*(name for name in sys.modules if name.startswith("shuqiao.cli.")))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(loaded.split()) == {"shuqiao.cli.app", "shuqiao.cli.invocation", "shuqiao.cli.rules"}


SAID = [
    (("grant", "list", "--state", "foo"), "--state 不能为 foo，只能是 pending"),
    (("grant", "approve"), "缺少参数"),
    (("rules", "propose", "folder"), "缺少选项 --out"),
    (("grant", "aprove"), "没有命令 aprove"),
    (("grant", "list", "--stat", "x"), "没有选项 --stat"),
    (("rules", "show", "more"), "多余的参数：more"),
    (("catalog", "search", "--standing", "nonsense"), "--standing 不能为 nonsense，只能是 published"),
    (("case", "open", "LJ-1", "--matter", "m", "--days", "many"), "--days 的值不对"),
]


@pytest.mark.parametrize(("arguments", "said"), SAID)
def test_wrong_usage_is_told_in_both_languages(
    shuqiao: Shuqiao, arguments: tuple[str, ...], said: str
) -> None:
    assert said in shuqiao(*arguments).err
    reason = shuqiao(*arguments, "--json").document["error"]["reason"]
    assert said in reason["zh"] and reason["en"].isascii() and "Value error" not in reason["en"]


def test_without_a_context_file_the_command_says_which_file_it_looked_for(
    shuqiao: Shuqiao, tmp_path: Path
) -> None:
    ran = shuqiao("org", "list", context=tmp_path / "none.toml")
    assert ran.code == 2
    assert "none.toml" in ran.err


def test_where_nobody_acts_the_ways_to_say_who_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        find_context(None, {"HOME": str(tmp_path)})
    assert caught.value.subject == f"--as DIR / SHUQIAO_CONTEXT / {tmp_path}/.config/shuqiao/context.toml"


def test_every_fault_of_a_context_file_is_reported_at_once(shuqiao: Shuqiao, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('gateway = 7\nsurprise = "x"\n')
    ran = shuqiao("org", "list", "--json", "--context", str(file))
    assert ran.code == 2
    assert "gateway" in ran.document["error"]["subject"]
    assert "surprise" in ran.document["error"]["subject"]


@pytest.mark.parametrize("arguments", [("org", "list"), ("grant", "list"), ("catalog", "list")], ids=" ".join)
def test_an_unreachable_gateway_is_gateway_away_with_its_remedy(
    shuqiao: Shuqiao, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    file = tmp_path / "away.toml"
    file.write_text('gateway = "127.0.0.1:1"\n')
    ran = shuqiao(*arguments, context=file)
    assert ran.code == 1
    assert ran.out == ""
    said = SENTENCES["GATEWAY_AWAY"]
    assert all(part in ran.err for part in ("GATEWAY_AWAY", said.zh, said.en, said.remedy_zh))


def test_an_unreachable_authority_is_authority_away(shuqiao: Shuqiao, tmp_path: Path) -> None:
    file = tmp_path / "away.toml"
    file.write_text('authority = "127.0.0.1:1"\n')
    ran = shuqiao("certs", "approve", "t-1", "--json", context=file)
    assert (ran.code, ran.document["error"]["code"]) == (1, "AUTHORITY_AWAY")


def test_a_refusal_names_code_hop_and_remedy(shuqiao: Shuqiao, region: Region) -> None:
    region.refuse = NoGrant("970100/a/b", hop="gateway/gateway-1")
    ran = shuqiao("grant", "list")
    assert ran.code == 1
    assert all(part in ran.err for part in ("NO_GRANT", "970100/a/b", "gateway/gateway-1"))
    assert SENTENCES["NO_GRANT"].remedy_zh in ran.err


def test_a_refusal_with_json_is_one_document_with_both_languages(shuqiao: Shuqiao, region: Region) -> None:
    region.refuse = RoleNotAllowed("steward", hop="gateway/gateway-1")
    ran = shuqiao("org", "list", "--json")
    error = ran.document["error"]
    assert (ran.code, ran.err) == (1, "")
    assert (error["code"], error["hop"], error["grpc_code"]) == (
        "ROLE_NOT_ALLOWED",
        "gateway/gateway-1",
        "PERMISSION_DENIED",
    )
    assert error["reason"]["zh"] == SENTENCES["ROLE_NOT_ALLOWED"].zh
    assert error["remedy"]["en"] == SENTENCES["ROLE_NOT_ALLOWED"].remedy_en


def test_english_puts_english_first(shuqiao: Shuqiao, region: Region) -> None:
    region.refuse = NoGrant("x")
    said = SENTENCES["NO_GRANT"]
    zh, en = shuqiao("grant", "list").err, shuqiao("grant", "list", "--lang", "en").err
    assert zh.index(said.zh) < zh.index(said.en)
    assert en.index(said.en) < en.index(said.zh)
    assert said.remedy_en in en


def test_help_speaks_one_language_at_a_time(shuqiao: Shuqiao, capsys: pytest.CaptureFixture[str]) -> None:
    assert shuqiao("grant", "--help").code == 0
    chinese = capsys.readouterr().out
    assert shuqiao("grant", "--help", lang="en").code == 0
    english = capsys.readouterr().out
    assert "申请授权" in chinese
    assert "Apply for a grant" not in chinese
    assert "Apply for a grant" in english
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in english)


def test_common_options_may_stand_anywhere_before_a_lone_dash_dash() -> None:
    assert hoist(["org", "list", "--json", "--lang", "en"]) == ["--json", "--lang", "en", "org", "list"]
    assert hoist(["query", "--lang=en", "--", "--json"]) == ["--lang=en", "query", "--", "--json"]
    assert hoist(["org", "--lang"]) == ["--lang", "org"]


def test_the_language_is_chinese_unless_the_environment_asks_for_english() -> None:
    assert language_from({}) is Language.ZH
    assert language_from({"LANG": "C.UTF-8"}) is Language.ZH
    assert language_from({"LANG": "en_US.UTF-8"}) is Language.EN
    assert language_from({"LANG": "en_US.UTF-8", "SHUQIAO_LANG": "zh"}) is Language.ZH


def test_a_text_without_two_halves_stays_as_it_is() -> None:
    assert pick("one", Language.EN) == "one"
    assert pick("一 | one", Language.EN) == "one"
    assert Text("一 {n}", "one {n}").filled(n=3).of(Language.ZH) == "一 3"


def test_json_is_readable_chinese_on_one_line(shuqiao: Shuqiao, region: Region) -> None:
    region.refuse = NoGrant("x")
    ran = shuqiao("grant", "list", "--json")
    assert ran.out.count("\n") == 1
    assert "没有适用的授权" in ran.out
    assert json.loads(ran.out)["ok"] is False
