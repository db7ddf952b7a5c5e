"""A process that appends entries to a log until it is killed, and tells each once it is durable.

Run as `python -m tests.support.audit_child FOLDER`; a line on standard output is index and leaf of one entry.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from exchange.errors import ExchangeError
from gateway.audit.log.logged import Logged
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import SIGNER, entry


async def append_for_ever(folder: Path) -> None:
    """Keep six submissions of different lengths under way."""
    log = sequencer_in(folder, signer=SIGNER)
    await log.open()
    numbers = iter(range(log.head.size, 10**9))

    def go(count: int) -> None:
        leaves = [entry(next(numbers), size=400) for _ in range(count)]

        def done(outcome: Sequence[Logged] | ExchangeError) -> None:
            assert not isinstance(outcome, ExchangeError), outcome
            lines = [f"{place.index} {leaf.hex()}\n" for leaf, place in zip(leaves, outcome, strict=True)]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
            go(count)

        log.submit(leaves, done)

    for count in (1, 2, 5, 17, 60, 300):
        go(count)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(append_for_ever(Path(sys.argv[1])))
