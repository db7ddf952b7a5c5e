"""What an agent held of a log decides whether it follows the one that goes on after a loss."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from agent.epochs import check_opened, first_head
from agent.gateway_log import GatewayLog
from agent.heads import Heads, Seen
from agent.region import RegionView
from exchange import merkle
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import LogForked, Malformed
from exchange.keys import BundleBook
from exchange.lineage import Lineage, Start, origin_of, split_origin
from exchange.log_keys import Epoch, read_epoch
from exchange.trust import TrustedGateway, TrustList, read_gateway, read_trust_list
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, trust_pb2
from tests.support.sealing import NOW_MS, StillClock
from tests.support.small_authority import SmallAuthority

BASE = "970100.yunchuan.example/gateway-1"
KEPT, LOST = 20, 30
LEAVES = [bytes([n]) for n in range(60)]


def named(epoch: int, *, first: int = 0, lost: int = 0, closed: bool = False) -> TrustedGateway:
    return TrustedGateway(
        name="gateway-1",
        origin=origin_of(BASE, epoch),
        log_keys=(bytes([epoch]) * 32,),
        addresses=() if closed else ("localhost:7443",),
        epoch=epoch,
        closed=closed,
        first_entry=first,
        lost_size=lost,
    )


EPOCHS = (named(1, closed=True), named(2, first=KEPT, lost=LOST))


class Tree:
    """The log that goes on: the same entries up to what was kept, others from there on."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = [merkle.leaf_hash(leaf) for leaf in leaves]

    def head(self, size: int, epoch: int = 1) -> Checkpoint:
        return Checkpoint(origin_of(BASE, epoch), size, merkle.grow(0, {}, self._leaves[:size]).root)

    def node(self, level: int, index: int) -> bytes:
        hashes = self._leaves[index << level : (index + 1) << level]
        return merkle.grow(0, {}, hashes).root

    def proof(self, old: int, new: int) -> bytes:
        return merkle.consistency_proof(old, new, self.node)


BEFORE = Tree(LEAVES)
AFTER = Tree([*LEAVES[:KEPT], *(b"x" + leaf for leaf in LEAVES[KEPT:])])


def seen(head: Checkpoint) -> Seen:
    return Seen(head, "")


def test_an_agent_that_saw_no_more_than_was_kept_wants_the_proof() -> None:
    offered = AFTER.head(25, 2)
    for size in (5, KEPT):
        proof = AFTER.proof(size, 25)
        assert first_head(seen(BEFORE.head(size)), offered, proof, EPOCHS) == offered
        with pytest.raises(LogForked):
            first_head(seen(BEFORE.head(size)), offered, b"", EPOCHS)
    with pytest.raises(LogForked):
        first_head(seen(Tree([b"y"] * 60).head(5)), offered, AFTER.proof(5, 25), EPOCHS)


def test_an_agent_that_saw_what_is_lost_goes_on_where_the_loss_is_recorded() -> None:
    offered = AFTER.head(25, 2)
    for size in (KEPT + 1, LOST):
        assert first_head(seen(BEFORE.head(size)), offered, b"", EPOCHS) == offered
    with pytest.raises(LogForked):
        first_head(seen(BEFORE.head(LOST + 1)), offered, b"", EPOCHS)


def test_an_agent_that_was_away_for_two_epochs_goes_by_what_both_have_kept() -> None:
    epochs = (EPOCHS[0], replace(EPOCHS[1], closed=True), named(3, first=12, lost=40))
    offered = AFTER.head(15, 3)
    assert first_head(seen(BEFORE.head(12)), offered, AFTER.proof(12, 15), epochs) == offered
    assert first_head(seen(AFTER.head(39, 2)), offered, b"", epochs) == offered
    with pytest.raises(LogForked):
        first_head(seen(AFTER.head(41, 2)), offered, b"", epochs)


def test_a_log_that_no_trust_list_names_in_place_of_another_is_not_followed() -> None:
    with pytest.raises(LogForked):
        first_head(seen(BEFORE.head(5)), AFTER.head(25, 2), AFTER.proof(5, 25), EPOCHS[:1])
    assert first_head(None, AFTER.head(25, 2), b"", EPOCHS) == AFTER.head(25, 2)


def epoch(**changes: object) -> Epoch:
    lost = LogSigner(origin=BASE, key=SigningKey(bytes(32))).sign(BEFORE.head(LOST))
    body = audit_pb2.LogEpochBody(
        nonce=bytes(16),
        origin=origin_of(BASE, 2),
        previous_origin=BASE,
        epoch=2,
        kept_size=KEPT,
        kept_root=bytes(32),
        lost_size=LOST,
        lost_checkpoint=lost,
        log_key=b"\2" * 32,
        note="restored",
    )
    for name, value in changes.items():
        setattr(body, name, value)
    return read_epoch(body.SerializeToString())


def test_the_entry_that_opens_an_epoch_says_what_the_trust_list_says() -> None:
    check_opened(epoch(), KEPT, seen(BEFORE.head(LOST)), EPOCHS)
    with pytest.raises(LogForked):
        check_opened(epoch(), KEPT + 1, None, EPOCHS)
    with pytest.raises(LogForked):
        check_opened(epoch(kept_size=KEPT - 1), KEPT - 1, None, EPOCHS)
    with pytest.raises(LogForked):
        check_opened(epoch(log_key=b"\3" * 32), KEPT, None, EPOCHS)
    with pytest.raises(LogForked):
        check_opened(epoch(), KEPT, seen(Tree([b"y"] * 60).head(LOST)), EPOCHS)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": b""},
        {"origin": BASE},
        {"origin": "970100.yunchuan.example/gateway-2/epoch-2"},
        {"epoch": 3},
        {"previous_origin": origin_of(BASE, 2)},
        {"kept_size": LOST + 1},
        {"kept_root": b""},
        {"lost_size": LOST + 1},
        {"lost_checkpoint": ""},
        {"lost_checkpoint": "x\n\n— x\n"},
        {"log_key": b""},
        {"note": " "},
        {"note": "x" * 501},
    ],
)
def test_a_body_that_contradicts_itself_opens_nothing(change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        epoch(**change)


def test_an_origin_names_its_epoch() -> None:
    assert split_origin(BASE) == (BASE, 1)
    assert split_origin(origin_of(BASE, 12)) == (BASE, 12)
    for odd in ("epoch-1", "epoch-0", "epoch-02", "epoch-x", "epoch-"):
        assert split_origin(f"{BASE}/{odd}") == (f"{BASE}/{odd}", 1)


def test_an_index_tells_which_origin_an_entry_names() -> None:
    starts = [(1, 0), (2, 20), (3, 12)]
    lineage = Lineage(Start(epoch=n, origin=origin_of(BASE, n), first=first) for n, first in starts)
    names = [lineage.origin_at(index, origin_of(BASE, 3)) for index in (11, 12, 25)]
    assert names == [BASE, origin_of(BASE, 3), origin_of(BASE, 3)]
    names = [lineage.origin_at(index, origin_of(BASE, 2)) for index in (19, 20)]
    assert names == [BASE, origin_of(BASE, 2)]


def trust_list(*gateways: trust_pb2.TrustedGateway) -> TrustList:
    body = trust_pb2.TrustListBody(
        number=1,
        division="970100",
        trust_domain="yunchuan.example",
        max_age_s=300,
        suite=2,
        gateways=gateways,
    )
    body.issued_at.FromMilliseconds(NOW_MS)
    return read_trust_list(common_pb2.Statement(body=body.SerializeToString()))


def told(one: TrustedGateway, **changes: object) -> trust_pb2.TrustedGateway:
    made = trust_pb2.TrustedGateway(
        name=one.name,
        origin=one.origin,
        log_keys=one.log_keys,
        addresses=one.addresses,
        epoch=one.epoch,
        closed=one.closed,
        first_entry=one.first_entry,
        lost_size=one.lost_size,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_trust_list_names_one_log_of_a_gateway_and_those_that_have_ended() -> None:
    trust = trust_list(*map(told, EPOCHS))
    assert trust.successor(BASE) == EPOCHS[1] and trust.successor(EPOCHS[1].origin) is None
    with pytest.raises(Malformed):
        trust_list(told(EPOCHS[0], closed=False), told(EPOCHS[1]))
    with pytest.raises(Malformed):
        read_gateway(told(EPOCHS[1], epoch=3))


def test_an_agent_that_was_away_follows_at_its_start_and_keeps_its_place(tmp_path: Path) -> None:
    anchor, clock = SmallAuthority().anchor(), StillClock()
    trust: TrustList | None = trust_list(told(named(1)))
    book = BundleBook(anchor=anchor, path=tmp_path / "bundles.db", clock=clock)
    heads = Heads(path=tmp_path / "heads.json")

    def start() -> tuple[GatewayLog, RegionView]:
        region = RegionView(
            path=tmp_path / "region.db", origin=BASE, anchor=anchor, trust=lambda: trust, clock=clock
        )
        log = GatewayLog(
            origin=BASE, addresses=(), trust=lambda: trust, heads=heads, region=region, book=book
        )
        return log, region

    log, region = start()
    region.take_event(directory_pb2.Event(index=LOST - 1))
    assert (log.origin, region.cursor, list(log.addresses())) == (BASE, LOST, ["localhost:7443"])
    region.close()
    trust = trust_list(*map(told, EPOCHS))
    log, region = start()
    assert (log.origin, region.cursor, list(log.keys())) == (EPOCHS[1].origin, KEPT, [b"\2" * 32])
    with pytest.raises(LogForked):
        log.check_opened()
    region.take_event(directory_pb2.Event(index=KEPT + 4))
    region.close()
    log, region = start()
    assert region.cursor == KEPT + 5
    region.close()
    book.close()
