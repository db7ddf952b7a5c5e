"""Entries as a file held them, where each of their parts stood, and what is wrong with them.

A file is read to its end: every fault is told at once. What is well formed is checked as the gateway will
check it, so that a file of a thousand entries is not found wanting one entry at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exchange.canonical import NONCE_BYTES
from exchange.errors import BadIdentifier, DataClassRefused, ExchangeError
from exchange.field_rules import NAME
from exchange.record_schema import check_schema
from exchange.resources import parse_resource
from exchange.v1 import common_pb2
from shuqiao.resource_form import ResourceForm, resource_body
from shuqiao.words import Text

MAX_ENTRIES = 2000
MAX_FILE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: sheet, row (from 1) and column (letters), or a path in JSON."""

    sheet: str = ""
    row: int = 0
    column: str = ""
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.sheet}!{self.column}{self.row}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where; code is a reason's name where the gateway would give one."""

    place: Place
    said: Text
    code: str = ""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a file.

    Attributes:
        place: of the entry.
        parts: of its parts, by "title_zh", "fields.name" (a field) or "fields.name.level".
    """

    form: ResourceForm
    place: Place
    parts: Mapping[str, Place] = field(default_factory=dict)

    def where(self, *parts: str) -> Place:
        """Return the place of the first of several parts that is known; the entry's where none is."""
        return next((self.parts[part] for part in parts if part in self.parts), self.place)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file held."""

    entries: list[FileEntry]
    faults: list[Fault]


def check_entries(entries: Iterable[FileEntry], *, provider: str) -> list[Fault]:
    """Return what the gateway would refuse of entries by themselves, and ids that occur twice.

    Args:
        provider: credit code of whoever signs, for entries that name none.
    """
    faults: list[Fault] = []
    seen: set[str] = set()
    for entry in entries:
        if entry.form.id in seen:
            faults.append(Fault(entry.where("id"), Text("资源编号重复", "resource id twice")))
        seen.add(entry.form.id)
        body = resource_body(
            entry.form, nonce=bytes(NONCE_BYTES), provider=provider or "-", version=1, now_ms=0
        )
        try:
            parse_resource(common_pb2.Statement(body=body.SerializeToString()))
            check_schema(body)
        except ExchangeError as error:
            faults.append(_fault(entry, error))
    return faults


def _fault(entry: FileEntry, error: ExchangeError) -> Fault:
    """Place a refusal: its subject names a part of the entry, or "part of field"."""
    said = error.sentence
    text = Text(f"{said.zh}（{error.subject}）", f"{said.en} ({error.subject})")
    part, _, name = error.subject.rpartition(" of ")
    if isinstance(error, DataClassRefused):
        place = entry.where(f"fields.{error.subject}.data_class", f"fields.{error.subject}")
    elif error.subject.startswith("schema"):
        place = entry.where("schema")
    elif isinstance(error, BadIdentifier):
        place = entry.where(*_misnamed(entry.form))
    elif name and part:
        key = _PARTS.get(part, part.replace(" ", "_"))
        place = entry.where(
            f"fields.{name}.{key}", f"fields.{name}", f"parameters.{name}.{key}", f"parameters.{name}"
        )
    else:
        place = entry.where(error.subject.replace(": ", "."))
    return Fault(place, text, error.name)


def _misnamed(form: ResourceForm) -> list[str]:
    """Return where a name stands that is none: the first such field or parameter, or else the id."""
    told = [("fields", one.name) for one in form.fields] + [("parameters", p.name) for p in form.parameters]
    wrong = [f"{kind}.{name}" for kind, name in told if NAME.fullmatch(name) is None]
    return [*wrong[:1], "id"]


_PARTS = {"share type": "share", "mask": "mask.kind", "text": "description"}
