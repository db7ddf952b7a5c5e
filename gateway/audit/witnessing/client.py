"""Asks one witness for a cosignature, and bounds everything it may answer with.

Answers are at most 16 KiB and come within the time allowed, connecting included; redirects are not followed,
no proxy and no credentials are taken from the environment, nothing is unpacked. What a witness says is a
claim; only a cosignature that verifies is more.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from exchange.add_checkpoint import PATH, SIZE_TYPE, AddCheckpoint, parse_size_answer
from exchange.checkpoint import part_note
from exchange.cosignature import parse_cosignature, verified_lines
from exchange.errors import BadConfiguration, ReceiptBroken, WitnessAway
from exchange.witness_policy import PolicyWitness

MAX_ANSWER_BYTES = 16_384
MAX_FUTURE_S = 300
MAX_CONNECTIONS = 32
_REFUSALS = {400: "bad request", 403: "log key unknown", 404: "log unknown"}


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The signature lines of the witness, verified, without newlines."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Holds:
    """The witness holds a head of another size than was told; None where it did not say which."""

    size: int | None


@dataclass(frozen=True, slots=True)
class Disputes:
    """The witness says that the proof does not lead from its head to the checkpoint."""


Answer = Cosigned | Holds | Disputes


def new_http() -> httpx.AsyncClient:
    """Return a client for all witnesses of a gateway; TLS trusts what the system trusts."""
    return httpx.AsyncClient(
        verify=ssl.create_default_context(),
        follow_redirects=False,
        trust_env=False,
        timeout=None,  # noqa: S113  each question has a deadline over all its parts
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        headers={"Accept-Encoding": "identity", "User-Agent": "shuqiao"},
    )


class WitnessClient:
    """Asks one witness.

    Args:
        witness: who; with a URL.
        http: see `new_http`.
        timeout_s: for one question, from connecting to the last byte of the answer.

    Raises:
        BadConfiguration: the URL cannot be asked.
    """

    def __init__(self, *, witness: PolicyWitness, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._witness = witness
        self._http = http
        self._timeout_s = timeout_s
        try:
            self._url = httpx.URL(witness.url + PATH)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise BadConfiguration(f"witness {witness.name}: URL") from error

    async def ask(self, request: AddCheckpoint, *, now_s: int) -> Answer:
        """Ask for a cosignature.

        Args:
            request: the question.
            now_s: Unix seconds; cosignatures more than 300 s ahead of it are refused.

        Raises:
            WitnessAway: it cannot be reached, will not cosign, or answers with what is no answer.
        """
        name = self._witness.name
        try:
            async with asyncio.timeout(self._timeout_s):
                status, kind, body = await self._post(request.body)
        except TimeoutError:
            raise WitnessAway(f"{name}: no answer in {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
            # All that bytes of a stranger can raise in the client.
            raise WitnessAway(f"{name}: {type(error).__name__}") from error
        try:
            if status == httpx.codes.OK:
                return Cosigned(self._verified(request.note, body, now_s))
            if status == httpx.codes.CONFLICT:
                return Holds(parse_size_answer(body) if kind == SIZE_TYPE else None)
        except ReceiptBroken as error:
            raise WitnessAway(f"{name}: {error.subject}") from error
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            return Disputes()
        raise WitnessAway(f"{name}: {status} {_REFUSALS.get(status, '')}".rstrip())

    async def _post(self, content: bytes) -> tuple[int, str, bytes]:
        async with self._http.stream("POST", self._url, content=content) as response:
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise WitnessAway(f"{self._witness.name}: answer too large")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return response.status_code, kind, body

    def _verified(self, note: str, body: bytes, now_s: int) -> list[str]:
        text, _ = part_note(note)
        try:
            answer = body.decode()
        except UnicodeDecodeError:
            raise ReceiptBroken("signature lines") from None
        lines = verified_lines(text, answer, self._witness.key)
        if any(parse_cosignature(line).time_s > now_s + MAX_FUTURE_S for line in lines):
            raise ReceiptBroken("cosignature of the future")
        return lines
