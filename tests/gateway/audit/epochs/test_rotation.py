"""The log's key is changed step by step, and a crash at any step is made good by the next start."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner, open_checkpoint
from exchange.errors import BadSignature, Malformed, ReceiptBroken, StoreDamaged
from exchange.identity import Role
from exchange.keystore import MemoryKeyStore
from exchange.log_keys import read_key_change, vouch, vouched
from exchange.trust import TrustedGateway, TrustList
from exchange.v1 import common_pb2
from gateway.audit.epochs import rotation as rotating
from gateway.audit.epochs.log_state import STATE, load_state, signer_of
from gateway.audit.epochs.rotation import KeyRotation
from gateway.audit.log.log_keys import read_log_keys, write_log_keys
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import ORIGIN, entry
from tests.support.running_authority import identity
from tests.support.small_authority import SmallAuthority

MAX_AGE_S = 300
DAY_MS = 86_400_000
ADMIN = identity(Role.ADMIN, "wang")


class Crashed(Exception):
    """The process ends here."""


class Points:
    """Counts the places at which a process may end, and ends it at one of them."""

    def __init__(self, end_at: int | None) -> None:
        self.count = 0
        self._end_at = end_at

    def reach(self) -> None:
        self.count += 1
        if self.count - 1 == self._end_at:
            raise Crashed

    def around(self, act: Callable[..., object]) -> Callable[..., object]:
        """Return an act before and after which the process may end."""

        def acted(*arguments: object) -> object:
            self.reach()
            result = act(*arguments)
            self.reach()
            return result

        return acted


class KeyStoreOnDisk(MemoryKeyStore):
    """A key store whose writes are places at which the process may end."""

    def __init__(self) -> None:
        super().__init__()
        self.points = Points(None)

    def put(self, name: str, secret: bytes) -> None:
        self.points.around(super().put)(name, secret)

    def delete(self, name: str) -> None:
        self.points.around(super().delete)(name)


@dataclass
class World:
    """A gateway's folder, its key store, and the region around them."""

    folder: Path
    paper: SmallAuthority
    keystore: KeyStoreOnDisk = field(default_factory=KeyStoreOnDisk)
    now: int = 1_700_000_000_000
    entered: list[bytes] = field(default_factory=list)

    def now_ms(self) -> int:
        return self.now


class Process:
    """One run of the gateway, as far as the key of its log goes."""

    def __init__(self, world: World, points: Points) -> None:
        self.world, self.points = world, points
        world.keystore.points = points
        state = load_state(world.folder, world.keystore, ORIGIN)
        signer = world.paper.signer("", "gateway-1", role=Role.GATEWAY)
        self.log = sequencer_in(
            world.folder, signer=signer_of(state, world.keystore), ancestry=state.ancestry
        )
        self.rotation = KeyRotation(
            folder=world.folder,
            keystore=world.keystore,
            state=state,
            statement_signer=lambda: signer,
            use_signer=self.log.use_signer,
            enter=self.enter,
            published=lambda state: write_log_keys(world.folder, state.verifying()),
            clock=world,
        )

    async def enter(self, statement: common_pb2.Statement, subject: str) -> None:
        """Make one entry of one body, as the registrar does."""
        self.points.reach()
        if statement.body not in self.world.entered:
            await self.log.append(entry(10_000 + len(self.world.entered)))
            self.world.entered.append(statement.body)
        self.points.reach()

    def trust(self) -> TrustList:
        """Return the trust list once the authority has heard of the keys."""
        named = TrustedGateway(
            name="gateway-1", origin=ORIGIN, log_keys=self.rotation.announced, addresses=()
        )
        return replace(EMPTY, issued_at_ms=self.world.now, gateways={ORIGIN: named})


EMPTY = TrustList(
    number=1,
    division="970100",
    trust_domain="yunchuan.example",
    issued_at_ms=0,
    max_age_s=MAX_AGE_S,
    suite=2,
    gateways={},
    revoked_serials=frozenset(),
    revoked_kids=frozenset(),
    least_seq={},
    statement=common_pb2.Statement(),
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, SmallAuthority())


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Points], None]]:
    real = rotating.save_state

    def use(points: Points) -> None:
        monkeypatch.setattr(rotating, "save_state", points.around(real))

    yield use


async def rotate(process: Process) -> None:
    """Take a change to its end, an entry after each step."""
    rotation, world = process.rotation, process.world
    if rotation.state.change is None and not world.entered:
        rotation.order(0, by=ADMIN)
    for _ in range(8):
        await rotation.step(process.trust())
        await process.log.append(entry(process.log.head.size))
        if rotation.state.change is None:
            return
        world.now += MAX_AGE_S * 1000 if not rotation.state.change.body else DAY_MS
    raise AssertionError("never done")


async def run(world: World, points: Points) -> Process:
    process = Process(world, points)
    await process.log.open()
    try:
        await rotate(process)
    finally:
        await process.log.close()
    return process


def opens(note: str, *keys: bytes) -> bool:
    try:
        open_checkpoint(note, origin=ORIGIN, log_keys=keys)
    except ReceiptBroken:
        return False
    return True


async def check_done(world: World, old: bytes) -> None:
    state = load_state(world.folder, world.keystore, ORIGIN)
    (new,) = state.public("signing")
    assert state.change is None and state.public("past") == (old,) and new != old
    held = {bytes(SigningKey(world.keystore.get(name) or b"").verify_key) for name in world.keystore.names()}
    assert new in held and old not in held
    (body,) = world.entered
    assert read_key_change(body).next_key == new
    process = Process(world, Points(None))
    await process.log.open()
    await process.log.append(entry(99_999))
    note = process.log.checkpoint
    await process.log.close()
    assert opens(note, new) and not opens(note, old)
    assert read_log_keys(world.folder) == {ORIGIN: (new, old)}


async def test_a_key_is_announced_then_signs_beside_the_old_one_then_alone(world: World) -> None:
    process = Process(world, Points(None))
    log, rotation = process.log, process.rotation
    await log.open()
    (old,) = rotation.announced
    next_key, stage = rotation.order(3600, by=ADMIN)
    assert (stage, rotation.announced) == ("announcing", (next_key, old))
    assert vouched(rotation.key_change(), origin=ORIGIN, by=old) == next_key
    await rotation.step(EMPTY)
    await rotation.step(process.trust())
    world.now += MAX_AGE_S * 1000 - 1
    await rotation.step(process.trust())
    await log.append(entry(0))
    assert opens(log.checkpoint, old) and not opens(log.checkpoint, next_key)
    world.now += 1
    await rotation.step(process.trust())
    assert rotation.order(60, by=ADMIN) == (next_key, "overlap")
    await rotation.step(process.trust())
    both = log.checkpoint
    assert opens(both, old) and opens(both, next_key) and both.count("— ") == 2
    world.now += 3_600_000
    await rotation.step(process.trust())
    await log.append(entry(1))
    assert opens(log.checkpoint, next_key) and not opens(log.checkpoint, old)
    await log.close()
    await check_done(world, old)


async def test_a_crash_at_any_step_is_made_good_by_the_next_start(
    tmp_path: Path, saving: Callable[[Points], None]
) -> None:
    paper, place, reached = SmallAuthority(), 0, True
    while reached:
        folder = tmp_path / str(place)
        folder.mkdir()
        world, points = World(folder, paper), Points(None)
        first = Process(world, points)
        (old,) = first.rotation.announced
        await first.log.open()
        await first.log.close()
        points = Points(place)
        saving(points)
        try:
            await run(world, points)
            reached = False
        except Crashed:
            saving(Points(None))
            if not world.entered or load_state(folder, world.keystore, ORIGIN).change is not None:
                await run(world, Points(None))
            Process(world, Points(None))
        await check_done(world, old)
        place += 1
    assert place > 10


def test_the_overlap_is_bounded(world: World) -> None:
    rotation = Process(world, Points(None)).rotation
    for overlap_s in (1, 91 * 86_400):
        with pytest.raises(Malformed):
            rotation.order(overlap_s, by=ADMIN)
    assert len(rotation.announced) == 1


def test_a_key_is_vouched_for_by_the_key_before_and_by_no_head(world: World) -> None:
    key, other = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
    signer = LogSigner(origin=ORIGIN, key=key)
    note = vouch(signer, bytes(other.verify_key))
    with pytest.raises(BadSignature):
        vouched(note, origin=ORIGIN, by=bytes(other.verify_key))
    with pytest.raises(BadSignature):
        vouched(note, origin=f"{ORIGIN}/epoch-2", by=signer.public_key)
    with pytest.raises(BadSignature):
        vouched(signer.sign_text(f"{ORIGIN}\n1\nAAAA\n"), origin=ORIGIN, by=signer.public_key)
    with pytest.raises(ReceiptBroken):
        open_checkpoint(note, origin=ORIGIN, log_keys=[signer.public_key])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"origin": 1}', b"\xff"])
async def test_a_state_that_cannot_be_read_stops_the_gateway(world: World, content: bytes) -> None:
    (world.folder / STATE).write_bytes(content)
    with pytest.raises(StoreDamaged):
        load_state(world.folder, world.keystore, ORIGIN)


async def test_a_state_of_another_gateway_or_key_is_refused(world: World) -> None:
    await run(world, Points(None))
    with pytest.raises(StoreDamaged):
        load_state(world.folder, world.keystore, "970100.yunchuan.example/gateway-2")
    state = load_state(world.folder, world.keystore, ORIGIN)
    with pytest.raises(StoreDamaged):
        signer_of(state, MemoryKeyStore())
    (name,) = [key.name for key in state.keys if key.use == "signing"]
    world.keystore.put(name, bytes(32))
    with pytest.raises(StoreDamaged):
        signer_of(state, world.keystore)
