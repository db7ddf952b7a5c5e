"""Reads the bodies of reviews: what is well formed, before who may sign it is asked.

Shared by the gateway, which draws, and by auditors, who recompute what was drawn. A review's id is the digest
of its draw. Bounds: a range of 1,000,000 entries, 500 items, texts of 500 characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from exchange.bodies import read_body
from exchange.canonical import DIGEST_BYTES, NONCE_BYTES, REVIEW_DRAW, digest
from exchange.codes import holds_citizen_id
from exchange.errors import Malformed, Oversized
from exchange.identity import CREDIT_CODE, MAX_URI_CHARS, SCHEME
from exchange.resources import check_text
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, review_pb2

VERSION = 1
"""Of sampling, rules and weights; changing one needs the next version, and the old one kept for old draws."""
MAX_RANGE = 1_000_000
MAX_COUNT = 500
MAX_TEXT = 500
MAX_RESOURCE = 200
MAX_ORIGIN = 255
MAX_RULES = 32
MAX_DRAW_BYTES = 8 * 1024
MAX_EVENT_BYTES = 256 * 1024
MAX_INDEX = 1 << 62

RANDOM = review_pb2.REVIEW_STRATEGY_RANDOM
RISK = review_pb2.REVIEW_STRATEGY_RISK
SELECT = review_pb2.REVIEW_ACTION_SELECT
ASSIGN = review_pb2.REVIEW_ACTION_ASSIGN
JUSTIFY = review_pb2.REVIEW_ACTION_JUSTIFY
CLOSE = review_pb2.REVIEW_ACTION_CLOSE
CONFIRM = review_pb2.REVIEW_ACTION_CONFIRM
CONTEST = review_pb2.REVIEW_ACTION_CONTEST
REOPEN = review_pb2.REVIEW_ACTION_REOPEN
IN_ORDER = review_pb2.REVIEW_VERDICT_IN_ORDER
FINDING = review_pb2.REVIEW_VERDICT_FINDING

_STATING = frozenset({CLOSE, CONFIRM})
_EXPLAINING = frozenset({JUSTIFY, CONTEST, REOPEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What is drawn from: a ReviewDrawBody, well formed.

    Attributes:
        review_id: digest of the body, 32 bytes.
        size: of the head that the drawer stated.
        root: of that head, 32 bytes.
        first, end: the range, end exclusive, within the head.
        strategy: RANDOM or RISK.
        organisation: credit code; empty for any.
        resource: an id, or a prefix that ends in "/*"; empty for any.
    """

    review_id: bytes
    origin: str
    size: int
    root: bytes
    first: int
    end: int
    count: int
    strategy: int
    organisation: str
    resource: str
    issued_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """An entry that was drawn.

    Attributes:
        party: who answers for it: a credit code, or the SPIFFE id of a person; empty for nobody.
        rules: that made it likely, ascending.
    """

    index: int
    party: str
    rules: tuple["review_pb2.ReviewRule.ValueType", ...] = ()

    @property
    def person(self) -> str:
        """SPIFFE id of the person of the region whose act it records; empty where there is none."""
        return self.party if self.party.startswith(SCHEME) else ""

    @property
    def organisation(self) -> str:
        """Credit code of the organisation that answers for it; empty where none does."""
        return "" if self.person else self.party


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of a review: a ReviewEventBody, well formed for its action."""

    review_id: bytes
    item: int
    revision: int
    action: int
    assignee: str
    text: str
    verdict: int
    issued_at_ms: int
    selected: tuple[Selected, ...]
    population: int


def read_draw(statement: common_pb2.Statement) -> Draw:
    """Return the draw that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized: the body breaks a rule; the subject names the part.
    """
    body = read_body(review_pb2.ReviewDrawBody, statement.body, "draw", most=MAX_DRAW_BYTES)
    if body.version != VERSION:
        raise Malformed("version")
    head = body.head
    if len(body.nonce) != NONCE_BYTES or not body.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    if len(head.root) != DIGEST_BYTES or not 0 < len(head.origin) <= MAX_ORIGIN or head.size > MAX_INDEX:
        raise Malformed("head")
    if not body.first < body.end <= head.size:
        raise Malformed("range")
    if body.end - body.first > MAX_RANGE:
        raise Oversized("range")
    if not 1 <= body.count <= MAX_COUNT:
        raise Malformed("count")
    if body.strategy not in (RANDOM, RISK):
        raise Malformed("strategy")
    if body.organisation and not CREDIT_CODE.fullmatch(body.organisation):
        raise Malformed("organisation")
    check_text(body.resource, "resource", most=MAX_RESOURCE)
    check_words(body.note, "note")
    return Draw(
        review_id=digest(REVIEW_DRAW, statement.body),
        origin=head.origin,
        size=head.size,
        root=head.root,
        first=body.first,
        end=body.end,
        count=body.count,
        strategy=body.strategy,
        organisation=body.organisation,
        resource=body.resource,
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
    )


def read_event(statement: common_pb2.Statement) -> Event:
    """Return the step that a statement holds. Signature and signer are not looked at.

    A text is needed to justify, contest and reopen, and wherever something was found; a verdict to close and
    confirm; an assignee to assign. None of them may be given elsewhere.

    Raises:
        Malformed, Oversized: the body breaks a rule; the subject names the part.
    """
    body = read_body(review_pb2.ReviewEventBody, statement.body, "review event", most=MAX_EVENT_BYTES)
    if len(body.nonce) != NONCE_BYTES or len(body.review_id) != DIGEST_BYTES:
        raise Malformed("nonce or review_id")
    if not body.HasField("issued_at") or body.action not in review_pb2.ReviewAction.values():
        raise Malformed("issued_at or action")
    if body.action == SELECT:
        _check_selection(body)
    else:
        _check_step(body)
    parties = "", *body.parties
    return Event(
        review_id=body.review_id,
        item=body.item,
        revision=body.revision,
        action=body.action,
        assignee=body.assignee,
        text=body.text,
        verdict=body.verdict,
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
        selected=tuple(
            Selected(index=one.index, party=parties[one.party], rules=tuple(one.rules))
            for one in body.selected
        ),
        population=body.population,
    )


def _check_step(body: review_pb2.ReviewEventBody) -> None:
    action = body.action
    if not action or body.revision < 1 or body.item > MAX_INDEX:
        raise Malformed("action, revision or item")
    if body.selected or body.population or body.parties:
        raise Malformed("selected")
    if bool(body.assignee) != (action == ASSIGN) or len(body.assignee) > MAX_URI_CHARS:
        raise Malformed("assignee")
    if action in _STATING:
        if body.verdict not in (IN_ORDER, FINDING):
            raise Malformed("verdict")
    elif body.verdict:
        raise Malformed("verdict")
    needed = action in _EXPLAINING or body.verdict == FINDING
    check_words(body.text, "text", least=1 if needed else 0)


def _check_selection(body: review_pb2.ReviewEventBody) -> None:
    if body.item or body.revision or body.assignee or body.text or body.verdict:
        raise Malformed("selection")
    if len(body.selected) > MAX_COUNT or body.population > MAX_RANGE:
        raise Oversized("selected")
    if len(body.selected) > body.population or not _ascending([one.index for one in body.selected]):
        raise Malformed("selected")
    parties = body.parties
    if len(set(parties)) != len(parties) or not all(0 < len(one) <= MAX_URI_CHARS for one in parties):
        raise Malformed("parties")
    for one in body.selected:
        if one.party > len(parties) or len(one.rules) > MAX_RULES or not _ascending(one.rules):
            raise Malformed("selected")


def selection_body(
    *,
    nonce: bytes,
    review_id: bytes,
    selected: Sequence[Selected],
    population: int,
    issued_at_ms: int,
) -> review_pb2.ReviewEventBody:
    """Return the body by which a gateway states what was drawn.

    Args:
        nonce: 16 random bytes.
        review_id: 32 bytes.
        selected: ascending.
        population: how many entries could have been drawn.
        issued_at_ms: Unix milliseconds.
    """
    body = review_pb2.ReviewEventBody(nonce=nonce, review_id=review_id, action=SELECT, population=population)
    body.issued_at.FromMilliseconds(issued_at_ms)
    places: dict[str, int] = {"": 0}
    for one in selected:
        party = places.setdefault(one.party, len(places))
        body.selected.add(index=one.index, party=party, rules=one.rules)
    body.parties.extend(list(places)[1:])
    return body


def check_words(text: str, subject: str, *, least: int = 0) -> None:
    """Refuse words that are too many, or hold a citizen id: what is in the log stays there.

    Raises:
        Malformed, Oversized: with the subject given.
    """
    check_text(text, subject, least=least, most=MAX_TEXT)
    if holds_citizen_id(text):
        raise Malformed(f"{subject}: a citizen id")


def _ascending(numbers: Sequence[int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(numbers))
