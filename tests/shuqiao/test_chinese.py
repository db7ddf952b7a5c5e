"""What people read in Chinese has no bare English: fixed words of the contract and of other processes."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

from exchange import errors, v1
from exchange.evidence.records import Kind
from exchange.field_rules import TYPES as FIELD_TYPES
from exchange.v1 import audit_pb2, common_pb2, ticket_pb2
from gateway.risk.rules_file import read_risk_rules
from shuqiao import log_faults, views
from shuqiao.cli.audit import entry_facts
from shuqiao.cli.audit.evidence import KINDS as RECORDS
from shuqiao.cli.catalog.tables import TYPES
from shuqiao.cli.doctor import named
from shuqiao.cli.risk import KINDS as RULES
from shuqiao.subjects import about, subject
from shuqiao.words import Language, term

ROOT = Path(__file__).resolve().parents[2]
CHINESE = re.compile("[\u4e00-\u9fff]")


def calls(names: set[str], folders: tuple[str, ...] = ("gateway",)) -> Iterator[ast.Call]:
    """Calls in some folders of functions of these names."""
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                if name in names:
                    yield node


def sample(node: ast.expr) -> Iterator[str]:
    """Texts that an expression makes, "7" for each value in it; none where it is no text of its own."""
    if isinstance(node, ast.IfExp):
        yield from sample(node.body)
        yield from sample(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from sample(value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "7" for part in node.values]
        yield "".join(map(str, parts))


def test_every_fault_of_a_log_is_said_in_chinese() -> None:
    made = [call for call in calls({"fault", "_fault"}) if len(call.args) == 2]
    places = {text for call in made for text in sample(call.args[0])}
    faults = {text for call in made for text in sample(call.args[1])}
    assert len(places) >= 5 and len(faults) >= 20
    assert [text for text in places if not CHINESE.search(log_faults.place(text).zh)] == []
    assert [text for text in faults if not CHINESE.search(log_faults.fault(text).zh)] == []
    assert log_faults.fault("something new").zh == "something new"


def test_every_reading_of_the_log_is_said_in_chinese() -> None:
    told = {
        text
        for call in calls({"record_read", "_record_read", "_enter_reading", "_record"})
        for argument in call.args[1:2]
        for text in sample(argument)
    }
    told |= {"Explain 7 7", "GetProofs 7 to 7, 7", "Tail from 7: act=grant", "Search: decision=released"}
    assert len(told) >= 10
    known = {text.replace("Trace 7", "Trace subject") for text in told}
    assert [text for text in known if not CHINESE.search(subject(text).zh)] == []


@pytest.mark.parametrize("prefix", ["Tail from", "Search", "GetProofs", "Explain"])
def test_the_readings_that_are_named_above_are_the_gateways_own(prefix: str) -> None:
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "gateway").rglob("*.py"))
    assert any(f'f"{prefix}' in text for text in sources)


def test_ids_and_words_that_are_not_known_stay_as_they_are() -> None:
    for text in ("970100/public-security/household", "3f9a0b", "", "everything else"):
        assert subject(text) == (text, text)
    assert subject("Tail from 3: everything").zh == "自 3 起依次读取全部"
    assert subject("Trace subject 0d85 例行检查").zh == "追溯主体 0d85：例行检查"


def test_what_an_error_is_about_is_in_chinese_beside_the_original() -> None:
    assert about("/x/y: Permission denied") == (
        "/x/y: 没有权限（Permission denied）",
        "/x/y: Permission denied",
    )
    assert about("no trust list").zh == "没有信任列表（no trust list）"
    for text in ("", "--config", "970100/a/b: name"):
        assert about(text) == (text, text)


RAISING = ("exchange", "gateway", "agent", "certs", "witness")
NAME = re.compile(r"\S*[\W_\dA-Z]\S*")
"""Of a field, a file, an option: it has a mark, a digit or a capital."""


def raised() -> set[str]:
    """What errors are about that are raised with a text of their own; "7" for each value in it."""
    classes = {
        name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, Exception)
    }
    return {
        text for call in calls(classes, RAISING) for argument in call.args[:1] for text in sample(argument)
    }


def names_of(descriptor: Any) -> Iterator[str]:
    """Names of the contract: of fields and of messages."""
    for message in descriptor.message_types_by_name.values():
        yield message.name.lower()
        yield from (field.name for field in message.fields)


def test_every_sentence_that_an_error_is_about_is_said_in_chinese() -> None:
    told = raised()
    assert len(told) > 600
    modules = [import_module(f"exchange.v1.{one.name}") for one in iter_modules(v1.__path__)]
    contract = {name for one in modules if one.__name__.endswith("_pb2") for name in names_of(one.DESCRIPTOR)}
    bare = []
    for text in sorted(told):
        last = text.rpartition(": ")[2]
        plain = not re.search("[a-z]{2}", last) or NAME.fullmatch(last) or last in contract
        if not plain and not CHINESE.search(about(text).zh):
            bare.append(text)
    assert bare == []


def test_an_error_s_phrase_keeps_names_and_numbers_in_their_places() -> None:
    assert about("970100/a/b revision 3").zh == "970100/a/b 第 3 次修订（970100/a/b revision 3）"
    assert about("audit.db: something else holds the log open").zh == (
        "audit.db: 日志被其他程序打开（something else holds the log open）"
    )
    assert about("nonce, issued_at or version").zh.startswith("nonce, issued_at 或 version（")
    assert about("x: no column name in person").zh == "x: person 中没有列 name（no column name in person）"
    assert about("x: y: Permission denied").zh == "x: y: 没有权限（Permission denied）"


def entries() -> Iterator[audit_pb2.AuditEntry]:
    yield audit_pb2.AuditEntry(exchange=audit_pb2.ExchangeEntry(kind=common_pb2.KIND_QUERY))
    yield audit_pb2.AuditEntry(refusals=audit_pb2.RefusalCount(count=2))
    for act in audit_pb2.Act.values():
        yield audit_pb2.AuditEntry(administrative=audit_pb2.AdministrativeEntry(act=act))
    dispute = ticket_pb2.TicketBody(dispute=ticket_pb2.Dispute()).SerializeToString()
    for detail in (
        {"segment": audit_pb2.SegmentRecord(end=1)},
        {"alert": audit_pb2.AlertRecord(since_ms=1)},
        {"finding": audit_pb2.FindingRecord()},
        {"correction": audit_pb2.CorrectionRecord(ends=True)},
        {"correction": audit_pb2.CorrectionRecord()},
        {"act": audit_pb2.ACT_TICKET, "statement": common_pb2.Statement(body=dispute)},
    ):
        yield audit_pb2.AuditEntry(administrative=audit_pb2.AdministrativeEntry(**detail))


def test_every_part_of_an_entry_has_a_name_beside_its_code() -> None:
    for entry in entries():
        view = views.entry(7, entry.SerializeToString())
        for (name, _), (label, _) in zip(view.items(), entry_facts.facts(view), strict=True):
            assert CHINESE.search(label.zh) and label.zh.endswith(f" {name}") and label.en == name


def test_every_act_of_an_entry_is_in_words() -> None:
    acts = [audit_pb2.Act.Name(number).removeprefix("ACT_").lower() for number in audit_pb2.Act.values()]
    assert [act for act in acts if act != "unspecified" and term(act, Language.ZH) == act] == []


def test_an_entry_tells_people_its_time_in_their_zone_and_its_words_beside_the_codes() -> None:
    told = audit_pb2.AdministrativeEntry(act=audit_pb2.ACT_READ, subject="GetEntry 3")
    entry = audit_pb2.AuditEntry(time_ms=1_790_000_000_000, administrative=told)
    said = {label.en: value for label, value in entry_facts.facts(views.entry(7, entry.SerializeToString()))}
    assert said["time"] == "2026-09-21T22:13:20+08:00"
    assert said["act"] == ("日志查阅 read", "read")
    assert said["subject"] == ("查看记录 3（GetEntry 3）", "GetEntry 3")


def test_hops_records_types_and_rules_have_chinese_names() -> None:
    for hop in ("modules", "gateway/port", "authority/tls", "agent/source:970100/a/b", "agent/trust-list"):
        assert CHINESE.search(named(hop).zh) and named(hop).zh.endswith(hop) and named(hop).en == hop
    assert named("new").zh == "new"
    assert {kind.word for kind in Kind} == set(RECORDS)
    assert set(TYPES) == FIELD_TYPES
    shipped = read_risk_rules((ROOT / "deploy" / "policies" / "risk.toml").read_text(encoding="utf-8"))
    text = (ROOT / "gateway" / "risk" / "rules_file.py").read_text(encoding="utf-8")
    assert {rule.kind for rule in shipped} <= set(RULES)
    assert set(re.findall(r'kind: Literal\["(\w+)"\]', text)) == set(RULES)
