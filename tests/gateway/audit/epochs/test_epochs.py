"""What a folder says of a loss, what two people open on it, and that a crash leaves one log or the other."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.canonical import LOG_EPOCH
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import (
    BadConfiguration,
    ExchangeError,
    LogBehind,
    LogForked,
    StoreDamaged,
    WrongState,
)
from exchange.identity import Role
from exchange.keystore import MemoryKeyStore
from exchange.log_keys import Epoch, read_epoch
from exchange.receipt import to_tlog_proof
from exchange.v1 import audit_pb2, common_pb2
from gateway.audit.epochs import opening
from gateway.audit.epochs.log_folder import LogFolder
from gateway.audit.epochs.log_state import load_state, signer_of
from gateway.audit.epochs.opening import open_epoch
from gateway.audit.epochs.proposal import propose
from gateway.audit.verification.verify import Report, verify_folder
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.ports import QuotaKey
from tests.support.audit import ORIGIN, Outcome, entry
from tests.support.sealing import NOW_MS, StillClock
from tests.support.small_authority import SmallAuthority

KEY = SigningKey(bytes(range(32)))
SIGNER = LogSigner(origin=ORIGIN, key=KEY)
EPOCH = f"{ORIGIN}/epoch-2"


class Place:
    """A stopped gateway's folder, and two administrators."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paper = SmallAuthority()
        self.anchor = self.paper.anchor()
        self.keystore = MemoryKeyStore()
        self.keystore.put("log", bytes(KEY))
        self.people = [self.paper.signer("", name, role=Role.ADMIN) for name in ("wang", "li")]

    @property
    def log(self) -> LogFolder:
        state = load_state(self.folder, self.keystore, ORIGIN)
        return LogFolder(
            folder=self.folder, keystore=self.keystore, state=state, anchor=self.anchor, trust=None
        )

    def sequencer(self) -> Sequencer:
        state = self.log.state
        return sequencer_in(self.folder, signer=signer_of(state, self.keystore), ancestry=state.ancestry)

    async def write(self, count: int) -> str:
        """Append entries; return the checkpoint."""
        log = self.sequencer()
        await log.open()
        for number in range(log.head.size, log.head.size + count):
            await log.append(entry(number))
        note = log.checkpoint
        await log.close()
        return note

    async def begin(self) -> Sequencer:
        """Start on the folder as a gateway does: the opening is the first entry."""
        log = self.sequencer()
        await log.open()
        state = self.log.state
        made = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=state.origin, time_ms=NOW_MS)
        act = made.administrative
        act.act = audit_pb2.ACT_LOG_EPOCH
        first, *more = state.statements
        act.statement.CopyFrom(first)
        act.countersignatures.extend(more)
        await log.append(made.SerializeToString())
        return log

    def propose(self, *heads: Path, keep: int | None = None) -> Epoch:
        return read_epoch(propose(self.log, heads=heads, note="lost", keep=keep, clock=StillClock()))

    def signed(self, epoch: Epoch) -> list[common_pb2.Statement]:
        return [person.sign(LOG_EPOCH, epoch.body) for person in self.people]

    def open(self, statements: Sequence[common_pb2.Statement]) -> Epoch:
        return open_epoch(self.log, statements, now_ms=NOW_MS)[0]

    def verify(self) -> Report:
        state = self.log.state
        return verify_folder(self.folder, state.verifying(), anchor=self.anchor)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def set_back(place: Place, kept: int, lost: int) -> str:
    """Write a log, and put a copy that was made before in its place; return the newest checkpoint."""
    await place.write(kept)
    copy = (place.folder / "audit.db").read_bytes()
    note = await place.write(lost)
    (place.folder / "audit.db").write_bytes(copy)
    with pytest.raises(LogBehind):
        await place.write(0)
    return note


async def test_the_high_water_copy_tells_what_is_lost(place: Place) -> None:
    note = await set_back(place, 20, 10)
    epoch = place.propose()
    assert (epoch.kept_size, epoch.lost_size, epoch.lost_checkpoint) == (20, 30, note)
    assert (epoch.origin, epoch.previous_origin, epoch.epoch) == (EPOCH, ORIGIN, 2)
    place.open(place.signed(epoch))
    log = await place.begin()
    assert (log.origin, log.head.size) == (EPOCH, 21)
    await log.close()
    report = place.verify()
    assert (report.faults, report.epochs[0].epoch.lost_size) == ([], 30)
    assert place.keystore.get("log") is None


@pytest.mark.parametrize("kind", ["checkpoint", "receipt", "heads", "witnessed"])
async def test_heads_that_others_hold_tell_what_is_lost(place: Place, kind: str) -> None:
    await set_back(place, 20, 10)
    note = SIGNER.sign(Checkpoint(ORIGIN, 44, bytes(32)))
    file = place.folder / ("witnessed" if kind == "witnessed" else "head")
    receipt = to_tlog_proof(audit_pb2.Receipt(leaf=entry(1), index=1), note)
    file.write_text({"receipt": receipt, "heads": json.dumps({ORIGIN: note})}.get(kind, note))
    epoch = place.propose() if kind == "witnessed" else place.propose(file)
    assert (epoch.kept_size, epoch.lost_size) == (20, 44)


async def test_a_head_that_the_log_never_signed_is_no_head(place: Place) -> None:
    await set_back(place, 20, 10)
    file = place.folder / "head"
    for text in ("", "x", "{}", LogSigner(origin=ORIGIN, key=SigningKey(bytes(32))).sign_text("a\n1\n\n")):
        file.write_text(text)
        with pytest.raises(BadConfiguration):
            place.propose(file)
    with pytest.raises(BadConfiguration):
        place.propose(place.folder / "none")


async def test_a_fork_is_cut_off_below_where_it_began(place: Place) -> None:
    await place.write(20)
    file = place.folder / "head"
    file.write_text(SIGNER.sign(Checkpoint(ORIGIN, 15, bytes(32))))
    with pytest.raises(LogForked):
        place.propose(file)
    with pytest.raises(BadConfiguration):
        place.propose(file, keep=21)
    epoch = place.propose(file, keep=10)
    assert (epoch.kept_size, epoch.lost_size) == (10, 20)
    place.open(place.signed(epoch))
    log = await place.begin()
    assert log.head.size == 11
    await log.close()
    assert place.verify().faults == []
    with sqlite3.connect(place.folder / "audit.db.epoch-1") as db:
        assert db.execute("SELECT count(*) FROM entry").fetchone() == (20,)
    db.close()


async def test_entries_are_kept_up_to_the_first_that_differs_from_its_tile(place: Place) -> None:
    await place.write(600)
    with sqlite3.connect(place.folder / "audit.db") as db:
        db.execute("UPDATE entry SET leaf = ? WHERE idx = 300", (entry(1),))
    db.close()
    epoch = place.propose()
    assert (epoch.kept_size, epoch.lost_size) == (300, 600)
    place.open(place.signed(epoch))
    await (await place.begin()).close()
    assert (place.verify().faults, place.verify().size) == ([], 301)


async def test_a_log_of_which_nothing_is_left_begins_with_the_opening(place: Place) -> None:
    note = await place.write(10)
    for path in place.folder.glob("audit.*"):
        path.unlink()
    (place.folder / "head").write_text(note)
    (place.folder / "high-water").unlink()
    epoch = place.propose(place.folder / "head")
    assert (epoch.kept_size, epoch.lost_size) == (0, 10)
    place.open(place.signed(epoch))
    log = await place.begin()
    assert log.head.size == 1
    await log.close()
    assert place.verify().faults == []
    await place.write(3)
    assert place.verify().size == 4


async def test_a_running_gateway_is_left_alone(place: Place) -> None:
    log = place.sequencer()
    await log.open()
    with pytest.raises(WrongState):
        place.propose()
    await log.close()


async def test_a_copy_put_back_once_more_is_behind_in_the_new_epoch_too(place: Place) -> None:
    await set_back(place, 20, 10)
    copy = (place.folder / "audit.db").read_bytes()
    place.open(place.signed(place.propose()))
    await (await place.begin()).close()
    await place.write(5)
    for path in place.folder.glob("audit.db*"):
        path.unlink()
    (place.folder / "audit.db").write_bytes(copy)
    with pytest.raises(LogBehind):
        await place.write(0)
    epoch = place.propose()
    assert (epoch.epoch, epoch.previous_origin, epoch.kept_size, epoch.lost_size) == (3, EPOCH, 20, 26)


@pytest.mark.parametrize("keep", [None, 12], ids=["in place", "rebuilt"])
async def test_what_was_used_of_quotas_stays_used_in_the_new_epoch(place: Place, keep: int | None) -> None:
    key = QuotaKey(bytes(32), 3, 0)
    await place.write(10)
    log = place.sequencer()
    await log.open()
    outcome = Outcome()
    log.submit([entry(number) for number in range(10, 20)], outcome, (), [(key,)] * 10)
    await outcome.places()
    await log.close()
    await set_back(place, 0, 10)
    place.open(place.signed(place.propose(keep=keep)))
    begun = await place.begin()
    assert begun.used(key) == 10, "what was released beyond the entries that are kept was released"
    await begun.close()


class Cut(Exception):
    """The power fails here."""


@pytest.mark.parametrize("keep", [None, 12], ids=["in place", "rebuilt"])
async def test_a_crash_while_an_epoch_is_opened_leaves_a_log_that_opening_again_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int | None
) -> None:
    steps = ("_rebuild", "save_state", "_put_in_place", "erase_past")
    for number, (step, after) in enumerate((step, after) for step in steps for after in (False, True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = Place(folder)
        await set_back(place, 20, 10)
        statements = place.signed(place.propose(keep=keep))
        with monkeypatch.context() as patch:
            patch.setattr(opening, step, cut(getattr(opening, step), after=after))
            try:
                place.open(statements)
                assert keep is None and step in ("_rebuild", "_put_in_place")
            except Cut:
                pass
        place.open(statements)
        log = await place.begin()
        assert log.head.size == (keep or 20) + 1
        await log.close()
        assert place.verify().faults == []
        assert place.keystore.get("log") is None


def cut(act: Callable[..., object], *, after: bool) -> Callable[..., object]:
    def acted(*arguments: object) -> object:
        if after:
            act(*arguments)
        raise Cut

    return acted


async def opened_with(place: Place, change: Callable[[audit_pb2.AuditEntry], None]) -> list[str]:
    """Open an epoch with an entry that somebody changed before it was logged; return the faults."""
    await set_back(place, 20, 10)
    place.open(place.signed(place.propose()))
    log = place.sequencer()
    await log.open()
    state = place.log.state
    made = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=state.origin, time_ms=NOW_MS)
    made.administrative.act = audit_pb2.ACT_LOG_EPOCH
    made.administrative.statement.CopyFrom(state.statements[0])
    made.administrative.countersignatures.extend(state.statements[1:])
    change(made)
    await log.append(made.SerializeToString())
    await log.close()
    return [str(fault) for fault in place.verify().faults]


def one_signature(made: audit_pb2.AuditEntry) -> None:
    del made.administrative.countersignatures[:]


def same_twice(made: audit_pb2.AuditEntry) -> None:
    made.administrative.countersignatures[0].CopyFrom(made.administrative.statement)


def edited(made: audit_pb2.AuditEntry) -> None:
    for one in (made.administrative.statement, made.administrative.countersignatures[0]):
        told = audit_pb2.LogEpochBody.FromString(one.body)
        told.note = "nothing happened"
        one.body = told.SerializeToString()


def another_act(made: audit_pb2.AuditEntry) -> None:
    made.administrative.act = audit_pb2.ACT_READ


@pytest.mark.parametrize("change", [one_signature, same_twice, edited, another_act])
async def test_an_epoch_that_two_people_did_not_open_is_a_fault_of_the_log(
    place: Place, change: Callable[[audit_pb2.AuditEntry], None]
) -> None:
    faults = await opened_with(place, change)
    assert faults and "entry 20" in faults[0]


async def test_an_entry_of_the_epoch_before_after_the_opening_is_a_fault(place: Place) -> None:
    await set_back(place, 20, 10)
    place.open(place.signed(place.propose()))
    log = await place.begin()
    await log.append(entry(21))
    await log.close()
    assert [fault.place for fault in place.verify().faults] == ["entry 21"]


async def test_the_epochs_key_must_be_in_the_key_store(place: Place) -> None:
    await set_back(place, 20, 10)
    epoch = place.propose()
    for name in place.keystore.names():
        if name != "log":
            place.keystore.delete(name)
    with pytest.raises(StoreDamaged):
        place.open(place.signed(epoch))


async def test_another_gateways_opening_is_refused(place: Place) -> None:
    await set_back(place, 20, 10)
    statements = place.signed(place.propose())
    log = place.log
    state = replace(log.state, origin="970100.yunchuan.example/gateway-2")
    with pytest.raises(ExchangeError):
        open_epoch(replace(log, state=state), statements, now_ms=NOW_MS)
