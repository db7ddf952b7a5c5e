"""Cases: errands of one person or company, opened and closed by signed statements; for gateway and agents.

1. A body says everything about the case as it is from then on; the newest one is the case (`read_case`).
2. It is opened once, by its lead, at revision 1; each step counts up by one; closing is final (`follows`).
3. It ends by itself at its `expires_at`, at most two years after it was signed.
4. An exchange is for it only between those who take part in it, and for its matter (`check`).

A number holds no personal data. That it is not used again is known for as long as somebody remembers it
(gateway/cases/register.py, agent/cases.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from exchange.bodies import read_body
from exchange.canonical import NONCE_BYTES
from exchange.codes import credit_code
from exchange.errors import CaseNotOpen, Malformed, Oversized, Replayed, RoleNotAllowed, WrongState
from exchange.identity import Identity, Role
from exchange.resources import check_text
from exchange.timestamps import milliseconds
from exchange.v1 import case_pb2

MAX_CASE_BYTES = 8 * 1024
MAX_PARTICIPANTS = 64
MAX_CODE = 64
DAY_MS = 86_400_000
MAX_TERM_MS = 2 * 366 * DAY_MS
REMEMBERED_MS = DAY_MS
"""How long an ended case is remembered: its number is not used again in that time."""

OPEN = case_pb2.CASE_ACTION_OPEN
CHANGE = case_pb2.CASE_ACTION_CHANGE
CLOSE = case_pb2.CASE_ACTION_CLOSE
_ACTIONS = frozenset({OPEN, CHANGE, CLOSE})
_SIGNERS = frozenset({Role.AGENT, Role.STEWARD})


@dataclass(frozen=True, slots=True)
class Case:
    """A case as one statement leaves it.

    Attributes:
        parties: credit codes of the lead and of those who take part besides.
        expires_at_ms: from then on it is not open, Unix milliseconds.
        closed: for good.
        issued_at_ms: when the statement was signed.
        nonce: of the statement, 16 bytes: two that say the same are told apart.
    """

    number: str
    revision: int
    action: int
    lead: str
    matter: str
    parties: frozenset[str]
    expires_at_ms: int
    issued_at_ms: int
    nonce: bytes

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.action == CLOSE

    @property
    def ended_ms(self) -> int:
        """When it ends at the latest: when it was closed, or its expiry. Unix milliseconds."""
        return min(self.issued_at_ms, self.expires_at_ms) if self.closed else self.expires_at_ms

    def is_open(self, now_ms: int) -> bool:
        """Whether exchanges may be for it."""
        return self.action != CLOSE and now_ms < self.expires_at_ms


def read_case(body: bytes) -> Case:
    """Return the case that a CaseEventBody states. Who signed it, and what came before, is not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a bound; the subject names the part.
    """
    told = read_body(case_pb2.CaseEventBody, body, "case", most=MAX_CASE_BYTES)
    if len(told.nonce) != NONCE_BYTES or not told.HasField("issued_at") or not told.HasField("expires_at"):
        raise Malformed("nonce, issued_at or expires_at")
    if told.action not in _ACTIONS or told.revision < 1 or (told.action == OPEN) != (told.revision == 1):
        raise Malformed("action or revision")
    check_text(told.case_number, "case_number", least=1, most=MAX_CODE)
    check_text(told.matter, "matter", least=1, most=MAX_CODE)
    if len(told.participants) > MAX_PARTICIPANTS:
        raise Oversized("participants")
    issued_ms, expires_ms = milliseconds(told.issued_at), milliseconds(told.expires_at)
    if told.action != CLOSE and not 0 < expires_ms - issued_ms <= MAX_TERM_MS:
        raise Malformed("expires_at")
    return Case(
        number=told.case_number,
        revision=told.revision,
        action=told.action,
        lead=intern(credit_code(told.lead)),
        matter=intern(told.matter),
        parties=_parties((told.lead, *told.participants)),
        expires_at_ms=expires_ms,
        issued_at_ms=issued_ms,
        nonce=told.nonce,
    )


@lru_cache(maxsize=4096)
def _parties(codes: tuple[str, ...]) -> frozenset[str]:
    """The same few departments take part in many cases: one set for all of them."""
    if len(set(codes)) != len(codes):
        raise Malformed("participants")
    return frozenset(intern(credit_code(code)) for code in codes)


def check_signer(case: Case, signer: Identity, services: Collection[str]) -> None:
    """Refuse a step that its signer may not take.

    Args:
        case: as the statement states it.
        signer: who signed it.
        services: credit codes of those who may lead; empty for any organisation.

    Raises:
        RoleNotAllowed: no agent or steward of the lead, or the lead is no case service.
    """
    if signer.role not in _SIGNERS or signer.organisation != case.lead:
        raise RoleNotAllowed(case.number)
    if services and case.lead not in services:
        raise RoleNotAllowed(f"{case.lead} is no case service")


def follows(held: Case | None, case: Case, now_ms: int) -> None:
    """Refuse a step that does not follow what is held.

    Args:
        held: the case as it stands; None where its number is not remembered.
        case: what the step makes of it.
        now_ms: Unix milliseconds.

    Raises:
        Replayed: the number is taken.
        RoleNotAllowed: another leads it.
        WrongState: it is over, not the next revision, of another matter, or would be over at once.
    """
    if case.action == OPEN:
        if held is not None:
            raise Replayed(case.number)
    else:
        if held is None:
            raise WrongState(f"{case.number}: unknown")
        if held.lead != case.lead:
            raise RoleNotAllowed(case.number)
        if not held.is_open(now_ms) or case.revision != held.revision + 1 or case.matter != held.matter:
            raise WrongState(case.number)
    if not case.closed and case.expires_at_ms <= now_ms:
        raise WrongState(f"{case.number}: expires_at")


def check(case: Case | None, *, consumer: str, provider: str, matter: str, now_ms: int) -> None:
    """Refuse an exchange for a case that is not open for it; once per exchange, so sets and integers only.

    Args:
        case: of the number that the request names; None where nobody knows it.
        consumer, provider: credit codes of the two parties.
        matter: as the request states it.
        now_ms: Unix milliseconds.

    Raises:
        CaseNotOpen: which of the rules it breaks is not told: whoever takes no part learns nothing of a case.
    """
    if (
        case is None
        or not case.is_open(now_ms)
        or case.matter != matter
        or consumer not in case.parties
        or provider not in case.parties
    ):
        raise CaseNotOpen("case")
