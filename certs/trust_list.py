"""Makes the region's trust list: numbered, signed, written down, then told.

Invariant: a number is durable before anybody sees it, so that no number ever stands for two bodies. A crash
after the write and before the telling leaves a list that nobody saw; the next one has a higher number.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import sqlalchemy as sa

from certs.gateways import listed_gateways
from certs.records import CERTIFICATES, REVOKED_KIDS, TRUST_LISTS, Records
from exchange.canonical import TRUST_LIST
from exchange.errors import QueueFull, WrongState
from exchange.identity import Identity
from exchange.statement import StatementSigner
from exchange.trust import TrustList, read_trust_list
from exchange.v1 import common_pb2, trust_pb2


class TrustListPublisher:
    """Holds the newest trust list and makes the next.

    Args:
        records: what the list is made from, and where its number is kept.
        identity: of the authority.
        signer: returns the authority's signer for a time.
        max_age_s: how long L3 and L4 may be exchanged on one list.
        suite: cipher suite of the region.
        max_watchers: how many streams may watch at once.
    """

    def __init__(
        self,
        *,
        records: Records,
        identity: Identity,
        signer: Callable[[int], StatementSigner],
        max_age_s: int,
        suite: int,
        max_watchers: int,
    ) -> None:
        self._records = records
        self._identity = identity
        self._signer = signer
        self._max_age_s = max_age_s
        self._suite = suite
        self._max_watchers = max_watchers
        self._watchers = 0
        self._current: TrustList | None = None
        self._changed = asyncio.Event()

    @property
    def current(self) -> TrustList:
        """The newest list.

        Raises:
            WrongState: before the first.
        """
        if self._current is None:
            raise WrongState("trust list")
        return self._current

    @property
    def newest_number(self) -> int:
        """Number of the newest list, 0 before the first."""
        return self._current.number if self._current else 0

    def make(self, now_ms: int) -> TrustList:
        """Make and write down the next list; it counts here at once, and `tell` sends it out.

        Runs on the records' thread.
        """
        with self._records.begin() as connection:
            number = (connection.execute(sa.select(TRUST_LISTS.c.number)).scalar_one_or_none() or 0) + 1
            body = self._body(connection, number, now_ms).SerializeToString()
            statement = self._signer(now_ms).sign(TRUST_LIST, body)
            connection.execute(TRUST_LISTS.delete())
            connection.execute(
                TRUST_LISTS.insert().values(only=1, number=number, statement=statement.SerializeToString())
            )
        self._current = read_trust_list(statement)
        return self._current

    def tell(self) -> None:
        """Wake the watchers. Runs on the event loop."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[common_pb2.Statement]:
        """Yield the newest list and each that follows; a slow watcher gets the newest only.

        Raises:
            QueueFull: too many watch already.
        """
        if self._watchers >= self._max_watchers:
            raise QueueFull("watchers")
        self._watchers += 1
        try:
            told = 0
            while True:
                changed = self._changed
                current = self.current
                if current.number > told:
                    told = current.number
                    yield current.statement
                    continue
                await changed.wait()
        finally:
            self._watchers -= 1

    def _body(self, connection: sa.Connection, number: int, now_ms: int) -> trust_pb2.TrustListBody:
        body = trust_pb2.TrustListBody(
            number=number,
            division=self._identity.division,
            trust_domain=self._identity.trust_domain,
            max_age_s=self._max_age_s,
            suite=self._suite,
        )
        body.issued_at.FromMilliseconds(now_ms)
        body.gateways.extend(listed_gateways(connection))
        revoked = (
            sa.select(CERTIFICATES.c.serial)
            .where(CERTIFICATES.c.revoked_at_ms.is_not(None), CERTIFICATES.c.not_after_ms >= now_ms)
            .order_by(CERTIFICATES.c.id)
        )
        for serial in connection.execute(revoked).scalars():
            body.revoked_serials.append(serial_bytes(int(serial, 16)))
        body.revoked_kids.extend(
            connection.execute(sa.select(REVOKED_KIDS.c.kid).order_by(REVOKED_KIDS.c.kid)).scalars()
        )
        return body


def serial_bytes(serial: int) -> bytes:
    """Return a serial number as big-endian bytes without leading zeros."""
    return serial.to_bytes((serial.bit_length() + 7) // 8)
