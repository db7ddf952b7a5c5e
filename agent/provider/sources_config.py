"""The part of an agent's configuration that says what it provides and from where.

```toml
[[resource]]
id = "970102/public-security/household"
row_cap = 20
[resource.source]
kind = "sql"
url_file = "secrets/household-url"     # a password never stands in this file
table = "household"
[[resource.parameter]]
name = "citizen_id"
column = "citizen_id"
format = "citizen_id"
[[resource.field]]
name = "name"
column = "name"
level = "L3"
mask = { kind = "keep", first = 1 }
[[resource.field]]
name = "mother_id"
column = "mother_id"
level = "L4"
subject = "citizen_id"                 # whoever it names is found by a trace of this exchange
```
"""

import json
import re
from datetime import timedelta, timezone
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.provider.field_rules import FieldRule, ParameterRule
from agent.provider.masking import MAX_BAND, Mask, MaskKind
from exchange.errors import BadConfiguration
from exchange.subject_tags import MAX_TAGS
from exchange.v1 import common_pb2

Type = Literal["text", "integer", "decimal", "boolean", "date", "timestamp", "bytes"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Column = Annotated[str, Field(min_length=1, max_length=256)]
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OFFSET = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class SqlSource(_Strict):
    """A table or view of a database that SQLAlchemy speaks to."""

    kind: Literal["sql"]
    url: str | None = None
    url_file: Path | None = None
    table: Column
    schema_name: Annotated[Column | None, Field(alias="schema")] = None
    pool: Annotated[int, Field(ge=1, le=32)] = 4

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either url or url_file")
        if self.url is not None:
            from sqlalchemy import make_url
            from sqlalchemy.exc import ArgumentError

            try:
                password = make_url(self.url).password
            except ArgumentError:
                raise ValueError("url is not a database URL") from None
            if password is not None:
                raise ValueError("a URL with a password belongs into url_file")
        return self


class FileSource(_Strict):
    """A CSV or Parquet file in a folder; needs the extra [files]."""

    kind: Literal["file"]
    folder: Path
    file: Annotated[str, Field(min_length=1, max_length=256)]
    format: Literal["csv", "parquet"]
    pool: Annotated[int, Field(ge=1, le=8)] = 1
    memory_mb: Annotated[int, Field(ge=32, le=65536)] = 256

    @field_validator("file")
    @classmethod
    def _plain(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or any(part in ("..", ".") for part in file.split("/")) or "//" in file:
            raise ValueError("file must be a plain path inside the folder")
        if re.search(r"[*?\[\]{}\\\0]", file) or "://" in file:
            raise ValueError("file must name one file, without wildcards")
        return file


class HttpSource(_Strict):
    """A JSON service at a fixed origin."""

    kind: Literal["http"]
    origin: str
    path: str
    records: str = ""
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    credentials_file: Path | None = None
    credentials_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "Authorization"
    ca_file: Path | None = None

    @field_validator("origin")
    @classmethod
    def _origin(cls, origin: str) -> str:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("origin must be http(s)://host[:port]")
        if parts.path or parts.query or parts.fragment or "@" in parts.netloc or "{" in origin:
            raise ValueError("origin must be http(s)://host[:port] and nothing more")
        _ = parts.port  # raises ValueError where it is none
        return origin

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        rest = PLACEHOLDER.sub("x", path)
        if not path.startswith("/") or path.startswith("//") or re.search(r"[{}#\\\s]", rest):
            raise ValueError("path must be like /people/{citizen_id}?view=full")
        if any(part in (".", "..") for part in rest.partition("?")[0].split("/")):
            raise ValueError("path must not hold . or ..")
        return path

    @field_validator("records")
    @classmethod
    def _records(cls, records: str) -> str:
        return check_pointer(records)


class SyntheticSource(_Strict):
    """No source at all: records that belong to nobody, made for each key. For sandboxes only."""

    kind: Literal["synthetic"]
    seed: Annotated[str, Field(min_length=1, max_length=64)] = "1"
    missing: Annotated[float, Field(ge=0, le=1)] = 0.1
    # JSON Schema of one record, its properties by the names of the fields.
    record_schema: Annotated[str, Field(alias="schema", max_length=16_384)] = ""

    @field_validator("record_schema")
    @classmethod
    def _schema(cls, text: str) -> str:
        if text and not isinstance(json.loads(text), dict):
            raise ValueError("schema must be a JSON object")
        return text


def check_pointer(pointer: str) -> str:
    """Return a JSON pointer (RFC 6901) that is well formed.

    Raises:
        ValueError: it is not.
    """
    if pointer and (not pointer.startswith("/") or re.search(r"~(?![01])", pointer)):
        raise ValueError("a JSON pointer is empty or like /data/0/name")
    return pointer


class MaskConfig(_Strict):
    """What is hidden of a field."""

    kind: MaskKind
    first: Annotated[int, Field(ge=0, le=256)] = 0
    last: Annotated[int, Field(ge=0, le=256)] = 0
    band: Annotated[int, Field(ge=0, le=MAX_BAND)] = 0


class FieldConfig(_Strict):
    """A field and the column it comes from."""

    name: Name
    column: Column
    type: Type = "text"
    level: Literal["L1", "L2", "L3", "L4"]
    mask: MaskConfig | None = None
    subject: Literal["", "citizen_id", "credit_code"] = ""

    @model_validator(mode="after")
    def _names_a_subject(self) -> Self:
        # A tag of the whole value would give back to some what the mask hides from them.
        if self.subject and (self.type != "text" or self.mask is not None):
            raise ValueError("a subject is a text without a mask")
        return self

    @model_validator(mode="after")
    def _mask_fits(self) -> Self:
        try:
            if self.mask is not None:
                Mask(**self.mask.model_dump()).check(self.name, self.type)
        except BadConfiguration as error:
            raise ValueError(error.subject) from None
        return self

    def rule(self) -> FieldRule:
        """Return the field as the provider uses it."""
        mask = None if self.mask is None else Mask(**self.mask.model_dump())
        level = common_pb2.Level.Value(f"LEVEL_{self.level}")
        return FieldRule(
            name=self.name, column=self.column, type=self.type, level=level, mask=mask, subject=self.subject
        )


class ParameterConfig(_Strict):
    """A parameter and the column it finds by."""

    name: Name
    column: Column
    type: Literal["text", "integer", "decimal", "boolean", "date", "timestamp"] = "text"
    format: Literal["", "citizen_id", "credit_code", "division"] = ""

    def rule(self) -> ParameterRule:
        """Return the parameter as the provider uses it."""
        return ParameterRule(name=self.name, column=self.column, type=self.type, format=self.format)


class ResourceConfig(_Strict):
    """One resource that this agent provides.

    `as_of_column` holds as of when a record is; answers tell the oldest of theirs, to the hour, and the log
    repeats it. Name the time at which the source was brought up to date, not one that is itself personal. A
    file that names no such column tells when it was last changed.
    """

    id: Annotated[str, Field(pattern=r"^[0-9]{6}/[a-z0-9-]{1,40}/[a-z0-9-]{1,40}$")]
    row_cap: Annotated[int, Field(ge=1, le=1000)] = 100
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    utc_offset: str = "+08:00"
    as_of_column: Column | None = None
    as_of_type: Literal["timestamp", "date"] = "timestamp"
    source: Annotated[SqlSource | FileSource | HttpSource | SyntheticSource, Field(discriminator="kind")]
    parameters: Annotated[tuple[ParameterConfig, ...], Field(alias="parameter", min_length=1, max_length=16)]
    fields: Annotated[tuple[FieldConfig, ...], Field(alias="field", min_length=1, max_length=64)]

    @field_validator("utc_offset")
    @classmethod
    def _offset(cls, offset: str) -> str:
        zone_of(offset)
        return offset

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for what, names in (
            ("field", [field.name for field in self.fields]),
            ("parameter", [parameter.name for parameter in self.parameters]),
            ("parameter's column", [parameter.column for parameter in self.parameters]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is named twice")
        subjects = sum(bool(field.subject) for field in self.fields)
        if subjects and subjects * self.row_cap + len(self.parameters) > MAX_TAGS:
            raise ValueError(f"row_cap times fields that name a subject exceeds {MAX_TAGS}")
        if isinstance(self.source, HttpSource):
            for column in (*(field.column for field in self.fields), self.as_of_column or ""):
                check_pointer(column)
            if set(PLACEHOLDER.findall(self.source.path)) != {p.column for p in self.parameters}:
                raise ValueError("the path's placeholders and the parameters' columns differ")
        return self


def zone_of(offset: str) -> timezone:
    """Return the zone of an offset like "+08:00".

    Raises:
        ValueError: it is none.
    """
    parts = _OFFSET.fullmatch(offset)
    if parts is None or int(parts[2]) > 14 or int(parts[3]) > 59:
        raise ValueError("utc_offset must be like +08:00")
    span = timedelta(hours=int(parts[2]), minutes=int(parts[3]))
    return timezone(span if parts[1] == "+" else -span)
