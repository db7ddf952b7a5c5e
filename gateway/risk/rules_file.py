"""The risk rules: a TOML text, every fault reported at once, unknown keys refused.

What a rule may do depends on what it rests on:
1. What the gateway knows by itself (certificate, signed request, its own refusals, rates, hours, cases) may
   alert, have the next exchanges wait for approval, or refuse them; for at most a day, then anew.
2. What providers say (tags of subjects, their refusals) may alert. A combination may besides hold back the
   one answer that completes it, only by the word of that answer's own provider and of those it believes.
3. What one consumer says of itself counts for that consumer alone.
An annotated example is deploy/policies/risk.toml; docs/risk.md says it in full.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from exchange.errors import RulesInvalid
from exchange.identity import CREDIT_CODE
from exchange.region_rules import MAX_RISK_CHARS
from exchange.v1 import reason_pb2
from gateway.risk.windows import places_for

MAX_RULES = 32
MAX_FAULTS_CHARS = 2000
MAX_KEYS = 100_000
MAX_ALL_KEYS = 500_000
MAX_DISTINCT_BYTES = 64 << 20
MAX_DISTINCT = 5000
MAX_SIGHTINGS = 4
"""Rules whose table of first sightings takes 16 MiB each."""
MAX_COMPONENTS = 8
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MAX_HOLD_S = DAY_S
MAX_DOTS = 200
MAX_WINDOW_S = 31 * DAY_S

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_UNITS = {"s": 1, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S}

Action = Literal["alert", "approval", "refuse"]
Scope = Literal[
    "consumer",
    "agent",
    "operator",
    "consumer+resource",
    "agent+resource",
    "operator+resource",
]


def _seconds(value: object) -> object:
    """A duration is written "90s", "10m", "8h" or "7d"."""
    matched = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError('a duration such as "90s", "10m", "8h" or "7d"')
    return int(matched[1]) * _UNITS[matched[2]]


def _minutes(value: object) -> object:
    """A time of day is written "08:30"."""
    matched = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError('a time of day such as "08:30"')
    return int(matched[1]) * 60 + int(matched[2])


def _reason(value: object) -> object:
    if not isinstance(value, str) or f"REASON_{value}" not in dict(reason_pb2.Reason.items()):
        raise ValueError("not a reason of docs/errors.md")
    return reason_pb2.Reason.Value(f"REASON_{value}")


def _credit_code(value: object) -> object:
    if not isinstance(value, str) or not CREDIT_CODE.fullmatch(value):
        raise ValueError("not a credit code")
    return value


Duration = Annotated[int, BeforeValidator(_seconds)]
TimeOfDay = Annotated[int, BeforeValidator(_minutes)]
ReasonCode = Annotated[int, BeforeValidator(_reason)]
CreditCode = Annotated[str, BeforeValidator(_credit_code)]
Pattern = Annotated[str, Field(pattern=r"^[a-z0-9*?/-]{1,100}$")]
Component = Annotated[
    str, Field(pattern=r"^(code:[A-Za-z0-9._-]{1,64}|[a-z0-9*?/-]{1,100}#[a-z*?][a-z0-9_*?]{0,62})$")
]


class _Rule(BaseModel):
    """What every rule says; durations in seconds once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    title_zh: str = Field(min_length=1, max_length=80)
    title_en: str = Field(min_length=1, max_length=120)
    severity: Literal["notice", "warning", "critical"]
    action: Action = "alert"
    window: Annotated[Duration, Field(ge=MINUTE_S, le=MAX_WINDOW_S)]
    hold: Duration = 0
    resources: tuple[Pattern, ...] = Field(default=(), max_length=64)
    except_resources: tuple[Pattern, ...] = Field(default=(), max_length=64)
    except_consumers: tuple[CreditCode, ...] = Field(default=(), max_length=256)
    max_keys: Annotated[int, Field(ge=100, le=MAX_KEYS)] = 10_000

    @property
    def from_tags(self) -> bool:
        """Whether it rests on tags that providers sent."""
        return False

    @property
    def allowed(self) -> frozenset[str]:
        """The actions that what it rests on can carry."""
        return frozenset({"alert", "approval", "refuse"})

    @property
    def hold_s(self) -> int:
        """For how many seconds what it holds back stays so, unless a person decides."""
        return (self.hold or self.window) if self.action != "alert" else 0

    @property
    def _least_hold_s(self) -> int:
        """There is one finding a window: what ends before that would not be held again within it."""
        return self.window

    @model_validator(mode="after")
    def _holds_together(self) -> "_Rule":
        if self.action not in self.allowed:
            raise ValueError(f"action {self.action}: what it rests on carries only {sorted(self.allowed)}")
        if self.action == "alert" and self.hold:
            raise ValueError("hold: an alert holds nothing back")
        if self.action != "alert" and not self._least_hold_s <= self.hold_s <= MAX_HOLD_S:
            raise ValueError("hold: at least the window, at most 1d")
        return self


class _Counting(_Rule):
    """Counts exchanges of one consumer, agent or operator."""

    by: Scope
    least: Annotated[int, Field(ge=1, le=10_000_000)]


class Refusals(_Counting):
    """Refusals for some reasons; in a row where no answer may come between; of different attempts."""

    kind: Literal["refusals"]
    reasons: tuple[ReasonCode, ...] = Field(min_length=1, max_length=32)
    in_a_row: bool = False
    distinct: bool = False
    by_providers: bool = False

    @property
    def allowed(self) -> frozenset[str]:
        """What providers refuse is their word."""
        return frozenset({"alert"}) if self.by_providers else super().allowed

    @model_validator(mode="after")
    def _fits_into_memory(self) -> "Refusals":
        if self.distinct and self.in_a_row:
            raise ValueError("distinct and in_a_row: one of them")
        if self.distinct:
            _check_distinct(self.least, self.max_keys)
        return self


class _OfTags(_Counting):
    @property
    def from_tags(self) -> bool:
        """It does."""
        return True

    @property
    def allowed(self) -> frozenset[str]:
        """Providers can tag what they like."""
        return frozenset({"alert"})


class Subjects(_OfTags):
    """Many different subjects."""

    kind: Literal["subjects"]
    least: Annotated[int, Field(ge=2, le=MAX_DISTINCT)]

    @model_validator(mode="after")
    def _fits_into_memory(self) -> "Subjects":
        _check_distinct(self.least, self.max_keys)
        return self


class SubjectAgain(_OfTags):
    """The same subject again and again; exchanges of one case count once."""

    kind: Literal["subject_again"]
    least: Annotated[int, Field(ge=2, le=1000)]


class Combination(_Rule):
    """Fields that together say more than each: one consumer receives all of them about one subject."""

    kind: Literal["combination"]
    fields: tuple[Component, ...] = Field(min_length=2, max_length=MAX_COMPONENTS)
    believes: tuple[CreditCode, ...] = Field(default=(), max_length=64)

    @property
    def from_tags(self) -> bool:
        """It does."""
        return True

    @property
    def allowed(self) -> frozenset[str]:
        """Approval holds back the answer that completes it, and nothing else."""
        return frozenset({"alert", "approval"})

    @property
    def hold_s(self) -> int:
        """For how many seconds approval is waited for; the combination may take longer to come together."""
        return (self.hold or DAY_S) if self.action != "alert" else 0

    @property
    def _least_hold_s(self) -> int:
        """An answer is held back for as long as the combination stands: a new finding follows the hold."""
        return MINUTE_S


class Volume(_Counting):
    """Far more answers in a window than at the highest in the past."""

    kind: Literal["volume"]
    factor: Annotated[float, Field(ge=1.5, le=1000)]
    remember: Annotated[Duration, Field(ge=HOUR_S, le=92 * DAY_S)]
    learn: Annotated[Duration, Field(ge=HOUR_S, le=31 * DAY_S)]


class NewPair(_Rule):
    """A consumer that never asked for a resource before begins with many exchanges."""

    kind: Literal["new_pair"]
    least: Annotated[int, Field(ge=1, le=10_000_000)]
    remember: Annotated[Duration, Field(ge=DAY_S, le=366 * DAY_S)]


class OutOfHours(_Counting):
    """L3 and L4 outside office hours, where that is not the consumer's custom."""

    kind: Literal["out_of_hours"]
    opens: TimeOfDay
    shuts: TimeOfDay
    usual_permille: Annotated[int, Field(ge=0, le=1000)] = 300
    learn_days: Annotated[int, Field(ge=0, le=60)] = 5


class _Share(_Counting):
    permille: Annotated[int, Field(ge=1, le=1000)]


class NoCase(_Share):
    """Too large a share without a case, or for one that is not open."""

    kind: Literal["no_case"]


class SilentOperator(_Share):
    """Too large a share that names no operator."""

    kind: Literal["silent_operator"]


class SharedOperator(_Rule):
    """One operator's pseudonym in the requests of several organisations."""

    kind: Literal["shared_operator"]
    least: Annotated[int, Field(ge=2, le=64)]

    @property
    def allowed(self) -> frozenset[str]:
        """Anybody can write another's pseudonym."""
        return frozenset({"alert"})


class CaseLoad(_Rule):
    """One case number for very many exchanges with one resource."""

    kind: Literal["case_load"]
    least: Annotated[int, Field(ge=2, le=10_000_000)]


def _check_distinct(least: int, max_keys: int) -> None:
    """Refuse a distinct count whose cells would need more than 64 MiB."""
    if least > MAX_DISTINCT or places_for(least) * max_keys > MAX_DISTINCT_BYTES:
        raise ValueError("least times max_keys: distinct counts take at most 64 MiB a rule")


Rule = (
    Refusals
    | Subjects
    | SubjectAgain
    | Combination
    | Volume
    | NewPair
    | OutOfHours
    | NoCase
    | SilentOperator
    | SharedOperator
    | CaseLoad
)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: tuple[Annotated[Rule, Field(discriminator="kind")], ...] = Field(default=(), max_length=MAX_RULES)

    @model_validator(mode="after")
    def _ids_differ(self) -> "_File":
        if len({rule.id for rule in self.rule}) != len(self.rule):
            raise ValueError("an id twice")
        if sum(isinstance(rule, (SubjectAgain, CaseLoad)) for rule in self.rule) > MAX_SIGHTINGS:
            raise ValueError(f"at most {MAX_SIGHTINGS} rules of subject_again and case_load")
        if sum(rule.max_keys for rule in self.rule) > MAX_ALL_KEYS:
            raise ValueError(f"max_keys: at most {MAX_ALL_KEYS} of all rules together")
        return self


def read_risk_rules(text: str) -> Sequence[Rule]:
    """Return the rules that a text states; none where it is empty.

    Raises:
        RulesInvalid: it cannot be parsed, or every fault found in it, place and rule.
    """
    if len(text) > MAX_RISK_CHARS:
        raise RulesInvalid(f"risk: more than {MAX_RISK_CHARS} characters")
    if max((line.count(".") for line in text.splitlines()), default=0) > MAX_DOTS:
        # A name of thousands of parts takes seconds to read.
        raise RulesInvalid(f"risk: more than {MAX_DOTS} dots in a line")
    try:
        return _File.model_validate(tomllib.loads(text)).rule
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RulesInvalid(f"risk: {error}"[:MAX_FAULTS_CHARS]) from None
    except ValidationError as error:
        raise RulesInvalid(f"risk: {_faults(error)}"[:MAX_FAULTS_CHARS]) from None


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or '.'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )
