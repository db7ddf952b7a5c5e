"""What people do with reviews, as calls: shared by the command and whoever else reviews.

Every function takes an open channel to the gateway; those that change something also take the signer whose
statement the log will hold. Failures are ExchangeErrors.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import grpc

from exchange import canonical
from exchange.checkpoint import Checkpoint
from exchange.clock import Clock, Random
from exchange.errors import DeadlinePassed, UnknownEntry
from exchange.identity import Identity, Role
from exchange.review import ASSIGN, CLOSE, CONFIRM, CONTEST, JUSTIFY, MAX_RANGE, VERSION
from exchange.timestamps import timestamp
from exchange.v1 import audit_pb2, common_pb2, review_pb2, review_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling
from shuqiao.regional import PAGE, Signer

DRAWN = review_pb2.REVIEW_ITEM_STATE_DRAWN
ASSIGNED = review_pb2.REVIEW_ITEM_STATE_ASSIGNED
JUSTIFIED = review_pb2.REVIEW_ITEM_STATE_JUSTIFIED
CLOSING = review_pb2.REVIEW_ITEM_STATE_CLOSING
DRAW_CALLS = 60
"""How often a draw is asked for until the gateway has drawn; each call waits for some seconds."""

OPEN_TO: Mapping[int, frozenset[int]] = {
    ASSIGN: frozenset({DRAWN}),
    JUSTIFY: frozenset({ASSIGNED}),
    CLOSE: frozenset({JUSTIFIED}),
    CONFIRM: frozenset({CLOSING}),
    CONTEST: frozenset({CLOSING}),
}
"""The states in which an item is due for an action; more may be possible with items that are named."""


class Drawn(NamedTuple):
    """A review that was drawn."""

    review_id: bytes
    entry: int
    selection: int


class Stepped(NamedTuple):
    """An item after a step."""

    item: int
    state: "review_pb2.ReviewItemState.ValueType"
    entry: int


class Held(NamedTuple):
    """A review with its items."""

    summary: review_pb2.ReviewSummary
    items: list[review_pb2.ReviewItem]


def draw(
    channel: grpc.Channel,
    signer: Signer,
    head: Checkpoint,
    *,
    strategy: "review_pb2.ReviewStrategy.ValueType",
    count: int,
    clock: Clock,
    random: Random,
    first: int | None = None,
    end: int | None = None,
    organisation: str = "",
    resource: str = "",
    note: str = "",
) -> Drawn:
    """Draw a sample and wait until the gateway has stated its items.

    Args:
        channel: to the gateway.
        signer: an officer or auditor.
        head: a verified head of the log.
        strategy: random or by risk.
        count: how many entries, 1 to 500.
        clock: for the time of signing.
        random: for the nonce.
        first: index of the first entry of the range; as far back as a draw may go where None.
        end: index after the last; the head's size where None.
        organisation, resource, note: as in ReviewDrawBody.

    Raises:
        DeadlinePassed: it is drawn, but its items are not stated yet.
    """
    last = head.size if end is None else end
    body = review_pb2.ReviewDrawBody(
        version=VERSION,
        nonce=random(canonical.NONCE_BYTES),
        head=common_pb2.LogHead(origin=head.origin, size=head.size, root=head.root),
        first=max(0, last - MAX_RANGE) if first is None else first,
        end=last,
        count=count,
        strategy=strategy,
        organisation=organisation,
        resource=resource,
        note=note,
        issued_at=timestamp(clock.now_ms()),
    )
    request = review_pb2.DrawRequest(draw=signer.sign(canonical.REVIEW_DRAW, body.SerializeToString()))
    stub = review_pb2_grpc.ReviewServiceStub(channel)
    # The same statement again enters nothing more; it only waits on.
    for _ in range(DRAW_CALLS):
        with calling():
            answer = stub.Draw(request, timeout=CALL_TIMEOUT_S)
        if answer.selection_index:
            return Drawn(answer.review_id, answer.index, answer.selection_index)
    raise DeadlinePassed(f"review {answer.review_id.hex()}", hop=HOP)


def list_reviews(channel: grpc.Channel) -> list[review_pb2.ReviewSummary]:
    """Return the reviews that concern the caller, oldest first."""
    stub, found, token = review_pb2_grpc.ReviewServiceStub(channel), list[review_pb2.ReviewSummary](), ""
    while True:
        with calling():
            request = review_pb2.ListReviewsRequest(page_size=PAGE, page_token=token)
            answer = stub.ListReviews(request, timeout=CALL_TIMEOUT_S)
        found.extend(answer.reviews)
        token = answer.next_page_token
        if not token:
            return found


def find_review(channel: grpc.Channel, text: str) -> bytes:
    """Return the id of the one review whose id begins with a text.

    Raises:
        UnknownEntry: there is none, or more than one.
    """
    fitting = [one.review_id for one in list_reviews(channel) if one.review_id.hex().startswith(text.lower())]
    if not text or len(fitting) != 1:
        named = ", ".join(review_id[:6].hex() for review_id in fitting[:8])
        raise UnknownEntry(f"review {text}" + (f": {named}" if named else ""), hop=HOP)
    return fitting[0]


def get_review(channel: grpc.Channel, review_id: bytes, items: Sequence[int] = ()) -> Held:
    """Return a review with the items that the caller may see, or with some of them."""
    stub, found, token = review_pb2_grpc.ReviewServiceStub(channel), list[review_pb2.ReviewItem](), ""
    while True:
        with calling():
            request = review_pb2.GetReviewRequest(
                review_id=review_id, items=items, page_size=PAGE, page_token=token
            )
            answer = stub.GetReview(request, timeout=CALL_TIMEOUT_S)
        found.extend(answer.items)
        token = answer.next_page_token
        if not token:
            return Held(answer.review, found)


def step(
    channel: grpc.Channel,
    signer: Signer,
    review_id: bytes,
    items: Sequence[review_pb2.ReviewItem],
    action: "review_pb2.ReviewAction.ValueType",
    *,
    clock: Clock,
    random: Random,
    assignee: str = "",
    text: str = "",
    verdict: "review_pb2.ReviewVerdict.ValueType" = review_pb2.REVIEW_VERDICT_UNSPECIFIED,
) -> Iterator[Stepped]:
    """Take the same step with items, one after the other.

    Args:
        channel: to the gateway.
        signer: whose step it is.
        review_id: 32 bytes.
        items: as they stood when they were read; where another was quicker the step is WRONG_STATE.
        action: what to do.
        clock: for the time of signing.
        random: for nonces.
        assignee: SPIFFE id, to assign.
        text: what is asked, explained or found; to confirm a finding, that of the first person where empty.
        verdict: to close; what is confirmed is what the first person stated.
    """
    stub = review_pb2_grpc.ReviewServiceStub(channel)
    for item in items:
        body = review_pb2.ReviewEventBody(
            nonce=random(canonical.NONCE_BYTES),
            review_id=review_id,
            item=item.entry.index,
            revision=item.revision + 1,
            action=action,
            assignee=assignee,
            text=text or (found_text(item) if action == CONFIRM else ""),
            verdict=item.verdict if action == CONFIRM else verdict,
            issued_at=timestamp(clock.now_ms()),
        )
        statement = signer.sign(canonical.REVIEW_EVENT, body.SerializeToString())
        with calling():
            answer = stub.Act(review_pb2.ActRequest(event=statement), timeout=CALL_TIMEOUT_S)
        yield Stepped(item.entry.index, answer.state, answer.index)


def waits(item: review_pb2.ReviewItem, action: int) -> bool:
    """Return whether an item is due for an action, whoever takes it."""
    return item.state in OPEN_TO[action]


def may(item: review_pb2.ReviewItem, action: int, who: Identity, *, assignee: str = "") -> bool:
    """Return whether an item is somebody's to take an action with, as far as its entry and parties tell.

    The gateway judges by the same rules; asking first keeps refusals out of the log.

    Args:
        item: as it was read by `who`.
        action: one of OPEN_TO.
        who: would take it.
        assignee: SPIFFE id, to assign.
    """
    if action == JUSTIFY:
        return who.role in (Role.STEWARD, Role.ADMIN) or item.party == who.uri
    if item.party in (who.uri, assignee):
        return False
    if action == CLOSE:
        return item.assignee == who.uri
    return action == ASSIGN or item.closer != who.uri


def found_text(item: review_pb2.ReviewItem) -> str:
    """Return what the first of the two people wrote when stating the outcome; empty where nobody has."""
    for entry in reversed(item.history):
        told = audit_pb2.AuditEntry.FromString(entry.leaf).administrative
        body = review_pb2.ReviewEventBody.FromString(told.statement.body)
        if body.action == CLOSE:
            return body.text
    return ""
