"""What a bundle proves, what it does not, and what each check refuses."""

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import Checkpoint, LogSigner, parse_checkpoint, part_note
from exchange.errors import BadConfiguration
from exchange.evidence.findings import Check, Report
from exchange.evidence.records import Kind
from exchange.evidence.trusted import KnownHead, known_heads
from exchange.evidence.verify import verify_bundle
from exchange.identity import Role
from exchange.v1 import audit_pb2, evidence_pb2, grant_pb2, trust_pb2
from tests.support.evidence import (
    LOG,
    POLICY,
    WITNESSES,
    SmallLog,
    cosigned,
    make_log,
    records_of,
    signed_file,
)
from tests.support.evidence_mutations import put
from tests.support.region import ORIGIN, Authority, Region


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    return make_log(tmp_path_factory.mktemp("log"), 40)


def check(log: SmallLog, content: bytes, **trusted: Any) -> Report:
    return verify_bundle(io.BytesIO(content), log.trusted(**trusted))


def whole(log: SmallLog, **wanted: Any) -> bytes:
    return signed_file(log, records_of(log, **wanted))


def english(said: Sequence[Any]) -> str:
    return "\n".join(one.en for one in said)


def checks(report: Report) -> set[Check]:
    return {fault.check for fault in report.faults}


# -- what is proven, and what is not ---------------------------------------------------------------------


def test_a_whole_log_is_proven_with_both_signatures_and_grants(log: SmallLog) -> None:
    answered = [index for index, kept in log.kept.items() if kept.response is not None]
    report = check(log, whole(log), policy=POLICY, heads=[log.known(log.size)])
    assert report.ok, report.faults
    assert report.facts["selected"] == log.size
    assert report.facts["requests_hold"] == report.facts["exchanges"] - report.facts["requests_unproven"]  # type: ignore[operator]
    assert report.facts["responses_hold"] == report.facts["grants_hold"] == len(answered)
    proven = english(report.proven)
    assert f"entries 0 to {log.size - 1} are all entries of that range" in proven
    assert "cosigned by 3 witnesses" in proven
    assert "the 1 heads that you hold agree" in proven


def test_every_sentence_is_in_both_languages(log: SmallLog) -> None:
    report = check(log, whole(log))
    for said in (*report.proven, *report.unproven, *(one.says for one in Check)):
        assert said.zh
        assert said.en
        assert any("\u4e00" <= mark <= "\u9fff" for mark in said.zh)


def test_what_cannot_be_shown_is_said(log: SmallLog) -> None:
    unproven = english(check(log, whole(log)).unproven)
    for part in (
        "nothing happened that was not logged",
        "that the data are true",
        "the times are the gateway's word",
        "have no response",
        "bodies",
        "the witness policy is the exporter's word",
        "no head that you have seen",
        "revocations after it are not known",
    ):
        assert part in unproven


def test_a_selection_is_not_said_to_be_complete(log: SmallLog) -> None:
    picked = [index for index, kept in log.kept.items() if kept.response is not None][::2]
    report = check(log, whole(log, picked=picked))
    assert report.ok, report.faults
    assert "are all entries of that range" not in english(report.proven)
    assert "that the selection is complete" in english(report.unproven)


def test_a_later_revocation_does_not_void_what_was_signed_before(log: SmallLog) -> None:
    report = check(log, whole(log))
    assert report.ok
    assert "revoked afterwards: they remain evidence" in english(report.proven)


def test_a_revocation_that_no_entry_dates_is_not_decided(log: SmallLog) -> None:
    """The newest list revokes a key; the bundle holds no entry that says since when."""
    first = min(log.notes)
    picked = [index for index, kept in log.kept.items() if kept.response is not None and index < first]
    report = check(log, whole(log, picked=picked, size=first))
    assert report.ok, report.faults
    assert "by keys that are revoked; whether before or after" in english(report.unproven)


def test_without_a_policy_the_lack_of_witnesses_is_said_and_with_one_it_is_a_fault(log: SmallLog) -> None:
    items = records_of(log)
    number = max(n for n, (kind, _) in enumerate(items) if kind is Kind.HEAD)
    head = evidence_pb2.EvidenceHead.FromString(items[number][1])
    head.checkpoint = cosigned(LOG.sign(Checkpoint(ORIGIN, log.size, log.root(log.size))), 1, WITNESSES[:1])
    head.cosignatures = 1
    put(items, number, head)
    content = signed_file(log, items)
    report = check(log, content)
    assert report.ok
    assert "no quorum of witnesses" in english(report.unproven)
    demanded = check(log, content, policy=POLICY)
    assert {(fault.check, fault.record) for fault in demanded.faults} == {(Check.WITNESS, number)}
    assert demanded.proven == ()


# -- what is brought along -------------------------------------------------------------------------------


def test_another_root_proves_nothing(log: SmallLog) -> None:
    other = log.trusted(root_pem=Authority().root_pem)
    report = verify_bundle(io.BytesIO(whole(log)), other)
    assert {Check.TRUST, Check.MANIFEST} <= checks(report)
    assert report.proven == ()


def test_a_log_key_that_was_brought_counts_before_the_trust_list(log: SmallLog) -> None:
    assert check(log, whole(log), log_keys=(ORIGIN, (bytes(32), LOG.public_key))).ok
    report = check(log, whole(log), log_keys=(ORIGIN, (bytes(SigningKey(b"\5" * 32).verify_key),)))
    assert Check.HEAD in checks(report)


def test_a_log_key_that_was_changed_since_still_vouches_and_that_is_said(log: SmallLog) -> None:
    held = log.region.feed.current
    assert held is not None
    authority, other = log.region.authority, bytes(SigningKey(b"\5" * 32).verify_key)
    authority.number = held.number
    changed = [trust_pb2.TrustedGateway(name="gateway-1", origin=ORIGIN, log_keys=[other])]
    report = check(log, whole(log), trust_list=authority.trust_list(log.clock.ms, gateways=changed))
    assert report.ok, report.faults
    assert "no longer names" in english(report.unproven)
    assert "no longer names" not in english(check(log, whole(log)).unproven)


def test_a_trust_list_of_the_same_number_with_another_body_is_found(log: SmallLog) -> None:
    held = log.region.feed.current
    assert held is not None
    authority = log.region.authority
    authority.number = held.number - 1
    forged = authority.trust_list(log.clock.ms, gateways=log.declared)
    report = check(log, whole(log), trust_list=forged)
    assert checks(report) == {Check.TRUST}
    assert check(log, whole(log), trust_list=held.statement).ok


def test_a_trust_list_or_policy_that_is_none_is_a_fault_of_whoever_brings_it(log: SmallLog) -> None:
    for brought in ({"root_pem": b"none"}, {"policy": b"none"}, {"trust_list": log.auditor.sign(b"", b"x")}):
        with pytest.raises(BadConfiguration):
            check(log, whole(log), **brought)


def test_an_older_head_than_the_one_that_is_known_is_found(log: SmallLog) -> None:
    older = sorted(log.notes)[1]
    content = whole(log, size=older)
    assert check(log, content, heads=[log.known(min(log.notes))]).ok
    report = check(log, content, heads=[log.known(log.size)])
    assert checks(report) == {Check.CONSISTENCY}
    assert "older than the head of size" in report.faults[0].about


def test_a_known_head_that_the_bundle_does_not_reach_is_a_fault_and_not_passed_over(log: SmallLog) -> None:
    note = LOG.sign(Checkpoint(ORIGIN, 5, log.root(5)))
    known = KnownHead("mine", note, parse_checkpoint(part_note(note)[0]))
    report = check(log, whole(log), heads=[known])
    assert "no proof of the head of size 5 from" in report.faults[0].about


def test_heads_are_read_from_checkpoints_receipts_agents_and_bundles(log: SmallLog) -> None:
    note = log.notes[log.size]
    receipts = list(log.kept)[:1]
    items = records_of(log, receipts=receipts)
    (attached,) = (raw for kind, raw in items if kind is Kind.ATTACHMENT)
    receipt = evidence_pb2.EvidenceAttachment.FromString(attached).receipt
    for content in (note, receipt, json.dumps({ORIGIN: note})):
        (known,) = known_heads(content.encode(), "file")
        assert (known.head.size, known.head.root) == (log.size, log.root(log.size))
    assert known_heads(whole(log), "file")[0].note == note
    for wrong in (b"", b"{", b"\xff", b'{"a": 1}x', b"shuqiao-evidence/1\n\x04"):
        with pytest.raises(BadConfiguration):
            known_heads(wrong, "file")


# -- a log that lies -------------------------------------------------------------------------------------


class Lying(SmallLog):
    """A log whose operator and all witnesses collude: only the parties' signatures are left."""

    def rewrite(self, index: int, change: Callable[[audit_pb2.AuditEntry], None]) -> None:
        entry = audit_pb2.AuditEntry.FromString(self.leaves[index])
        change(entry)
        self.leaves[index] = entry.SerializeToString()


def lying(folder: Path, steps: Callable[[Lying], Any]) -> Report:
    """Return the report on a log in which some steps happened after the agents' bundles were entered."""

    async def run() -> Lying:
        log = Lying(Region(folder))
        log.leaves = log.region.log.entries
        await log.tell_trust()
        await log.region.settled()
        log.grant = await log.region.apply()
        await log.region.decide(log.grant, grant_pb2.GRANT_ACTION_ACCEPT, 1)
        await log.publish_bundles(2)
        done = steps(log)
        if asyncio.iscoroutine(done):
            await done
        await log.region.registrar.close()
        log.sign_head()
        return log

    log = asyncio.run(run())
    return check(log, whole(log), policy=POLICY)


def found(report: Report) -> list[tuple[Check, int | None, str]]:
    return [(fault.check, fault.entry, fault.about.partition(":")[0]) for fault in report.faults]


def test_an_honest_log_of_that_kind_holds(tmp_path: Path) -> None:
    assert lying(tmp_path, lambda log: log.exchanges(3, revision=1)).ok


def test_an_answer_that_the_provider_never_signed_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        log.exchanges(3, revision=1)
        log.rewrite(log.size - 1, lambda one: setattr(one.exchange, "response_digest", bytes(32)))

    report = lying(tmp_path, steps)
    assert [one[0] for one in found(report)] == [Check.RESPONSE]
    assert report.faults[0].entry is not None


def test_a_request_in_another_departments_name_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        log.exchanges(1, revision=1)
        log.rewrite(log.size - 1, lambda one: setattr(one.exchange, "consumer_agent", "other-1"))

    assert (Check.REQUEST, "BUNDLE_STALE") in [(one[0], one[2]) for one in found(lying(tmp_path, steps))]


def test_a_released_entry_without_a_response_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        log.exchanges(1, revision=1)
        log.rewrite(log.size - 1, lambda one: one.exchange.ClearField("response_digest"))

    assert Check.RESPONSE in checks(lying(tmp_path, steps))


def test_a_key_that_was_revoked_before_is_found(tmp_path: Path) -> None:
    async def steps(log: Lying) -> None:
        await log.tell_trust(revoked_kids=[log.health.signing_kid])
        log.clock.ms += 400_000
        log.exchanges(1, revision=1)

    assert (Check.REQUEST, "REVOKED") in [(one[0], one[2]) for one in found(lying(tmp_path, steps))]


def test_a_key_past_its_term_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        log.clock.ms += 25 * 3_600_000
        log.exchanges(1, revision=1)

    assert (Check.REQUEST, "BUNDLE_STALE") in [(one[0], one[2]) for one in found(lying(tmp_path, steps))]


def test_an_exchange_under_a_grant_that_was_over_is_found(tmp_path: Path) -> None:
    async def steps(log: Lying) -> None:
        await log.region.decide(log.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
        log.clock.ms += 400_000
        log.exchanges(1, revision=1)
        log.exchanges(1, revision=2)
        log.exchanges(1, revision=3)

    report = lying(tmp_path, steps)
    assert [one[0] for one in found(report)] == [Check.GRANT] * 3


def test_a_change_entered_while_an_exchange_was_under_way_takes_nothing_from_it(tmp_path: Path) -> None:
    async def steps(log: Lying) -> None:
        await log.region.decide(log.grant, grant_pb2.GRANT_ACTION_PAUSE, 2)
        await log.tell_trust(revoked_kids=[log.health.signing_kid])
        log.clock.ms += 1_000
        log.exchanges(1, revision=1)

    assert lying(tmp_path, steps).ok


@pytest.mark.parametrize(
    ("name", "value"), [("purpose", "tax"), ("matter", "other"), ("case_number", ""), ("kind", 2)]
)
def test_a_claim_that_the_grant_does_not_cover_is_found(tmp_path: Path, name: str, value: str | int) -> None:
    def steps(log: Lying) -> None:
        log.exchanges(1, revision=1)
        log.rewrite(log.size - 1, lambda one: setattr(one.exchange, name, value))

    assert checks(lying(tmp_path, steps)) == {Check.GRANT}


def test_a_statement_of_someone_without_the_role_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        officer = log.region.authority.person(Role.OFFICER, "officer-2")
        body = log.region.event(log.grant, grant_pb2.GRANT_ACTION_REVOKE, 2, officer)
        entry = audit_pb2.AuditEntry(version=1, gateway=ORIGIN, time_ms=log.clock.ms, salt=bytes(16))
        entry.administrative.act = audit_pb2.ACT_GRANT_EVENT
        entry.administrative.actor = officer.identity.uri
        entry.administrative.statement.CopyFrom(body)
        log.leaves.append(entry.SerializeToString())

    assert [(one[0], one[2]) for one in found(lying(tmp_path, steps))] == [(Check.ACT, "ROLE_NOT_ALLOWED")]


def test_a_statement_entered_for_another_person_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        last = log.size - 1
        log.rewrite(last, lambda one: setattr(one.administrative, "actor", log.auditor.identity.uri))

    assert checks(lying(tmp_path, steps)) == {Check.ACT}


@pytest.mark.parametrize("time_ms", [0, -1, 2**62, 253_370_764_800_000])
def test_a_time_that_no_calendar_holds_is_a_fault_and_no_traceback(tmp_path: Path, time_ms: int) -> None:
    def steps(log: Lying) -> None:
        log.exchanges(1, revision=1)
        log.rewrite(log.size - 1, lambda one: setattr(one, "time_ms", time_ms))

    assert checks(lying(tmp_path, steps)) == {Check.ENTRY}


def test_an_entry_of_another_log_is_found(tmp_path: Path) -> None:
    def steps(log: Lying) -> None:
        log.rewrite(2, lambda one: setattr(one, "gateway", "other"))

    report = lying(tmp_path, steps)
    assert (Check.ENTRY, 2) in [one[:2] for one in found(report)]


def test_a_head_signed_by_another_log_key_is_found(log: SmallLog) -> None:
    items = records_of(log)
    number = max(n for n, (kind, _) in enumerate(items) if kind is Kind.HEAD)
    head = evidence_pb2.EvidenceHead.FromString(items[number][1])
    other = LogSigner(origin=ORIGIN, key=SigningKey(b"\x42" * 32))
    head.checkpoint = cosigned(other.sign(Checkpoint(ORIGIN, log.size, log.root(log.size))), 1)
    put(items, number, head)
    assert Check.HEAD in checks(check(log, signed_file(log, items)))


def test_whoever_is_no_auditor_or_officer_cannot_sign_a_bundle(log: SmallLog) -> None:
    for signer in (log.region.admin, log.region.health, log.health_agent):
        content = signed_file(log, records_of(log), signer)
        assert Check.MANIFEST in checks(check(log, content))
    officer = signed_file(log, records_of(log), log.officer)
    assert checks(check(log, officer)) == {Check.SELECTION}
