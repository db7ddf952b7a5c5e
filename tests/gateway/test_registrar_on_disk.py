"""The registrar over the real log: what it enters can be proven, and a start folds it again."""

from pathlib import Path

from nacl.signing import SigningKey

from exchange.checkpoint import LogSigner, open_checkpoint
from exchange.receipt import verify_receipt
from exchange.v1 import audit_pb2, grant_pb2
from gateway.audit.sequencer import Sequencer
from gateway.storage.high_water import HighWaterFile
from gateway.storage.sqlite import SqliteAuditStore
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
