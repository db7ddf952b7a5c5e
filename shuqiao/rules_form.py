"""What people write into region.toml and cases.toml, and the bodies and facts they become.

Every fault is found at once, with its line. Annotated examples are in deploy/policies/.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationError

from exchange.codes import credit_code, division_code
from exchange.errors import ExchangeError
from exchange.region_rules import ANYBODY, Clocks, VerifyLimits
from exchange.v1 import rules_pb2
from gateway.rules.facts import Facts
from shuqiao.forms import Form

ALLOWED = "allowed"
_HEADER = re.compile(r"\s*(\[\[?)\s*([a-z_]+)\s*\]\]?")


def _code(text: str) -> str:
    try:
        return credit_code(text)
    except ExchangeError as error:
        raise ValueError("no unified social credit code") from error


def _division(text: str) -> str:
    try:
        return division_code(text)
    except ExchangeError as error:
        raise ValueError("no division of 6 digits") from error


def _code_or_anybody(text: str) -> str:
    return text if text == ANYBODY else _code(text)


CreditCode = Annotated[str, AfterValidator(_code)]
Division = Annotated[str, AfterValidator(_division)]
Days = Annotated[int, Field(ge=0, le=250)]
Count = Annotated[int, Field(ge=0, le=1 << 31)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class PurposeForm(Form):
    """A purpose."""

    code: Name
    title_zh: str = Field(min_length=1, max_length=500)
    title_en: str = Field(default="", max_length=500)
    legal_basis: str = Field(min_length=1, max_length=500)
    matters: list[Name] = Field(default=[], max_length=64)
    max_term_days: int = Field(default=0, ge=0, le=1830)


class SupervisionForm(Form):
    """Who supervises a provider."""

    provider: Annotated[str, AfterValidator(_code_or_anybody)]
    supervisor: CreditCode
    grants: bool = False
    catalogue: bool = False


class ClocksForm(Form):
    """Clocks in working days."""

    unconditional_days: Days = Clocks().unconditional_days
    conditional_days: Days = Clocks().conditional_days
    supervise_days: Days = Clocks().supervise_days
    dispute_days: Days = Clocks().dispute_days
    demand_days: Days = Clocks().demand_days
    attest_days: Days = Clocks().attest_days
    review_days: Days = Clocks().review_days


class VerifyLimitsForm(Form):
    """Bounds on verifications."""

    per_subject_day: Count = VerifyLimits().per_subject_day
    mismatches_per_subject_day: Count = VerifyLimits().mismatches_per_subject_day
    mismatched_subjects_hour: Count = VerifyLimits().mismatched_subjects_hour


class RegionForm(Form):
    """region.toml."""

    case_mode: Literal["claims", "events"] = "claims"
    case_services: list[CreditCode] = Field(default=[], max_length=256)
    catalogue_review: bool = False
    days_off: list[date] = Field(default=[], max_length=64)
    working_days: list[date] = Field(default=[], max_length=64)
    clocks: ClocksForm = ClocksForm()
    verify_limits: VerifyLimitsForm = VerifyLimitsForm()
    purposes: list[PurposeForm] = Field(default=[], max_length=256)
    supervisions: list[SupervisionForm] = Field(default=[], max_length=256)

    def body(self, guards: Sequence[tuple[str, str]], risk: str) -> rules_pb2.RegionRulesBody:
        """Return the body that this says, with guards and risk rules; nonce, version and time are not set."""
        return rules_pb2.RegionRulesBody(
            case_mode=rules_pb2.CaseMode.Value(f"CASE_MODE_{self.case_mode.upper()}"),
            case_services=self.case_services,
            purposes=[rules_pb2.Purpose(**one.model_dump()) for one in self.purposes],
            supervisions=[rules_pb2.Supervision(**one.model_dump()) for one in self.supervisions],
            clocks=rules_pb2.Clocks(**self.clocks.model_dump()),
            days_off=[day.isoformat() for day in self.days_off],
            working_days=[day.isoformat() for day in self.working_days],
            catalogue_review=self.catalogue_review,
            guards=[rules_pb2.GuardFile(name=name, text=text) for name, text in guards],
            risk=risk,
            verify_limits=rules_pb2.VerifyLimits(**self.verify_limits.model_dump()),
        )


OrganisationKind = Literal["government", "public", "other"]
Level = Annotated[int, Field(ge=1, le=4)]


class CircumstancesForm(Form):
    """What a case says, or what usually holds; every part may be left out."""

    kind: Literal["query", "verify"] = "query"
    consumer: str = "consumer"
    consumer_kind: OrganisationKind = "government"
    consumer_division: Division = "970100"
    provider: str = "provider"
    provider_kind: OrganisationKind = "government"
    provider_division: Division = "970100"
    resource: str = "970100/provider/resource"
    resource_division: Division = "970100"
    resource_level: Level | None = None
    resource_important: bool | None = None
    scope: Literal["whole", "domain", "scenario"] = "scenario"
    purposes: list[str] | None = None
    supervised: bool = False
    on_demand: bool = True
    purpose: str = "purpose"
    matter: str = ""
    step: str = ""
    case: Literal["none", "claim", "open", "not_open"] = "claim"
    fields: Annotated[list[str], Field(min_length=1, max_length=64)] = ["field"]  # noqa: RUF012
    field_count: int | None = Field(default=None, ge=1, le=64)
    level: Level = 3
    important: bool = False
    derived: bool = False
    hour: int = Field(default=10, ge=0, le=23)
    working_day: bool = True

    def facts(self) -> Facts:
        """Return the facts that guards are asked about."""
        told = self.model_dump(exclude={"kind", "field_count"})
        consumer, provider = self.consumer_division, self.provider_division
        told |= {
            "action": self.kind,
            "consumer_province": consumer[:2],
            "provider_province": provider[:2],
            "resource_level": self.resource_level or self.level,
            "resource_important": self.important or bool(self.resource_important),
            "purposes": frozenset(self.purposes if self.purposes is not None else [self.purpose]),
            "fields": frozenset(self.fields),
            "field_count": self.field_count or len(set(self.fields)),
            "same_division": consumer == provider,
            "same_province": consumer[:2] == provider[:2],
        }
        return Facts(**told)


class CaseForm(CircumstancesForm):
    """One case: what is asked, and what the guards decide."""

    title: str = Field(min_length=1, max_length=200)
    decides: str = Field(min_length=1, max_length=40)


class CasesForm(Form):
    """cases.toml."""

    usual: CircumstancesForm = CircumstancesForm()
    cases: list[CaseForm] = Field(default=[], max_length=1000)

    def facts(self, case: CaseForm) -> Facts:
        """Return the facts of a case, with what usually holds where it says nothing."""
        told = self.usual.model_dump(exclude_unset=True) | case.model_dump(
            exclude_unset=True, exclude={"title", "decides"}
        )
        return CircumstancesForm(**told).facts()


class FormFault(NamedTuple):
    """What is wrong with a form, and on which line."""

    line: int
    text: str


def form_faults(text: str, error: ValidationError) -> list[FormFault]:
    """Return every fault of a form with its line in the file's text."""
    faults = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"])
        faults.append(FormFault(line_of(text, one["loc"]), f"{where}: {one['msg']}"))
    return sorted(faults)


def line_of(text: str, place: Sequence[int | str]) -> int:
    """Return the line, from 1, of a part of a TOML text: the nearest that can be told.

    Args:
        text: of the file.
        place: as a form's fault names it, for example ("purposes", 1, "code").
    """
    table, wanted, rest = "", 0, list(place)
    if len(rest) > 1 and isinstance(rest[1], int) and f"[[{rest[0]}]]" in text:
        table, wanted, rest = str(rest[0]), rest[1], rest[2:]
    elif len(rest) > 1 and f"[{rest[0]}]" in text:
        table, rest = str(rest[0]), rest[1:]
    key = str(rest[0]) if rest else ""
    found, inside, count = 1, not table, -1
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            count += header[2] == table
            inside = header[2] == table and count == wanted
            found = number if inside else found
        elif inside and line.partition("=")[0].strip() == key:
            return number
    return found
