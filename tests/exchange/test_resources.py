"""What a catalogue entry must look like."""

from typing import Any

import pytest

from exchange.errors import (
    BadIdentifier,
    DataClassRefused,
    ExchangeError,
    Malformed,
    Oversized,
    RoleNotAllowed,
)
from exchange.identity import Identity, Role
from exchange.resources import (
    MaskRule,
    Resource,
    check_publisher,
    parse_resource,
    split_id,
    wider_divisions,
)
from exchange.v1 import common_pb2, directory_pb2
from tests.support.region import CIVIL, DOMAIN, POLICE, item, resource_body
from tests.support.sealing import NOW_MS


def parse(**changes: Any) -> Resource:
    return parse_resource(common_pb2.Statement(body=resource_body(NOW_MS, **changes)))


def test_an_entry_tells_its_fields_and_which_are_shared() -> None:
    resource = parse()
    assert resource.shared == {"name", "address", "station"}
    assert resource.unconditional == {"station"}
    assert resource.fields["name"].padding == 64
    assert len(resource.digest) == 32


def test_a_field_of_level_3_or_4_forces_the_whole_resource_sealed() -> None:
    assert parse(fields=[item("open", common_pb2.LEVEL_L1), item("name", common_pb2.LEVEL_L3)]).sealed
    assert not parse(fields=[item("open", common_pb2.LEVEL_L1), item("inner", common_pb2.LEVEL_L2)]).sealed


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nonce": b"short"}, Malformed),
        ({"id": "970100/Police/household"}, BadIdentifier),
        ({"id": "970100/police/household\n"}, BadIdentifier),
        ({"id": "97010/police/household"}, BadIdentifier),
        ({"provider": ""}, Malformed),
        ({"version": 0}, Malformed),
        ({"issued_at": None}, Malformed),
        ({"title_zh": ""}, Malformed),
        ({"title_en": "a\x07b"}, Malformed),
        ({"title_en": "a" * 501}, Oversized),
        ({"row_cap": 0}, Malformed),
        ({"row_cap": 1001}, Malformed),
        ({"kinds": []}, Malformed),
        ({"kinds": [1, 1]}, Malformed),
        ({"kinds": [0]}, Malformed),
        ({"kinds": [9]}, Malformed),
        ({"fields": []}, Malformed),
        ({"parameters": []}, Malformed),
        ({"fields": [item(f"f{n}") for n in range(65)]}, Oversized),
        ({"fields": [item("name"), item("name")]}, Malformed),
        ({"fields": [item("Name")]}, BadIdentifier),
        ({"fields": [item("n" * 64)]}, BadIdentifier),
        ({"fields": [item("name", level=0)]}, Malformed),
        ({"fields": [item("name", level=7)]}, Malformed),
        ({"fields": [item("name", share=0)]}, Malformed),
        ({"fields": [item("name", share=3)]}, Malformed),
        ({"fields": [item("name", type="blob")]}, Malformed),
        ({"fields": [item("name", padding=15)]}, Malformed),
        ({"fields": [item("name", padding=4097)]}, Malformed),
        (
            {
                "parameters": [
                    directory_pb2.Parameter(name="id", type="text", level=common_pb2.LEVEL_L4, format="x")
                ]
            },
            Malformed,
        ),
        ({"parameters": [directory_pb2.Parameter(name="id", type="text")]}, Malformed),
        (
            {
                "parameters": [
                    directory_pb2.Parameter(name=f"p{n}", type="text", level=common_pb2.LEVEL_L1)
                    for n in range(17)
                ]
            },
            Oversized,
        ),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused(changes: dict[str, Any], error: type[ExchangeError]) -> None:
    with pytest.raises(error):
        parse(**changes)


def promised(**told: Any) -> directory_pb2.Responsibility:
    return directory_pb2.Responsibility(**({"unit": "户政支队"} | told))


def masked(kind: int, type: str = "text", **told: int) -> list[directory_pb2.Field]:
    return [item("name", type=type, mask=directory_pb2.Mask(kind=kind, **told))]  # type: ignore[arg-type]


KEEP, YEAR, MONTH, REDACT, PREFIX, BAND, PSEUDONYM = range(1, 8)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": "a" * 65}, Oversized),
        ({"item": " a"}, Malformed),
        ({"summary_zh": "a" * 2001}, Oversized),
        ({"summary_en": "a\nb"}, Malformed),
        ({"category": "other"}, Malformed),
        ({"category": "base/"}, Malformed),
        ({"category": "base/" + "/".join("abcdef")}, Malformed),
        ({"keywords": ["a"] * 2}, Malformed),
        ({"keywords": [str(n) for n in range(17)]}, Oversized),
        ({"keywords": ["a" * 41]}, Oversized),
        ({"keywords": [""]}, Malformed),
        ({"update_cycle": "hourly"}, Malformed),
        ({"fetch_modes": [0]}, Malformed),
        ({"fetch_modes": [1, 1]}, Malformed),
        ({"fetch_modes": [9]}, Malformed),
        ({"legal_basis": "a" * 501}, Oversized),
        ({"derived_from": ["970100/police/household"]}, Malformed),
        ({"derived_from": ["970100/civil/a"] * 2}, Malformed),
        ({"derived_from": ["civil/a"]}, BadIdentifier),
        ({"derived_from": [f"970100/civil/a{n}" for n in range(17)]}, Oversized),
        ({"schema": "x" * 16385}, Oversized),
        ({"schema": "数" * 5462}, Oversized),
        ({"compatibility": 3}, Malformed),
        ({"responsibility": promised(unit="a" * 101)}, Oversized),
        ({"responsibility": promised(available_permille=1001)}, Malformed),
        ({"responsibility": promised(fresh_within_s=1 << 60)}, Malformed),
        ({"responsibility": promised(decide_within_days=251)}, Malformed),
        ({"responsibility": promised(answer_within_ms=600_001)}, Malformed),
        ({"fields": [item("name", code="a" * 65)]}, Oversized),
        ({"fields": [item("name", description="a" * 501)]}, Oversized),
        ({"fields": [item("name", condition="a\x00")]}, Malformed),
        ({"fields": [item("name", data_class=directory_pb2.DATA_CLASS_CORE)]}, DataClassRefused),
        ({"fields": [item("name", data_class=directory_pb2.DATA_CLASS_SECRET)]}, DataClassRefused),
        ({"fields": [item("name", data_class=5)]}, Malformed),
        ({"fields": masked(0)}, Malformed),
        ({"fields": masked(8)}, Malformed),
        ({"fields": masked(KEEP)}, Malformed),
        ({"fields": masked(KEEP, first=257)}, Malformed),
        ({"fields": masked(KEEP, "integer", first=1)}, Malformed),
        ({"fields": masked(KEEP, first=1, band=1)}, Malformed),
        ({"fields": masked(YEAR, "integer")}, Malformed),
        ({"fields": masked(YEAR, "date", first=1)}, Malformed),
        ({"fields": masked(MONTH, "timestamp")}, Malformed),
        ({"fields": masked(REDACT, "bytes", last=1)}, Malformed),
        ({"fields": masked(PREFIX)}, Malformed),
        ({"fields": masked(PREFIX, first=2, last=1)}, Malformed),
        ({"fields": masked(BAND, "integer")}, Malformed),
        ({"fields": masked(BAND, "text", band=5)}, Malformed),
        ({"fields": masked(PSEUDONYM, "date")}, Malformed),
    ],
)
def test_every_part_of_the_metadata_is_bounded(changes: dict[str, Any], error: type[ExchangeError]) -> None:
    with pytest.raises(error):
        parse(**changes)


def test_the_hot_path_finds_item_sources_masks_and_what_is_derived() -> None:
    resource = parse(
        derived_from=["970100/civil/a"],
        responsibility=promised(available_permille=990),
        fields=[*masked(BAND, "integer", band=10), item("age_band", derived=True, code="DE1")],
    )
    assert (resource.item, resource.derived_from) == ("household", ("970100/civil/a",))
    assert resource.responsibility is not None and resource.responsibility.available_permille == 990
    assert resource.fields["name"].mask == MaskRule(kind=BAND, band=10)
    assert resource.fields["age_band"].derived and resource.fields["age_band"].code == "DE1"
    assert parse(item="A-1").item == "A-1"


@pytest.mark.parametrize(
    "fields",
    [
        masked(KEEP, first=1, last=1),
        masked(YEAR, "date"),
        masked(MONTH, "text"),
        masked(REDACT, "timestamp"),
        masked(PREFIX, first=4),
        masked(BAND, "decimal", band=100),
        masked(PSEUDONYM),
    ],
)
def test_a_mask_that_fits_the_type_is_taken(fields: list[directory_pb2.Field]) -> None:
    assert parse(fields=fields).fields["name"].mask is not None


def test_equal_rules_are_held_once() -> None:
    assert parse().fields["name"] is parse(title_zh="另一个").fields["name"]


def test_bytes_that_are_no_entry_are_refused() -> None:
    with pytest.raises(Malformed):
        parse_resource(common_pb2.Statement(body=b"\xff\xff\xff"))


@pytest.mark.parametrize(
    "signer",
    [
        Identity(DOMAIN, "970100", Role.STEWARD, CIVIL, "li"),
        Identity(DOMAIN, "970100", Role.AGENT, POLICE, "police-1"),
        Identity(DOMAIN, "970100", Role.ADMIN, "", "admin-1"),
    ],
)
def test_only_a_steward_of_the_provider_publishes(signer: Identity) -> None:
    with pytest.raises(RoleNotAllowed):
        check_publisher(parse(), signer)
    check_publisher(parse(), Identity(DOMAIN, "970100", Role.STEWARD, POLICE, "li"))


def test_divisions_widen_from_county_to_city_to_province() -> None:
    assert list(wider_divisions("970102")) == ["970102", "970100", "970000"]
    assert list(wider_divisions("970100")) == ["970100", "970000"]
    assert list(wider_divisions("970000")) == ["970000"]


def test_an_id_has_three_parts() -> None:
    assert split_id("970102/police/household") == ("970102", "police", "household")


def test_the_parts_are_read_where_the_entry_has_its_fields_and_parameters() -> None:
    whole = directory_pb2.ResourceBody.DESCRIPTOR.fields_by_name
    for name, part in directory_pb2.ResourceParts.DESCRIPTOR.fields_by_name.items():
        assert (part.number, part.is_repeated) == (whole[name].number, True)
    body = directory_pb2.ResourceBody.FromString(resource_body(NOW_MS))
    parts = directory_pb2.ResourceParts.FromString(body.SerializeToString())
    assert [directory_pb2.Field.FromString(raw) for raw in parts.fields] == list(body.fields)
    assert [directory_pb2.Parameter.FromString(raw) for raw in parts.parameters] == list(body.parameters)
