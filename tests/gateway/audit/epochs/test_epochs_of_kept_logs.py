"""After a loss a log of which a part is sealed or erased goes on like any other, and loses nothing by it."""

import sqlite3
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.canonical import LOG_EPOCH
from exchange.clock import system_random
from exchange.errors import LogBehind, StoreDamaged
from exchange.identity import Role
from exchange.log_keys import Epoch, read_epoch
from exchange.v1 import audit_pb2
from gateway.act_entries import ActEntries
from gateway.audit.epochs.log_folder import LogFolder
from gateway.audit.epochs.log_state import load_state, signer_of
from gateway.audit.epochs.opening import open_epoch
from gateway.audit.epochs.proposal import propose
from gateway.audit.keeping.keeper import Keeper
from gateway.audit.verification.verify import Report, verify_folder
from gateway.audit.writing.folder import segments_in, sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from tests.support.audit import ORIGIN
from tests.support.keeping import GATEWAY, TERMS, KeptLog, aged, present
from tests.support.sealing import NOW_MS, StillClock
from tests.support.small_authority import SmallAuthority

SIZE, SEALED = 800, 768


class Place:
    """A stopped gateway's folder with a kept log, and two administrators."""

    def __init__(self, folder: Path) -> None:
        self.kept = KeptLog(folder)
        self.folder, self.keys = folder, self.kept.keys
        self.keys.put("log", bytes(SigningKey(bytes(range(32)))))
        self.paper = SmallAuthority()
        self.people = [self.paper.signer("", name, role=Role.ADMIN) for name in ("wang", "li")]

    @property
    def log(self) -> LogFolder:
        state = load_state(self.folder, self.keys, ORIGIN)
        return LogFolder(
            folder=self.folder, keystore=self.keys, state=state, anchor=self.paper.anchor(), trust=None
        )

    def sequencer(self) -> Sequencer:
        state = self.log.state
        files = segments_in(self.folder, origin=ORIGIN, keys=self.keys)
        return sequencer_in(
            self.folder, signer=signer_of(state, self.keys), files=files, ancestry=state.ancestry
        )

    def propose(self, keep: int | None = None) -> Epoch:
        return read_epoch(propose(self.log, heads=[], note="lost", keep=keep, clock=StillClock()))

    def open(self, epoch: Epoch) -> None:
        open_epoch(self.log, [person.sign(LOG_EPOCH, epoch.body) for person in self.people], now_ms=NOW_MS)

    async def begin(self) -> Sequencer:
        log = self.sequencer()
        await log.open()
        state = self.log.state
        made = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=state.origin, time_ms=NOW_MS)
        made.administrative.act = audit_pb2.ACT_LOG_EPOCH
        made.administrative.statement.CopyFrom(state.statements[0])
        made.administrative.countersignatures.extend(state.statements[1:])
        await log.append(made.SerializeToString())
        return log

    def verify(self) -> Report:
        return verify_folder(
            self.folder, self.log.state.verifying(), anchor=self.paper.anchor(), keys=self.keys
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def lose(place: Place, *, erased: bool = False) -> int:
    """Keep a log, and put a copy from before its last entries in its place; return how many are left."""
    kept = place.kept
    await kept.log.open()
    await kept.append(SIZE)
    await kept.seal()
    if erased:
        await kept.erase()
    await kept.append(20)
    left = kept.log.head.size
    await kept.log.close()
    copy = (place.folder / "audit.db").read_bytes()
    log = place.sequencer()
    await log.open()
    for number in range(10):
        await log.append(aged(2000 + number))
    await log.close()
    (place.folder / "audit.db").write_bytes(copy)
    behind = place.sequencer()
    with pytest.raises(LogBehind):
        await behind.open()
    return left


@pytest.mark.parametrize("erased", [False, True], ids=["sealed", "erased"])
async def test_a_log_with_segments_goes_on_after_a_loss(place: Place, erased: bool) -> None:
    left = await lose(place, erased=erased)
    epoch = place.propose()
    assert (epoch.kept_size, epoch.lost_size) == (left, left + 10)
    place.open(epoch)
    log = await place.begin()
    assert log.head.size == left + 1
    there = dict(present(log))
    assert all(there[index] == aged(index) for index in there if index < SIZE)
    assert (len(there) == left + 1) is not erased
    await log.close()
    assert place.verify().faults == []


@pytest.mark.parametrize("erased", [False, True], ids=["sealed", "erased"])
async def test_giving_up_entries_leaves_segments_and_what_is_beside_entries(
    place: Place, erased: bool
) -> None:
    left = await lose(place, erased=erased)
    db = sqlite3.connect(place.folder / "audit.db")
    with db:
        db.executemany("INSERT INTO beside VALUES (?, ?)", [(SIZE - 10, b"kept"), (left - 1, b"given up")])
    db.close()
    place.open(place.propose(keep=left - 2))
    log = await place.begin()
    assert log.head.size == left - 1
    assert [(one.first, one.end) for one in log.store.segments()] == [(0, 256), (256, 512), (512, 768)]
    assert log.beside(SIZE - 10, left) == {SIZE - 10: b"kept"}
    await log.close()
    # Nothing else is wrong: this entry holds no root of tags.
    assert [fault.place for fault in place.verify().faults] == [f"entry {SIZE - 10}"]


async def test_what_is_sealed_is_not_given_up_in_part(place: Place) -> None:
    await lose(place)
    for keep in (1, SEALED - 1):
        with pytest.raises(StoreDamaged, match="keep"):
            place.propose(keep=keep)


async def test_that_something_was_erased_is_not_given_up(place: Place) -> None:
    await lose(place, erased=True)
    with pytest.raises(StoreDamaged, match="says that segment 0-256 is erased"):
        place.propose(keep=SIZE)


async def test_what_the_log_said_of_a_segment_is_said_again_where_it_was_given_up(place: Place) -> None:
    await lose(place)
    place.open(place.propose(keep=SIZE))
    log = await place.begin()
    keeper = Keeper(
        log=log,
        files=place.kept.files,
        terms=TERMS,
        entries=ActEntries(origin=log.origin, clock=place.kept.clock, random=system_random),
        actor=GATEWAY,
        now=place.kept.clock.now_ms,
        pause_s=0.0,
    )
    while await keeper.step():
        pass
    assert [one.sealed_entry for one in log.store.segments()] == [SIZE + 1, SIZE + 2, SIZE + 3]
    assert log.leaves(0, SIZE) == [aged(number) for number in range(SIZE)]
    await log.close()
    assert place.verify().faults == []
