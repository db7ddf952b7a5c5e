"""A JSON service at a fixed origin, read by GET.

What confines it: scheme, host and port come from configuration alone; key values are percent-encoded into
the template's places and can neither add a path segment nor a parameter; redirects, proxies of the
environment, cookies and content encodings are not followed or accepted; the address connected to is one
that was judged (`addresses.py`), while Host, SNI and the certificate's check keep the origin's name.

What bounds it: requests at once, bytes per body, records per key, and the batch's time. One request per
key: such services rarely offer more, and each key then has an outcome of its own. 404 means no record.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from decimal import Decimal
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from agent.provider.connectors.addresses import Address, Network, allowed, resolve
from agent.provider.connectors.port import Found, Record
from agent.provider.sources_config import PLACEHOLDER
from exchange.errors import BadConfiguration, BadParameter, ExchangeError, RowCap, SourceDown, SourceTimeout

_MISSING = object()


class HttpConnector:
    """Reads records from a service, one request per key.

    Args:
        name: of the source, for refusals.
        origin: "https://host[:port]".
        path: template such as "/people/{citizen_id}?view=full".
        records: JSON pointer to a list of records, or to one record.
        columns: JSON pointers into a record.
        row_cap: how many records one key may have.
        timeout_s: how long a check may take, seconds.
        allow: networks that may be connected to although they are not public.
        max_body_bytes: how large a body may be.
        concurrency: how many requests at once.
        credentials: value of the credentials' header, where there is one.
        credentials_header: its name.
        ca_file: certificates to trust instead of the public ones.
    """

    def __init__(
        self,
        *,
        name: str,
        origin: str,
        path: str,
        columns: Sequence[str],
        row_cap: int,
        timeout_s: float,
        records: str = "",
        allow: Sequence[Network] = (),
        max_body_bytes: int = 1024 * 1024,
        concurrency: int = 8,
        credentials: str | None = None,
        credentials_header: str = "Authorization",
        ca_file: Path | None = None,
    ) -> None:
        self._name, self._path, self._timeout_s = name, path, timeout_s
        self._origin = httpx.URL(origin)
        self._port = self._origin.port or (443 if self._origin.scheme == "https" else 80)
        self._columns, self._row_cap = tuple(columns), row_cap
        self._records = split_pointer(records)
        self._places = [split_pointer(column) for column in columns]
        self._allow, self._max_body_bytes = tuple(allow), max_body_bytes
        self._slots = asyncio.Semaphore(concurrency)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if credentials is not None:
            self._headers[credentials_header] = credentials
        self._client = _client(name, concurrency=concurrency, ca_file=ca_file)

    @property
    def columns(self) -> tuple[str, ...]:
        """JSON pointers, in the order of a record's values."""
        return self._columns

    @property
    def data_version(self) -> str:
        """Empty: the service tells no version of its data."""
        return ""

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Found]:
        """See `Connector.read`; here also a failing service is each key's own outcome."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        address = await self._address(deadline)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._outcome(key, address, deadline)) for key in keys]
        return [task.result() for task in tasks]

    async def check(self) -> None:
        """Prove that the name resolves to an allowed address that accepts a connection; asks for nothing."""
        address = await self._address(asyncio.get_running_loop().time() + self._timeout_s, configuring=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_connection(str(address), self._port)
        except TimeoutError as error:
            raise SourceTimeout(self._name) from error
        except OSError as error:
            raise SourceDown(self._name) from error
        writer.close()

    async def close(self) -> None:
        """See `Connector.close`."""
        await self._client.aclose()

    async def _address(self, deadline: float, *, configuring: bool = False) -> Address:
        """Resolve the origin and return the address to connect to; one that is denied is never tried."""
        try:
            async with asyncio.timeout_at(deadline):
                found = await resolve(self._origin.host, self._port)
        except TimeoutError as error:
            raise SourceTimeout(self._name) from error
        except (OSError, UnicodeError) as error:
            raise SourceDown(self._name) from error
        fit = [address for address in found if allowed(address, self._allow)]
        if fit:
            return fit[0]
        denied = f"{self._name}: the origin's address is not public and not in allow"
        raise BadConfiguration(denied) if configuring else SourceDown(denied)

    async def _outcome(self, key: Mapping[str, str], address: Address, deadline: float) -> Found:
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                return await self._one(key, address)
        except TimeoutError:
            return SourceTimeout(self._name)
        except ExchangeError as error:
            return error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            return SourceDown(self._name)

    async def _one(self, key: Mapping[str, str], address: Address) -> Found:
        target = fill(self._path, key, name=self._name)
        host = f"[{address}]" if address.version == 6 else str(address)
        url = self._origin.copy_with(host=host, raw_path=target)
        request = httpx.Request(
            "GET",
            url,
            headers={"Host": self._origin.netloc.decode("ascii"), **self._headers},
            extensions={"sni_hostname": self._origin.host, "timeout": httpx.Timeout(None).as_dict()},
        )
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if response.status_code == 404:
                return []
            if response.status_code != 200:
                raise SourceDown(f"{self._name}: status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise SourceDown(f"{self._name}: an encoded body")
            return self._mapped(await self._body(response))
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self._max_body_bytes:
                raise SourceDown(f"{self._name}: a body of more than {self._max_body_bytes} bytes")
        return bytes(body)

    def _mapped(self, body: bytes) -> Found:
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise SourceDown(f"{self._name}: no JSON") from None
        found = follow(document, self._records)
        if found is _MISSING or found is None:
            return []
        items = found if isinstance(found, list) else [found]
        if len(items) > self._row_cap:
            return RowCap(self._name)
        return [self._record(item) for item in items]

    def _record(self, item: Any) -> Record:
        if not isinstance(item, dict | list):
            raise SourceDown(f"{self._name}: a record that is no object")
        values = (follow(item, place) for place in self._places)
        return tuple(None if value is _MISSING else value for value in values)


def _client(name: str, *, concurrency: int, ca_file: Path | None) -> httpx.AsyncClient:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise BadConfiguration(f"{name}: ca_file: {type(error).__name__}") from None
    return httpx.AsyncClient(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        headers={"User-Agent": "shuqiao"},
    )


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def fill(template: str, key: Mapping[str, str], *, name: str) -> bytes:
    """Return path and query with a key's values percent-encoded in their places.

    Args:
        template: such as "/people/{citizen_id}?view=full".
        key: placeholder to value.
        name: of the source, for the refusal.

    Raises:
        BadParameter: a value that would stand in the path is empty, holds a separator or is all dots.
    """
    path, mark, query = template.partition("?")

    def in_path(value: str) -> str:
        if not value or not value.strip(".") or any(c in value for c in "/\\") or not value.isprintable():
            raise BadParameter(name)
        return quote(value, safe="")

    try:
        filled = PLACEHOLDER.sub(lambda m: in_path(key[m[1]]), quote(path, safe="/{}%:@!$&'()*+,;=~"))
        tail = PLACEHOLDER.sub(lambda m: quote(key[m[1]], safe=""), quote(query, safe="/{}%:@!$&'()*+,;=~?"))
    except (KeyError, UnicodeEncodeError):
        raise BadParameter(name) from None
    return (filled + mark + tail).encode("ascii")


def split_pointer(pointer: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer (RFC 6901)."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def follow(document: Any, steps: Sequence[str]) -> Any:
    """Return what a JSON pointer's steps lead to, or a marker where they lead to nothing."""
    for step in steps:
        if isinstance(document, dict):
            document = document.get(step, _MISSING)
        elif isinstance(document, list) and step.isascii() and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return _MISSING
    return document
