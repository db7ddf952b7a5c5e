"""Reviews: officers and auditors draw, assign, close and confirm; those who answer for an entry justify it.

1. A draw names a head that the log has; the range lies below it.
2. Overseers see every review. Stewards and administrators see the items that they answer for, and no others.
3. That entries are read here is an entry itself, durable before the first is shown.
4. Nothing is drawn from a range of which a part was erased: nobody could draw it again. An item whose entry
   was erased meanwhile is shown without it, so that the review can be brought to its end.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from exchange.errors import EntryErased, Malformed, UnknownEntry
from exchange.identity import Identity
from exchange.review import MAX_COUNT, SELECT, read_draw, read_event
from exchange.v1 import audit_pb2, common_pb2, review_pb2, review_pb2_grpc
from gateway import pages
from gateway.calls import Calls
from gateway.registrar import Registrar
from gateway.review.item import REVIEWERS, Item
from gateway.review.reviews import Review, Reviews, tally
from gateway.review.selection import Selection
from gateway.storage.ports import Gap

SERVICE = "/exchange.v1.ReviewService"

CheckHead = Callable[[common_pb2.LogHead], object]
"""Raises Malformed, LogBehind or LogForked where the log never had a head."""


class ReviewService(review_pb2_grpc.ReviewServiceServicer):
    """Serves the reviews.

    Args:
        registrar: enters draws, steps and readings.
        reviews: as they are folded.
        selection: draws.
        calls: what every call has around it.
        check_head: compares a head with the log.
        gaps: returns the ranges that were erased, ascending.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        reviews: Reviews,
        selection: Selection,
        calls: Calls,
        check_head: CheckHead,
        gaps: Callable[[], Sequence[Gap]],
    ) -> None:
        self._registrar = registrar
        self._reviews = reviews
        self._selection = selection
        self._calls = calls
        self._check_head = check_head
        self._gaps = gaps

    async def Draw(self, request: review_pb2.DrawRequest, context: Any) -> review_pb2.DrawResponse:
        """Draw a sample."""
        return await self._calls.run(f"{SERVICE}/Draw", request, context, self._draw)

    async def Act(self, request: review_pb2.ActRequest, context: Any) -> review_pb2.ActResponse:
        """Take a step with an item."""
        return await self._calls.run(f"{SERVICE}/Act", request, context, self._act)

    async def ListReviews(
        self, request: review_pb2.ListReviewsRequest, context: Any
    ) -> review_pb2.ListReviewsResponse:
        """List reviews, oldest first."""
        return await self._calls.run(f"{SERVICE}/ListReviews", request, context, self._list)

    async def GetReview(
        self, request: review_pb2.GetReviewRequest, context: Any
    ) -> review_pb2.GetReviewResponse:
        """Return items of a review."""
        return await self._calls.run(f"{SERVICE}/GetReview", request, context, self._get)

    async def _draw(self, request: review_pb2.DrawRequest, caller: Identity) -> review_pb2.DrawResponse:
        draw = read_draw(request.draw)
        self._check_head(common_pb2.LogHead(origin=draw.origin, size=draw.size, root=draw.root))
        for gap in self._gaps():
            if gap.first < draw.end and draw.first < gap.end:
                raise EntryErased(f"{gap.first} to {gap.end - 1}")
        index = await self._registrar.record(audit_pb2.ACT_REVIEW_DRAW, caller, request.draw)
        selection_index = await self._selection.wait(self._reviews.one(draw.review_id))
        return review_pb2.DrawResponse(review_id=draw.review_id, index=index, selection_index=selection_index)

    async def _act(self, request: review_pb2.ActRequest, caller: Identity) -> review_pb2.ActResponse:
        event = read_event(request.event)
        if event.action == SELECT:
            # The gateway's own to state, and never by a call.
            raise Malformed("action")
        index = await self._registrar.record(audit_pb2.ACT_REVIEW_EVENT, caller, request.event)
        item = self._reviews.one(event.review_id).items[event.item]
        return review_pb2.ActResponse(state=item.state, index=index)

    async def _list(
        self, request: review_pb2.ListReviewsRequest, caller: Identity
    ) -> review_pb2.ListReviewsResponse:
        most = pages.page_size(request.page_size)
        after = _position("reviews", request.page_token)
        found = self._reviews.page(caller, after, most + 1)
        told = [_summary(review, caller) for review in found]
        taken = pages.fitting(told, lambda one: one.ByteSize(), most=most)
        response = review_pb2.ListReviewsResponse(reviews=taken)
        if len(taken) < len(found):
            response.next_page_token = pages.token("reviews", str(taken[-1].draw_index))
        return response

    async def _get(
        self, request: review_pb2.GetReviewRequest, caller: Identity
    ) -> review_pb2.GetReviewResponse:
        most = pages.page_size(request.page_size)
        if len(request.items) > MAX_COUNT:
            raise Malformed("items")
        review = self._reviews.one(request.review_id)
        seen = review.seen_by(caller)
        if not review.concerns(caller):
            # The same answer as for a review that is not there.
            raise UnknownEntry(f"review {review.name}")
        list_name = f"review {review.name}"
        after, wanted = _position(list_name, request.page_token), frozenset(request.items)
        rest = [
            item
            for item in seen
            if item.selected.index > after and (not wanted or item.selected.index in wanted)
        ]
        await self._registrar.record_read(caller, f"GetReview {review.draw.review_id.hex()}")
        # In a thread: each entry may be in another sealed chunk.
        items = await asyncio.to_thread(self._fitting, rest[: most + 1], caller, most)
        response = review_pb2.GetReviewResponse(review=_summary(review, caller), items=items)
        if len(items) < len(rest):
            response.next_page_token = pages.token(list_name, str(items[-1].entry.index))
        return response

    def _fitting(self, items: Sequence[Item], caller: Identity, most: int) -> list[review_pb2.ReviewItem]:
        return pages.fitting(self._told(items, caller), lambda one: one.ByteSize(), most=most)

    def _told(self, items: Sequence[Item], caller: Identity) -> Iterator[review_pb2.ReviewItem]:
        overseer = caller.role in REVIEWERS
        for item in items:
            yield review_pb2.ReviewItem(
                entry=self._entry(item.selected.index),
                party=item.selected.party,
                rules=item.selected.rules if overseer else (),
                state=item.state,
                revision=item.revision,
                assignee=item.assignee,
                verdict=item.verdict,
                closer=item.closer,
                history=[self._entry(index) for index in item.history],
            )

    def _entry(self, index: int) -> audit_pb2.FoundEntry:
        try:
            return audit_pb2.FoundEntry(index=index, leaf=self._registrar.leaf(index))
        except EntryErased:
            return audit_pb2.FoundEntry(index=index)


def _summary(review: Review, caller: Identity) -> review_pb2.ReviewSummary:
    """Return a review in short; who only sees what they answer for is not told who drew, and why."""
    items, closed, findings = tally(review, caller)
    overseer = caller.role in REVIEWERS
    return review_pb2.ReviewSummary(
        review_id=review.draw.review_id,
        draw_index=review.index,
        selection_index=review.selection_index,
        drawer=review.drawer if overseer else "",
        draw=review.statement if overseer else None,
        population=review.population if overseer else 0,
        items=items,
        closed=closed,
        findings=findings,
        drawn_ms=review.drawn_ms,
    )


def _position(name: str, token: str) -> int:
    key = pages.key_of(name, token) or "-1"
    if not key.removeprefix("-").isdecimal():
        raise Malformed("page_token")
    return int(key)
