"""How often one caller may ask what costs the gateway more than a look-up: TOO_MANY beyond."""

from exchange.errors import TooMany
from exchange.identity import Identity
from gateway.access.buckets import Buckets

QUIET_MS = 60_000
"""How often callers that have been quiet are forgotten, at most."""


class CallRate:
    """Bounds a call per caller.

    Args:
        name: of the call, in refusals.
        burst: how many of one caller are answered at once.
        per_second: how many more each second.
        max_identities: how many callers are told apart.
    """

    def __init__(
        self, name: str, *, burst: int = 60, per_second: float = 2.0, max_identities: int = 10_000
    ) -> None:
        self._name = name
        self._buckets = Buckets(burst=burst, per_second=per_second, max_identities=max_identities)
        self._swept_ms = 0

    def admit(self, caller: Identity, now_ms: int) -> None:
        """Count a call.

        Args:
            caller: who asks.
            now_ms: Unix milliseconds.

        Raises:
            TooMany: the caller has asked too often; with the time until the next is answered.
        """
        if now_ms - self._swept_ms >= QUIET_MS:
            self._swept_ms = now_ms
            self._buckets.forget_quiet(now_ms)
        _, wait_ms = self._buckets.take(caller.uri, now_ms)
        if wait_ms:
            raise TooMany(self._name, retry_after_ms=wait_ms)
