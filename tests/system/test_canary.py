"""Planted personal values appear nowhere at the gateway: no file, log, metric, error or memory."""

import base64
import json
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from exchange.errors import ExchangeError, VerifyLimit
from shuqiao.demo.cast import GRANTED, MATTER, POLICE, PURPOSE, RESOURCE
from shuqiao.demo.people import check_character
from shuqiao.demo.world import GATEWAY
from shuqiao.questions import Query
from tests.support.real_region import CASE, RealRegion, until

pytestmark = pytest.mark.system

CITIZEN = "97010219870611731" + check_character("97010219870611731")
RECORD = {
    "name": "欧阳鹮鹓鶵",
    "address": "云川省临江市东桥区鵷鶵巷8191号鸂鶒苑97栋",
    "household_number": "97010288172",
    "police_station": "鸀鳿派出所",
}
VALUES = {"citizen_id": CITIZEN, **RECORD}
ROUNDS = 3
PAGE = bytes(4096)
"""An empty one, longer than any form of a value."""


def forms(value: str) -> dict[str, bytes]:
    """A value as it may lie about: plain, hexadecimal, base64 at each of three offsets, escaped, UTF-16."""
    raw = value.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "json": json.dumps(value)[1:-1].encode(),
        "utf-16-le": value.encode("utf-16-le"),
        "utf-16-be": value.encode("utf-16-be"),
        "utf-32-le": value.encode("utf-32-le"),
    }
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + raw)
        # The first and last characters depend on the bytes beside the value.
        found[f"base64+{offset}"] = text[4 if offset else 0 : len(text) // 4 * 4 - 4]
    return found


NEEDLES = {f"{name} {form}": raw for name, value in VALUES.items() for form, raw in forms(value).items()}


def found_in(content: bytes) -> list[str]:
    return sorted(name for name, raw in NEEDLES.items() if raw in content)


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process may write to of its memory, region by region: values lie nowhere else."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            first, last = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(first)
                yield memory.read(last - first)
            except OSError:
                continue


def dense(region: bytes) -> bytes:
    """A region with one empty page for each run of them: most of it was never written to."""
    pages = (region[start : start + len(PAGE)] for start in range(0, len(region), len(PAGE)))
    runs = groupby(pages, PAGE.__eq__)
    return b"".join(PAGE if empty else b"".join(run) for empty, run in runs)


def in_memory(pid: int) -> list[str]:
    return sorted({name for region in memory_of(pid) for name in found_in(dense(region))})


@pytest.fixture(scope="module")
def planted(world: RealRegion) -> RealRegion:
    path = next(world.world.layout.databases.glob("*.db"))
    database = sqlite3.connect(path)
    try:
        row = (CITIZEN, RECORD["name"], "男", "1987-06-11", RECORD["household_number"], "户主")
        database.execute(
            "INSERT INTO household VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, RECORD["address"], RECORD["police_station"], "970102"),
        )
        database.commit()
    finally:
        database.close()
    return world


def _query(fields: tuple[str, ...] = GRANTED, case: str = CASE) -> Query:
    return Query(
        resource=RESOURCE,
        fields=fields,
        parameters={"citizen_id": CITIZEN},
        purpose=PURPOSE,
        matter=MATTER,
        case=case,
    )


class Asking:
    """Asks without end in a thread of its own: answers, verifications and refusals."""

    def __init__(self, world: RealRegion) -> None:
        self._world = world
        self._stop = threading.Event()
        self.answered = 0
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._world.client() as client:
            while not self._stop.is_set():
                for outcome in client.query_many([_query()] * 16, in_flight=16):
                    if isinstance(outcome, ExchangeError):
                        self.errors.append(str(outcome))
                    else:
                        assert outcome.records == [RECORD]
                        self.answered += 1
                for refused in client.query_many([_query(("name", "relation")), _query(case="")]):
                    self.errors.append(str(refused))
                try:
                    client.verify(
                        RESOURCE,
                        claims={"name": RECORD["name"], "address": RECORD["address"]},
                        parameters={"citizen_id": CITIZEN},
                        purpose=PURPOSE,
                        matter=MATTER,
                        case=CASE,
                    )
                except VerifyLimit as refused:
                    # The question has gone its whole way all the same, sealed.
                    self.errors.append(str(refused))


def test_every_form_is_found_where_it_is_planted() -> None:
    for name, raw in NEEDLES.items():
        assert len(raw) >= 8, name
        assert name in found_in(b"\1\2" + raw + b"\3")


@pytest.mark.parametrize("at", [0, 1, 4000, 4090, 4095])
def test_every_form_is_found_between_empty_pages_and_over_their_edges(at: int) -> None:
    for name, raw in NEEDLES.items():
        assert len(raw) < len(PAGE), name
        region = PAGE * 3 + bytes(at) + raw + bytes(-(at + len(raw)) % len(PAGE)) + PAGE * 2
        assert len(dense(region)) < len(region)
        assert name in found_in(dense(region))


def test_the_scan_finds_the_values_where_they_must_be(planted: RealRegion) -> None:
    """The provider's agent reads the values: a scan that misses them there would prove nothing."""
    pid = planted.world.processes[POLICE.agent].pid
    hits: set[str] = set()
    with Asking(planted) as asking:
        for _ in range(ROUNDS):
            hits.update(in_memory(pid))
            if {"citizen_id plain", "address plain"} <= hits:
                break
    assert asking.answered
    assert {"citizen_id plain", "address plain"} <= hits


def test_no_planted_value_is_in_the_gateways_memory(planted: RealRegion) -> None:
    pid = planted.world.processes[GATEWAY].pid
    with Asking(planted) as asking:
        for _ in range(ROUNDS):
            assert in_memory(pid) == []
    assert asking.answered
    assert in_memory(pid) == []


def test_no_planted_value_is_in_the_gateways_files_logs_metrics_or_errors(planted: RealRegion) -> None:
    with Asking(planted) as asking:
        until(lambda: asking.answered >= 32 and asking.errors, "answers and refusals")
    layout = planted.world.layout
    places = [path for path in layout.home(GATEWAY).rglob("*") if path.is_file()]
    places += [layout.log(GATEWAY), layout.config(GATEWAY)]
    assert len(places) > 5
    for path in places:
        assert found_in(_content(path)) == [], path.name
    for page in ("metrics", "ready"):
        with urllib.request.urlopen(f"{planted.world.metrics_url}/{page}", timeout=10) as answer:
            assert found_in(answer.read()) == [], page
    assert asking.errors
    assert found_in("\n".join(asking.errors).encode()) == []


def test_no_planted_value_is_in_any_process_log(planted: RealRegion) -> None:
    for path in planted.world.layout.root.glob("*.log"):
        assert found_in(_content(path)) == [], path.name


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # a temporary file that was replaced meanwhile
