"""Blocks of entries: each is shown to lie in the log before any entry of it is read.

A block carries the hashes of its entries beside them, so that a fault has a place: where the hashes lead to
the head, an entry that does not fit its hash is the one that was altered; where the entries do and the hashes
do not, it is the hash; where neither does, the block as a whole is not the log's.
"""

from collections.abc import Iterator, Sequence

from exchange.checkpoint import Checkpoint
from exchange.errors import EvidenceBroken, ExchangeError
from exchange.evidence.findings import Check, Findings
from exchange.evidence.ranges import hashes_of, range_root
from exchange.merkle import split_hashes
from exchange.receipt import MAX_LEAF_BYTES
from exchange.v1 import evidence_pb2

MAX_ENTRIES = 256


def proven_entries(
    block: evidence_pb2.EvidenceBlock, head: Checkpoint, findings: Findings
) -> Iterator[tuple[int, bytes]]:
    """Yield index and exact bytes of the entries of a block that lie in the log.

    Args:
        block: untrusted.
        head: the head that counts.
        findings: takes what does not hold, entry by entry where that can be told.

    Raises:
        EvidenceBroken: the block breaks a bound.
    """
    leaves = block.leaves
    if not 0 < len(leaves) <= MAX_ENTRIES or max(map(len, leaves)) > MAX_LEAF_BYTES:
        raise EvidenceBroken("size of the block")
    if len(block.hashes) > MAX_ENTRIES * 32:
        raise EvidenceBroken("size of the block")
    got = hashes_of(leaves)
    if b"".join(got) == block.hashes:
        if _leads(block, got, head, findings, tell=True):
            yield from enumerate(leaves, block.first)
        return
    yield from _sorted_out(block, got, head, findings)


def _sorted_out(
    block: evidence_pb2.EvidenceBlock, got: Sequence[bytes], head: Checkpoint, findings: Findings
) -> Iterator[tuple[int, bytes]]:
    """Tell which entries or hashes are wrong, and yield the entries that are right."""
    try:
        due = split_hashes(block.hashes)
    except ExchangeError:
        due = []
    if _leads(block, due, head, findings, tell=False):
        yield from _against(block, due, got, findings)
    elif _leads(block, got, head, findings, tell=False):
        for place, one in enumerate(got):
            if place >= len(due) or one != due[place]:
                _tell(findings, block.first + place, "the hash beside it is another")
        if len(due) > len(got):
            _tell(findings, block.first + len(got), "a hash too many")
        yield from enumerate(block.leaves, block.first)
    else:
        _tell(findings, block.first + _first_difference(due, got), "neither entries nor hashes are the log's")


def _against(
    block: evidence_pb2.EvidenceBlock, due: Sequence[bytes], got: Sequence[bytes], findings: Findings
) -> Iterator[tuple[int, bytes]]:
    """Compare entries with hashes that are the log's."""
    held = {one: place for place, one in enumerate(got)}
    for place, one in enumerate(due):
        found = held.get(one)
        if found is None:
            _tell(findings, block.first + place, "altered or missing")
            continue
        if found != place and len(due) == len(got):
            _tell(findings, block.first + place, "moved")
        yield block.first + place, block.leaves[found]
    if len(got) > len(due):
        _tell(findings, block.first + _first_difference(due, got), "an entry too many")


def _leads(
    block: evidence_pb2.EvidenceBlock,
    hashes: Sequence[bytes],
    head: Checkpoint,
    findings: Findings,
    *,
    tell: bool,
) -> bool:
    about = "root"
    try:
        if range_root(block.first, hashes, head.size, block.left, block.right) == head.root:
            return True
    except ExchangeError as error:
        about = error.subject
    if tell:
        end = block.first + len(hashes)
        _tell(findings, block.first, f"entries {block.first} to {end - 1}: {about}")
    return False


def _first_difference(due: Sequence[bytes], got: Sequence[bytes]) -> int:
    for place, pair in enumerate(zip(due, got, strict=False)):
        if pair[0] != pair[1]:
            return place
    return min(len(due), len(got))


def _tell(findings: Findings, entry: int, about: str) -> None:
    findings.entry = entry
    findings.fault(Check.INCLUSION, about)
    findings.entry = None
