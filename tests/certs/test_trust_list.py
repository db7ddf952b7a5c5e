"""The trust list as the authority tells it, and the feed that follows it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from exchange.errors import AuthorityAway, QueueFull, StoreDamaged, TrustRollback
from exchange.identity import Role
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.trust import TrustList
from exchange.trust_feed import TrustFeed, watch_authority
from exchange.v1 import common_pb2, trust_pb2, trust_pb2_grpc
from tests.support.running_authority import HEALTH, Region, found_region, region_at


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    async with region_at(tmp_path) as made:
        yield made


def feed_of(region: Region, name: str = "trust-list.pb") -> TrustFeed:
    return TrustFeed(anchor=region.anchor, path=region.folder / name, clock=region.clock)


def next_list(region: Region) -> common_pb2.Statement:
    return region.running.authority.trust_lists.make(region.clock.now_ms()).statement


async def until(feed: TrustFeed, wanted: int) -> TrustList:
    """Wait until a feed holds a list of at least this number."""
    reached: asyncio.Queue[TrustList] = asyncio.Queue()
    feed.subscribe(reached.put_nowait)
    held = feed.current
    while held is None or held.number < wanted:
        held = await asyncio.wait_for(reached.get(), 20)
    return held


async def test_a_revocation_is_pushed_at_once_to_whoever_watches(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    feed = feed_of(region)
    address = region.addresses["enrolment_address"]
    watching = asyncio.create_task(watch_authority(feed, address, held.root_pem()))
    await until(feed, 1)
    number = await region.wang.revoke(spiffe_id=held.identity().uri)
    trust = await until(feed, number)
    assert held.certificate().serial_number in trust.revoked_serials
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    async with region_at(tmp_path) as first:
        before = first.running.authority.trust_lists.current
    async with region_at(tmp_path, first.config) as second:
        after = second.anchor.verify_trust_list(
            second.running.authority.trust_lists.current.statement,
            now_ms=second.clock.now_ms(),
            held=before,
        )
    assert after.number == before.number + 1


async def test_a_watcher_follows_an_authority_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    alarms: asyncio.Queue[Exception] = asyncio.Queue()
    async with region_at(tmp_path) as first:
        root_pem = first.running.authority.keys.root_pem
        port = first.running.enrolment_port
        feed = feed_of(first)
        watching = asyncio.create_task(
            watch_authority(feed, f"localhost:{port}", root_pem, alarm=alarms.put_nowait)
        )
        before = await until(feed, 1)
    assert isinstance(await asyncio.wait_for(alarms.get(), 20), AuthorityAway)
    again = first.config.model_copy(
        update={"listen": first.config.listen.model_copy(update={"enrolment_port": port})}
    )
    async with region_at(tmp_path, again):
        assert (await until(feed, before.number + 1)).number > before.number
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_the_number_of_watchers_is_bounded(region: Region) -> None:
    root_pem = region.running.authority.keys.root_pem
    address, credentials = region.addresses["enrolment_address"], channel_credentials(root_pem=root_pem)
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        stub = trust_pb2_grpc.EnrolmentServiceStub(channel)
        calls = [stub.WatchTrustList(trust_pb2.WatchTrustListRequest()) for _ in range(2)]
        for one in calls:
            await one.read()
        third = stub.WatchTrustList(trust_pb2.WatchTrustListRequest())
        with pytest.raises(grpc.RpcError) as refused:
            await third.read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        for one in calls:
            one.cancel()


async def test_a_place_becomes_free_when_a_watcher_leaves(region: Region) -> None:
    lists = region.running.authority.trust_lists
    watches = [lists.watch() for _ in range(3)]
    for watch in watches[:2]:
        await anext(watch)
    with pytest.raises(QueueFull):
        await anext(watches[2])
    await watches[0].aclose()  # type: ignore[attr-defined]
    assert (await anext(lists.watch())).body


async def test_a_feed_takes_newer_lists_and_tells_them(region: Region) -> None:
    feed, told = feed_of(region), []
    feed.subscribe(lambda trust: told.append(trust.number))
    first, second = next_list(region), next_list(region)
    assert feed.offer(first) and feed.offer(second) and not feed.offer(second)
    assert feed.current is not None and told == [feed.current.number - 1, feed.current.number]


async def test_a_feed_refuses_an_older_list_also_after_a_restart(region: Region) -> None:
    first, second = next_list(region), next_list(region)
    feed_of(region).offer(second)
    again = feed_of(region)
    with pytest.raises(TrustRollback):
        again.offer(first)
    assert again.current is not None and again.current.statement == second


async def test_a_feed_starts_with_a_list_that_has_aged(region: Region) -> None:
    feed_of(region).offer(next_list(region))
    region.clock.ahead_ms = 300 * 24 * 3600 * 1000
    held = feed_of(region).current
    assert held is not None and not held.fresh(region.clock.now_ms())


async def test_a_damaged_list_on_disk_is_told(region: Region) -> None:
    path = region.folder / "trust-list.pb"
    for content in (b"\xff", b"", common_pb2.Statement(body=b"x").SerializeToString()):
        path.write_bytes(content)
        with pytest.raises(StoreDamaged):
            feed_of(region)


async def test_a_list_that_cannot_be_written_counts_all_the_same(region: Region) -> None:
    feed = feed_of(region, "missing/trust-list.pb")
    statement = next_list(region)
    with pytest.raises(StoreDamaged):
        feed.offer(statement)
    assert feed.current is not None and feed.current.statement == statement
    (region.folder / "missing").mkdir()
    assert not feed.offer(statement)
    assert (region.folder / "missing" / "trust-list.pb").read_bytes() == statement.SerializeToString()


async def test_the_list_is_signed_again_and_again(tmp_path: Path) -> None:
    config = found_region(tmp_path)
    often = config.model_copy(update={"trust_list": config.trust_list.model_copy(update={"resign_s": 0.01})})
    async with region_at(tmp_path, often) as region:
        seen = []
        async for statement in region.running.authority.trust_lists.watch():
            seen.append(trust_pb2.TrustListBody.FromString(statement.body).number)
            if len(seen) == 4:
                break
    assert seen == sorted(set(seen))
