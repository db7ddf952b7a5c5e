"""The enum, the classes, the gRPC codes, the sentences and the page are one to one."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import grpc
import pytest

from exchange import errors
from exchange.errors import BY_REASON, Code, ExchangeError
from exchange.sentences import SENTENCES
from exchange.v1 import reason_pb2

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name.removeprefix("REASON_") for name in reason_pb2.Reason.keys() if name != "REASON_UNSPECIFIED"]  # noqa: SIM118

# docs: the table of codes that callers rely on, by the case it is for.
CODES = {
    errors.BadInput: Code.INVALID_ARGUMENT,
    errors.NotAuthenticated: Code.UNAUTHENTICATED,
    errors.Refused: Code.PERMISSION_DENIED,
    errors.Unknown: Code.NOT_FOUND,
    errors.NotNow: Code.FAILED_PRECONDITION,
    errors.TooLate: Code.DEADLINE_EXCEEDED,
    errors.Exists: Code.ALREADY_EXISTS,
    errors.Exhausted: Code.RESOURCE_EXHAUSTED,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.Broken: Code.DATA_LOSS,
    errors.Internal: Code.INTERNAL,
}


def leaves(cls: type[ExchangeError]) -> list[type[ExchangeError]]:
    below = cls.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [cls]


def page_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors_page", ROOT / "deploy" / "errors_page.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_reason_has_exactly_one_class() -> None:
    assert {cls().name for cls in BY_REASON.values()} == set(NAMES)
    assert len(set(BY_REASON.values())) == len(BY_REASON)
    assert all(cls.reason == number for number, cls in BY_REASON.items())


def test_every_class_of_the_tree_that_can_be_raised_has_a_reason_of_its_own() -> None:
    assert set(leaves(ExchangeError)) == set(BY_REASON.values())


def test_every_reason_has_exactly_one_sentence() -> None:
    assert sorted(SENTENCES) == sorted(NAMES)
    assert len({sentence.zh for sentence in SENTENCES.values()}) == len(SENTENCES)
    assert len({sentence.en for sentence in SENTENCES.values()}) == len(SENTENCES)


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_says_reason_and_remedy_in_both_languages(name: str) -> None:
    said = SENTENCES[name]
    assert all(re.search("[\u4e00-\u9fff]", text) for text in (said.zh, said.remedy_zh))
    assert all(text.isascii() and text.endswith(".") for text in (said.en, said.remedy_en))


@pytest.mark.parametrize("cls", BY_REASON.values(), ids=lambda cls: cls.__name__)
def test_a_class_has_the_grpc_code_of_its_case(cls: type[ExchangeError]) -> None:
    cases = [case for case in CODES if issubclass(cls, case)]
    assert len(cases) == 1
    assert cls.code is CODES[cases[0]]


def test_the_codes_are_grpcs_own() -> None:
    numbers = {code.name: code.value[0] for code in grpc.StatusCode}
    assert all(numbers[code.name] == code.value for code in Code)


def test_what_a_caller_did_wrong_is_not_worth_trying_again() -> None:
    wrong = (errors.BadInput, errors.NotAuthenticated, errors.Unknown, errors.Exists, errors.Broken)
    assert not [cls.__name__ for cls in BY_REASON.values() if issubclass(cls, wrong) and cls.retryable]


def test_a_reason_that_this_version_does_not_know_is_internal() -> None:
    assert errors.by_reason(9999) is errors.Internal


def test_the_page_is_what_would_be_written() -> None:
    assert page_module().main(["--check"]) == 0, "run: python deploy/errors_page.py"


def test_the_page_names_every_reason_once_with_its_code_words_and_number() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    told = [
        (name, int(number), section)
        for section, text in sections.items()
        for name, number in re.findall(r"`([A-Z0-9_]+)` \| (\d+) \|", text)
    ]
    expected = [(cls().name, int(number), cls.code.name) for number, cls in BY_REASON.items()]
    assert sorted(told) == sorted(expected)
    assert all(part in page for sentence in SENTENCES.values() for part in sentence)
