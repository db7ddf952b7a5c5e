"""Officers' stream and search against real processes that are killed under load."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exchange.v1 import audit_pb2
from gateway.audit.entries.filters import Filter, facts_of
from shuqiao.cli.app import run
from shuqiao.demo.cast import AUDITOR, OFFICER, RESOURCE
from shuqiao.demo.world import GATEWAY
from shuqiao.following import follow
from tests.support.real_region import CASE, Load, RealRegion, ask, until

pytestmark = [pytest.mark.system, pytest.mark.alone]

COMMAND = [sys.executable, "-c", "from shuqiao.cli import main; main()"]
RELEASED = audit_pb2.EntryFilter(resource=RESOURCE, decisions=[audit_pb2.DECISION_RELEASED])
TYPED = ("--resource", RESOURCE, "--decision", "released")


def _context(world: RealRegion, who: str) -> str:
    return str(world.world.layout.people / who / "context.toml")


@contextmanager
def following(world: RealRegion, out: Path, place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Follow the log in a process of its own, into a file."""
    arguments = ["--context", _context(world, OFFICER), "--json", "audit", "tail", "--follow"]
    with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
        process = subprocess.Popen(
            [*COMMAND, *arguments, "--cursor", str(place), *TYPED], stdout=stdout, stderr=stderr
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def indexes(out: Path) -> list[int]:
    """Return the indexes of the whole lines that were written."""
    whole, _, _ = out.read_bytes().rpartition(b"\n")
    return [json.loads(line)["index"] for line in whole.splitlines()]


def hundred_more(out: Path) -> None:
    seen = len(indexes(out))
    until(lambda: len(indexes(out)) >= seen + 100, "entries followed")


def wanted(world: RealRegion) -> list[int]:
    """Return what the log holds of it, read to its end without a filter."""
    fitting = Filter(RELEASED)
    frames = follow(lambda: world.world.at_gateway(AUDITOR), first=0, go_on=False)
    return [entry.entry for frame in frames for entry in frame.entries if fitting.fits(facts_of(entry.leaf))]


def test_a_follower_misses_and_repeats_nothing_while_the_gateway_is_killed_under_load(
    world: RealRegion, tmp_path: Path
) -> None:
    first, second, place = tmp_path / "first", tmp_path / "second", tmp_path / "place"
    with Load(world) as load:
        with following(world, first, place):
            for _ in range(2):
                hundred_more(first)
                world.world.processes[GATEWAY].kill()
                world.world.restart(GATEWAY)
            hundred_more(first)
        # The follower itself was killed, too; another one goes on from the place it kept.
        with following(world, second, place):
            hundred_more(second)
            load.end()
            whole = wanted(world)
            until(lambda: indexes(second)[-1] == whole[-1], "the follower is at the end of the log")
    before, after = indexes(first), indexes(second)
    assert before == sorted(set(before)) and after == sorted(set(after))
    assert sorted({*before, *after}) == whole
    # Lines that were out before the place was kept may come again, with the same index.
    assert len([index for index in after if index <= before[-1]]) <= 256
    assert b"GATEWAY_AWAY" in first.with_suffix(".err").read_bytes()
    assert all(failure.retryable for failure in load.failures), {str(f) for f in load.failures}


def _told(world: RealRegion, who: str, *arguments: str) -> list[Any]:
    stdout, stderr = io.StringIO(), io.StringIO()
    arguments = ("--context", _context(world, who), "--json", "audit", *arguments)
    code = run(arguments, stdout=stdout, stderr=stderr, environ=dict(os.environ))
    assert code == 0, stdout.getvalue()
    return [json.loads(line) for line in stdout.getvalue().splitlines()]


def test_what_is_searched_for_is_found_and_the_search_is_an_entry_that_names_no_case(
    world: RealRegion,
) -> None:
    with world.client() as client:
        receipt = ask(client, world.person).receipt
    assert receipt is not None
    found = _told(world, OFFICER, "search", "--case", CASE, "--newest", "--limit", "20")
    assert receipt.index in [entry["index"] for entry in found]
    assert {entry["case_number"] for entry in found} == {CASE}
    (read,) = _told(
        world, AUDITOR, "search", "--act", "read", "--actor", _officer(world), "--newest", "-n", "1"
    )
    assert read["subject"].startswith("Search: case=#") and CASE not in json.dumps(read)


def test_stream_and_search_hold_no_value_and_no_personal_data(world: RealRegion) -> None:
    person = world.person
    with world.client() as client:
        ask(client, person)
    told = json.dumps(_told(world, AUDITOR, "tail"), ensure_ascii=False)
    told += json.dumps(_told(world, AUDITOR, "search", "--limit", "0"), ensure_ascii=False)
    home = world.world.layout.home(GATEWAY)
    held = b"".join(path.read_bytes() for path in home.glob("search.db*"))
    assert held
    for value in (person.citizen_id, person.name):
        assert value not in told and value.encode() not in held
    # Cases and operators are in the log, but not in its projection.
    assert CASE in told and CASE.encode() not in held


def _officer(world: RealRegion) -> str:
    return next(
        entry["actor"]
        for entry in _told(world, AUDITOR, "tail")
        if entry.get("act") == "read" and "/officer/" in entry["actor"]
    )
