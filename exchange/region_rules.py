"""The region's rules, as gateway and agents must read them: purposes, supervisors, clocks, cases, guards.

Two administrators sign one body (`check_signers`); the version counts up by one. What a guard or a risk rule
says is not looked at here: these texts are the gateway's alone. Bounds stand beside the fields in
proto/exchange/v1/rules.proto.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from exchange.bodies import read_body
from exchange.canonical import NONCE_BYTES
from exchange.codes import credit_code
from exchange.errors import Malformed, Oversized, PurposeUnknown, RoleNotAllowed, SecondPersonRequired
from exchange.identity import Identity, Role
from exchange.resources import check_text
from exchange.statement import check_one_body
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, rules_pb2

MAX_RULES_BYTES = 48 * 1024
MAX_PURPOSES = 256
MAX_SUPERVISIONS = 256
MAX_SERVICES = 256
MAX_MATTERS = 64
MAX_DAYS = 64
MAX_GUARD_FILES = 15
MAX_GUARD_CHARS = 32 * 1024
MAX_RISK_CHARS = 16 * 1024
MAX_CODE = 64
MAX_CLOCK_DAYS = 250
MAX_TERM_DAYS = 5 * 366
ANYBODY = "*"
SIGNERS = 2

_GUARD_NAME = re.compile(r"[a-z0-9-]{1,40}")
_CASE_MODES = frozenset(rules_pb2.CaseMode.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """A purpose that grants may name.

    Attributes:
        matters: it goes with; empty for any.
        max_term_days: of a grant for it; 0 for the general bound.
    """

    code: str
    title_zh: str
    title_en: str
    legal_basis: str
    matters: frozenset[str]
    max_term_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """Who supervises a provider, and what of it."""

    organisation: str
    grants: bool
    catalogue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Clocks in working days; 0 for none."""

    unconditional_days: int = 1
    conditional_days: int = 10
    supervise_days: int = 10
    dispute_days: int = 10
    demand_days: int = 10
    attest_days: int = 10
    review_days: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyLimits:
    """Bounds on one consumer's verifications, kept by providers; 0 for none."""

    per_subject_day: int = 60
    mismatches_per_subject_day: int = 5
    mismatched_subjects_hour: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRules:
    """The region's rules.

    Attributes:
        version: 0 where none were ever set; then what stands here holds.
        claims: whether case numbers are claims of the consumer; otherwise cases are events of the log.
        case_services: credit codes of those who may open cases; empty for every organisation.
        purposes: by code; empty where any purpose may be named.
        supervisors: by credit code of the provider, or ANYBODY.
        guards: name and text of each file of Cedar policies.
        risk: TOML; empty for none.
    """

    version: int = 0
    claims: bool = True
    case_services: frozenset[str] = frozenset()
    purposes: Mapping[str, Purpose] = field(default_factory=dict)
    supervisors: Mapping[str, Supervisor] = field(default_factory=dict)
    clocks: Clocks = Clocks()
    days_off: frozenset[date] = frozenset()
    working_days: frozenset[date] = frozenset()
    catalogue_review: bool = False
    guards: Sequence[tuple[str, str]] = ()
    risk: str = ""
    verify_limits: VerifyLimits = VerifyLimits()
    issued_at_ms: int = 0

    def supervisor_of_grants(self, provider: str) -> str:
        """Return the credit code of who must approve a provider's conditional grants; empty for nobody."""
        found = self.supervisors.get(provider) or self.supervisors.get(ANYBODY)
        return found.organisation if found and found.grants and found.organisation != provider else ""

    def supervisor_of_catalogue(self, provider: str) -> str:
        """Return the credit code of who must review a provider's catalogue entries; empty for nobody."""
        found = self.supervisors.get(provider) or self.supervisors.get(ANYBODY)
        return found.organisation if found and found.catalogue and found.organisation != provider else ""


NO_RULES = RegionRules()
"""What holds where no rules were ever set: case numbers are claims, any purpose goes, nobody supervises."""


def read_rules(body: bytes) -> RegionRules:
    """Return the rules that a RegionRulesBody states. Who signed it is not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: a part breaks its bound; the subject names it.
    """
    told = read_body(rules_pb2.RegionRulesBody, body, "rules", most=MAX_RULES_BYTES)
    if len(told.nonce) != NONCE_BYTES or not told.HasField("issued_at") or told.version < 1:
        raise Malformed("nonce, issued_at or version")
    if told.case_mode not in _CASE_MODES:
        raise Malformed("case_mode")
    if len(told.case_services) > MAX_SERVICES:
        raise Oversized("case_services")
    return RegionRules(
        version=told.version,
        claims=told.case_mode != rules_pb2.CASE_MODE_EVENTS,
        case_services=frozenset(map(credit_code, told.case_services)),
        purposes=_purposes(told.purposes),
        supervisors=_supervisors(told.supervisions),
        clocks=_clocks(told.clocks) if told.HasField("clocks") else Clocks(),
        days_off=_days(told.days_off, "days_off"),
        working_days=_days(told.working_days, "working_days"),
        catalogue_review=told.catalogue_review,
        guards=_guards(told.guards),
        risk=_bounded(told.risk, "risk", MAX_RISK_CHARS),
        verify_limits=_limits(told.verify_limits) if told.HasField("verify_limits") else VerifyLimits(),
        issued_at_ms=milliseconds(told.issued_at, "issued_at"),
    )


def check_signers(statements: Sequence[common_pb2.Statement], signers: Sequence[Identity]) -> None:
    """Refuse rules that two different administrators did not sign.

    Args:
        statements: as they were verified, in the order of `signers`.
        signers: who signed each.

    Raises:
        SecondPersonRequired: fewer than two, or one person twice.
        RoleNotAllowed: one of them is no administrator.
        BadSignature: the bodies differ.
    """
    check_one_body(statements)
    for signer in signers:
        if signer.role is not Role.ADMIN:
            raise RoleNotAllowed(str(signer))
    if len(signers) != SIGNERS or len({signer.uri for signer in signers}) != SIGNERS:
        raise SecondPersonRequired("two different administrators")


def check_purpose(rules: RegionRules, purpose: str, matter: str, subject: str) -> None:
    """Refuse a purpose that the rules no longer know, or not for this matter; where they name none, any goes.

    Args:
        rules: of the region.
        purpose, matter: as a request states them.
        subject: of the error: the resource.

    Raises:
        PurposeUnknown.
    """
    if not rules.purposes:
        return
    known = rules.purposes.get(purpose)
    if known is None or (known.matters and matter not in known.matters):
        raise PurposeUnknown(subject)


def _purposes(told: Sequence[rules_pb2.Purpose]) -> Mapping[str, Purpose]:
    if len(told) > MAX_PURPOSES:
        raise Oversized("purposes")
    for item in told:
        check_text(item.code, "purpose", least=1, most=MAX_CODE)
        for text in (item.title_zh, item.title_en, item.legal_basis):
            check_text(text, f"purpose {item.code}")
        if not item.title_zh or not item.legal_basis or len(item.matters) > MAX_MATTERS:
            raise Malformed(f"purpose {item.code}")
        for matter in item.matters:
            check_text(matter, f"purpose {item.code}", least=1, most=MAX_CODE)
        if item.max_term_days > MAX_TERM_DAYS:
            raise Malformed(f"purpose {item.code}: max_term_days")
    found = {
        item.code: Purpose(
            code=item.code,
            title_zh=item.title_zh,
            title_en=item.title_en,
            legal_basis=item.legal_basis,
            matters=frozenset(item.matters),
            max_term_days=item.max_term_days,
        )
        for item in told
    }
    if len(found) != len(told):
        raise Malformed("a purpose twice")
    return found


def _supervisors(told: Sequence[rules_pb2.Supervision]) -> Mapping[str, Supervisor]:
    if len(told) > MAX_SUPERVISIONS:
        raise Oversized("supervisions")
    found: dict[str, Supervisor] = {}
    for item in told:
        provider = item.provider if item.provider == ANYBODY else credit_code(item.provider)
        if provider in found or not (item.grants or item.catalogue):
            raise Malformed(f"supervision of {provider}")
        found[provider] = Supervisor(
            organisation=credit_code(item.supervisor), grants=item.grants, catalogue=item.catalogue
        )
    return found


def _clocks(told: rules_pb2.Clocks) -> Clocks:
    days = {name: getattr(told, name) for name in Clocks.__slots__}
    for name, value in days.items():
        if value > MAX_CLOCK_DAYS:
            raise Malformed(f"clocks: {name}")
    return Clocks(**days)


def _limits(told: rules_pb2.VerifyLimits) -> VerifyLimits:
    return VerifyLimits(**{name: getattr(told, name) for name in VerifyLimits.__slots__})


def _days(told: Sequence[str], subject: str) -> frozenset[date]:
    if len(told) > MAX_DAYS:
        raise Oversized(subject)
    try:
        return frozenset(map(date.fromisoformat, told))
    except ValueError as error:
        raise Malformed(subject) from error


def _guards(told: Sequence[rules_pb2.GuardFile]) -> tuple[tuple[str, str], ...]:
    files = tuple((item.name, item.text) for item in told)
    if len(files) > MAX_GUARD_FILES or sum(len(text) for _, text in files) > MAX_GUARD_CHARS:
        raise Oversized("guards")
    if len(dict(files)) != len(files) or not all(_GUARD_NAME.fullmatch(name) for name, _ in files):
        raise Malformed("guards: names")
    return files


def _bounded(text: str, subject: str, most: int) -> str:
    if len(text) > most:
        raise Oversized(subject)
    return text
