"""Catalogue entries as JSON: {"resources": [...]}, each as in deploy/examples/resource.toml."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from exchange.errors import BadConfiguration
from shuqiao.catalogue_file.entries import MAX_ENTRIES, MAX_FILE_BYTES, Fault, FileEntry, Place, ReadFile
from shuqiao.resource_form import ResourceForm
from shuqiao.words import Text

KEY = "resources"


def write_document(path: Path, forms: Sequence[ResourceForm]) -> None:
    """Write entries, in place of what was there."""
    told = {KEY: [form.model_dump(by_alias=True, exclude_defaults=True) for form in forms]}
    path.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_document(path: Path) -> ReadFile:
    """Read entries, to the file's end.

    Raises:
        BadConfiguration: it is no JSON of this kind, or too large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadConfiguration(f"{path}: more than {MAX_FILE_BYTES} bytes")
        told = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"{path}: {error}") from error
    listed = told.get(KEY) if isinstance(told, dict) else None
    if not isinstance(listed, list) or set(told) != {KEY} or len(listed) > MAX_ENTRIES:
        raise BadConfiguration(f'{path}: must be {{"{KEY}": [...]}} with at most {MAX_ENTRIES} entries')
    entries: list[FileEntry] = []
    faults: list[Fault] = []
    for number, one in enumerate(listed):
        place = f"{KEY}[{number}]"
        try:
            form = ResourceForm.model_validate(one)
        except ValidationError as error:
            faults += [
                Fault(Place(path=_path(place, fault["loc"])), Text(fault["msg"], fault["msg"]))
                for fault in error.errors(include_input=False, include_url=False)
            ]
            continue
        parts = {
            **{f"fields.{p.name}": Place(path=f"{place}.fields[{at}]") for at, p in enumerate(form.fields)},
            **{
                f"parameters.{p.name}": Place(path=f"{place}.parameters[{at}]")
                for at, p in enumerate(form.parameters)
            },
        }
        parts |= {key: Place(path=f"{place}.{key}") for key in one}
        entries.append(FileEntry(form, Place(path=place), parts))
    return ReadFile(entries, faults)


def _path(place: str, parts: Sequence[int | str]) -> str:
    return place + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _once(pairs: Collection[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found
