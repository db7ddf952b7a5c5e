"""Draws a sample that anybody who holds the entries can draw again: hashing instead of chance.

1. The seed covers the draw as its drawer signed it and the salt that the gateway chose afterwards: the drawer
   cannot know the sample when signing, and cannot change the draw when knowing it.
2. Every entry has a ticket per unit of its weight, SHA-256(seed ‖ u64 index ‖ u32 number); its place is its
   smallest ticket. The entries with the smallest places are drawn, each once.
3. With equal weights this is sampling without replacement; with integer weights the chance to be drawn next
   is proportional to the weight, for the smallest of w independent tickets is a key as Efraimidis and
   Spirakis (2006) use it. Integers alone: the same on every platform.
"""

import heapq
from hashlib import sha256

from exchange.canonical import DIGEST_BYTES, NONCE_BYTES, SAMPLE
from exchange.errors import Malformed

MAX_WEIGHT = 64


def seed_of(salt: bytes, review_id: bytes) -> bytes:
    """Return the seed of a draw, 32 bytes.

    Args:
        salt: of the draw's log entry, 16 bytes.
        review_id: digest of the draw's body, 32 bytes.

    Raises:
        Malformed: one of them has another length.
    """
    if len(salt) != NONCE_BYTES or len(review_id) != DIGEST_BYTES:
        raise Malformed("seed")
    return sha256(SAMPLE + salt + review_id).digest()


class Sampler:
    """Takes entries one after the other and keeps the drawn ones; the order of offers does not matter.

    Args:
        seed: 32 bytes.
        count: how many entries to draw.

    Attributes:
        population: how many entries could have been drawn so far.
    """

    def __init__(self, *, seed: bytes, count: int) -> None:
        self._seeded = sha256(seed)
        self._count = count
        self.population = 0
        # A heap of negated places: the first is the worst of those that are kept.
        self._kept: list[tuple[int, int]] = []

    def offer(self, index: int, weight: int) -> None:
        """Let an entry take part.

        Args:
            index: of the entry; each index at most once.
            weight: 0 (never drawn) to 64.
        """
        if weight <= 0:
            return
        self.population += 1
        candidate = (-self._place(index, min(weight, MAX_WEIGHT)), index)
        if len(self._kept) < self._count:
            heapq.heappush(self._kept, candidate)
        elif candidate > self._kept[0]:
            heapq.heapreplace(self._kept, candidate)

    def drawn(self) -> list[int]:
        """Return the indexes drawn so far, ascending."""
        return sorted(index for _, index in self._kept)

    def _place(self, index: int, weight: int) -> int:
        named = self._seeded.copy()
        named.update(index.to_bytes(8, "big"))
        best = b""
        for number in range(weight):
            ticket = named.copy()
            ticket.update(number.to_bytes(4, "big"))
            value = ticket.digest()
            if not best or value < best:
                best = value
        return int.from_bytes(best, "big")
