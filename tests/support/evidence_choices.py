"""Chooses what of a bundle is changed, and says where a change must show; see `evidence_mutations`."""

from collections.abc import Callable
from typing import Any

from exchange.evidence.records import Kind
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2
from tests.support.evidence_mutations import Changed, Mutator, Unfit, put, rehash

Change = Callable[[Mutator], Changed]


def is_exchange(entry: audit_pb2.AuditEntry) -> bool:
    return entry.HasField("exchange")


def is_answered(entry: audit_pb2.AuditEntry) -> bool:
    return bool(entry.exchange.response_digest)


def is_signed_act(entry: audit_pb2.AuditEntry) -> bool:
    return entry.administrative.HasField("statement")


def replaced(m: Mutator, number: int, message: Any, how: str, *entries: int) -> Changed:
    items = m.copy()
    put(items, number, message)
    return Changed(items, how, {number}, set(entries))


def with_leaf(m: Mutator, number: int, block: Any, place: int, leaf: bytes, how: str) -> Changed:
    """Replace an entry, and sometimes its hash too."""
    block.leaves[place] = leaf
    if m.draw.random() < 0.5:
        rehash(block)
        return replaced(m, number, block, f"{how}, rehashed")
    items = m.copy()
    put(items, number, block)
    return Changed(items, how, set(), {block.first + place})


def some_head(m: Mutator) -> tuple[int, evidence_pb2.EvidenceHead]:
    number = m.of(Kind.HEAD)
    return number, evidence_pb2.EvidenceHead.FromString(m.items[m.base][number][1])


def all_heads(m: Mutator) -> list[int]:
    return [n for n, (kind, _) in enumerate(m.items[m.base]) if kind is Kind.HEAD]


def head_at(m: Mutator, number: int) -> evidence_pb2.EvidenceHead:
    return evidence_pb2.EvidenceHead.FromString(m.items[m.base][number][1])


def some_attachment(m: Mutator, what: str) -> tuple[int, evidence_pb2.EvidenceAttachment]:
    found = []
    for number, (kind, raw) in enumerate(m.items[m.base]):
        if kind is Kind.ATTACHMENT:
            made = evidence_pb2.EvidenceAttachment.FromString(raw)
            if made.WhichOneof("what") == what:
                found.append((number, made))
    if not found:
        raise Unfit
    return m.draw.choice(found)


def some_trust(m: Mutator) -> tuple[int, common_pb2.Statement]:
    number = m.of(Kind.TRUST_LIST)
    return number, common_pb2.Statement.FromString(m.items[m.base][number][1])
