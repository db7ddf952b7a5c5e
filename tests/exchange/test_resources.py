"""What a catalogue entry must look like."""

from typing import Any

import pytest

from exchange.errors import BadIdentifier, ExchangeError, Malformed, Oversized, RoleNotAllowed
from exchange.identity import Identity, Role
from exchange.resources import Resource, check_publisher, parse_resource, split_id, wider_divisions
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
