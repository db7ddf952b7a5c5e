"""A folder that holds a region's rules: region.toml, guards/*.cedar, cases.toml, and perhaps risk.toml.

Checked offline, everything at once: what the gateway would refuse, and every case of the table of decisions.
Only rules without a fault are turned into a body.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from exchange.canonical import NONCE_BYTES
from exchange.clock import Clock, Random
from exchange.errors import BadConfiguration, ExchangeError, RulesInvalid
from exchange.region_rules import RegionRules, read_rules
from exchange.timestamps import timestamp
from exchange.v1 import rules_pb2
from gateway.risk.engine import check_rules
from gateway.rules.guards import guards_compile
from gateway.rules.policies import Fault, Guard, Guards, read_guards, schema_text
from shuqiao.forms import Form
from shuqiao.rules_form import ALLOWED, CasesForm, RegionForm, form_faults, line_of

REGION, CASES, RISK, SCHEMA = "region.toml", "cases.toml", "risk.toml", "guards.cedarschema"
GUARDS, CEDAR = "guards", ".cedar"
MAX_BYTES = 256 * 1024
HOLDS: Sequence[tuple[str, Callable[[RegionRules], None]]] = ((REGION, guards_compile), (RISK, check_rules))
"""What the gateway asks of rules before it logs them, by the file it is about; each raises RulesInvalid."""

F = TypeVar("F", bound=Form)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a folder says, and everything that is wrong with it.

    Attributes:
        body: nonce, version and time are not set; None where there are faults.
        cases: how many cases were run.
    """

    body: rules_pb2.RegionRulesBody | None
    guards: Sequence[Guard]
    cases: int
    faults: Sequence[Fault]


def check_folder(folder: Path) -> Checked:
    """Read a folder and check everything in it.

    Raises:
        BadConfiguration: it is none, or a file cannot be read.
    """
    texts = {path: _read(path) for path in _files(folder)}
    faults: list[Fault] = []
    region = _form(RegionForm, folder / REGION, texts, faults)
    cases = _form(CasesForm, folder / CASES, texts, faults)
    files = [(path.stem, text) for path, text in texts.items() if path.suffix == CEDAR]
    guards, wrong = read_guards(files)
    faults += [fault._replace(file=f"{GUARDS}/{fault.file}{CEDAR}") for fault in wrong]
    if texts.get(folder / SCHEMA, schema_text()) != schema_text():
        faults.append(Fault(SCHEMA, 1, "not the schema of this version: shuqiao rules init"))
    if guards and folder / CASES not in texts:
        faults.append(Fault(CASES, 1, os.strerror(2)))
    ran = 0
    if cases is not None and not wrong:
        ran = len(cases.cases)
        faults += _run(cases, texts[folder / CASES], files, guards)
    body = region.body(files, texts.get(folder / RISK, "")) if region is not None else None
    if body is not None and not faults:
        faults += _as_the_gateway(body)
    return Checked(body=None if faults else body, guards=guards, cases=ran, faults=faults)


def body_of(folder: Path, *, version: int, clock: Clock, random: Random) -> bytes:
    """Return the serialised RegionRulesBody that a folder says.

    Raises:
        RulesInvalid: it has faults; the subject names the first.
        BadConfiguration: as `check_folder`.
    """
    checked = check_folder(folder)
    if checked.body is None:
        raise RulesInvalid(f"{checked.faults[0]} ({len(checked.faults)})")
    body = checked.body
    body.nonce, body.version = random(NONCE_BYTES), version
    body.issued_at.CopyFrom(timestamp(clock.now_ms()))
    return body.SerializeToString()


def write_examples(examples: Path, folder: Path) -> list[Path]:
    """Copy the annotated rules into a folder that has none yet; return the files.

    Raises:
        BadConfiguration: a file is there already, or cannot be written.
    """
    copies = [(source, folder / source.relative_to(examples)) for source in _files(examples)]
    there = [str(copy) for _, copy in copies if copy.exists()]
    if there:
        raise BadConfiguration(", ".join(there))
    try:
        for source, copy in copies:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    except OSError as error:
        raise BadConfiguration(f"{error.filename}: {os.strerror(error.errno or 0)}") from error
    return [copy for _, copy in copies]


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder of rules that are there, in the order in which guards count."""
    if not (folder / REGION).is_file():
        raise BadConfiguration(f"{folder / REGION}: {os.strerror(2)}")
    named = [folder / name for name in (REGION, CASES, RISK, SCHEMA)]
    return [path for path in named if path.is_file()] + sorted((folder / GUARDS).glob(f"*{CEDAR}"))


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise BadConfiguration(f"{path}: {len(content)} bytes")
        return content.decode("utf-8")
    except OSError as error:
        raise BadConfiguration(f"{path}: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path}: {error}") from error


def _form(form: type[F], path: Path, texts: dict[Path, str], faults: list[Fault]) -> F | None:
    """Return a form; None where it is not there or has faults, which are noted."""
    text = texts.get(path)
    if text is None:
        return None
    try:
        return form.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(path.name, getattr(error, "lineno", 0) or _line_said(str(error)), str(error)))
    except ValidationError as error:
        faults += [Fault(path.name, line, said) for line, said in form_faults(text, error)]
    return None


def _line_said(text: str) -> int:
    """Return the line that an error of tomllib names in words; 1 where it names none."""
    _, found, rest = text.partition("at line ")
    number = rest.partition(",")[0]
    return int(number) if found and number.isdecimal() else 1


def _run(
    cases: CasesForm, text: str, files: Sequence[tuple[str, str]], guards: Sequence[Guard]
) -> Iterator[Fault]:
    """Yield the cases that the guards decide otherwise than the table says, and guards without a case."""
    compiled = Guards(files)
    for number, case in enumerate(cases.cases):
        decided = compiled.forbidding(cases.facts(case)) or ALLOWED
        if decided != case.decides:
            yield Fault(
                CASES,
                line_of(text, ("cases", number, "decides")),
                f"{case.title}: {decided}, not {case.decides}",
            )
    shown = {case.decides for case in cases.cases}
    for guard in guards:
        if guard.id not in shown:
            yield Fault(f"{GUARDS}/{guard.file}{CEDAR}", guard.line, f"{guard.id}: no case in {CASES}")


def _as_the_gateway(body: rules_pb2.RegionRulesBody) -> Iterator[Fault]:
    """Yield what a gateway would refuse that the forms let pass: bounds over the whole."""
    whole = rules_pb2.RegionRulesBody()
    whole.CopyFrom(body)
    whole.nonce, whole.version = bytes(NONCE_BYTES), 1
    whole.issued_at.CopyFrom(timestamp(0))
    try:
        rules = read_rules(whole.SerializeToString())
    except ExchangeError as error:
        yield Fault(REGION, 1, f"{error.name}: {error.subject}")
        return
    for file, holds in HOLDS:
        try:
            holds(rules)
        except RulesInvalid as error:
            yield Fault(file, _line_said(error.subject), f"{error.name}: {error.subject}")
