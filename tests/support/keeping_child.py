"""A process that appends, seals and erases until it is killed, and tells each entry once it is durable.

Run as `python -m tests.support.keeping_child FOLDER NOW`; a line on standard output is index and leaf of one
entry. NOW is where its clock begins, Unix milliseconds; each append moves it on by three hours.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from exchange.errors import ExchangeError
from exchange.telemetry import set_up_logs
from gateway.audit.keeping.terms import DAY_MS, Terms
from gateway.audit.log.logged import Logged
from tests.support.keeping import KeptLog, aged, child_keys

STEP_MS = DAY_MS // 8
TERMS = Terms(seal_after_ms=30 * DAY_MS, keep_ms=90 * DAY_MS, segment_entries=256)
SUBMISSION = 64


async def keep_for_ever(folder: Path, now_ms: int) -> None:
    """Append without end, with the keeper beside it."""
    kept = KeptLog(folder, keys=child_keys(folder), terms=TERMS)
    kept.clock.now = now_ms
    await kept.log.open()

    def go() -> None:
        kept.clock.now += STEP_MS
        first = kept.log.head.size
        leaves = [aged(number, kept.clock.now) for number in range(first, first + SUBMISSION)]

        def done(outcome: Sequence[Logged] | ExchangeError) -> None:
            assert not isinstance(outcome, ExchangeError), outcome
            lines = [f"{place.index} {leaf.hex()}\n" for leaf, place in zip(leaves, outcome, strict=True)]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
            go()

        kept.log.submit(leaves, done)

    go()
    while True:
        await kept.keeper.step()
        await asyncio.sleep(0)


if __name__ == "__main__":
    set_up_logs("keeper")
    asyncio.run(keep_for_ever(Path(sys.argv[1]), int(sys.argv[2])))
