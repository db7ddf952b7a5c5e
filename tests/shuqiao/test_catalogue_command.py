"""What `shuqiao catalog` sends, and what it shows of the answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import SecondPersonRequired
from exchange.v1 import common_pb2, directory_pb2
from shuqiao.catalogue_file.workbook import write_workbook
from shuqiao.form import read_form
from shuqiao.resource_form import ResourceForm, resource_body
from tests.support.command_region import CONSUMER, HOUSEHOLD, Region, Shuqiao
from tests.support.sealing import NOW_MS

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "resource.toml"
PUBLISHED = directory_pb2.RESOURCE_STANDING_PUBLISHED
IN_REVIEW = directory_pb2.RESOURCE_STANDING_IN_REVIEW


def example(**changes: Any) -> ResourceForm:
    return read_form(ResourceForm, EXAMPLE).model_copy(update=changes)


def record(form: ResourceForm, version: int, standing: int = PUBLISHED, **more: Any) -> Any:
    body = resource_body(form, nonce=bytes(16), provider=CONSUMER, version=version, now_ms=NOW_MS)
    return directory_pb2.VersionRecord(
        resource=common_pb2.Statement(body=body.SerializeToString()),
        standing=standing,  # type: ignore[arg-type]
        index=version + 10,
        **more,
    )


@pytest.fixture
def two(region: Region) -> Region:
    """A version in force, and a narrower one that waits."""
    region.versions = [
        record(example(), 1, revision=4),
        record(example(row_cap=5, title_zh="新名"), 2, IN_REVIEW, revision=4),
    ]
    return region


def sent(region: Region) -> directory_pb2.ResourceStateBody:
    return directory_pb2.ResourceStateBody.FromString(region.received[-1].state.body)


def test_a_search_sends_every_part_and_pages_to_the_end(shuqiao: Shuqiao, region: Region) -> None:
    region.found = [record(example(id=f"970100/a/r{n}"), 1) for n in range(3)]
    ran = shuqiao(
        "catalog", "search", "户籍", "name", "--provider", "police", "--division", "970100", "--code", "A-1",
        "--share", "conditional", "--category", "base", "--standing", "published", "--json",
    )  # fmt: skip
    assert [one["id"] for one in ran.document["resources"]] == [f"970100/a/r{n}" for n in range(3)]
    request = region.received[0]
    assert (list(request.words), request.provider, request.division) == (["户籍", "name"], "police", "970100")
    assert (request.code, request.category) == ("A-1", "base")
    assert request.share_type == directory_pb2.SHARE_TYPE_CONDITIONAL
    assert request.standing == PUBLISHED
    assert shuqiao("catalog", "search", "--share", "some").code == 2


def test_an_entry_is_shown_with_its_official_metadata(shuqiao: Shuqiao, two: Region) -> None:
    shown = shuqiao("catalog", "show", HOUSEHOLD).out
    for part in (
        "307010009/000001",
        "base/population",
        "每日",
        "户口登记条例",
        "户政支队",
        "990‰",
        "DE02.01.039.00",
    ):
        assert part in shown
    view = shuqiao("catalog", "show", HOUSEHOLD, "--version", "2", "--json").document
    assert (view["version"], view["standing"], view["title_zh"]) == (2, "in_review", "新名")
    assert shuqiao("catalog", "show", HOUSEHOLD, "--version", "9").code == 1


def test_versions_are_listed_with_where_each_stands(shuqiao: Shuqiao, two: Region) -> None:
    told = shuqiao("catalog", "versions", HOUSEHOLD, "--json").document["versions"]
    assert [(one["version"], one["standing"], one["index"]) for one in told] == [
        (1, "published", 11),
        (2, "in_review", 12),
    ]
    assert "待审核" in shuqiao("catalog", "versions", HOUSEHOLD).out


def test_a_difference_says_whether_users_of_the_version_before_are_served(
    shuqiao: Shuqiao, two: Region
) -> None:
    ran = shuqiao("catalog", "diff", HOUSEHOLD, "--json").document
    assert (ran["from"], ran["to"], ran["compatible"]) == (1, 2, False)
    assert [(one["subject"], one["breaking"]) for one in ran["changes"]] == [
        ("row_cap", True),
        ("title_zh", False),
    ]
    shown = shuqiao("catalog", "diff", HOUSEHOLD, "2", "1").out
    assert "行数上限 5 → 10" in shown and "不兼容" not in shown


def test_the_waiting_version_is_approved_or_rejected_by_its_number(shuqiao: Shuqiao, two: Region) -> None:
    ran = shuqiao("catalog", "approve", HOUSEHOLD, "--note", "已核", "--json").document
    assert (ran["version"], ran["approved"], ran["changes"][0]["subject"]) == (2, True, "row_cap")
    body = sent(two)
    assert (body.version, body.revision, body.note) == (2, 5, "已核")
    assert body.action == directory_pb2.RESOURCE_ACTION_APPROVE
    assert shuqiao("catalog", "reject", HOUSEHOLD).code == 0
    assert sent(two).action == directory_pb2.RESOURCE_ACTION_REJECT
    two.versions.pop()
    assert "WRONG_STATE" in shuqiao("catalog", "approve", HOUSEHOLD).err


def test_who_handed_a_version_in_is_told_to_find_somebody_else(shuqiao: Shuqiao, two: Region) -> None:
    two.refuse = SecondPersonRequired(HOUSEHOLD, hop="gateway/gateway-1")
    assert "SECOND_PERSON_REQUIRED" in shuqiao("catalog", "approve", HOUSEHOLD).err


def test_a_resource_is_withdrawn_at_the_version_in_force(shuqiao: Shuqiao, two: Region) -> None:
    ran = shuqiao("catalog", "withdraw", HOUSEHOLD, "--yes", "--json")
    assert ran.document["standing"] == "withdrawn"
    body = sent(two)
    assert (body.version, body.action) == (1, directory_pb2.RESOURCE_ACTION_WITHDRAW)


def test_a_version_that_waits_for_its_review_is_not_called_published(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    region.versions = [record(example(), 1)]
    assert shuqiao("catalog", "publish", str(EXAMPLE), "--json").document["in_review"] is False
    region.versions += [record(example(), 2, IN_REVIEW)]
    file = EXAMPLE.read_text().replace('id = "', 'version = 2\nid = "', 1)
    own = tmp_path / "resource.toml"
    own.write_text(file)
    said = shuqiao("catalog", "publish", str(own)).out
    assert "已提交" in said and f"catalog approve {HOUSEHOLD}" in said and "已发布" not in said


def published(region: Region) -> list[directory_pb2.ResourceBody]:
    return [
        directory_pb2.ResourceBody.FromString(one.resource.body)
        for one in region.received
        if isinstance(one, directory_pb2.PublishResourceRequest)
    ]


def test_an_import_publishes_what_is_new_or_has_changed(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    changed, same = example(id="970100/a/changed"), example(id="970100/a/same")
    region.versions = [record(changed, 4), record(same, 2)]
    file = tmp_path / "catalogue.xlsx"
    write_workbook(file, [changed.model_copy(update={"row_cap": 50}), same, example(id="970100/a/new")])
    dry = shuqiao("catalog", "import", str(file), "--dry-run", "--json").document
    outcomes = [(one["id"], one["outcome"], one["version"]) for one in dry["entries"]]
    assert outcomes == [
        ("970100/a/changed", "update", 5),
        ("970100/a/same", "same", 2),
        ("970100/a/new", "new", 1),
    ]
    assert published(region) == []
    ran = shuqiao("catalog", "import", str(file))
    assert ran.code == 0 and "更新" in ran.out
    assert [(body.id, body.version) for body in published(region)] == [
        ("970100/a/changed", 5),
        ("970100/a/new", 1),
    ]


def test_an_import_publishes_nothing_where_a_fault_is_found(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    told = example(id="970100/a/good").model_dump(by_alias=True)
    bad = {**told, "id": "970100/a/bad", "fields": [{**told["fields"][0], "data_class": "core"}]}
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"resources": [told, bad]}))
    ran = shuqiao("catalog", "import", str(file), "--json")
    assert ran.code == 1
    assert [(one["place"], one["code"]) for one in ran.document["faults"]] == [
        ("resources[1].fields[0]", "DATA_CLASS_REFUSED")
    ]
    assert region.received == []
    assert "DATA_CLASS_REFUSED" in shuqiao("catalog", "import", str(file)).out
    assert shuqiao("catalog", "import", str(tmp_path / "c.csv")).code == 2


def test_an_import_does_not_break_users_by_accident(shuqiao: Shuqiao, two: Region, tmp_path: Path) -> None:
    two.versions.pop()
    file = tmp_path / "catalogue.xlsx"
    write_workbook(file, [example(row_cap=5)])
    ran = shuqiao("catalog", "import", str(file), "--json")
    assert (ran.code, ran.document["entries"][0]["code"]) == (1, "INCOMPATIBLE")
    assert "row_cap" in shuqiao("catalog", "import", str(file)).out
    write_workbook(file, [example(row_cap=5, compatibility="breaking")])
    assert shuqiao("catalog", "import", str(file)).code == 0
    assert published(two)[0].compatibility == directory_pb2.COMPATIBILITY_BREAKING


@pytest.mark.parametrize("name", ["c.xlsx", "c.json"])
def test_what_was_exported_imports_as_no_change(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, name: str
) -> None:
    region.found = region.versions = [record(example(id=f"970100/a/r{n}"), 3) for n in range(2)]
    ran = shuqiao("catalog", "export", str(tmp_path / name), "--provider", CONSUMER, "--json")
    assert (ran.code, ran.document["count"]) == (0, 2)
    told = shuqiao("catalog", "import", str(tmp_path / name), "--json").document["entries"]
    assert [one["outcome"] for one in told] == ["same", "same"]
    assert published(region) == []
