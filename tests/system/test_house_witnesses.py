"""A whole region with a witness: heads are cosigned, silence is told and refused, an old copy stays down."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from exchange.checkpoint import open_checkpoint
from exchange.cosignature import WitnessKey, cosignatures_of, parse_witness_key
from exchange.errors import LogBehind
from exchange.v1 import audit_pb2, audit_pb2_grpc, reason_pb2
from gateway.audit.log.log_keys import read_log_key
from gateway.audit.witnessing.witnessed_file import WITNESSED
from gateway.config import Witnesses
from tests.support.house import House, house_at, question, until
from witness.app import found, run
from witness.config import Listen, WitnessConfig

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Beside:
    """A witness in a folder of its own, which is started and stopped."""

    config: WitnessConfig
    stop: Callable[[], Awaitable[None]]
    key: WitnessKey

    async def start(self) -> int:
        stopping, up = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(self.config, stopping, up.set_result))
        serving = await up

        async def stop() -> None:
            stopping.set()
            await task

        self.stop = stop
        return int(serving.port)


@dataclass
class Witnessed:
    """The region and its witness."""

    house: House
    witness: Beside

    @property
    def metrics_port(self) -> int:
        return self.house.gateway.ready_face._server.servers[0].sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.get(f"http://127.0.0.1:{self.metrics_port}{path}")

    async def ask(self) -> str:
        """The reason of a failure, or "answer"."""
        said = await self.house.consumer.consumer.ask(question(self.house.people[0]))
        if said.HasField("answer"):
            return "answer"
        return reason_pb2.Reason.Name(said.failure.reason).removeprefix("REASON_")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Witnessed]:
    folder = tmp_path_factory.mktemp("house")
    async with house_at(folder) as house:
        vkey = (folder / "gateway-1" / "log-key.pub").read_text().strip()
        config = WitnessConfig(
            folder=folder / "witness",
            passphrase_file=folder / "passphrase",
            name="witness.example/w1",
            logs=(vkey,),
            listen=Listen(host="127.0.0.1", port=0),
        )
        witness = Beside(config, house.stop_gateway, parse_witness_key(found(config)))
        port = await witness.start()
        witness.config = config.model_copy(update={"listen": Listen(host="127.0.0.1", port=port)})
        policy = folder / "witnesses.policy"
        url = f"http://127.0.0.1:{port}"
        policy.write_text(f"log {vkey}\nwitness w1 {witness.key.text} {url}\nquorum w1\n")
        await house.stop_gateway()
        house.witnesses = Witnesses(
            policy_file=policy, interval_s=0.1, timeout_s=2, max_unwitnessed_age_s=1, refuse=True
        )
        await house.start_gateway()
        told = Witnessed(house, witness)
        await until(lambda: len(list(house.gateway.links)) == 2, "the agents are linked again")
        yield told
        await witness.stop()


async def test_everybody_is_shown_the_newest_head_that_the_witness_cosigned(region: Witnessed) -> None:
    assert await region.ask() == "answer"
    size = region.house.log_size
    await until(lambda: region.house.gateway.evidence.witnessing.witnessed_size() >= size, "it is witnessed")
    stub = audit_pb2_grpc.AuditServiceStub(
        await region.house.channel(region.house.identities["health-steward"])
    )
    told = await stub.GetCheckpoint(audit_pb2.GetCheckpointRequest())
    origin, key = read_log_key(region.house.folder / "gateway-1")
    assert open_checkpoint(told.witnessed, origin=origin, log_keys=[key]).size >= size
    assert [who for who, _ in cosignatures_of(told.witnessed, [region.witness.key])] == [region.witness.key]
    metrics = (await region.get("/metrics")).text
    size = region.house.gateway.evidence.witnessing.witnessed_size()
    assert f"shuqiao_witnessed_entries {float(size)}" in metrics
    assert 'shuqiao_witness_well{witness="w1"} 1.0' in metrics


async def test_without_its_witness_the_log_alerts_and_refuses_and_with_it_goes_on(region: Witnessed) -> None:
    gateway = region.house.gateway
    await region.witness.stop()
    assert await region.ask() == "answer"
    witnessing = gateway.evidence.witnessing
    await until(lambda: witnessing.fault() is not None, "the log is unwitnessed for too long")
    assert await region.ask() == "LOG_UNWITNESSED"
    red = await region.get("/ready")
    assert red.status_code == 503
    assert "LOG_UNWITNESSED" in [fault["code"] for fault in red.json()["faults"]]
    await until(lambda: "critical" in alerts(region.house), "the alert is an entry")
    await region.witness.start()
    await until(lambda: witnessing.fault() is None, "the witness cosigns again")
    assert (await region.get("/ready")).status_code == 200
    assert await region.ask() == "answer"
    await until(lambda: alerts(region.house)[-1:] == ["notice"], "the end is an entry, too")
    assert alerts(region.house) == ["critical", "notice"]


def alerts(house: House) -> list[str]:
    log, found_ = house.gateway.sequencer, []
    for leaf in log.leaves(0, log.head.size):
        entry = audit_pb2.AuditEntry.FromString(leaf).administrative
        if entry.act == audit_pb2.ACT_ALERT:
            assert entry.alert.reason == reason_pb2.REASON_LOG_UNWITNESSED
            found_.append(entry.alert.severity)
    return found_


async def test_a_gateway_restored_from_an_older_copy_does_not_start(region: Witnessed) -> None:
    """The copy is consistent in itself: what betrays it is the witness, and what was witnessed."""
    house = region.house
    live, copy = house.folder / "gateway-1", house.folder / "copy"
    await house.stop_gateway()
    shutil.copytree(live, copy)
    await house.start_gateway()
    size = house.log_size
    await until(lambda: len(list(house.gateway.links)) == 2, "the agents are linked again")
    assert await region.ask() == "answer"
    await until(lambda: house.gateway.evidence.witnessing.witnessed_size() > size, "more is witnessed")
    await house.stop_gateway()
    newest = (live / WITNESSED).read_text()
    shutil.move(live, house.folder / "set-aside")
    shutil.copytree(copy, live)
    with pytest.raises(LogBehind):
        await house.start_gateway()
    await region.witness.stop()
    (live / WITNESSED).write_text(newest)
    with pytest.raises(LogBehind):
        await house.start_gateway()
    await region.witness.start()
