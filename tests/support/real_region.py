"""A region of real processes for system tests: authority, gateway and four agents, with grants in force."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import ExchangeError
from shuqiao.client import Client
from shuqiao.demo.cast import GRANTED, HEALTH, MATTER, PURPOSE, RESOURCE
from shuqiao.demo.configurations import Settings
from shuqiao.demo.people import Person
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import World
from shuqiao.questions import Answer, Query

PATIENCE_S = 60.0
CASE = "LJ-2026-TEST-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRegion:
    """What tests act on."""

    world: World
    stage: Stage

    @property
    def person(self) -> Person:
        return self.stage.persons[0]

    def client(self, agent: str = HEALTH.agent) -> Client:
        return self.world.connect(agent)

    def entries(self) -> int:
        """Entries of the gateway's log, by its newest checkpoint."""
        return int(self.stage.checkpoint().split("\n")[1])


@contextmanager
def real_region(folder: Path, settings: Settings | None = None) -> Iterator[RealRegion]:
    """Run a region in a folder as long as the context lasts."""
    with World(folder, settings=settings) as world:
        stage = Stage(world)
        stage.set_up()
        yield RealRegion(world=world, stage=stage)


class Load:
    """Asks without end in a thread of its own, over whatever happens; keeps what was answered."""

    def __init__(self, world: RealRegion, *, in_flight: int = 8, pause_s: float = 0.0) -> None:
        self._world = world
        self._in_flight = in_flight
        self._pause_s = pause_s
        self._stop = threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[ExchangeError] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._stop.set()
        self._thread.join()

    def _queries(self) -> Iterator[Query]:
        while not self._stop.is_set():
            for person in self._world.stage.persons:
                self._stop.wait(self._pause_s)
                yield Query(
                    resource=RESOURCE,
                    fields=["name"],
                    parameters={"citizen_id": person.citizen_id},
                    purpose=PURPOSE,
                    matter=MATTER,
                    case=CASE,
                )

    def _run(self) -> None:
        with self._world.client() as client:
            for outcome in client.query_many(self._queries(), in_flight=self._in_flight):
                if isinstance(outcome, Answer):
                    self.answers.append(outcome)
                else:
                    self.failures.append(outcome)
                if self._stop.is_set():
                    return


def ask(client: Client, person: Person, fields: tuple[str, ...] = GRANTED, case: str = CASE) -> Answer:
    """Ask for a household record as the demonstration does."""
    return client.query(
        RESOURCE,
        fields=fields,
        parameters={"citizen_id": person.citizen_id},
        purpose=PURPOSE,
        matter=MATTER,
        case=case,
    )


def until(holds: Callable[[], object], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds; fails the test when it does not in time."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {patience_s:g} s"
        time.sleep(0.02)


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines, by process id, of the running processes that were started with a folder's files."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"{folder}/" in line and state != "Z":
                found[int(entry.name)] = line
    return found
