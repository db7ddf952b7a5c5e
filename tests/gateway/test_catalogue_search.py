"""What is found in the catalogue, by whom, and how much one call looks at."""

from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.identity import Role
from exchange.resources import parse_resource
from exchange.v1 import common_pb2, directory_pb2
from gateway.directory import catalogue_search
from gateway.directory.catalogue_search import read_search, search
from gateway.directory.resources import Catalogue
from tests.support.catalogue import APPROVE, WITHDRAW, ReviewRegion
from tests.support.region import CIVIL, HEALTH, POLICE, RESOURCE, Authority, item, resource_body
from tests.support.sealing import NOW_MS

AUTHORITY = Authority()
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")
OPERATOR = AUTHORITY.person(Role.OPERATOR, "operator-1")
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)
MARRIAGES, VACCINES = "970102/civil/marriages", "970100/health/vaccines"


@pytest.fixture
async def region(tmp_path: Path) -> ReviewRegion:
    """Three resources of three providers, in a city and a district of it."""
    made = ReviewRegion(tmp_path, authority=AUTHORITY)
    for code, short in ((HEALTH, "health"), (POLICE, "police"), (CIVIL, "civil")):
        await made.add(code, short)
    await made.publish(
        title_zh="户籍信息",
        title_en="Household Record",
        summary_zh="常住人口登记",
        keywords=["户口簿"],
        code="307010009/000001",
        category="base/population",
        fields=[
            item("name", title_zh="姓名", code="DE02.01"),
            item("station", 2, 1, title_en="Police Station"),
        ],
    )
    await made.publish(
        CIVIL_STEWARD,
        id=MARRIAGES,
        provider=CIVIL,
        title_zh="婚姻登记",
        title_en="ＭＡＲＲＩＡＧＥ",
        item="M-1",
        category="theme/family",
        fields=[item("name", title_zh="姓名", code="DE02.01"), item("secret", share=3, legal_basis="x")],
    )
    await made.publish(
        made.health, id=VACCINES, provider=HEALTH, title_zh="预防接种", fields=[item("dose", 2, 1)]
    )
    return made


async def found(region: ReviewRegion, caller: Any = OPERATOR, **wanted: Any) -> list[str]:
    request = read_search(directory_pb2.SearchResourcesRequest(**wanted))
    page = await search(
        region.state.catalogue,
        request,
        caller.identity,
        read=region.registrar.statement,
        after="",
        most=100,
    )
    return [hit.entry.id for hit in page.hits]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, [RESOURCE, VACCINES, MARRIAGES]),
        ({"words": ["户籍"]}, [RESOURCE]),
        ({"words": ["人口"]}, [RESOURCE]),
        ({"words": ["户口簿"]}, [RESOURCE]),
        ({"words": ["house", "RECORD"]}, [RESOURCE]),
        ({"words": ["ｐｏｌｉｃｅ　ｓｔａｔｉｏｎ"]}, [RESOURCE]),
        ({"words": ["marriage"]}, [MARRIAGES]),
        ({"words": ["姓名"]}, [RESOURCE, MARRIAGES]),
        ({"words": ["姓名", "接种"]}, []),
        ({"words": ["307010009"]}, [RESOURCE]),
        ({"code": "307010009/000001"}, [RESOURCE]),
        ({"code": "307010009"}, []),
        ({"code": "m-1"}, [MARRIAGES]),
        ({"code": "household"}, [RESOURCE]),
        ({"code": "de02.01"}, [RESOURCE, MARRIAGES]),
        ({"provider": POLICE}, [RESOURCE]),
        ({"provider": "civil"}, [MARRIAGES]),
        ({"provider": "civ"}, []),
        ({"division": "970000"}, [RESOURCE, VACCINES, MARRIAGES]),
        ({"division": "970100"}, [RESOURCE, VACCINES, MARRIAGES]),
        ({"division": "970102"}, [MARRIAGES]),
        ({"division": "980000"}, []),
        ({"share_type": 1}, [RESOURCE, VACCINES]),
        ({"share_type": 2}, [RESOURCE, MARRIAGES]),
        ({"share_type": 3}, [MARRIAGES]),
        ({"category": "base"}, [RESOURCE]),
        ({"category": "theme/fam"}, [MARRIAGES]),
        ({"category": "family"}, []),
        ({"standing": directory_pb2.RESOURCE_STANDING_SUSPENDED}, []),
        ({"words": ["姓名"], "division": "970102", "share_type": 3, "provider": CIVIL}, [MARRIAGES]),
    ],
)
async def test_every_part_that_is_set_must_fit(
    region: ReviewRegion, wanted: dict[str, Any], ids: list[str]
) -> None:
    assert await found(region, **wanted) == sorted(ids)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"words": ["a"] * 9}, e.Oversized),
        ({"words": ["a" * 65]}, e.Oversized),
        ({"words": [" "]}, e.Malformed),
        ({"words": ["a\x1fb"]}, e.Malformed),
        ({"code": "\x1e"}, e.Malformed),
        ({"division": "97"}, e.BadIdentifier),
        ({"share_type": 9}, e.Malformed),
        ({"standing": directory_pb2.RESOURCE_STANDING_SUPERSEDED}, e.Malformed),
        ({"provider": "x" * 65}, e.Malformed),
    ],
)
def test_a_search_out_of_bounds_is_refused(wanted: dict[str, Any], error: type[e.ExchangeError]) -> None:
    with pytest.raises(error):
        read_search(directory_pb2.SearchResourcesRequest(**wanted))


async def test_a_newer_version_is_found_by_its_own_words_and_a_suspended_one_still(
    region: ReviewRegion,
) -> None:
    assert await found(region, words=["户籍"]) == [RESOURCE]
    await region.publish(version=2, title_zh="人口", compatibility=directory_pb2.COMPATIBILITY_BREAKING)
    assert await found(region, words=["户籍"]) == []
    assert await found(region, words=["人口"]) == [RESOURCE]
    await region.suspend(version=2)
    assert await found(region, words=["人口"]) == [RESOURCE]
    assert await found(region, standing=directory_pb2.RESOURCE_STANDING_PUBLISHED, words=["人口"]) == []


async def test_what_is_in_review_is_found_by_those_who_have_to_do_with_it(region: ReviewRegion) -> None:
    await region.set_rules()
    await region.publish(version=2, title_zh="新版", compatibility=directory_pb2.COMPATIBILITY_BREAKING)
    in_review = directory_pb2.RESOURCE_STANDING_IN_REVIEW
    for caller, sees in ((OFFICER, True), (region.second, True), (CIVIL_STEWARD, False), (OPERATOR, False)):
        assert await found(region, caller, standing=in_review) == ([RESOURCE] if sees else [])
        assert await found(region, caller, words=["新版"]) == []
    await region.act(region.second, APPROVE, version=2)
    assert await found(region, words=["新版"]) == [RESOURCE]
    await region.act(region.police, WITHDRAW, version=2, revision=2)
    assert await found(region, words=["新版"]) == []
    assert await found(region, standing=directory_pb2.RESOURCE_STANDING_WITHDRAWN) == [RESOURCE]


STATEMENTS: dict[int, common_pb2.Statement] = {}


def large(count: int) -> Catalogue:
    catalogue = Catalogue()
    template = directory_pb2.ResourceBody.FromString(resource_body(NOW_MS))
    for number in range(count):
        template.id = f"970100/police/r-{number:06}"
        template.title_zh = f"资源{number:06}"
        STATEMENTS[number] = common_pb2.Statement(body=template.SerializeToString())
        catalogue.apply(number, parse_resource(STATEMENTS[number]))
    return catalogue


async def test_pages_go_on_by_id_and_every_resource_is_told_once() -> None:
    catalogue, told, after = large(35), [], ""
    wanted = read_search(directory_pb2.SearchResourcesRequest(words=["资源"]))
    while True:
        page = await search(
            catalogue, wanted, OPERATOR.identity, read=STATEMENTS.__getitem__, after=after, most=10
        )
        assert len(page.hits) <= 10
        told += [hit.entry.id for hit in page.hits]
        after = page.next_key
        if not after:
            break
    assert told == sorted(catalogue.by_id) and len(told) == 35


async def test_one_call_looks_at_a_bounded_number_and_says_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_search, "MAX_EXAMINED", 20)
    monkeypatch.setattr(catalogue_search, "SLICE", 10)
    catalogue = large(50)
    wanted = read_search(directory_pb2.SearchResourcesRequest(words=["资源000045"]))
    after, calls = "", 0
    while True:
        page = await search(
            catalogue, wanted, OPERATOR.identity, read=STATEMENTS.__getitem__, after=after, most=10
        )
        calls += 1
        if page.hits:
            break
        after = page.next_key
    assert (calls, page.hits[0].entry.id) == (3, "970100/police/r-000045")
