"""The catalogue that a sandbox is made from, and the departments that it names.

Read are exported catalogues, `{"resources": [...]}`, and the files of single entries as in
deploy/examples/resource.toml. Keys that only a catalogue in service needs are passed over; what is read is
checked by the sandbox's own gateway.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from exchange.codes import credit_code, credit_code_check
from exchange.configuration import faults_of
from exchange.errors import BadConfiguration
from exchange.resources import division_prefix, split_id
from shuqiao.demo.configurations import quoted
from shuqiao.forms import FieldForm, ParameterForm, ResourceForm

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_RESOURCES = 200
MAX_PROVIDERS = 16
"""Each has an agent of its own, a process."""
SEED = "sandbox"


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry and the JSON Schema of its records, empty where it has none."""

    form: ResourceForm
    schema: str


@dataclass(frozen=True, slots=True)
class Provider:
    """A department that provides some of the entries.

    Attributes:
        agent: name of its agent.
    """

    agent: str
    credit_code: str
    alias: str
    division: str
    entries: Sequence[Entry]


def read_catalogue(files: Iterable[Path]) -> list[Entry]:
    """Read catalogue entries, JSON or TOML.

    Raises:
        BadConfiguration: a file cannot be read, an entry lacks something or occurs twice, or too many.
    """
    entries = [_entry(told, file) for file in files for told in _listed(file)]
    ids = [entry.form.id for entry in entries]
    if not entries or len(entries) > MAX_RESOURCES or len(set(ids)) != len(ids):
        raise BadConfiguration(f"catalogue: {len(entries)} entries, at most {MAX_RESOURCES}, each once")
    return entries


def _listed(file: Path) -> Sequence[Any]:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise BadConfiguration(f"{file}: more than {MAX_FILE_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            return [tomllib.loads(text)]
        told = json.loads(text)
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"{file}: {type(error).__name__}") from error
    listed = told.get("resources") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise BadConfiguration(f'{file}: {{"resources": [...]}}')
    return listed


def _entry(told: Any, file: Path) -> Entry:
    if not isinstance(told, dict):
        raise BadConfiguration(f"{file}: an entry is no table")
    known = _known(ResourceForm, told)
    for key, model in (("fields", FieldForm), ("parameters", ParameterForm)):
        parts = told.get(key, [])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise BadConfiguration(f"{file}: {key}")
        known[key] = [_known(model, part) for part in parts]
    schema = told.get("schema", "")
    try:
        form = ResourceForm.model_validate(known)
    except ValidationError as error:
        raise BadConfiguration(f"{file}: {faults_of(error)}") from error
    return Entry(form, schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False))


def _known(model: type[BaseModel], told: Mapping[str, Any]) -> dict[str, Any]:
    names = {name for key, info in model.model_fields.items() for name in (key, info.alias) if name}
    return {key: value for key, value in told.items() if key in names and key != "version"}


def region_of(entries: Iterable[Entry]) -> str:
    """Return the narrowest division that covers every entry's, 6 digits.

    Raises:
        BadConfiguration: they lie in different provinces.
    """
    prefix = ""
    for number, division in enumerate(split_id(entry.form.id).division for entry in entries):
        own = division_prefix(division)
        if not number:
            prefix = own
        while not own.startswith(prefix):
            prefix = prefix[:-2]
    if not prefix:
        raise BadConfiguration("catalogue: more than one province; make a sandbox for each")
    return prefix.ljust(6, "0")


def providers_of(entries: Iterable[Entry]) -> list[Provider]:
    """Return the departments that provide the entries; one that has no credit code gets an invented one.

    Raises:
        BadConfiguration: there are too many, or one has several names.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        division, alias, _ = split_id(entry.form.id)
        groups.setdefault((entry.form.provider or division, alias), []).append(entry)
    if len(groups) > MAX_PROVIDERS:
        raise BadConfiguration(f"catalogue: {len(groups)} providers, at most {MAX_PROVIDERS} in a sandbox")
    found: list[Provider] = []
    for number, ((named, alias), own) in enumerate(groups.items(), 1):
        division = region_of(own)
        code = credit_code(named) if len(named) == 18 else invented_code(division, number)
        form = [Entry(one.form.model_copy(update={"provider": code}), one.schema) for one in own]
        agent = alias if all(alias != one.alias for one in found) else f"{alias}-{number}"
        found.append(Provider(agent, code, alias, division, form))
    if len({provider.credit_code for provider in found}) != len(found):
        raise BadConfiguration("catalogue: a provider under two names")
    return found


def invented_code(division: str, number: int) -> str:
    """Return a credit code that is well formed and nobody's: its number says MB1X, which none has."""
    first = f"11{division}MB1X{number:05d}"
    return first + credit_code_check(first)


def source_block(entry: Entry) -> str:
    """Return the block of an agent's configuration by which an entry is provided from synthetic records."""
    form, source = entry.form, ['kind = "synthetic"', f"seed = {quoted(SEED)}"]
    if entry.schema:
        source.append(f"schema = {quoted(entry.schema)}")
    lines = ["", "[[resource]]", f"id = {quoted(form.id)}", f"row_cap = {form.row_cap}", ""]
    lines += ["[resource.source]", *source]
    for parameter in form.parameters:
        lines += ["", "[[resource.parameter]]", f"name = {quoted(parameter.name)}"]
        lines += [f"column = {quoted(parameter.name)}", f"type = {quoted(parameter.type)}"]
        lines += [f"format = {quoted(parameter.format)}"]
    for field in form.fields:
        lines += ["", "[[resource.field]]", f"name = {quoted(field.name)}", f"column = {quoted(field.name)}"]
        lines += [f"type = {quoted(field.type)}", f"level = {quoted(field.level)}"]
    return "\n".join([*lines, ""])
