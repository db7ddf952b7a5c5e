"""A keyed digest of a set of rows, kept up as rows come and go: it tells a damaged file from a whole one.

The sum of keyed BLAKE2b digests (RFC 7693) of the rows, modulo 2^256 (a multiset hash in the manner of Clarke
et al., MSet-Add-Hash): rows may be added and taken away in any order. Without the key nobody changes rows so
that the sum stays as it is.
"""

import hashlib
from collections.abc import Iterable

SUM_BYTES = 32
_MODULUS = 1 << (8 * SUM_BYTES)


class RowSum:
    """Digests of one table's rows.

    Args:
        key: secret, at most 64 bytes; empty tells damage only, no forgery.
        table: at most 16 ASCII characters; a row of one table is none of another.
    """

    def __init__(self, *, key: bytes, table: str) -> None:
        self._blank = hashlib.blake2b(key=key, digest_size=SUM_BYTES, person=table.encode())

    def one(self, index: int, data: bytes) -> int:
        """Return the digest of a row.

        Args:
            index: its key.
            data: everything else in it.
        """
        return self.many([(index, data)])

    def many(self, rows: Iterable[tuple[int, bytes]]) -> int:
        """Return the sum of the digests of rows, each with its key first; not reduced."""
        blank, number, total = self._blank.copy, int.from_bytes, 0
        for index, data in rows:
            state = blank()
            state.update(index.to_bytes(8) + data)
            total += number(state.digest())
        return total


def added(total: bytes, change: int) -> bytes:
    """Return a sum after rows were added and taken away.

    Args:
        total: 32 bytes.
        change: digests of rows added, less those of rows taken away.
    """
    return ((int.from_bytes(total) + change) % _MODULUS).to_bytes(SUM_BYTES)
