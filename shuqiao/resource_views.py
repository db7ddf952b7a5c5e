"""Catalogue entries as plain values for JSON and tables, in the contract's words."""

from google.protobuf.message import DecodeError

from exchange.resources import own_item
from exchange.schema_change import Change
from exchange.v1 import audit_pb2, common_pb2, directory_pb2

View = dict[str, object]


def word(name: str, prefix: str) -> str:
    """Return an enum's name as people and programs read it: "FETCH_MODE_BATCH" gives "batch", unset ""."""
    told = name.removeprefix(prefix).lower()
    return "" if told == "unspecified" else told


def standing(number: "directory_pb2.ResourceStanding.ValueType") -> str:
    """Return for example "in_review"."""
    return word(directory_pb2.ResourceStanding.Name(number), "RESOURCE_STANDING_")


def entry(body: directory_pb2.ResourceBody) -> View:
    """Return what a catalogue entry says, without when it was signed and where it stands."""
    return {
        "id": body.id,
        "provider": body.provider,
        "title_zh": body.title_zh,
        "title_en": body.title_en,
        "version": body.version,
        "code": body.code,
        "item": body.item or own_item(body.id),
        "category": body.category,
        "summary_zh": body.summary_zh,
        "summary_en": body.summary_en,
        "keywords": list(body.keywords),
        "update_cycle": body.update_cycle,
        "fetch_modes": [word(directory_pb2.FetchMode.Name(one), "FETCH_MODE_") for one in body.fetch_modes]
        or ["on_demand"],
        "legal_basis": body.legal_basis,
        "openness": body.openness,
        "derived_from": list(body.derived_from),
        "schema": body.schema,
        "compatibility": word(directory_pb2.Compatibility.Name(body.compatibility), "COMPATIBILITY_"),
        "responsibility": _responsibility(body.responsibility) if body.HasField("responsibility") else None,
        "kinds": [word(common_pb2.Kind.Name(one), "KIND_") for one in body.kinds],
        "case_required": body.case_required,
        "row_cap": body.row_cap,
        "fields": [_field(field) for field in body.fields],
        "parameters": [
            {"name": p.name, "type": p.type, "level": _level(p.level), "format": p.format}
            for p in body.parameters
        ],
    }


def change(told: Change) -> View:
    """Return a difference between two versions."""
    return {"subject": told.subject, "breaking": told.breaking, "zh": told.zh, "en": told.en}


def act(told: audit_pb2.AdministrativeEntry) -> View:
    """Return what the entry of an act on a resource says; nothing for other acts.

    The names begin with "resource_", so that they stand beside those of every entry.
    """
    if told.act != audit_pb2.ACT_RESOURCE_STATE:
        return {}
    try:
        body = directory_pb2.ResourceStateBody.FromString(told.statement.body)
    except DecodeError:
        return {}
    done = (
        word(directory_pb2.ResourceAction.Name(body.action), "RESOURCE_ACTION_")
        if body.action in _ACTIONS
        else ""
    )
    return {
        "resource_action": done or ("suspend" if body.suspended else "resume"),
        "resource_version": body.version,
        "resource_revision": body.revision,
        "resource_note": body.note,
    }


_ACTIONS = frozenset(directory_pb2.ResourceAction.values())


def _responsibility(told: directory_pb2.Responsibility) -> View:
    return {
        "unit": told.unit,
        "fresh_within_s": told.fresh_within_s,
        "available_permille": told.available_permille,
        "answer_within_ms": told.answer_within_ms,
        "decide_within_days": told.decide_within_days,
    }


def _field(field: directory_pb2.Field) -> View:
    mask = field.mask
    return {
        "name": field.name,
        "title_zh": field.title_zh,
        "title_en": field.title_en,
        "type": field.type,
        "level": _level(field.level),
        "share": word(directory_pb2.ShareType.Name(field.share_type), "SHARE_TYPE_"),
        "legal_basis": field.legal_basis,
        "condition": field.condition,
        "code": field.code,
        "description": field.description,
        "data_class": word(directory_pb2.DataClass.Name(field.data_class), "DATA_CLASS_"),
        "derived": field.derived,
        "mask": {
            "kind": word(directory_pb2.MaskKind.Name(mask.kind), "MASK_KIND_"),
            "first": mask.first,
            "last": mask.last,
            "band": mask.band,
        }
        if field.HasField("mask")
        else None,
    }


def _level(number: "common_pb2.Level.ValueType") -> str:
    return common_pb2.Level.Name(number).removeprefix("LEVEL_")
