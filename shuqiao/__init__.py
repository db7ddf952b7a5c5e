"""Shuqiao 数桥: ask other departments for data through your own department's agent.

>>> import shuqiao
>>> with shuqiao.connect("unix:///run/shuqiao/agent.sock", token_file="token") as client:  # doctest: +SKIP
...     answer = client.query("970100/public-security/household", parameters={"citizen_id": "…"})

Importing this loads `exchange` alone; the rest comes with its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import exchange as exchange

if TYPE_CHECKING:
    from exchange.errors import ExchangeError as ExchangeError
    from shuqiao.async_client import AsyncClient as AsyncClient
    from shuqiao.async_client import connect_async as connect_async
    from shuqiao.client import Client as Client
    from shuqiao.client import connect as connect
    from shuqiao.questions import Answer as Answer
    from shuqiao.questions import Query as Query
    from shuqiao.questions import Receipt as Receipt
    from shuqiao.questions import Verification as Verification

_HOMES = {
    "Answer": "shuqiao.questions",
    "AsyncClient": "shuqiao.async_client",
    "Client": "shuqiao.client",
    "ExchangeError": "exchange.errors",
    "Query": "shuqiao.questions",
    "Receipt": "shuqiao.questions",
    "Verification": "shuqiao.questions",
    "connect": "shuqiao.client",
    "connect_async": "shuqiao.async_client",
}

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ExchangeError",
    "Query",
    "Receipt",
    "Verification",
    "connect",
    "connect_async",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
