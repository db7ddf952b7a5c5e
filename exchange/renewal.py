"""Keeps a certificate renewed: from two thirds of its life on, until the authority gives a new one."""

import asyncio
from collections.abc import Callable

import structlog

from exchange.clock import Clock
from exchange.enrolment import IdentityFolder, renew
from exchange.errors import ExchangeError

LONGEST_PAUSE_S = 3600.0
SHORTEST_PAUSE_S = 1.0
LOOKS_PER_LIFE = 60


async def keep_renewed(held: IdentityFolder, *, clock: Clock, renewed: Callable[[], None]) -> None:
    """Renew whenever it is due; what fails is logged and tried again. Runs until cancelled.

    Args:
        held: the identity.
        clock: the time.
        renewed: called when a new key and certificate are in the folder.
    """
    log = structlog.get_logger("renewal")
    while True:
        certificate = held.certificate()
        life_s = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds()
        await asyncio.sleep(min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, life_s / LOOKS_PER_LIFE)))
        if not held.renewal_due(clock.now_ms()):
            continue
        try:
            await renew(held, clock=clock)
        except ExchangeError as error:
            log.warning("renewal failed", reason=error.name, subject=error.subject)
        else:
            renewed()
            log.info("certificate renewed")
