"""Refuses an exchange id that was used before, for as long as a request that carries it could be admitted.

A request is admitted within 60 s of its issue, so an id is dangerous for two minutes. Ids are kept in memory;
what was issued before this process started is refused, so a restart opens no gap: what a crash loses are ids
whose requests are too old to be admitted again.
"""

from exchange.errors import Replayed

MAX_SKEW_MS = 60_000


class ReplayWindow:
    """The ids of the last two to three minutes, in generations.

    Args:
        started_ms: when the process started, Unix milliseconds.
    """

    def __init__(self, *, started_ms: int) -> None:
        self._started_ms = started_ms
        self._current: set[bytes] = set()
        self._older: list[tuple[int, set[bytes]]] = []
        self._turn_ms = started_ms + MAX_SKEW_MS

    def admit(self, exchange_id: bytes, *, issued_at_ms: int, now_ms: int) -> None:
        """Note an id.

        Args:
            exchange_id: 16 bytes.
            issued_at_ms: when the request says it was made; within 60 s of now, as checked before.
            now_ms: Unix milliseconds.

        Raises:
            Replayed: it was used before, or is older than this process (as gateway or as provider).
        """
        if now_ms >= self._turn_ms:
            self._turn(now_ms)
        if issued_at_ms < self._started_ms:
            raise Replayed("issued before the gateway started")
        if exchange_id in self._current or any(exchange_id in ids for _, ids in self._older):
            raise Replayed(exchange_id.hex())
        self._current.add(exchange_id)

    def _turn(self, now_ms: int) -> None:
        self._older.append((now_ms, self._current))
        self._current = set()
        self._older = [(at, ids) for at, ids in self._older if now_ms - at <= 2 * MAX_SKEW_MS]
        self._turn_ms = now_ms + MAX_SKEW_MS
