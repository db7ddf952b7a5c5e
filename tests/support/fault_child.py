"""A process that appends to a log on a disk that may fail, until it is killed, and tells what it hears.

Run as `python -m tests.support.fault_child FOLDER FIRST`. Lines on standard output: "ok INDEX LEAF" for a
durable entry, "failed CODE" for a submission, "fault CODE" and "well" as the log's fault comes and goes,
"refused CODE" where it does not open.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from exchange.errors import ExchangeError
from gateway.audit.log.logged import Logged
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import SIGNER, entry

BEAT_S = 0.02


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


class Appender:
    """Keeps submissions of one length under way while the log is well."""

    def __init__(self, log: Sequencer, count: int, numbers: "Numbers") -> None:
        self._log = log
        self._count = count
        self._numbers = numbers
        self.waiting = True

    def go(self) -> None:
        leaves = [entry(next(self._numbers), size=200) for _ in range(self._count)]

        def done(outcome: Sequence[Logged] | ExchangeError) -> None:
            if isinstance(outcome, ExchangeError):
                say(f"failed {outcome.name}")
                self.waiting = True
                return
            say(*(f"ok {place.index} {leaf.hex()}" for leaf, place in zip(leaves, outcome, strict=True)))
            self.go()

        try:
            self._log.submit(leaves, done)
        except ExchangeError as error:
            say(f"failed {error.name}")
            self.waiting = True
        else:
            self.waiting = False


class Numbers:
    """Numbers that no other run uses: an entry is known by its own."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __next__(self) -> int:
        self._next += 1
        return self._next


async def append(folder: Path, first: int) -> None:
    log = sequencer_in(folder, signer=SIGNER, min_free_bytes=1 << 20, retry_s=0.05)
    try:
        await log.open()
    except ExchangeError as error:
        say(f"refused {error.name}")
        return
    numbers = Numbers(first)
    appenders = [Appender(log, count, numbers) for count in (1, 3, 20, 300)]
    told = ""
    while True:
        log.probe()
        fault = log.fault
        said = f"fault {fault.name}" if fault else "well"
        if said != told:
            told = said
            say(said)
        for appender in appenders:
            if appender.waiting and fault is None:
                appender.go()
        await asyncio.sleep(BEAT_S)


if __name__ == "__main__":
    asyncio.run(append(Path(sys.argv[1]), int(sys.argv[2])))
