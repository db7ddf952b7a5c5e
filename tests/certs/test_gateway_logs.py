"""Who may change the log that the authority names: its key by the key before, its origin by two people."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from exchange.canonical import LOG_EPOCH
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.enrolment import IdentityFolder, register_gateway
from exchange.errors import (
    BadSignature,
    ExchangeError,
    Malformed,
    RoleNotAllowed,
    SecondPersonRequired,
    WrongState,
)
from exchange.identity import Role
from exchange.lineage import origin_of
from exchange.log_keys import vouch
from exchange.trust import TrustList
from exchange.v1 import audit_pb2, common_pb2
from tests.support.running_authority import Region, admin_folder, region_at

BASE = "970100.yunchuan.example/gateway-1"
FIRST, SECOND, THIRD = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
DAY_MS = 86_400_000


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    async with region_at(tmp_path) as made:
        yield made


@pytest.fixture
async def gateway(region: Region) -> IdentityFolder:
    """A gateway that has entered its log."""
    held = await region.member(Role.GATEWAY, "gateway-1", hosts=["localhost"])
    await register(region, held, keys=[FIRST])
    return held


async def register(
    region: Region, held: IdentityFolder, *, keys: Sequence[SigningKey], key_change: str = ""
) -> TrustList:
    await register_gateway(
        held,
        origin=BASE,
        log_keys=[bytes(key.verify_key) for key in keys],
        addresses=["localhost:7443"],
        address=region.addresses["service_address"],
        key_change=key_change,
    )
    return await region.wang.trust_list()


def body(region: Region, key: SigningKey, *, epoch: int = 2, previous: int = 1, **changes: object) -> bytes:
    lost = LogSigner(origin=origin_of(BASE, previous), key=FIRST if previous == 1 else SECOND)
    told = audit_pb2.LogEpochBody(
        nonce=bytes(16),
        origin=origin_of(BASE, epoch),
        previous_origin=lost.origin,
        epoch=epoch,
        kept_size=5,
        kept_root=bytes(32),
        lost_size=9,
        lost_checkpoint=lost.sign(Checkpoint(lost.origin, 9, bytes(32))),
        log_key=bytes(key.verify_key),
        note="restored",
    )
    told.issued_at.FromMilliseconds(region.clock.now_ms())
    told.MergeFrom(audit_pb2.LogEpochBody(**changes))  # type: ignore[arg-type]
    return told.SerializeToString()


def signed(region: Region, told: bytes, *names: str) -> list[common_pb2.Statement]:
    return [admin_folder(region.folder, name).statement_signer().sign(LOG_EPOCH, told) for name in names]


async def test_a_key_that_the_one_before_vouches_for_is_taken(
    region: Region, gateway: IdentityFolder
) -> None:
    change = vouch(LogSigner(origin=BASE, key=FIRST), bytes(SECOND.verify_key))
    trust = await register(region, gateway, keys=[SECOND, FIRST], key_change=change)
    assert trust.gateways[BASE].log_keys == (bytes(SECOND.verify_key), bytes(FIRST.verify_key))
    again = await register(region, gateway, keys=[FIRST])
    assert again.gateways[BASE].log_keys == trust.gateways[BASE].log_keys


async def test_a_key_that_has_stopped_signing_never_signs_again(
    region: Region, gateway: IdentityFolder
) -> None:
    change = vouch(LogSigner(origin=BASE, key=FIRST), bytes(SECOND.verify_key))
    both = await register(region, gateway, keys=[SECOND, FIRST], key_change=change)
    assert len(both.gateways[BASE].signing_keys) == 2
    alone = await register(region, gateway, keys=[SECOND])
    assert alone.gateways[BASE].signing_keys == (bytes(SECOND.verify_key),)
    assert len(alone.gateways[BASE].log_keys) == 2, "what the older key signed still verifies"
    again = await register(region, gateway, keys=[SECOND, FIRST])
    assert again.gateways[BASE].signing_keys == (bytes(SECOND.verify_key),)


@pytest.mark.parametrize("word", ["none", "another key's", "for another key", "the newcomer's own"])
async def test_a_gateway_of_the_same_name_with_another_key_is_not_taken(
    region: Region, gateway: IdentityFolder, word: str
) -> None:
    before = LogSigner(origin=BASE, key=FIRST)
    change = {
        "none": "",
        "another key's": vouch(LogSigner(origin=BASE, key=THIRD), bytes(SECOND.verify_key)),
        "for another key": vouch(before, bytes(THIRD.verify_key)),
        "the newcomer's own": vouch(LogSigner(origin=BASE, key=SECOND), bytes(SECOND.verify_key)),
    }[word]
    with pytest.raises((SecondPersonRequired, BadSignature)):
        await register(region, gateway, keys=[SECOND, FIRST], key_change=change)
    assert (await region.wang.trust_list()).gateways[BASE].log_keys == (bytes(FIRST.verify_key),)


async def test_two_administrators_open_an_epoch_and_close_the_one_before(
    region: Region, gateway: IdentityFolder
) -> None:
    opening = signed(region, body(region, SECOND), "wang", "li")
    trust = await opened(region, gateway, SECOND, 2, opening)
    old, new = trust.gateways[BASE], trust.gateways[f"{BASE}/epoch-2"]
    assert (old.closed, old.addresses, old.log_keys) == (True, (), (bytes(FIRST.verify_key),))
    assert (new.epoch, new.first_entry, new.lost_size, new.closed) == (2, 5, 9, False)
    assert trust.successor(BASE) == new and trust.successor(new.origin) is None
    lineage = trust.lineage(new.origin)
    assert [lineage.origin_at(i, new.origin) for i in (4, 5)] == [BASE, new.origin]
    # Nothing but the address is left to say, so the opening is not needed again.
    assert (await opened(region, gateway, SECOND, 2, [])).number == trust.number


async def opened(
    region: Region,
    held: IdentityFolder,
    key: SigningKey,
    epoch: int,
    statements: Sequence[common_pb2.Statement],
) -> TrustList:
    await register_gateway(
        held,
        origin=origin_of(BASE, epoch),
        log_keys=[bytes(key.verify_key)],
        addresses=["localhost:7443"],
        address=region.addresses["service_address"],
        epoch=statements,
    )
    return await region.wang.trust_list()


async def test_one_person_opens_no_epoch(region: Region, gateway: IdentityFolder) -> None:
    told = body(region, SECOND)
    auditor = await region.member(Role.AUDITOR, "sun")
    outsider = auditor.statement_signer().sign(LOG_EPOCH, told)
    (wang,) = signed(region, told, "wang")
    other = signed(region, body(region, SECOND, nonce=b"\1" * 16), "li")
    altered = type(wang)(body=body(region, THIRD), signature=wang.signature, chain=wang.chain)
    unsigned_head = body(region, SECOND, lost_checkpoint=_head_by(THIRD))
    await refused(region, gateway, SecondPersonRequired, [])
    await refused(region, gateway, SecondPersonRequired, [wang])
    await refused(region, gateway, SecondPersonRequired, [wang, wang])
    await refused(region, gateway, SecondPersonRequired, signed(region, told, "wang", "wang"))
    await refused(region, gateway, RoleNotAllowed, [wang, outsider])
    await refused(region, gateway, BadSignature, [wang, *other])
    await refused(region, gateway, BadSignature, [altered, *signed(region, altered.body, "li")])
    await refused(region, gateway, BadSignature, signed(region, unsigned_head, "wang", "li"))
    await refused(region, gateway, Malformed, signed(region, body(region, SECOND, lost_size=4), "wang", "li"))
    revoked = admin_folder(region.folder, "li").identity().uri
    two = signed(region, told, "wang", "li")
    await region.wang.revoke(spiffe_id=revoked)
    await refused(region, gateway, ExchangeError, two)
    assert list((await region.wang.trust_list()).gateways) == [BASE]


def _head_by(key: SigningKey) -> str:
    return LogSigner(origin=BASE, key=key).sign(Checkpoint(BASE, 9, bytes(32)))


async def refused(
    region: Region,
    held: IdentityFolder,
    error: type[ExchangeError],
    statements: Sequence[common_pb2.Statement],
    *,
    key: SigningKey = SECOND,
    epoch: int = 2,
) -> None:
    with pytest.raises(error):
        await opened(region, held, key, epoch, statements)


async def test_an_opening_counts_once_for_its_own_log_and_key_and_for_a_week(
    region: Region, gateway: IdentityFolder
) -> None:
    opening = signed(region, body(region, SECOND), "wang", "li")
    await refused(region, gateway, BadSignature, opening, key=THIRD)
    await refused(region, gateway, BadSignature, opening, epoch=3)
    late = await region.member(Role.GATEWAY, "gateway-2", hosts=["localhost"])
    with pytest.raises(Malformed):
        await opened(region, late, SECOND, 2, opening)
    await opened(region, gateway, SECOND, 2, opening)
    third = signed(region, body(region, THIRD, epoch=3, previous=2), "wang", "li")
    skipping = signed(region, body(region, THIRD, epoch=3, previous=1), "wang", "li")
    await refused(region, gateway, WrongState, skipping, key=THIRD, epoch=3)
    await opened(region, gateway, THIRD, 3, third)
    await refused(region, gateway, WrongState, opening)
    with pytest.raises(WrongState):
        await register(region, gateway, keys=[FIRST])
    fourth = signed(region, body(region, SECOND, epoch=4, previous=2), "wang", "li")
    region.clock.ahead_ms = 8 * DAY_MS
    await refused(region, gateway, BadSignature, fourth, epoch=4)
