"""Questions and answers as the HTTP face writes them, in JSON."""

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, TypeAdapter

from exchange.v1 import agent_pb2, common_pb2

MAX_FIELDS = 64
MAX_TIMEOUT_MS = 600_000

Text = Annotated[StrictStr, Field(max_length=4096)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=128)]
Value = Text | StrictBool | StrictInt
Values = Annotated[dict[Name, Value], Field(max_length=MAX_FIELDS)]
Coded = Annotated[StrictStr, Field(max_length=128)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: Annotated[
        StrictStr,
        Field(
            min_length=1,
            max_length=128,
            description="资源编号 / Resource, `<division>/<organisation>/<name>`",
            examples=["970100/public-security/household"],
        ),
    ]
    parameters: Annotated[
        Values,
        Field(
            description="查询参数，值为文本、整数或布尔 / Parameters by which records are found",
            examples=[{"citizen_id": "970102199001010011"}],
        ),
    ] = {}
    purpose: Annotated[Coded, Field(description="用途代码 / Coded purpose", examples=["newborn"])] = ""
    matter: Annotated[Coded, Field(description="事项代码 / Coded matter", examples=["newborn"])] = ""
    step: Annotated[Coded, Field(description="环节代码 / Step of the matter", examples=["household"])] = ""
    case: Annotated[Coded, Field(description="办件编号 / The case's number", examples=["LJ-2026-000123"])] = (
        ""
    )
    operator: Annotated[Coded, Field(description="经办人代号，不用真实姓名 / Pseudonym of the operator")] = ""
    timeout_ms: Annotated[
        StrictInt,
        Field(
            ge=0, le=MAX_TIMEOUT_MS, description="最长等待毫秒数，0 为 10 秒 / How long to wait; 0 for 10 s"
        ),
    ] = 0
    grant_id: Annotated[
        StrictStr,
        Field(
            pattern="^([0-9a-f]{64})?$",
            description="指定授权，留空自动选择 / The grant to use; empty for the one that fits",
        ),
    ] = ""

    def _request(self, kind: common_pb2.Kind.ValueType) -> agent_pb2.AskRequest:
        return agent_pb2.AskRequest(
            resource=self.resource,
            kind=kind,
            parameters=_named(self.parameters),
            purpose=self.purpose,
            matter=self.matter,
            step=self.step,
            case_number=self.case,
            operator=self.operator,
            timeout_ms=self.timeout_ms,
            grant_id=bytes.fromhex(self.grant_id),
        )


class QueryBody(_Question):
    """查询 / A query: records by key."""

    fields_: Annotated[
        list[Name],
        Field(
            alias="fields",
            max_length=MAX_FIELDS,
            description="信息项，留空为授权内全部 / Fields; empty for all that the grant gives",
            examples=[["name", "address"]],
        ),
    ] = []

    def request(self) -> agent_pb2.AskRequest:
        """Return the question for the asker."""
        question = self._request(common_pb2.KIND_QUERY)
        question.fields.extend(self.fields_)
        return question


class VerifyBody(_Question):
    """核验 / A verification: match or mismatch per field, no values."""

    claims: Annotated[
        Values,
        Field(min_length=1, description="待核验的信息项与值 / Claims to verify", examples=[{"name": "张三"}]),
    ]

    def request(self) -> agent_pb2.AskRequest:
        """Return the question for the asker."""
        question = self._request(common_pb2.KIND_VERIFY)
        question.claims.extend(_named(self.claims))
        return question


def _named(values: Mapping[str, str | bool | int]) -> list[agent_pb2.NamedValue]:
    return [
        agent_pb2.NamedValue(name=name, value=value if isinstance(value, str) else json.dumps(value))
        for name, value in values.items()
    ]


QUERY: TypeAdapter[QueryBody] = TypeAdapter(QueryBody)
VERIFY: TypeAdapter[VerifyBody] = TypeAdapter(VerifyBody)

_JSON_VALUES: Mapping[str, Callable[[str], object]] = {"integer": int, "boolean": "true".__eq__}


def _cells(column: agent_pb2.AnswerColumn) -> list[object]:
    """Return a column's values: integers and booleans as JSON has them, all else as text."""
    convert = _JSON_VALUES.get(column.type)
    if not column.nulls:
        return list(column.values) if convert is None else [convert(each) for each in column.values]
    nulls = frozenset(column.nulls)
    return [
        None if place in nulls else (each if convert is None else convert(each))
        for place, each in enumerate(column.values)
    ]


def records_of(answer: agent_pb2.Answer) -> list[dict[str, object]]:
    """Return an answer's records, one mapping each."""
    names = [column.name for column in answer.columns]
    if not names:
        return [{} for _ in range(answer.records)]
    rows = zip(*(_cells(column) for column in answer.columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def results_of(answer: agent_pb2.Answer) -> dict[str, object]:
    """Return a verification's results by field: true, false, or null where nothing is known."""
    results: dict[str, object] = {}
    for column in answer.columns:
        cells = _cells(column)
        results[column.name] = cells[0] if cells else None
    return results


def exchange_text(exchange_id: bytes) -> str:
    """Return an exchange id, 16 bytes, as a UUID; empty where there is none."""
    return str(uuid.UUID(bytes=exchange_id)) if len(exchange_id) == 16 else ""


def receipt_json(receipt: agent_pb2.VerifiedReceipt) -> dict[str, object]:
    """Return a receipt: its place, its checkpoint, and the serialised Receipt in base64."""
    return {
        "index": receipt.index,
        "checkpoint": receipt.checkpoint,
        "receipt": base64.b64encode(receipt.receipt.SerializeToString()).decode(),
    }


def outcome_json(outcome: agent_pb2.AskResponse, *, verify: bool) -> bytes:
    """Return the JSON document of an outcome that has an answer."""
    answer = outcome.answer
    document: dict[str, object] = {"exchange_id": exchange_text(outcome.exchange_id)}
    if verify:
        document["results"] = results_of(answer)
    else:
        document["records"] = records_of(answer)
    document["data_version"] = answer.data_version
    document["receipt"] = receipt_json(outcome.receipt) if outcome.HasField("receipt") else None
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
