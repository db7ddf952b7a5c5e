"""The parts of a sandbox that need no process: reading a catalogue, and the checklist."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentConfig
from agent.provider.sources_config import SyntheticSource
from exchange.codes import credit_code
from exchange.errors import BadConfiguration
from exchange.v1 import audit_pb2, common_pb2, reason_pb2
from shuqiao import examples
from shuqiao.cli.sandbox import calls_to_try
from shuqiao.sandbox.catalogue import (
    invented_code,
    providers_of,
    read_catalogue,
    region_of,
    source_block,
)
from shuqiao.sandbox.checklist import LAST, MEASURED, Item, checklist
from shuqiao.sandbox.evidence import Record, Seen
from shuqiao.sandbox.region import Plan
from shuqiao.sandbox.samples import Sample
from tests.support.region import HEALTH, POLICE

RESOURCE = "970100/public-security/household"
ENTRY: dict[str, Any] = {
    "title_zh": "项",
    "title_en": "Item",
    "kinds": ["query"],
    "fields": [
        {
            "name": "name",
            "title_zh": "名",
            "title_en": "N",
            "level": "L3",
            "share": "conditional",
            "code": "7",
        }
    ],
    "parameters": [{"name": "citizen_id", "level": "L4", "format": "citizen_id"}],
    "responsibility": {"fresh_within_s": 7},
}


def _file(folder: Path, *ids: str, **more: Any) -> Path:
    path = folder / "catalogue.json"
    path.write_text(json.dumps({"resources": [{**ENTRY, "id": one, **more} for one in ids]}))
    return path


def test_an_exported_catalogue_and_a_resources_own_file_are_read(tmp_path: Path) -> None:
    own = tmp_path / "resource.toml"
    own.write_text(examples.read("resource"))
    schema = {"properties": {"name": {"enum": ["甲"]}}}
    entries = read_catalogue([_file(tmp_path, "970100/tax/premium", schema=schema), own])
    assert entries[0].form.id == "970100/tax/premium"
    assert json.loads(entries[0].schema) == schema
    assert json.loads(entries[1].schema)["required"] == ["name"]
    assert len(providers_of(entries)) == 2


def test_an_entry_becomes_a_synthetic_source_that_an_agent_takes(tmp_path: Path) -> None:
    (entry,) = read_catalogue([_file(tmp_path, RESOURCE, schema=json.dumps({"properties": {}}))])
    told = AgentConfig.model_validate(
        {"folder": "x", "passphrase_file": "y", **tomllib.loads(source_block(entry))}
    )
    assert isinstance(told.resource[0].source, SyntheticSource)
    assert told.resource[0].fields[0].level == "L3"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"resources": [7]}', '{"resources": []}', '{"resources": [{"id": "970100/a/b"}]}'],
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(BadConfiguration):
        read_catalogue([path])


def test_an_entry_twice_and_two_provinces_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, RESOURCE)
    with pytest.raises(BadConfiguration):
        read_catalogue([path, path])
    apart = read_catalogue([_file(tmp_path, "970100/a/b", "980100/a/b")])
    with pytest.raises(BadConfiguration):
        region_of(apart)


def test_the_region_covers_every_division_and_no_more(tmp_path: Path) -> None:
    def region(*ids: str) -> str:
        return region_of(read_catalogue([_file(tmp_path, *ids)]))

    assert region("970102/a/b") == "970102"
    assert region("970102/a/b", "970103/a/c") == "970100"
    assert region("970102/a/b", "970203/a/c") == "970000"


def test_a_provider_without_a_credit_code_gets_one_that_is_well_formed(tmp_path: Path) -> None:
    entries = read_catalogue([_file(tmp_path, "970100/a/b", "970100/a/c", "970100/d/b")])
    found = providers_of(entries)
    assert [(one.alias, len(one.entries)) for one in found] == [("a", 2), ("d", 1)]
    codes = {credit_code(one.credit_code) for one in found}
    assert len(codes) == 2 and credit_code(invented_code("970100", 99_999)) not in codes
    assert all(entry.form.provider in codes for one in found for entry in one.entries)


# -- the checklist ---------------------------------------------------------------------------------------

QUERY, VERIFY = common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY
RELEASED, REFUSED, FAILED = (
    audit_pb2.DECISION_RELEASED,
    audit_pb2.DECISION_REFUSED,
    audit_pb2.DECISION_FAILED,
)


def _whole() -> list[tuple[int, int, int]]:
    """Return kind, decision and reason of exchanges after which nothing is missing."""
    r = reason_pb2
    met = (r.REASON_CASE_REQUIRED, r.REASON_FIELD_NOT_GRANTED, r.REASON_GRANT_PAUSED)
    return [*((QUERY, REFUSED, why) for why in met), (VERIFY, RELEASED, 0), *[(QUERY, RELEASED, 0)] * LAST]


def _items(exchanges: list[tuple[int, int, int]], **changes: Any) -> dict[str, Item]:
    told: dict[str, Any] = {"operator": "op-1", "closed": {"LJ-1"}, "events": True, "required": True}
    told |= changes
    standing = audit_pb2.CASE_STANDING_OPEN
    record = Record(
        exchanges={
            RESOURCE: [
                Seen(index, kind, decision, reason, "LJ-1", standing, told["operator"])
                for index, (kind, decision, reason) in enumerate(exchanges, 10)
            ]
        },
        kinds={RESOURCE: frozenset({QUERY, VERIFY})},
        case_required={RESOURCE: told["required"]},
        closed=told["closed"],
        entries=100,
        faults=changes.get("faults", []),
    )
    return {item.key: item for item in checklist(record, [RESOURCE], events=told["events"])}


def _missing(exchanges: list[tuple[int, int, int]], **changes: Any) -> set[str]:
    return {key for key, item in _items(exchanges, **changes).items() if item.missing}


def test_nothing_is_missing_once_everything_was_seen() -> None:
    items = _items(_whole())
    assert not any(item.missing for item in items.values())
    assert items["refusal_field"].seen == "11 → 13"
    assert {item.sort for item in items.values() if item.done is None} == {"signed"}


def test_of_an_application_that_did_nothing_everything_measured_is_missing_but_the_log() -> None:
    items = _items([])
    measured = {key for key, item in items.items() if item.sort == MEASURED}
    assert _missing([]) == measured - {"log"}


@pytest.mark.parametrize(
    ("place", "key"), [(0, "refusal_case"), (1, "refusal_field"), (2, "refusal_paused"), (3, "kind_verify")]
)
def test_what_was_not_met_is_missing(place: int, key: str) -> None:
    exchanges = _whole()
    del exchanges[place]
    assert _missing(exchanges) == {key}


def test_a_refusal_after_which_nothing_was_answered_is_not_handled() -> None:
    exchanges = _whole()
    exchanges.append(exchanges.pop(2))
    assert _missing(exchanges) == {"refusal_paused"}
    exchanges = _whole()
    exchanges.append(exchanges.pop(1))
    assert _missing(exchanges) == {"refusal_field", "fields"}


def test_an_operator_left_out_a_case_left_open_and_a_damaged_log_are_missing() -> None:
    assert _missing(_whole(), operator="") == {"operator"}
    assert _missing(_whole(), closed=set()) == {"case"}
    assert _missing(_whole(), closed=set(), events=False) == set()
    assert _missing(_whole(), faults=["entry 7"]) == {"log"}
    assert "refusal_case" not in _items(_whole(), required=False)


def test_asking_again_after_a_loss_is_seen_and_not_required() -> None:
    assert _items(_whole())["retry"].done is False and not _items(_whole())["retry"].missing
    lost = (QUERY, FAILED, reason_pb2.REASON_LINK_LOST)
    assert _items([lost, *_whole()])["retry"].done is True


@pytest.mark.parametrize(("events", "opened"), [(True, 1), (False, 0)])
def test_what_a_sandbox_says_to_try_names_a_case_and_opens_it_where_cases_are_events(
    events: bool, opened: int
) -> None:
    plan = Plan(
        consumer=HEALTH,
        purposes=["newborn"],
        matters=["newborn"],
        applications=["wards"],
        events=events,
        providers=["police"],
        resources=[RESOURCE],
        division="970100",
    )
    document: dict[str, object] = {
        "http": "127.0.0.1:7480",
        "tokens": {"wards": "wards/token"},
        "participants": [POLICE],
    }
    told = calls_to_try(document, Sample(RESOURCE, {"citizen_id": "1"}, {}), plan)
    bodies = [json.loads(body) for body in re.findall(r"-d '(.+)'", told)]
    assert len(bodies) == 1 + opened and told.count("/v1/cases") == opened
    assert {(body["case"], body["matter"]) for body in bodies} == {("SANDBOX-1", "newborn")}
    assert not opened or bodies[0]["participants"] == [POLICE]
