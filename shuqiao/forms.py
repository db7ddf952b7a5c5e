"""The small TOML files that people write, and the bodies of the contract they become.

A form holds what a person decides; nonce, version, signer's organisation and time are filled in here.
Unknown keys are refused and every fault is reported at once. Annotated examples are in deploy/examples/.
Whether what a form says is allowed is the gateway's to decide, not this module's.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from exchange.canonical import NONCE_BYTES
from exchange.clock import Clock, Random
from exchange.timestamps import timestamp
from exchange.v1 import directory_pb2, grant_pb2
from shuqiao.form import Form as Form
from shuqiao.form import Kind as Kind
from shuqiao.form import kinds as kinds
from shuqiao.form import read_form as read_form
from shuqiao.local_time import moment_of
from shuqiao.resource_form import FieldForm as FieldForm
from shuqiao.resource_form import ParameterForm as ParameterForm
from shuqiao.resource_form import ResourceForm as ResourceForm
from shuqiao.resource_form import resource_body

DAY_MS = 24 * 3600 * 1000


def _moment(value: object) -> object:
    """A date means its first instant; it and a time without a zone are of UTC+8."""
    return moment_of(value) if isinstance(value, date) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]


class OrganisationForm(Form):
    """An organisation; deploy/examples/organisation.toml."""

    credit_code: str
    alias: str
    name_zh: str
    name_en: str
    division: str
    kind: Literal["", "government", "public", "other"] = ""


class RowFilterForm(Form):
    """Only records leave whose field is one of the values, or begins with one."""

    field: str
    operator: Literal["in", "prefix"] = "in"
    values: list[str] = Field(min_length=1, max_length=32)


class QuotaForm(Form):
    """How many exchanges may be released in a period."""

    period: Literal["day", "month", "term"]
    exchanges: int = Field(ge=1)


class GrantForm(Form):
    """A grant application; deploy/examples/grant.toml."""

    consumer: str = ""
    provider: str
    resource: str
    fields: list[str] = Field(min_length=1, max_length=64)
    kinds: list[Kind] = Field(min_length=1)
    purposes: list[str] = Field(min_length=1, max_length=16)
    matters: list[str] = Field(default=[], max_length=64)
    case_required: bool = True
    not_before: Moment | None = None
    not_after: Moment | None = None
    days: Annotated[int, Field(ge=0, le=3660, validate_default=True)] = 0
    justification: str = ""
    scope: Literal["", "whole", "domain", "scenario"] = ""
    domains: list[str] = Field(default=[], max_length=16)
    steps: list[str] = Field(default=[], max_length=64)
    row_filters: list[RowFilterForm] = Field(default=[], max_length=8)
    quotas: list[QuotaForm] = Field(default=[], max_length=4)
    fetch_modes: list[Literal["on_demand", "batch", "subscribe"]] = Field(default=[], max_length=3)
    data_life_days: int = Field(default=0, ge=0, le=3660)
    redisclosure_to: list[str] = Field(default=[], max_length=16)

    @field_validator("days")
    @classmethod
    def _one_term(cls, days: int, told: ValidationInfo) -> int:
        if "not_after" in told.data and (told.data["not_after"] is None) == (days == 0):
            raise ValueError("name either not_after or days")
        return days


class Filler:
    """Turns forms into bodies.

    Args:
        clock: for the times of signing.
        random: for the nonces.
        organisation: credit code of whoever signs; empty for people without one.
    """

    def __init__(self, *, clock: Clock, random: Random, organisation: str) -> None:
        self._clock = clock
        self._random = random
        self._organisation = organisation

    def organisation(self, form: OrganisationForm) -> directory_pb2.OrganisationBody:
        """Return the body of an organisation."""
        kind = f"ORGANISATION_KIND_{(form.kind or 'unspecified').upper()}"
        return directory_pb2.OrganisationBody(
            nonce=self._random(NONCE_BYTES),
            issued_at=timestamp(self._clock.now_ms()),
            kind=directory_pb2.OrganisationKind.Value(kind),
            **form.model_dump(exclude={"kind"}),
        )

    def resource(self, form: ResourceForm, *, version: int) -> directory_pb2.ResourceBody:
        """Return the body of a catalogue entry.

        Args:
            form: what the file says; its version counts where it names one.
            version: the one to use otherwise.
        """
        return resource_body(
            form,
            nonce=self._random(NONCE_BYTES),
            provider=self._organisation,
            version=version,
            now_ms=self._clock.now_ms(),
        )

    def grant(self, form: GrantForm) -> grant_pb2.GrantBody:
        """Return the body of a grant application; it begins now where the file does not say when."""
        begins = _ms(form.not_before) if form.not_before else self._clock.now_ms()
        ends = _ms(form.not_after) if form.not_after else begins + form.days * DAY_MS
        return grant_pb2.GrantBody(
            nonce=self._random(NONCE_BYTES),
            consumer=form.consumer or self._organisation,
            provider=form.provider,
            resource=form.resource,
            fields=form.fields,
            kinds=kinds(form.kinds),
            purposes=form.purposes,
            matters=form.matters,
            case_required=form.case_required,
            not_before=timestamp(begins),
            not_after=timestamp(ends),
            justification=form.justification,
            scope=grant_pb2.GrantScope.Value(f"GRANT_SCOPE_{(form.scope or 'unspecified').upper()}"),
            domains=form.domains,
            steps=form.steps,
            row_filters=[_row_filter(item) for item in form.row_filters],
            quotas=[_quota(item) for item in form.quotas],
            fetch_modes=[
                directory_pb2.FetchMode.Value(f"FETCH_MODE_{mode.upper()}") for mode in form.fetch_modes
            ],
            data_life_days=form.data_life_days,
            redisclosure_to=form.redisclosure_to,
        )


def _row_filter(form: RowFilterForm) -> grant_pb2.RowFilter:
    operator = grant_pb2.FilterOperator.Value(f"FILTER_OPERATOR_{form.operator.upper()}")
    return grant_pb2.RowFilter(field=form.field, operator=operator, values=form.values)


def _quota(form: QuotaForm) -> grant_pb2.Quota:
    period = grant_pb2.QuotaPeriod.Value(f"QUOTA_PERIOD_{form.period.upper()}")
    return grant_pb2.Quota(period=period, exchanges=form.exchanges)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
