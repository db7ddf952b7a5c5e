"""Draws a review again from the entries of its range, and says whether the gateway drew honestly.

The gateway is not believed; what counts are the pinned root, the log's key and the caller's own arithmetic:
1. The entries of draw and selection are in the log, signed by an overseer and by a gateway.
2. The head that the draw names is one of this log.
3. The entries of the range are in the log, all of them and in order: their root is the head's.
4. Seed, population, weights and sample follow from them (`exchange.sampling`, `exchange.population`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from exchange import canonical
from exchange.checkpoint import Checkpoint, open_checkpoint
from exchange.errors import ReceiptBroken, RoleNotAllowed, WrongState
from exchange.identity import Role
from exchange.merkle import leaf_hash, split_hashes, verify_consistency
from exchange.population import Population, answerable
from exchange.receipt import verify_receipt
from exchange.review import Draw, Event, Selected, read_draw, read_event
from exchange.sampling import Sampler, seed_of
from exchange.spans import root_of_run
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2, audit_pb2_grpc, review_pb2
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.following import frames
from shuqiao.trust_files import LogKeys
from shuqiao.views import read_entry

ENTRIES_PER_SECOND = 500
"""How slowly entries may come before the reading is given up."""
OVERSEERS = frozenset({Role.OFFICER, Role.AUDITOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The outcome.

    Attributes:
        head: to which everything was proven.
        draw: as its drawer signed it.
        population: how many entries could have been drawn.
        missing: indexes that should have been drawn and are not among the items.
        extra: indexes among the items that should not have been drawn.
        wrong: indexes that were drawn rightly, with wrong rules or another party.
        population_stated: what the gateway says of the population.
    """

    head: Checkpoint
    draw: Draw
    population: int
    drawn: int
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    wrong: tuple[int, ...]
    population_stated: int

    @property
    def honest(self) -> bool:
        """Whether the items are exactly those that the draw leads to."""
        differs = self.missing or self.extra or self.wrong
        return not differs and self.population == self.population_stated


def check(
    channel: grpc.Channel, summary: review_pb2.ReviewSummary, *, keys: LogKeys, anchor: TrustAnchor
) -> Checked:
    """Draw a review again.

    Args:
        channel: to the gateway, as an officer or auditor: every entry of the range is read.
        summary: of the review.
        keys: of the region's logs.
        anchor: the pinned root.

    Raises:
        WrongState: the gateway has not stated the items yet.
        ReceiptBroken, LogForked, BadSignature, RoleNotAllowed: something is not what it must be.
    """
    if not summary.selection_index:
        raise WrongState(f"review {summary.review_id[:8].hex()} has no items yet")
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    (drawn, stated), head = _proven(stub, [summary.draw_index, summary.selection_index], keys)
    draw = _signed_draw(drawn, summary.review_id, anchor)
    event = _signed_selection(stated, summary.review_id, anchor)
    _check_head(stub, draw, head)
    population, parties = _read_range(channel, draw, head, event)
    return _compare(draw, event, head, population, parties, seed_of(drawn.salt, draw.review_id))


def _proven(
    stub: audit_pb2_grpc.AuditServiceStub, indexes: list[int], keys: LogKeys
) -> tuple[list[audit_pb2.AuditEntry], Checkpoint]:
    with calling():
        answer = stub.GetProofs(audit_pb2.GetProofsRequest(indexes=indexes), timeout=CALL_TIMEOUT_S)
    origin = answer.checkpoint.partition("\n")[0]
    head = open_checkpoint(answer.checkpoint, origin=origin, log_keys=keys.of(origin))
    if [receipt.index for receipt in answer.receipts] != indexes:
        raise ReceiptBroken("entries")
    return [verify_receipt(receipt, head) for receipt in answer.receipts], head


def _signed_draw(entry: audit_pb2.AuditEntry, review_id: bytes, anchor: TrustAnchor) -> Draw:
    told = entry.administrative
    verified = anchor.verify_statement(told.statement, canonical.REVIEW_DRAW, at_ms=entry.time_ms, trust=None)
    if verified.identity.role not in OVERSEERS:
        raise RoleNotAllowed(str(verified.identity))
    draw = read_draw(told.statement)
    if told.act != audit_pb2.ACT_REVIEW_DRAW or draw.review_id != review_id:
        raise ReceiptBroken("draw")
    return draw


def _signed_selection(entry: audit_pb2.AuditEntry, review_id: bytes, anchor: TrustAnchor) -> Event:
    told = entry.administrative
    verified = anchor.verify_statement(
        told.statement, canonical.REVIEW_EVENT, at_ms=entry.time_ms, trust=None
    )
    if verified.identity.role is not Role.GATEWAY:
        raise RoleNotAllowed(str(verified.identity))
    event = read_event(told.statement)
    if event.action != review_pb2.REVIEW_ACTION_SELECT or event.review_id != review_id:
        raise ReceiptBroken("selection")
    return event


def _check_head(stub: audit_pb2_grpc.AuditServiceStub, draw: Draw, head: Checkpoint) -> None:
    request = audit_pb2.GetConsistencyRequest(old_size=draw.size, new_size=head.size)
    with calling():
        proof = stub.GetConsistency(request, timeout=CALL_TIMEOUT_S).proof
    verify_consistency(draw.size, draw.root, head.size, head.root, split_hashes(proof))


def _read_range(
    channel: grpc.Channel, draw: Draw, head: Checkpoint, event: Event
) -> tuple[Population, dict[int, Selected]]:
    """Read every entry of the range once, keeping hashes; of what was stated to be drawn also who answers."""
    stated = {one.index for one in event.selected}
    population, hashes = Population(draw), list[bytes]()
    items: dict[int, bytes] = {}
    for index, leaf in _entries(channel, draw):
        hashes.append(leaf_hash(leaf))
        population.add(index, leaf)
        if index in stated:
            items[index] = leaf
    ends = sorted({draw.first, draw.end - 1})
    request = audit_pb2.GetProofsRequest(indexes=ends, size=head.size)
    with calling():
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        receipts = stub.GetProofs(request, timeout=CALL_TIMEOUT_S).receipts
    if [receipt.index for receipt in receipts] != ends:
        raise ReceiptBroken("entries")
    paths = receipts[0].proof, receipts[-1].proof
    if root_of_run(draw.first, hashes, head.size, paths) != head.root:
        raise ReceiptBroken("range")
    population.settle()
    return population, {index: answerable(index, read_entry(index, leaf)) for index, leaf in items.items()}


def _entries(channel: grpc.Channel, draw: Draw) -> Iterator[tuple[int, bytes]]:
    wanted = draw.end - draw.first
    request = audit_pb2.TailRequest(from_index=draw.first, limit=wanted)
    due = draw.first
    for frame in frames(channel, request, timeout_s=CALL_TIMEOUT_S + wanted / ENTRIES_PER_SECOND):
        for index, leaf in frame.entries:
            if index != due:
                raise ReceiptBroken(f"entry {due}")
            due += 1
            yield index, leaf
    if due != draw.end:
        raise ReceiptBroken(f"entry {due}")


def _compare(
    draw: Draw,
    event: Event,
    head: Checkpoint,
    population: Population,
    parties: dict[int, Selected],
    seed: bytes,
) -> Checked:
    sampler = Sampler(seed=seed, count=draw.count)
    for index, weight in population.weighted(0, len(population)):
        sampler.offer(index, weight)
    due, stated = set(sampler.drawn()), {one.index: one for one in event.selected}
    wrong = [
        index
        for index in due & set(stated)
        if stated[index].rules != population.rules(index) or stated[index].party != parties[index].party
    ]
    return Checked(
        head=head,
        draw=draw,
        population=sampler.population,
        drawn=len(due),
        missing=tuple(sorted(due - set(stated))),
        extra=tuple(sorted(set(stated) - due)),
        wrong=tuple(sorted(wrong)),
        population_stated=event.population,
    )
