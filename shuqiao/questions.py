"""What a program asks and gets back: plain Python values outside, the agent's messages inside."""

import base64
import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias

from exchange.errors import BadParameter, ExchangeError, Malformed
from exchange.rpc_errors import from_failure
from exchange.v1 import agent_pb2, common_pb2

Value: TypeAlias = str | bool | int | Decimal | datetime.date | datetime.datetime | bytes
"""A parameter, a claim or a cell of a record."""

DEFAULT_TIMEOUT_S = 10.0
MAX_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question for `query_many`; its parts are those of `query`."""

    resource: str
    fields: Sequence[str] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    purpose: str = ""
    matter: str = ""
    case: str = ""
    step: str = ""
    operator: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S


class Receipt:
    """A receipt that the agent verified: the exchange's place in the gateway's log.

    Args:
        message: the agent's message.
    """

    __slots__ = ("_message",)

    def __init__(self, message: agent_pb2.VerifiedReceipt) -> None:
        self._message = message

    @property
    def index(self) -> int:
        """Index of the entry."""
        return self._message.index

    @property
    def checkpoint(self) -> str:
        """The checkpoint that the proof leads to, a C2SP signed note."""
        return self._message.checkpoint

    def serialised(self) -> bytes:
        """Return the serialised exchange.v1.Receipt: entry and proof, to be kept with the case."""
        return self._message.receipt.SerializeToString()

    def __repr__(self) -> str:
        return f"Receipt(index={self.index})"


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    _message: agent_pb2.AskResponse = field(repr=False)

    @property
    def exchange_id(self) -> str:
        """The exchange's id, a UUID."""
        return str(uuid.UUID(bytes=self._message.exchange_id))

    @property
    def data_version(self) -> str:
        """Version of the source's data, empty where the source tells none."""
        return self._message.answer.data_version

    @property
    def receipt(self) -> Receipt | None:
        """The verified receipt."""
        return Receipt(self._message.receipt) if self._message.HasField("receipt") else None


@dataclass(frozen=True, kw_only=True)
class Answer(_Outcome):
    """The answer to a query. Records are read from the message when first looked at."""

    @cached_property
    def records(self) -> list[dict[str, Value | None]]:
        """One mapping per record, values by the type of their field."""
        answer = self._message.answer
        columns = {column.name: _values(column) for column in answer.columns}
        if not columns:
            return [{} for _ in range(answer.records)]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, kw_only=True)
class Verification(_Outcome):
    """The outcome of a verification."""

    @cached_property
    def results(self) -> dict[str, bool | None]:
        """By field: True for a match, False for a mismatch, None where nothing is known."""
        results: dict[str, bool | None] = {}
        for column in self._message.answer.columns:
            known = bool(column.values) and 0 not in column.nulls
            results[column.name] = column.values[0] == "true" if known else None
        return results


def _timestamp(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


_READERS: Mapping[str, Callable[[str], Value]] = {
    "integer": int,
    "decimal": Decimal,
    "boolean": "true".__eq__,
    "date": datetime.date.fromisoformat,
    "timestamp": _timestamp,
    "bytes": base64.b64decode,
}


def _values(column: agent_pb2.AnswerColumn) -> list[Value | None]:
    reader = _READERS.get(column.type)
    try:
        if not column.nulls:
            return list(column.values) if reader is None else [reader(each) for each in column.values]
        nulls = frozenset(column.nulls)
        return [
            None if place in nulls else (each if reader is None else reader(each))
            for place, each in enumerate(column.values)
        ]
    except (ValueError, ArithmeticError):
        raise Malformed(f"field {column.name}: not of type {column.type}") from None


def text_of(name: str, value: Value) -> str:
    """Return a value's text form, as exchange/values.py defines it.

    Raises:
        BadParameter: there is no text form for its class; names the parameter, not the value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise BadParameter(f"{name}: {type(value).__name__}")


def _named(values: Mapping[str, Value]) -> list[agent_pb2.NamedValue]:
    named = agent_pb2.NamedValue
    return [named(name=name, value=text_of(name, value)) for name, value in values.items()]


def request_of(query: Query, tag: int, claims: Mapping[str, Value] | None = None) -> agent_pb2.AskRequest:
    """Return the agent's message for a question.

    Args:
        query: the question.
        tag: by which its outcome is known.
        claims: what to verify; None for a query.

    Raises:
        BadParameter: a value, name or time-out cannot be sent, or there are no claims to verify.
    """
    if claims is not None and not claims:
        raise BadParameter("claims: none")
    if not 0 < query.timeout_s <= MAX_TIMEOUT_S:
        raise BadParameter(f"timeout_s: above 0, at most {MAX_TIMEOUT_S:g}")
    if isinstance(query.fields, str):
        raise BadParameter("fields: a list of names, not one text")
    try:
        return agent_pb2.AskRequest(
            tag=tag,
            resource=query.resource,
            kind=common_pb2.KIND_QUERY if claims is None else common_pb2.KIND_VERIFY,
            fields=query.fields,
            parameters=_named(query.parameters),
            claims=_named(claims) if claims else (),
            purpose=query.purpose,
            matter=query.matter,
            case_number=query.case,
            step=query.step,
            operator=query.operator,
            timeout_ms=max(1, int(query.timeout_s * 1000)),
        )
    except (TypeError, ValueError):
        raise BadParameter("a name or code is no text") from None


def failure_of(outcome: agent_pb2.AskResponse) -> ExchangeError | None:
    """Return why there is no answer, or None where there is one."""
    if outcome.HasField("answer"):
        return None
    return from_failure(outcome.failure)


def answer_of(outcome: agent_pb2.AskResponse) -> Answer:
    """Return a query's answer; raise what it failed with."""
    failure = failure_of(outcome)
    if failure is not None:
        raise failure
    return Answer(_message=outcome)


def verification_of(outcome: agent_pb2.AskResponse) -> Verification:
    """Return a verification's results; raise what it failed with."""
    failure = failure_of(outcome)
    if failure is not None:
        raise failure
    return Verification(_message=outcome)
