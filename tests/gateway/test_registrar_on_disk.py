"""The registrar over the real log: what it enters can be proven, and a start folds it again."""

from pathlib import Path

from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner, open_checkpoint
from exchange.receipt import verify_receipt
from exchange.v1 import audit_pb2, grant_pb2
from gateway.audit.writing.sequencer import Sequencer
from gateway.storage.high_water import HighWaterFile
from gateway.storage.sqlite import SqliteAuditStore
from tests.support.keeping import KeptLog
from tests.support.region import HEALTH, ORIGIN, POLICE, RESOURCE, Authority, Region

ACCEPT = grant_pb2.GRANT_ACTION_ACCEPT


async def test_what_was_entered_is_proven_by_the_log_and_folded_by_the_next_start(tmp_path: Path) -> None:
    authority, key = Authority(), SigningKey(b"k" * 32)

    async def opened() -> Sequencer:
        log = Sequencer(
            store=SqliteAuditStore(folder=tmp_path),
            high_water=HighWaterFile(path=tmp_path / "high-water"),
            signer=LogSigner(origin=ORIGIN, key=key),
        )
        await log.open()
        return log

    log = await opened()
    region = Region(tmp_path, authority=authority, log=log)
    await region.settled()
    grant_id = await region.apply()
    index = await region.decide(grant_id, ACCEPT, 1)
    keys = region.own_keys(region.police_agent)
    await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)

    receipt, note = log.entry(index)
    head = open_checkpoint(note, origin=ORIGIN, log_keys=[bytes(key.verify_key)])
    assert verify_receipt(receipt, head).administrative.act == audit_pb2.ACT_GRANT_EVENT

    before = region.state.grants.one(grant_id)
    await region.registrar.close()
    await log.close()
    (tmp_path / "state.db").unlink()
    log = await opened()
    region.log = log
    region.start()
    assert region.state.grants.one(grant_id) == before
    assert region.state.grants.find(HEALTH, RESOURCE) == [before]
    assert region.state.bundles.newest(POLICE, "police-1") is not None
    assert [one.index for one in region.registrar.events(0, 99, HEALTH).events] == [0, 1, 2, 3, 4]
    await log.close()


async def test_the_state_folds_from_what_is_kept_of_a_log_that_was_erased(
    tmp_path: Path,
) -> None:
    kept = KeptLog(tmp_path / "log")
    await kept.log.open()
    region = Region(tmp_path, authority=Authority(), log=kept.log)
    await region.settled()
    grant_id = await region.apply()
    await region.decide(grant_id, ACCEPT, 1)
    keys = region.own_keys(region.police_agent)
    await region.enter(audit_pb2.ACT_BUNDLE, region.police_agent, keys.bundle)
    await kept.append(700, region.clock.now_ms())
    before, record = (
        region.state.grants.one(grant_id),
        region.state.grants.record(grant_id, region.registrar.leaf),
    )
    assert (len(record.events), record.state) == (1, grant_pb2.GRANT_STATE_ACTIVE)
    events = region.registrar.events(0, 99, HEALTH)
    for days in (40, 1001):
        kept.clock.now = region.clock.now_ms() + days * 86_400_000
        await kept.settle()
        await region.registrar.close()
        for file in (tmp_path / "log" / "segments").iterdir():
            file.write_bytes(b"damaged")
        (tmp_path / "state.db").unlink()
        kept.files.forget(0, 256)
        region.start()
        assert region.state.grants.one(grant_id) == before, "no segment was opened"
        assert region.state.grants.record(grant_id, region.registrar.leaf) == record
    assert kept.log.gaps() == ((0, 512),)
    await region.registrar.close()
    await kept.log.close()
    for lost in (False, True):
        if lost:
            (tmp_path / "state.db").unlink()
        again = KeptLog(tmp_path / "log", keys=kept.keys)
        await again.log.open()
        region.log = again.log
        region.start()
        assert region.state.grants.one(grant_id) == before
        assert region.state.grants.record(grant_id, region.registrar.leaf) == record
        assert region.registrar.events(0, 99, HEALTH).events == events.events
        assert await region.registrar.record(
            audit_pb2.ACT_BUNDLE, region.police_agent.identity, keys.bundle
        ) == region.state.bundles.index_of(POLICE, "police-1", 1)
        await region.registrar.close()
        await again.log.close()
