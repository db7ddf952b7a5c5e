"""Which subjects of an answer are tagged, and that the number of tags tells nothing more than the answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from agent.provider.field_rules import FieldRule
from agent.provider.inspection import Job
from agent.provider.sources_config import ResourceConfig
from agent.provider.tagging import Tagger
from exchange.clock import system_random
from exchange.codes import citizen_id_check
from exchange.errors import AuthorityAway, RowCap
from exchange.resources import ParameterRule, Resource
from exchange.subject_tags import InnerTags, check_tags, inner_tag, period_start_ms
from exchange.v1 import common_pb2, exchange_pb2

NOW_MS = period_start_ms("2026Q4") + 86_400_000
KEY = b"k" * 32
MOTHER, CHILD, FATHER = "970102199001010011", "97010219900101002X", "970102199001010038"
CODE = "91350100M000100Y43"
RESOURCE = "970100/health/birth"


def tag(value: str, format: str = "citizen_id") -> bytes:
    return inner_tag(KEY, format, value)


@dataclass
class Described:
    fields: dict[str, FieldRule] = field(
        default_factory=lambda: {
            "cert_no": FieldRule(name="cert_no", column="c", type="text", level=3),
            "mother_id": FieldRule(name="mother_id", column="m", type="text", level=4, subject="citizen_id"),
            "father_id": FieldRule(name="father_id", column="f", type="text", level=4, subject="citizen_id"),
        }
    )


def resource(*, sealed: bool = True, **formats: str) -> Resource:
    return Resource(
        id=RESOURCE, provider="", version=1, digest=repr((sealed, formats)).encode(),
        title_zh="", title_en="", fields={}, kinds=frozenset(), case_required=False,
        row_cap=100, issued_at_ms=0,
        shared=frozenset(), unconditional=frozenset(), sealed=sealed, statement=common_pb2.Statement(),
        parameters={
            name: ParameterRule(type="text", level=4, format=format)
            for name, format in (formats or {"id": "citizen_id"}).items()
        },
    )  # fmt: skip


def job(*fields: str, parameters: dict[str, str] | None = None, **more: Any) -> Job:
    header = exchange_pb2.RequestHeader(fields=fields or ("cert_no",))
    told = {"id": CHILD} if parameters is None else parameters
    made = Job(common_pb2.Signed(), exchange_pb2.RequestBody(), header, b"", parameters=told)
    made.resource = more.pop("resource", resource())
    made.claims = more.pop("claims", {})
    return made


def tagger(present: bool = True, source: Described | None = None) -> Tagger:
    return Tagger(
        present=lambda now_ms: ("2026Q4", InnerTags(KEY)) if present else None,
        sources={RESOURCE: source or Described()},
        random=system_random,
    )


def tagged(make: Callable[[exchange_pb2.ResponseBody], None]) -> list[bytes]:
    body = exchange_pb2.ResponseBody()
    make(body)
    check_tags(body.tag_period, body.subject_tags)
    return list(body.subject_tags)


def of_query(asked: Job, columns: list[list[object]], records: int, by: Tagger | None = None) -> list[bytes]:
    return tagged(lambda body: (by or tagger()).answer(body, asked, columns, records, NOW_MS))


def test_whoever_was_asked_about_is_tagged_whether_or_not_anything_was_found() -> None:
    for columns, records in (([["c1"]], 1), ([[]], 0)):
        assert of_query(job(), columns, records) == [tag(CHILD)]


def test_fields_that_name_a_subject_are_tagged_where_they_were_asked_for() -> None:
    asked = job("cert_no", "mother_id", "father_id")
    tags = of_query(asked, [["c1"], [MOTHER], [None]], 1)
    assert {tag(CHILD), tag(MOTHER)} <= set(tags) and len(tags) == 4
    assert set(of_query(job("cert_no"), [["c1"]], 1)) == {tag(CHILD)}


@pytest.mark.parametrize(("fields", "records", "count"), [
    (("mother_id",), 0, 4), (("mother_id",), 1, 4), (("mother_id",), 2, 16), (("mother_id",), 4, 16),
    (("mother_id", "father_id"), 0, 4), (("mother_id", "father_id"), 1, 4),
    (("mother_id", "father_id"), 3, 16), (("mother_id",), 5, 64), (("mother_id",), 17, 256),
    (("cert_no",), 60, 1),
])  # fmt: skip
def test_the_number_of_tags_follows_from_the_question_and_the_step_of_records_alone(
    fields: tuple[str, ...], records: int, count: int
) -> None:
    same: list[list[object]] = [[MOTHER] * records for _ in fields]
    none: list[list[object]] = [[None] * records for _ in fields]
    odd: list[list[object]] = [["no id"] * records for _ in fields]
    several: list[list[object]] = [[f"{n}" for n in range(records)] for _ in fields]
    for columns in (same, none, odd, several):
        assert len(of_query(job(*fields), columns, records)) == count


def test_a_value_that_names_nobody_leaves_a_decoy_and_fails_nothing() -> None:
    (only,) = of_query(job(parameters={"id": "970102199001010012"}), [[]], 0)
    assert only not in {tag(CHILD), tag(MOTHER)}


def test_the_form_in_which_a_source_writes_an_identifier_does_not_matter() -> None:
    tags = of_query(job("mother_id"), [[CHILD.lower() + " "]], 1)
    assert tag(CHILD) in tags


def test_bodies_are_tagged_by_their_credit_code_and_divisions_are_not() -> None:
    asked = job(
        parameters={"code": CODE, "district": "970102"},
        resource=resource(code="credit_code", district="division"),
    )
    assert of_query(asked, [[]], 0) == [tag(CODE, "credit_code")]


def test_a_claim_about_a_subject_is_tagged_right_or_wrong() -> None:
    asked = job("mother_id", "cert_no", claims={"mother_id": FATHER, "cert_no": "c1"})
    tags = tagged(lambda body: tagger().verdict(body, asked, NOW_MS))
    assert {tag(CHILD), tag(FATHER)} <= set(tags) and len(tags) == 4


def test_a_failure_carries_the_tags_of_what_was_opened_and_none_before() -> None:
    opened, closed = job(), job(parameters={})
    assert tagged(lambda body: tagger().failure(body, opened, NOW_MS)) == [tag(CHILD)]
    assert tagged(lambda body: tagger().failure(body, closed, NOW_MS)) == []
    early = job()
    early.resource = None
    assert tagged(lambda body: tagger().failure(body, early, NOW_MS)) == []


def test_the_job_remembers_what_the_entry_must_say() -> None:
    asked = job("mother_id")
    body = exchange_pb2.ResponseBody()
    tagger().answer(body, asked, [[MOTHER]], 1, NOW_MS)
    assert asked.tagged == (body.tag_period, len(body.subject_tags)) == ("2026Q4", 4)
    tagger(present=False).failure(exchange_pb2.ResponseBody(), asked, NOW_MS)
    assert asked.tagged == ("", 0)


def test_without_a_key_nothing_sealed_is_answered_and_the_rest_goes_untagged() -> None:
    held = tagger(present=False)
    with pytest.raises(AuthorityAway):
        held.check(resource(), NOW_MS)
    with pytest.raises(AuthorityAway):
        of_query(job(), [["c1"]], 1, by=held)
    with pytest.raises(AuthorityAway):
        held.verdict(exchange_pb2.ResponseBody(), job(claims={"cert_no": "c1"}), NOW_MS)
    held.check(resource(sealed=False), NOW_MS)
    assert of_query(job(resource=resource(sealed=False)), [["c1"]], 1, by=held) == []
    assert tagged(lambda body: held.failure(body, job(), NOW_MS)) == []


def test_a_resource_about_nobody_needs_no_key() -> None:
    plain = Described({"cert_no": FieldRule(name="cert_no", column="c", type="text", level=3)})
    held = tagger(present=False, source=plain)
    district = resource(district="division")
    held.check(district, NOW_MS)
    assert of_query(job(parameters={"district": "970102"}, resource=district), [["c"]], 1, by=held) == []


def test_more_subjects_than_an_entry_can_hold_are_no_answer() -> None:
    people: list[object] = [f"9701021990{n // 30 + 1:02}{n % 30 // 2 + 1:02}{n:03}" for n in range(300)]
    ids = [str(one) + citizen_id_check(str(one)) for one in people]
    with pytest.raises(RowCap):
        of_query(job("mother_id"), [list(ids)], 300)


BLOCK: dict[str, Any] = {
    "id": RESOURCE,
    "row_cap": 100,
    "source": {"kind": "sql", "url": "sqlite:///x.db", "table": "t"},
    "parameter": [{"name": "id", "column": "id", "format": "citizen_id"}],
    "field": [{"name": "mother_id", "column": "m", "level": "L4", "subject": "citizen_id"}],
}


def test_a_field_is_marked_in_the_configuration() -> None:
    (held,) = ResourceConfig.model_validate(BLOCK).fields
    assert held.rule().subject == "citizen_id"


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "division"},
        {"type": "integer"},
        {"mask": {"kind": "keep", "first": 6}},
    ],
)
def test_a_subject_is_a_text_of_a_known_format_without_a_mask(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResourceConfig.model_validate(BLOCK | {"field": [BLOCK["field"][0] | change]})


def test_a_row_cap_with_more_subjects_than_an_entry_can_hold_is_refused() -> None:
    for cap, fits in ((255, True), (256, False)):
        try:
            ResourceConfig.model_validate(BLOCK | {"row_cap": cap})
        except ValidationError as error:
            assert not fits and "row_cap" in str(error)
        else:
            assert fits
