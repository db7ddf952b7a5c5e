"""The description of the HTTP face: /openapi.json, and a page at /docs that needs nothing from outside.

The page's scripts come from the package swagger-ui-bundle; a content security policy forbids
every other origin. It shows and does not send: a browser adds Origin to a POST, and the face refuses any.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import swagger_ui_bundle
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from exchange.sentences import SENTENCES

_OPENAPI = "3.0.3"  # the newest that this version of the page reads
_ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE = """<!DOCTYPE html>
<html lang="zh">
<head><meta charset="utf-8"><title>Shuqiao 数桥</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
_START = (
    'SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, '
    "supportedSubmitMethods: [], deepLinking: false});\n"
)
_DESCRIPTION = """部门业务系统经本部门前置节点向其他部门查询与核验数据。
Ask other departments for data, or verify claims, through your own department's agent.

每次调用须带 `Authorization: Bearer <令牌>`；带有 `Origin` 的请求一律拒绝，因此本页只供查阅，不能发送请求。
Every call carries `Authorization: Bearer <token>`. Calls with an `Origin` header are refused, so this page
shows and does not send.

出错时返回同一形状的 JSON：代码、中英文原因、处理办法、出错环节、是否可重试。
Every error has one JSON shape: code, reason and remedy in both languages, the hop, whether to retry.
"""

_TEXT: Mapping[str, Any] = {"type": "string"}
_BOTH = {"type": "object", "properties": {"zh": _TEXT, "en": _TEXT}, "required": ["zh", "en"]}
_RECEIPT = {
    "type": "object",
    "description": "回执：日志序号、检查点、序列化的 Receipt（base64） / "
    "Receipt: index in the log, checkpoint, serialised Receipt in base64",
    "properties": {"index": {"type": "integer"}, "checkpoint": _TEXT, "receipt": {**_TEXT, "format": "byte"}},
}
_EXCHANGE = {
    "exchange_id": {**_TEXT, "format": "uuid", "description": "交换编号 / The exchange's id"},
    "data_version": {**_TEXT, "description": "数据版本 / Version of the source's data"},
    "receipt": _RECEIPT,
}
_SCHEMAS: Mapping[str, Any] = {
    "Error": {
        "type": "object",
        "description": "拒绝或失败 / A refusal or failure",
        "properties": {
            "code": {"type": "string", "enum": sorted(SENTENCES)},
            "reason": {**_BOTH, "description": "原因 / Reason"},
            "remedy": {**_BOTH, "description": "处理办法 / What to do"},
            "hop": {**_TEXT, "description": "出错环节 / Which hop failed"},
            "subject": {
                **_TEXT,
                "description": "涉及的名称或编号，不含数据值 / Names and ids only, never values",
            },
            "retryable": {"type": "boolean", "description": "可否重试 / Whether to try again"},
            "retry_after_ms": {"type": "integer"},
            "exchange_id": {**_TEXT, "format": "uuid"},
        },
        "required": ["code", "reason", "remedy", "hop", "subject", "retryable"],
    },
    "query": {
        "type": "object",
        "properties": {
            **_EXCHANGE,
            "records": {
                "type": "array",
                "description": "记录；整数与布尔为 JSON 值，小数、日期、时间为文本 / "
                "Records; integers and booleans as JSON values, decimals, dates and timestamps as text",
                "items": {"type": "object", "additionalProperties": True},
            },
        },
    },
    "verify": {
        "type": "object",
        "properties": {
            **_EXCHANGE,
            "results": {
                "type": "object",
                "description": "按信息项：true 一致，false 不一致，null 不明 / "
                "By field: match, mismatch, unknown",
                "additionalProperties": {"type": "boolean", "nullable": True},
            },
        },
    },
    "status": {
        "type": "object",
        "properties": {
            "spiffe_id": _TEXT,
            "ok": {"type": "boolean"},
            "hops": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"hop": _TEXT, "ok": {"type": "boolean"}, "detail": _TEXT, "reason": _TEXT},
                },
            },
        },
    },
    "resources": {
        "type": "object",
        "properties": {"resources": {"type": "array", "items": {"type": "object"}}},
    },
    "receipts": _RECEIPT,
    "open_case": {
        "type": "object",
        "properties": {
            "case": _TEXT,
            "index": {"type": "integer", "description": "日志序号 / Index in the log"},
            "expires_at": {**_TEXT, "format": "date-time"},
        },
    },
    "close_case": {
        "type": "object",
        "properties": {
            "case": _TEXT,
            "index": {"type": "integer", "description": "日志序号 / Index in the log"},
        },
    },
    "corrections": {
        "type": "object",
        "description": "未更正的在前；more 表示还有 / What is not done first; more: there are others",
        "properties": {
            "more": {"type": "boolean"},
            "corrections": {"type": "array", "items": {"$ref": "#/components/schemas/correction_done"}},
        },
    },
    "correction_done": {
        "type": "object",
        "description": "一项异议的更正 / The correction of one dispute",
        "properties": {
            "ticket": {**_TEXT, "description": "异议编号 / Id of the dispute"},
            "resource": _TEXT,
            "provider": _TEXT,
            "fields": {"type": "array", "items": _TEXT},
            "text": {**_TEXT, "description": "提供部门的说明 / The provider's words"},
            "told_ms": {"type": "integer"},
            "done": {"type": "boolean"},
            "exchanges": {
                "type": "array",
                "description": "可能带来旧值的本部门交换 / This department's exchanges that may have brought "
                "the old value",
                "items": {
                    "type": "object",
                    "properties": {
                        "exchange_id": {**_TEXT, "format": "uuid"},
                        "application": _TEXT,
                        "operator": _TEXT,
                        "case_number": _TEXT,
                    },
                },
            },
        },
    },
}
_ERRORS: Mapping[int, str] = {
    400: "请求有误 / The request is wrong",
    401: "没有有效令牌 / No valid token",
    403: "被拒绝 / Refused",
    404: "不存在 / Unknown",
    409: "状态不允许 / The state does not allow it",
    413: "请求过大 / Too large",
    415: "不是 JSON / Not JSON",
    421: "Host 不在名单 / Host not in the list",
    422: "结果超过行数上限 / More records than allowed",
    429: "队列已满 / A queue is full",
    500: "内部错误 / Something unforeseen",
    502: "证明或密封验证失败 / A proof or seal does not verify",
    503: "对方不可用 / Something needed is away",
    504: "超时 / Time ran out",
}


def responses(name: str) -> dict[int | str, dict[str, Any]]:
    """Return the documented responses of a route."""
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": "成功 / Done", "content": _json(f"#/components/schemas/{name}")}
    }
    for status, description in _ERRORS.items():
        found[status] = {"description": description, "content": _json("#/components/schemas/Error")}
    return found


def _json(ref: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": ref}}}


def openapi_extra(body: type[BaseModel]) -> dict[str, Any]:
    """Return the documented body of a route that reads its body itself."""
    schema = body.model_json_schema(by_alias=True)
    schema.pop("title", None)
    for each in schema["properties"].values():
        each.pop("title", None)
        if "examples" in each:
            each["example"] = each.pop("examples")[0]
        each.pop("propertyNames", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=_OPENAPI,
        description=_DESCRIPTION,
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    components["schemas"] = dict(_SCHEMAS)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document


def add_documentation(app: FastAPI) -> None:
    """Add /openapi.json and /docs; call it last, when every route is there."""
    document = _document(app)
    folder = Path(swagger_ui_bundle.swagger_ui_path)
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    async def openapi(request: Request) -> Response:
        return JSONResponse(document, headers=headers)

    async def page(request: Request) -> Response:
        return HTMLResponse(_PAGE, headers=headers)

    async def start(request: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=headers)

    app.add_route("/openapi.json", openapi)
    app.add_route("/docs", page)
    app.add_route("/docs/start.js", start)
    for name, media_type in _ASSETS.items():
        app.add_route(f"/docs/{name}", _asset(folder / name, media_type, headers))


def _asset(path: Path, media_type: str, headers: Mapping[str, str]) -> Any:
    async def asset(request: Request) -> Response:
        return FileResponse(path, media_type=media_type, headers=headers)

    return asset
