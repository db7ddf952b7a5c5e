"""Witnesses that nobody here wrote cosign our log; a client that nobody here wrote has ours cosign one."""

import asyncio
import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exchange.checkpoint import open_checkpoint
from exchange.clock import SystemClock, system_random
from exchange.cosignature import WitnessKey, cosignatures_of, parse_witness_key
from exchange.errors import LogBehind, LogForked
from exchange.identity import Identity, Role
from exchange.merkle import split_hashes
from gateway.audit.witnessing.setup import witnessing_of
from gateway.audit.witnessing.witnessed_file import SIZES, WITNESSED
from gateway.audit.witnessing.witnessing import Witnessing
from gateway.audit.writing.folder import sequencer_in
from gateway.audit.writing.sequencer import Sequencer
from gateway.config import Witnesses
from tests.support.audit import ORIGIN, SIGNER, entry, submit, write_log
from tests.support.outside_witnesses import built, litewitness, omniwitness
from tests.support.witnesses import GrowingLog
from witness.app import found, run
from witness.config import Listen, WitnessConfig

pytestmark = pytest.mark.timeout(900)
GATEWAY = Identity("yunchuan.example", "970100", Role.GATEWAY, name="gateway-1")
WITNESSES = {"litewitness": litewitness, "omniwitness": omniwitness}
Outside = tuple[str, WitnessKey]


@pytest.fixture(params=WITNESSES)
def outside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("w")
    with WITNESSES[request.param](folder, SIGNER.verifier_key) as told:
        yield told


@asynccontextmanager
async def gateway_log(
    folder: Path, outside: Outside, *, probe: bool = True
) -> AsyncIterator[tuple[Sequencer, Witnessing]]:
    """The gateway's log and its witnessing, wired as the gateway wires them."""
    url, key = outside
    policy = folder / "witnesses.policy"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(f"log {SIGNER.verifier_key}\nwitness public {key.text} {url}\nquorum public\n")
    log = sequencer_in(folder, signer=SIGNER)
    witnessing = witnessing_of(
        Witnesses(policy_file=policy),
        folder=folder,
        log=log,
        log_keys=lambda: [SIGNER.public_key],
        gateway=GATEWAY,
        append=log.append,
        clock=SystemClock(),
        random=system_random,
        registry=CollectorRegistry(),
    )
    await log.open()
    try:
        if probe:
            await witnessing.before_signing()
        yield log, witnessing
    finally:
        await witnessing.close()
        await log.close()


async def grow(log: Sequencer, first: int, count: int) -> None:
    await submit(log, [entry(number) for number in range(first, first + count)]).places()


async def test_a_public_witness_cosigns_our_log_as_it_grows_and_over_restarts(
    outside: Outside, tmp_path: Path
) -> None:
    async with gateway_log(tmp_path, outside) as (log, witnessing):
        for first in (0, 300, 600):
            await grow(log, first, 300)
            await witnessing.round()
            assert witnessing.witnessed_size() == first + 300
        note = witnessing.witnessed_note()
        assert open_checkpoint(note, origin=ORIGIN, log_keys=[SIGNER.public_key]) == log.head
        assert [key for key, _ in cosignatures_of(note, [outside[1]])] == [outside[1]]
    (tmp_path / SIZES).unlink()
    async with gateway_log(tmp_path, outside) as (log, witnessing):
        await grow(log, 900, 7)
        await witnessing.round()
        assert witnessing.witnessed_size() == 907


async def test_a_restored_older_log_is_refused_because_a_public_witness_holds_more(
    outside: Outside, tmp_path: Path
) -> None:
    await write_log(tmp_path / "copy", 50)
    shutil.copytree(tmp_path / "copy", tmp_path / "live")
    async with gateway_log(tmp_path / "live", outside) as (log, witnessing):
        await grow(log, 50, 30)
        await witnessing.round()
        assert witnessing.witnessed_size() == 80
    assert not (tmp_path / "copy" / WITNESSED).exists()
    with pytest.raises(LogBehind):
        async with gateway_log(tmp_path / "copy", outside):
            raise AssertionError("nothing may be signed")


async def test_a_log_that_went_on_from_an_older_copy_is_stopped_by_a_public_witness(
    outside: Outside, tmp_path: Path
) -> None:
    await write_log(tmp_path / "copy", 50)
    shutil.copytree(tmp_path / "copy", tmp_path / "live")
    async with gateway_log(tmp_path / "live", outside) as (log, witnessing):
        await grow(log, 50, 30)
        await witnessing.round()
    async with gateway_log(tmp_path / "copy", outside, probe=False) as (log, witnessing):
        await grow(log, 500, 60)
        await witnessing.round()
        await witnessing.settle()
        assert isinstance(log.fault, LogForked)


@asynccontextmanager
async def our_witness(folder: Path) -> AsyncIterator[Outside]:
    (folder / "passphrase").write_text("of a test\n")
    config = WitnessConfig(
        folder=folder / "witness",
        passphrase_file=folder / "passphrase",
        name="ours.example/w1",
        logs=(SIGNER.verifier_key,),
        listen=Listen(host="127.0.0.1", port=0),
    )
    found(config)
    stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(config, stop, up.set_result))
    serving = await up
    try:
        yield f"http://127.0.0.1:{serving.port}", parse_witness_key(serving.key)
    finally:
        stop.set()
        await task


async def ask(where: Outside, log: GrowingLog, old: int) -> tuple[int, str]:
    """Show a log's head by the outside client; return its exit code and what it said."""
    told = {
        "url": where[0],
        "key": where[1].text,
        "old": old,
        "proof": [b64encode(part).decode() for part in split_hashes(log.proof(old))],
        "note": log.note(),
    }
    ran = await asyncio.to_thread(
        subprocess.run,
        [str(built() / "ask")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, (ran.stdout or ran.stderr).strip()


async def test_a_client_that_nobody_here_wrote_gets_our_witness_to_cosign(tmp_path: Path) -> None:
    await asyncio.to_thread(built)
    log = GrowingLog(5)
    async with our_witness(tmp_path) as where:
        for old, added in ((0, 7), (5, 0), (12, 0)):
            code, said = await ask(where, log, old)
            assert (code, said.split()[0]) == (0, "cosigned"), said
            log.grow(added)
        fork = log.fork(9, 8)
        assert await ask(where, log, 5) == (0, "holds 12")
        assert (await ask(where, fork, 12))[0] == 1
