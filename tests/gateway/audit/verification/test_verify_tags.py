"""Whatever is done to the tags beside entries is found: in rows and, with the keys, in sealed segments."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.subject_tags import TAG_BYTES, tag_root
from exchange.v1 import audit_pb2
from gateway.audit.verification.tags import fits
from gateway.audit.verification.verify import verify_folder
from tests.support.audit import KEYS, ORIGIN, Outcome
from tests.support.keeping import START_MS, KeptLog

SIZE = 600
TAGGED = range(0, SIZE, 3)
UNTAGGED = 301
TAGGED_ONE = 300


def tags_of(number: int) -> list[bytes]:
    return [bytes([part]) + number.to_bytes(TAG_BYTES - 1) for part in range(1 + number % 4)]


def leaf(number: int, tags: list[bytes]) -> bytes:
    made = audit_pb2.AuditEntry(salt=number.to_bytes(16), version=1, gateway=ORIGIN, time_ms=START_MS)
    made.exchange.exchange_id = number.to_bytes(16)
    made.exchange.decision = audit_pb2.DECISION_RELEASED
    if tags:
        made.exchange.tag_period, made.exchange.tag_count = "2027Q1", len(tags)
        made.exchange.tag_root = tag_root(tags)
    return made.SerializeToString()


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[KeptLog]:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    for first in range(0, SIZE, 200):
        numbers = range(first, first + 200)
        tags = [tags_of(number) if number in TAGGED else [] for number in numbers]
        leaves = [leaf(number, one) for number, one in zip(numbers, tags, strict=True)]
        outcome = Outcome()
        kept.log.submit(leaves, outcome, [b"".join(one) for one in tags])
        await outcome.places()
    yield kept
    await kept.log.close()


def change(folder: Path, sql: str, *values: object) -> None:
    db = sqlite3.connect(folder / "audit.db")
    with db:
        db.execute(sql, values)
    db.close()


def found(kept: KeptLog) -> list[str]:
    return [str(fault) for fault in verify_folder(kept.folder, KEYS, keys=kept.keys).faults]


async def test_tags_as_they_were_entered_are_whole_in_rows_and_in_segments(kept: KeptLog) -> None:
    assert found(kept) == []
    await kept.seal()
    assert kept.log.sealed_size == 512 and found(kept) == []


DIFFERS = f"entry {TAGGED_ONE}: the tags beside it are not those whose root it holds"
HARM = {
    "altered": ("UPDATE beside SET data = zeroblob(length(data)) WHERE idx = 300", DIFFERS),
    "cut": ("UPDATE beside SET data = substr(data, 1, 31) WHERE idx = 300", DIFFERS),
    "of another": (
        "UPDATE beside SET data = (SELECT data FROM beside WHERE idx = 303) WHERE idx = 300",
        DIFFERS,
    ),
    "gone": ("DELETE FROM beside WHERE idx = 300", DIFFERS),
    "added": (
        "INSERT INTO beside VALUES (301, zeroblob(32))",
        f"entry {UNTAGGED}: the tags beside it are not those whose root it holds",
    ),
    "beyond": (
        "INSERT INTO beside VALUES (900, zeroblob(32))",
        "entry 900: has tags beside it, but lies beyond the head",
    ),
}


@pytest.mark.parametrize("harm", HARM)
async def test_tags_beside_a_row_that_are_not_those_entered_are_found(kept: KeptLog, harm: str) -> None:
    sql, fault = HARM[harm]
    change(kept.folder, sql)
    assert found(kept) == [fault]


async def test_beside_a_missing_entry_they_are_found_too(kept: KeptLog) -> None:
    change(kept.folder, "DELETE FROM entry WHERE idx = 300")
    change(kept.folder, "UPDATE beside SET data = zeroblob(32) WHERE idx = 303")
    assert sorted(found(kept)) == [
        "entry 300: has tags beside it, but is not there",
        "entry 300: missing",
        "entry 303: the tags beside it are not those whose root it holds",
    ]


async def test_tags_that_were_sealed_with_other_tags_are_found_with_the_keys(kept: KeptLog) -> None:
    change(kept.folder, "UPDATE beside SET data = zeroblob(32) WHERE idx = 6")
    await kept.seal()
    assert found(kept) == ["entry 6: the tags sealed beside it are not those whose root it holds"]
    assert verify_folder(kept.folder, KEYS).whole


def test_an_entry_fits_its_tags_alone() -> None:
    one, two = tags_of(7), tags_of(8)
    tagged = leaf(7, one)
    assert fits(tagged, b"".join(one)) and fits(leaf(5, []), b"")
    for beside in (b"", b"".join(two), b"".join(one)[:-1], b"".join(one[:1]), b"x"):
        assert not fits(tagged, beside)
    assert not fits(leaf(5, []), b"".join(one))
    # Bytes that look like a root where none is cost a parse, no fault.
    seeming = audit_pb2.AuditEntry.FromString(leaf(5, []))
    seeming.exchange.exchange_id = b"\xea\x01\x20" + bytes(13)
    assert fits(seeming.SerializeToString(), b"")
