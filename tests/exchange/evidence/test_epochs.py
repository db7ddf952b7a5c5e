"""A log that went on after a loss: entries of each epoch count under its origin, and the loss is told."""

import io
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from exchange import canonical
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.cosignature import add_lines
from exchange.evidence.findings import Check, Report
from exchange.evidence.heads import normal_note
from exchange.evidence.records import Kind
from exchange.evidence.verify import verify_bundle
from exchange.identity import Role
from exchange.v1 import audit_pb2, evidence_pb2, trust_pb2
from tests.support.evidence import LOG, POLICY, WITNESSES, SmallLog, make_log, records_of, signed_file
from tests.support.evidence_mutations import put
from tests.support.region import ORIGIN, moment

NEW_ORIGIN = f"{ORIGIN}/epoch-2"
NEW_LOG = LogSigner(origin=NEW_ORIGIN, key=SigningKey(b"\x12" * 32))
LOST = 3


def continued(folder: Path, *, people: int = 2, place: int = 0) -> tuple[SmallLog, int]:
    """Return a log whose last entries are lost and that goes on, and the index of the opening."""
    log = make_log(folder, 10)
    kept = log.size - LOST
    body = audit_pb2.LogEpochBody(
        nonce=bytes(16),
        origin=NEW_ORIGIN,
        previous_origin=ORIGIN,
        epoch=2,
        kept_size=kept + place,
        kept_root=log.root(kept),
        lost_size=log.size,
        lost_checkpoint=LOG.sign(Checkpoint(ORIGIN, log.size, log.root(log.size))),
        log_key=NEW_LOG.public_key,
        note="disk lost",
        issued_at=moment(log.clock.ms),
    ).SerializeToString()
    admins = [log.region.admin, log.region.authority.person(Role.ADMIN, "admin-2")]
    signed = [one.sign(canonical.LOG_EPOCH, body) for one in admins[:people]]
    entry = audit_pb2.AuditEntry(version=1, gateway=NEW_ORIGIN, time_ms=log.clock.ms, salt=bytes(16))
    entry.administrative.act = audit_pb2.ACT_LOG_EPOCH
    entry.administrative.actor = admins[0].identity.uri
    entry.administrative.statement.CopyFrom(signed[0])
    entry.administrative.countersignatures.extend(signed[1:])
    log.leaves = [*log.leaves[:kept], entry.SerializeToString()]
    log.notes = {size: note for size, note in log.notes.items() if size <= kept}
    _tell(log, kept)
    log.notes[log.size] = _head(log)
    return log, kept


def _tell(log: SmallLog, kept: int) -> None:
    """Have the authority name both logs, the first one ended."""
    gateways: list[Any] = [
        trust_pb2.TrustedGateway(
            name="gateway-1", origin=ORIGIN, log_keys=[LOG.public_key], epoch=1, closed=True
        ),
        trust_pb2.TrustedGateway(
            name="gateway-1", origin=NEW_ORIGIN, log_keys=[NEW_LOG.public_key], epoch=2, first_entry=kept
        ),
    ]
    log.region.feed.offer(log.region.authority.trust_list(log.clock.ms, gateways=gateways))


def _head(log: SmallLog) -> str:
    note = NEW_LOG.sign(Checkpoint(NEW_ORIGIN, log.size, log.root(log.size)))
    text = note.rpartition("\n\n")[0] + "\n"
    lines = [one.cosign(text, time_s=log.clock.ms // 1000).line.rstrip("\n") for one in WITNESSES]
    return normal_note(
        add_lines(note, lines),
        origin=NEW_ORIGIN,
        log_keys=[NEW_LOG.public_key],
        witnesses=[one.key for one in WITNESSES],
    )


def report(log: SmallLog, **trusted: Any) -> Report:
    items = records_of(log)
    described = evidence_pb2.EvidenceDescription.FromString(items[0][1])
    described.origin = NEW_ORIGIN
    put(items, 0, described)
    assert items[0][0] is Kind.DESCRIPTION
    return verify_bundle(io.BytesIO(signed_file(log, items)), log.trusted(policy=POLICY, **trusted))


def test_entries_and_heads_of_both_epochs_hold_and_the_loss_is_told(tmp_path: Path) -> None:
    log, kept = continued(tmp_path)
    older = log.known(min(log.notes))
    found = report(log, heads=[older])
    assert found.ok, [str(one) for one in found.faults]
    assert found.facts["known_heads"] == 1
    assert f"what entries {kept}–{kept + LOST - 1} held" in "\n".join(one.en for one in found.unproven)


def test_an_opening_that_one_person_signed_is_found(tmp_path: Path) -> None:
    log, kept = continued(tmp_path, people=1)
    faults = report(log).faults
    assert [(one.check, one.entry) for one in faults] == [(Check.ACT, kept)]
    assert "SECOND_PERSON_REQUIRED" in faults[0].about


def test_an_opening_for_another_place_is_found(tmp_path: Path) -> None:
    log, kept = continued(tmp_path, place=1)
    assert [(one.check, one.entry) for one in report(log).faults] == [(Check.ACT, kept)]


def test_a_head_of_the_lost_range_is_not_passed_over(tmp_path: Path) -> None:
    log = make_log(tmp_path, 10)
    lost = log.known(log.size)
    (tmp_path / "again").mkdir()
    log, _ = continued(tmp_path / "again")
    assert Check.CONSISTENCY in {one.check for one in report(log, heads=[lost]).faults}


def test_an_entry_of_the_first_epoch_may_not_name_the_second(tmp_path: Path) -> None:
    log, kept = continued(tmp_path)
    entry = audit_pb2.AuditEntry.FromString(log.leaves[kept - 1])
    entry.gateway = NEW_ORIGIN
    log.leaves[kept - 1] = entry.SerializeToString()
    log.notes = {size: note for size, note in log.notes.items() if size < kept - 1}
    log.notes[log.size] = _head(log)
    assert [(one.check, one.entry) for one in report(log).faults] == [(Check.ENTRY, kept - 1)]


def test_a_head_of_the_new_epoch_signed_with_the_old_key_is_found(tmp_path: Path) -> None:
    log, _ = continued(tmp_path)
    forged = LogSigner(origin=NEW_ORIGIN, key=SigningKey(b"\x11" * 32))
    log.notes[log.size] = forged.sign(Checkpoint(NEW_ORIGIN, log.size, log.root(log.size)))
    assert Check.HEAD in {one.check for one in report(log).faults}
