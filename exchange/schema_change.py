"""What differs between two versions of a catalogue entry, and whether users of the first are still served.

Those who use an entry hold grants, send questions and read answers. A change breaks where a question that was
right is refused, an answer means something else, holds less, or must be kept more strictly than before; where
a record may now look as the schema before did not allow. Everything else is compatible. Pure; both bodies
were read before (`exchange/resources.py`, `exchange/record_schema.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from exchange.errors import Incompatible
from exchange.record_change import Change, schema_changes
from exchange.v1 import common_pb2, directory_pb2

__all__ = ["Change", "changes", "check_compatible"]

BREAKING = directory_pb2.COMPATIBILITY_BREAKING

P = TypeVar("P", directory_pb2.Field, directory_pb2.Parameter)

_DESCRIBED: tuple[tuple[str, str, str], ...] = (
    ("title_zh", "中文名称", "Chinese title"),
    ("title_en", "英文名称", "English title"),
    ("code", "目录代码", "catalogue code"),
    ("item", "数源信息项", "item"),
    ("category", "分类", "category"),
    ("summary_zh", "中文摘要", "Chinese summary"),
    ("summary_en", "英文摘要", "English summary"),
    ("keywords", "关键词", "keywords"),
    ("update_cycle", "更新周期", "update cycle"),
    ("legal_basis", "依据", "legal basis"),
    ("openness", "开放属性", "openness"),
    ("derived_from", "来源资源", "sources"),
    ("responsibility", "责任清单", "responsibility list"),
)
_FIELD_DESCRIBED: tuple[tuple[str, str, str], ...] = (
    ("title_zh", "中文名称", "Chinese title"),
    ("title_en", "英文名称", "English title"),
    ("code", "代码", "code"),
    ("description", "说明", "description"),
    ("condition", "共享条件", "condition"),
    ("legal_basis", "依据", "legal basis"),
    ("data_class", "数据类别", "data class"),
    ("padding", "补齐", "padding"),
)


def changes(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> list[Change]:
    """Return every difference between two versions, breaking ones first, otherwise in the entry's order."""
    found = [
        *_offer(old, new),
        *_fields(old, new),
        *_parameters(old, new),
        *(
            Change(one.subject, one.breaking, one.zh, one.en)
            for one in schema_changes(old.schema, new.schema)
        ),
        *_described(old, new),
    ]
    return sorted(found, key=lambda change: not change.breaking)


def check_compatible(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> None:
    """Refuse a version that breaks those who use the one before, unless it says so itself.

    Raises:
        Incompatible: names the first breaking change.
    """
    if new.compatibility == BREAKING:
        return
    first = next((change for change in changes(old, new) if change.breaking), None)
    if first is not None:
        raise Incompatible(f"{first.subject}: {first.zh} | {first.en}")


def _offer(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> Iterator[Change]:
    for kind in old.kinds:
        if kind not in new.kinds:
            word = common_pb2.Kind.Name(kind).removeprefix("KIND_").lower()
            yield Change("kinds", True, f"不再提供 {word}", f"{word} is no longer offered")
    for kind in new.kinds:
        if kind not in old.kinds:
            word = common_pb2.Kind.Name(kind).removeprefix("KIND_").lower()
            yield Change("kinds", False, f"新提供 {word}", f"{word} is newly offered")
    if new.row_cap != old.row_cap:
        span = f"{old.row_cap} → {new.row_cap}"
        yield Change("row_cap", new.row_cap < old.row_cap, f"行数上限 {span}", f"row cap {span}")
    if new.case_required != old.case_required:
        zh, en = ("须", "is required") if new.case_required else ("不再须", "is no longer required")
        yield Change("case_required", new.case_required, f"{zh}有办件编号", f"a case number {en}")
    before, after = _modes(old), _modes(new)
    for mode in sorted(before ^ after):
        word = directory_pb2.FetchMode.Name(mode).removeprefix("FETCH_MODE_").lower()
        gone = mode in before
        zh, en = ("不再提供", "is no longer offered") if gone else ("新提供", "is newly offered")
        yield Change("fetch_modes", gone, f"{zh}获取方式 {word}", f"fetch mode {word} {en}")


def _modes(body: directory_pb2.ResourceBody) -> "set[directory_pb2.FetchMode.ValueType]":
    return set(body.fetch_modes) or {directory_pb2.FETCH_MODE_ON_DEMAND}


def _fields(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> Iterator[Change]:
    before: Mapping[str, directory_pb2.Field] = _named(old.fields)
    after: Mapping[str, directory_pb2.Field] = _named(new.fields)
    for name in before:
        if name not in after:
            yield Change(f"field {name}", True, "信息项已删除", "the field is gone")
        else:
            yield from _field(before[name], after[name])
    for name in after:
        if name not in before:
            yield Change(f"field {name}", False, "新增信息项", "a new field")


def _field(old: directory_pb2.Field, new: directory_pb2.Field) -> Iterator[Change]:
    subject = f"field {old.name}"
    yield from _kept(subject, old, new)
    if new.share_type != old.share_type:
        closed = new.share_type == directory_pb2.SHARE_TYPE_NOT_SHARED
        span = f"{_share(old.share_type)} → {_share(new.share_type)}"
        yield Change(subject, closed, f"共享类型 {span}", f"share type {span}")
    if new.mask != old.mask:
        yield Change(subject, True, "脱敏规则已变", "the mask has changed")
    if new.derived != old.derived:
        zh, en = ("改为", "now") if new.derived else ("不再为", "no longer")
        yield Change(subject, old.derived, f"{zh}衍生项", f"{en} a derived field")
    for name, zh, en in _FIELD_DESCRIBED:
        if getattr(new, name) != getattr(old, name):
            yield Change(subject, False, f"{zh}已变", f"the {en} has changed")


def _parameters(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> Iterator[Change]:
    before: Mapping[str, directory_pb2.Parameter] = _named(old.parameters)
    after: Mapping[str, directory_pb2.Parameter] = _named(new.parameters)
    for name in before:
        subject = f"parameter {name}"
        if name not in after:
            yield Change(subject, True, "查询参数已删除", "the parameter is gone")
            continue
        yield from _kept(subject, before[name], after[name])
        if after[name].format != before[name].format:
            breaks = bool(after[name].format)
            span = f"{before[name].format or '—'} → {after[name].format or '—'}"
            yield Change(subject, breaks, f"格式 {span}", f"format {span}")
    for name in after:
        if name not in before:
            yield Change(f"parameter {name}", True, "新增查询参数", "a new parameter")


def _kept(subject: str, old: P, new: P) -> Iterator[Change]:
    """Type and level: what both fields and parameters have."""
    if new.type != old.type:
        span = f"{old.type} → {new.type}"
        yield Change(subject, True, f"类型 {span}", f"type {span}")
    if new.level != old.level:
        span = f"{_level(old.level)} → {_level(new.level)}"
        yield Change(subject, new.level > old.level, f"分级 {span}", f"level {span}")


def _described(old: directory_pb2.ResourceBody, new: directory_pb2.ResourceBody) -> Iterator[Change]:
    for name, zh, en in _DESCRIBED:
        if getattr(new, name) != getattr(old, name):
            yield Change(name, False, f"{zh}已变", f"the {en} has changed")


def _named(items: Iterable[P]) -> Mapping[str, P]:
    return {item.name: item for item in items}


def _share(number: "directory_pb2.ShareType.ValueType") -> str:
    return directory_pb2.ShareType.Name(number).removeprefix("SHARE_TYPE_").lower()


def _level(number: "common_pb2.Level.ValueType") -> str:
    return common_pb2.Level.Name(number).removeprefix("LEVEL_")
