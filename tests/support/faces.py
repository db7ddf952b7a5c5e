"""Real faces on loopback ports and Unix sockets, in front of a fake asker."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

import shuqiao
from agent.consumer.asker import Catalogue, Corrections, Receipts
from agent.consumer.credentials import ApplicationSettings, new_token
from agent.consumer.local_api import Listening, LocalApi, LocalApiSettings
from tests.support.fake_asker import FakeAsker

RESOURCE = "970100/public-security/household"
QUESTION = {
    "resource": RESOURCE,
    "fields": ["name"],
    "parameters": {"citizen_id": "970102199001010011"},
    "purpose": "newborn",
    "operator": "op-1",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faces:
    """Running faces and the token of the application "wards"."""

    api: LocalApi
    at: Listening
    token: str
    token_file: Path

    def http(self, **headers: str) -> httpx.AsyncClient:
        """Return a client of the HTTP face that carries the token."""
        headers = {"authorization": f"Bearer {self.token}", **headers}
        if self.at.http.startswith("unix:"):
            transport = httpx.AsyncHTTPTransport(uds=self.at.http.removeprefix("unix://"))
            return httpx.AsyncClient(base_url="http://localhost", transport=transport, headers=headers)
        return httpx.AsyncClient(base_url=f"http://{self.at.http}", headers=headers)

    def client(self) -> shuqiao.AsyncClient:
        """Return an asynchronous client of the gRPC face."""
        return shuqiao.connect_async(self.at.grpc, token_file=self.token_file)


@contextlib.asynccontextmanager
async def faces(
    asker: FakeAsker,
    folder: Path,
    *,
    catalogue: Catalogue | None = None,
    receipts: Receipts | None = None,
    corrections: Corrections | None = None,
    **settings: Any,
) -> AsyncIterator[Faces]:
    """Run both faces: HTTP on a free port, gRPC on a socket in the folder, unless told otherwise."""
    token, token_hash = new_token()
    token_file = folder / "token"
    token_file.write_text(token + "\n", encoding="ascii")
    application = ApplicationSettings(
        name="wards",
        token_hash=token_hash,
        purposes=["newborn"],
        resources=["970100/public-security/*"],
        operators=["op-1", "op-2"],
    )
    wanted = {"http": "127.0.0.1:0", "grpc": f"unix://{folder}/agent.sock", **settings}
    api = LocalApi(
        settings=LocalApiSettings(application=[application], **wanted),
        asker=asker,
        hop="consumer/health-1",
        catalogue=catalogue,
        receipts=receipts,
        corrections=corrections,
    )
    at = await api.start()
    try:
        yield Faces(api=api, at=at, token=token, token_file=token_file)
    finally:
        await api.stop(grace_s=0)
