"""The log over HTTPS: what is open, what only auditors see, and that every reading is entered first."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from exchange.errors import AuditUnavailable, EntryErased
from exchange.identity import Role
from exchange.tile_reader import TiledTree
from exchange.tlog_tiles import EntryBundle, HashTile, bundles_between, decode_bundle, tiles_between
from exchange.v1 import audit_pb2, reason_pb2
from gateway import log_face, peer_protocol
from tests.support.log_world import SHARD, LogAuthority, LogWorld, log_world, serial_of

ENTRIES = 600


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LogWorld]:
    async with log_world(tmp_path, entries=ENTRIES) as world:
        yield world


async def test_anybody_follows_checkpoints_and_hash_tiles_without_a_certificate(world: LogWorld) -> None:
    async with world.client() as anybody:
        newest = await anybody.get("checkpoint")
        assert newest.text == world.log.checkpoint
        assert newest.headers["content-type"] == "text/plain; charset=utf-8"
        assert newest.headers["cache-control"] == "no-cache"
        found: dict[str, bytes] = {}
        for tile in tiles_between(0, ENTRIES):
            answer = await anybody.get(tile.path)
            assert answer.headers["content-type"] == "application/octet-stream"
            assert "immutable" in answer.headers["cache-control"]
            found[tile.path] = answer.content
    tree = TiledTree(fetch=found.__getitem__, head=world.log.head)
    assert tree.node(8, 1) == world.log.node(8, 1)
    assert not world.acts(audit_pb2.ACT_READ)


async def test_a_tile_is_answered_in_every_width_that_it_ever_had_and_in_no_other(world: LogWorld) -> None:
    async with world.client() as anybody:
        whole = (await anybody.get(HashTile(0, 0).path)).content
        for width in (1, 100, 255):
            assert (await anybody.get(HashTile(0, 0, width).path)).content == whole[: width * 32]
        assert (await anybody.get(HashTile(0, 2, 88).path)).status_code == 200
        for beyond in (
            HashTile(0, 2, 89),
            HashTile(0, 2),
            HashTile(0, 3, 1),
            HashTile(1, 0, 3),
            HashTile(2, 0, 1),
        ):
            assert (await anybody.get(beyond.path)).status_code == 404


async def test_entries_are_for_auditors_and_officers_and_their_reading_is_entered(world: LogWorld) -> None:
    for role, name in ((Role.AUDITOR, "chen"), (Role.OFFICER, "lin")):
        person = world.authority.member(role, name)
        async with world.client(person) as reader:
            for bundle in bundles_between(0, ENTRIES):
                answer = await reader.get(bundle.path)
                assert answer.status_code == 200
                assert answer.headers["cache-control"] == "no-store"
                leaves = decode_bundle(answer.content, bundle.width)
                assert leaves == world.log.leaves(bundle.first, bundle.width)
        reads = [act for act in world.acts(audit_pb2.ACT_READ) if act.actor == person.identity.uri]
        assert [act.subject for act in reads][:2] == ["tiles, entries 0 to 255", "tiles, entries 256 to 511"]
        assert len(reads) == 3


async def test_whoever_has_no_right_is_refused_and_entered(world: LogWorld) -> None:
    path = EntryBundle(0).path
    for role in (Role.AGENT, Role.STEWARD, Role.OPERATOR, Role.ADMIN):
        person = world.authority.member(role, "somebody")
        async with world.client(person) as reader:
            answer = await reader.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "ROLE_NOT_ALLOWED")
        last = world.acts(audit_pb2.ACT_REFUSED)[-1]
        assert (last.actor, last.reason) == (person.identity.uri, reason_pb2.REASON_ROLE_NOT_ALLOWED)
    async with world.client() as nobody:
        answer = await nobody.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "NO_IDENTITY")
    assert not world.acts(audit_pb2.ACT_READ)


async def test_a_revocation_counts_on_a_connection_that_is_open(world: LogWorld) -> None:
    auditor = world.authority.member(Role.AUDITOR, "chen")
    async with world.client(auditor) as reader:
        assert (await reader.get(EntryBundle(0).path)).status_code == 200
        world.revoke(auditor.serial)
        answer = await reader.get(EntryBundle(0).path)
        assert (answer.status_code, answer.json()["code"]) == (401, "REVOKED")
        assert (await reader.get("checkpoint")).status_code == 200
        world.revoke(world.authority.issuing_serial)
        assert (await reader.get(EntryBundle(0).path)).json()["code"] == "REVOKED"


@pytest.mark.parametrize("case", ["another root", "expired"])
async def test_a_certificate_that_does_not_hold_fails_the_handshake(world: LogWorld, case: str) -> None:
    authority = LogAuthority() if case == "another root" else world.authority
    person = authority.member(Role.AUDITOR, "chen", hours=24 if case == "another root" else 0.5)
    async with world.client(person) as reader:
        with pytest.raises(httpx.TransportError):
            await reader.get("checkpoint")


async def test_tls_1_2_is_refused(world: LogWorld) -> None:
    context = world.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", world.port, ssl=context)


async def test_the_next_handshake_uses_a_renewed_certificate(world: LogWorld) -> None:
    async def shown() -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.context())
        serial = serial_of(writer.get_extra_info("ssl_object"))
        writer.close()
        return serial

    before = world.gateway
    assert await shown() == before.serial
    world.gateway = world.authority.member(Role.GATEWAY, SHARD, hosts=("127.0.0.1",))
    assert await shown() == world.gateway.serial != before.serial
    auditor = world.authority.member(Role.AUDITOR, "chen")
    async with world.client(auditor) as reader:
        assert (await reader.get(EntryBundle(0).path)).status_code == 200


async def test_a_renewal_that_cannot_be_read_leaves_the_certificate_before(world: LogWorld) -> None:
    held = world.gateway
    world.gateway = held.__class__(held.identity, b"torn", held.chain_pem, held.serial)
    async with world.client() as anybody:
        assert (await anybody.get("checkpoint")).status_code == 200


async def test_nothing_is_shown_that_could_not_be_entered(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(leaf: bytes) -> None:
        raise AuditUnavailable("disk")

    monkeypatch.setattr(world.log, "append", fails)
    async with world.client(world.authority.member(Role.AUDITOR, "chen")) as reader:
        answer = await reader.get(EntryBundle(0).path)
    assert (answer.status_code, answer.json()["code"]) == (503, "AUDIT_UNAVAILABLE")
    assert "retry-after" in answer.headers


async def test_entries_that_were_erased_are_gone(world: LogWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def erased(first: int, count: int) -> None:
        raise EntryErased(str(first))

    monkeypatch.setattr(world.log, "leaves", erased)
    async with world.client(world.authority.member(Role.AUDITOR, "chen")) as reader:
        answer = await reader.get(EntryBundle(0).path)
        assert (answer.status_code, answer.json()["code"]) == (410, "ENTRY_ERASED")
        assert (await reader.get(HashTile(0, 0).path)).status_code == 200


async def test_the_witnessed_checkpoint_is_there_once_there_is_one(world: LogWorld) -> None:
    async with world.client() as anybody:
        assert (await anybody.get("checkpoint.witnessed")).status_code == 404
        world.witnessed = "cosigned\n"
        assert (await anybody.get("checkpoint.witnessed")).text == "cosigned\n"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/log/",
        f"/log/{SHARD}",
        f"/log/{SHARD}/",
        "/log/gateway-2/checkpoint",
        f"/log/{SHARD}/checkpoint/",
        f"/log/{SHARD}/checkpoint?x=1",
        f"/log/{SHARD}/%63heckpoint",
        f"/log/{SHARD}/tile/0/../../checkpoint",
        f"/log/{SHARD}/tile/0/%2e%2e/000",
        f"/log/{SHARD}/tile/0/0",
        f"/log/{SHARD}//tile/0/000",
        "/log/../etc/passwd",
        "/metrics",
    ],
)
async def test_any_other_path_is_not_there(world: LogWorld, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.context())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"404"
    writer.close()


async def test_only_reading_is_possible(world: LogWorld) -> None:
    async with world.client() as anybody:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = await anybody.request(method, "checkpoint", content=b"x" * 100)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        head = await anybody.head("checkpoint")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(world.log.checkpoint.encode())


async def test_a_request_whose_head_has_no_end_is_refused(world: LogWorld) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.context())
    writer.write(b"GET /log/x HTTP/1.1\r\nX: " + b"y" * 20_000)
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()


async def test_a_connection_that_sends_no_whole_request_in_time_is_closed(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_protocol, "REQUEST_WAIT_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=world.context())
    writer.write(b"GET /log/")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_connections_beyond_the_bound_are_closed(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_protocol, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(peer_protocol, "MAX_STRANGERS", 1)
    auditor = world.authority.member(Role.AUDITOR, "chen")
    async with world.client() as first, world.client(auditor) as known:
        assert (await first.get("checkpoint")).status_code == 200
        async with world.client() as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get("checkpoint")
        assert (await known.get("checkpoint")).status_code == 200
        async with world.client(auditor) as one_more:
            with pytest.raises(httpx.TransportError):
                await one_more.get("checkpoint")
        assert (await first.get("checkpoint")).status_code == 200


async def test_a_peer_that_does_not_take_its_answer_loses_the_connection(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_face, "ANSWER_WITHIN_S", 0.05)

    async def stuck(message: object) -> None:
        await asyncio.Event().wait()

    scope = {"method": "GET", "raw_path": b"/", "query_string": b"", peer_protocol.PEER_CHAIN: None}
    with pytest.raises(TimeoutError):
        await world.face(scope, None, stuck)

    async def late(scope: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(world.face, "_safe_answer", late)
    async with world.client() as anybody:
        with pytest.raises(httpx.TransportError):
            await anybody.get("checkpoint")


async def test_what_nobody_foresaw_is_told_without_its_detail(
    world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(wanted: HashTile) -> bytes:
        raise RuntimeError("a detail")

    monkeypatch.setattr(world.log, "tile", broken)
    async with world.client() as anybody:
        answer = await anybody.get(HashTile(0, 0).path)
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "detail" not in answer.text


async def test_without_the_peers_chain_nobody_is_known(world: LogWorld) -> None:
    class Silent:
        def getpeercert(self, binary_form: bool) -> bytes:
            return b"leaf"

    assert peer_protocol.chain_of(Silent()) is None  # type: ignore[arg-type]
    assert peer_protocol.chain_of(None) is None
