"""The routes by which a department's systems open and close cases."""

import json
from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from agent.consumer.desk import Desk
from agent.consumer.http_docs import openapi_extra, responses
from agent.consumer.http_errors import malformed
from agent.consumer.http_guard import APPLICATION, read_body
from exchange.cases import MAX_CODE, MAX_PARTICIPANTS
from exchange.v1 import agent_pb2

_JSON = {"content-type": "application/json", "cache-control": "no-store"}


class OpenCaseBody(BaseModel):
    """开办 / Opens a case that this department leads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: Annotated[
        StrictStr,
        Field(
            min_length=1,
            max_length=MAX_CODE,
            description="办件编号，不得含个人信息 / The case's number, no personal data",
            examples=["LJ-2026-000123"],
        ),
    ]
    matter: Annotated[
        StrictStr,
        Field(min_length=1, max_length=MAX_CODE, description="事项代码 / Coded matter", examples=["newborn"]),
    ]
    participants: Annotated[
        list[StrictStr],
        Field(
            max_length=MAX_PARTICIPANTS,
            description="其他参与部门的统一社会信用代码 / Credit codes of the others who take part",
            examples=[["11970100MB1A0001XA"]],
        ),
    ] = []
    days: Annotated[
        StrictInt,
        Field(ge=0, le=731, description="最长天数，0 为 30 天 / Days it is open at the most; 0 for 30"),
    ] = 0


def add_cases(app: FastAPI, desk: Desk, *, max_body_bytes: int) -> None:
    """Add the routes.

    Args:
        app: whose they are; its handlers turn ExchangeErrors into answers.
        desk: where cases go.
        max_body_bytes: largest body.
    """

    async def open_case(request: Request) -> Response:
        try:
            asked = OpenCaseBody.model_validate_json(await read_body(request.receive, max_body_bytes))
        except ValidationError as fault:
            raise malformed(fault) from None
        done = await desk.open_case(
            request.scope[APPLICATION],
            agent_pb2.OpenCaseRequest(
                case_number=asked.case, matter=asked.matter, participants=asked.participants, days=asked.days
            ),
        )
        expires_at = done.expires_at.ToJsonString()
        return _told({"case": asked.case, "index": done.index, "expires_at": expires_at})

    async def close_case(request: Request) -> Response:
        number = request.path_params["number"]
        closing = agent_pb2.CloseCaseRequest(case_number=number)
        done = await desk.close_case(request.scope[APPLICATION], closing)
        return _told({"case": number, "index": done.index})

    app.add_api_route(
        "/v1/cases",
        open_case,
        methods=["POST"],
        operation_id="open_case",
        response_class=Response,
        responses=responses("open_case"),
        openapi_extra=openapi_extra(OpenCaseBody),
        description=OpenCaseBody.__doc__,
    )
    app.add_api_route(
        "/v1/cases/{number:path}/close",
        close_case,
        methods=["POST"],
        operation_id="close_case",
        response_class=Response,
        responses=responses("close_case"),
        description="办结 / Closes a case that this department leads, for good",
    )


def _told(outcome: dict[str, object]) -> Response:
    return Response(json.dumps(outcome, ensure_ascii=False), headers=_JSON)
