"""A region of real processes for system tests: authority, gateway and four agents, with grants in force."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shuqiao.client import Client
from shuqiao.demo.cast import GRANTED, HEALTH, INSURANCE, MATTER, POLICE, PURPOSE, RESOURCE
from shuqiao.demo.people import Person
from shuqiao.demo.staging import Stage
from shuqiao.demo.configurations import Settings
from shuqiao.demo.world import World
from shuqiao.questions import Answer

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


__all__ = [
    "CASE",
    "INSURANCE",
    "POLICE",
    "RealRegion",
    "ask",
    "processes_of",
    "real_region",
    "until",
]
