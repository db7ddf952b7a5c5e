"""A catalogue entry as people write it: deploy/examples/resource.toml, and one row or more of a spreadsheet.

`resource_body` makes the body of the contract from a form, `form_of` the form from a body; a form that was
made from a body makes an equal one. Whether what a form says is allowed is the gateway's to decide.
"""

import json
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from exchange.timestamps import timestamp
from exchange.v1 import common_pb2, directory_pb2
from shuqiao.form import Form, Kind, Level, ValueType, kinds, level

MaskWord = Literal["keep", "year", "month", "redact", "prefix", "band", "pseudonym"]
FetchWord = Literal["on_demand", "batch", "subscribe"]
CycleWord = Literal["", "realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular"]


class MaskForm(Form):
    """The least that is hidden of a field."""

    kind: MaskWord
    first: int = Field(default=0, ge=0, le=256)
    last: int = Field(default=0, ge=0, le=256)
    band: int = Field(default=0, ge=0, le=2**32 - 1)


class FieldForm(Form):
    """One item of a resource."""

    name: str
    title_zh: str
    title_en: str
    type: ValueType = "text"
    level: Level
    share: Literal["unconditional", "conditional", "not_shared"]
    legal_basis: str = ""
    padding: int = Field(default=0, ge=0, le=4096)
    code: str = ""
    description: str = ""
    condition: str = ""
    data_class: Literal["", "general", "important", "core", "secret"] = ""
    derived: bool = False
    mask: MaskForm | None = None


class ParameterForm(Form):
    """One parameter by which records are found."""

    name: str
    type: ValueType = "text"
    level: Level
    format: Literal["", "citizen_id", "credit_code", "division"] = ""


class ResponsibilityForm(Form):
    """What the provider answers for; 0 where nothing is promised."""

    unit: str = ""
    fresh_within_s: int = Field(default=0, ge=0, le=2**63)
    available_permille: int = Field(default=0, ge=0, le=1000)
    answer_within_ms: int = Field(default=0, ge=0, le=2**32 - 1)
    decide_within_days: int = Field(default=0, ge=0, le=2**32 - 1)


class ResourceForm(Form):
    """A catalogue entry; deploy/examples/resource.toml."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    id: str
    provider: str = ""
    title_zh: str
    title_en: str
    version: int = Field(default=0, ge=0, le=2**32 - 1)
    kinds: list[Kind] = Field(min_length=1)
    case_required: bool = True
    row_cap: int = Field(default=100, ge=1, le=1000)
    code: str = ""
    item: str = ""
    category: str = ""
    summary_zh: str = ""
    summary_en: str = ""
    keywords: list[str] = Field(default=[], max_length=16)
    update_cycle: CycleWord = ""
    fetch_modes: list[FetchWord] = Field(default=[], max_length=3)
    legal_basis: str = ""
    openness: str = ""
    derived_from: list[str] = Field(default=[], max_length=16)
    record_schema: str = Field(default="", alias="schema")
    compatibility: Literal["", "backward", "breaking"] = ""
    responsibility: ResponsibilityForm | None = None
    fields: list[FieldForm] = Field(min_length=1, max_length=64)
    parameters: list[ParameterForm] = Field(default=[], max_length=16)

    @field_validator("record_schema", mode="before")
    @classmethod
    def _written_out(cls, told: object) -> object:
        """A schema may be written as a table; the entry holds its text."""
        return json.dumps(told, ensure_ascii=False) if isinstance(told, dict) else told


def resource_body(
    form: ResourceForm, *, nonce: bytes, provider: str, version: int, now_ms: int
) -> directory_pb2.ResourceBody:
    """Return the body of a catalogue entry.

    Args:
        form: what a person wrote; provider and version count where it names them.
        nonce: 16 random bytes.
        provider, version: the ones to use otherwise.
        now_ms: when it is signed, Unix milliseconds.
    """
    held = form.responsibility
    return directory_pb2.ResourceBody(
        nonce=nonce,
        id=form.id,
        provider=form.provider or provider,
        title_zh=form.title_zh,
        title_en=form.title_en,
        version=form.version or version,
        fields=[_field(one) for one in form.fields],
        parameters=[
            directory_pb2.Parameter(name=p.name, type=p.type, level=level(p.level), format=p.format)
            for p in form.parameters
        ],
        kinds=kinds(form.kinds),
        case_required=form.case_required,
        row_cap=form.row_cap,
        issued_at=timestamp(now_ms),
        code=form.code,
        item=form.item,
        category=form.category,
        summary_zh=form.summary_zh,
        summary_en=form.summary_en,
        keywords=form.keywords,
        update_cycle=form.update_cycle,
        fetch_modes=[directory_pb2.FetchMode.Value(f"FETCH_MODE_{w.upper()}") for w in form.fetch_modes],
        legal_basis=form.legal_basis,
        openness=form.openness,
        derived_from=form.derived_from,
        schema=form.record_schema,
        compatibility=directory_pb2.Compatibility.Value(
            f"COMPATIBILITY_{(form.compatibility or 'unspecified').upper()}"
        ),
        responsibility=directory_pb2.Responsibility(**held.model_dump()) if held else None,
    )


def form_of(body: directory_pb2.ResourceBody) -> ResourceForm:
    """Return the form that makes a body; nonce and time of signing are not in it."""
    return ResourceForm.model_validate(
        {
            **{name: getattr(body, name) for name in _PLAIN},
            "kinds": [_word(common_pb2.Kind.Name(one), "KIND_") for one in body.kinds],
            "keywords": list(body.keywords),
            "fetch_modes": [
                _word(directory_pb2.FetchMode.Name(one), "FETCH_MODE_") for one in body.fetch_modes
            ],
            "derived_from": list(body.derived_from),
            "compatibility": _word(directory_pb2.Compatibility.Name(body.compatibility), "COMPATIBILITY_"),
            "responsibility": _promised(body.responsibility) if body.HasField("responsibility") else None,
            "fields": [_field_form(one) for one in body.fields],
            "parameters": [
                {"name": p.name, "type": p.type, "level": _level_word(p.level), "format": p.format}
                for p in body.parameters
            ],
        }
    )


_PLAIN = (
    "id",
    "provider",
    "title_zh",
    "title_en",
    "version",
    "case_required",
    "row_cap",
    "code",
    "item",
    "category",
    "summary_zh",
    "summary_en",
    "update_cycle",
    "legal_basis",
    "openness",
    "schema",
)
_FIELD_PLAIN = (
    "name",
    "title_zh",
    "title_en",
    "type",
    "legal_basis",
    "padding",
    "code",
    "description",
    "condition",
    "derived",
)


def _field(form: FieldForm) -> directory_pb2.Field:
    mask = form.mask
    return directory_pb2.Field(
        **{name: getattr(form, name) for name in _FIELD_PLAIN},
        level=level(form.level),
        share_type=directory_pb2.ShareType.Value(f"SHARE_TYPE_{form.share.upper()}"),
        data_class=directory_pb2.DataClass.Value(f"DATA_CLASS_{(form.data_class or 'unspecified').upper()}"),
        mask=directory_pb2.Mask(
            kind=directory_pb2.MaskKind.Value(f"MASK_KIND_{mask.kind.upper()}"),
            first=mask.first,
            last=mask.last,
            band=mask.band,
        )
        if mask
        else None,
    )


def _field_form(field: directory_pb2.Field) -> dict[str, object]:
    mask = field.mask
    return {
        **{name: getattr(field, name) for name in _FIELD_PLAIN},
        "level": _level_word(field.level),
        "share": _word(directory_pb2.ShareType.Name(field.share_type), "SHARE_TYPE_"),
        "data_class": _word(directory_pb2.DataClass.Name(field.data_class), "DATA_CLASS_"),
        "mask": {
            "kind": _word(directory_pb2.MaskKind.Name(mask.kind), "MASK_KIND_"),
            "first": mask.first,
            "last": mask.last,
            "band": mask.band,
        }
        if field.HasField("mask")
        else None,
    }


def _promised(told: directory_pb2.Responsibility) -> dict[str, object]:
    return {name: getattr(told, name) for name in ResponsibilityForm.model_fields}


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def _level_word(number: "common_pb2.Level.ValueType") -> str:
    return common_pb2.Level.Name(number).removeprefix("LEVEL_")
