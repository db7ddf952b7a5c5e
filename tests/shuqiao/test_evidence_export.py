"""A bundle holds what was asked for and what that needs, is there whole or not at all, and verifies alone."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.errors import (
    BadConfiguration,
    EntryErased,
    GatewayAway,
    LogForked,
    ReceiptBroken,
    UnknownEntry,
)
from exchange.evidence.records import Kind, parse, read_records
from exchange.evidence.verify import verify_bundle
from exchange.merkle import batch_paths, consistency_proof, leaf_hash, root_of
from exchange.receipt import to_tlog_proof
from exchange.trust import read_trust_list
from exchange.v1 import audit_pb2, evidence_pb2
from gateway.audit.entries.filters import Filter, facts_of
from shuqiao.evidence_attached import Attached
from shuqiao.evidence_export import Exporter, Wanted
from shuqiao.evidence_source import Entry
from tests.support.evidence import LOG, POLICY, SmallLog, make_log
from tests.support.region import Authority


class LogSource:
    """The log in memory, read as a gateway lets it be read.

    Attributes:
        witnessed: size of the newest witnessed head, 0 for none.
        erased: indexes of entries that are gone.
        away_after: how many more entries are given before the gateway is away.
    """

    def __init__(self, log: SmallLog) -> None:
        self.log = log
        self.hashes = [leaf_hash(leaf) for leaf in log.leaves]
        self.witnessed = 0
        self.away_after = 1 << 30
        self.proofs = 0
        self.erased: frozenset[int] = frozenset()

    def checkpoints(self) -> tuple[str, str]:
        return self.log.notes[self.log.size], self.log.notes.get(self.witnessed, "")

    def entries(self, wanted: audit_pb2.EntryFilter, *, first: int, end: int) -> Iterator[Entry]:
        fits = Filter(wanted)
        for index in range(first, min(end, self.log.size)):
            leaf = self.log.leaves[index]
            if index not in self.erased and fits.fits(facts_of(leaf)):
                self.away_after -= 1
                if self.away_after < 0:
                    raise GatewayAway
                yield Entry(index, leaf)

    def entry(self, exchange_id: bytes) -> Entry:
        for index, leaf in enumerate(self.log.leaves):
            if audit_pb2.AuditEntry.FromString(leaf).exchange.exchange_id == exchange_id:
                return Entry(index, leaf)
        raise UnknownEntry(exchange_id.hex())

    def paths(self, indexes: Sequence[int], size: int) -> dict[int, bytes]:
        self.proofs += len(indexes)
        _, paths = batch_paths(self.hashes[:size])
        return {index: paths[index] for index in indexes}

    def consistency(self, old_size: int, new_size: int) -> bytes:
        def node(level: int, index: int) -> bytes:
            return root_of(self.hashes[index << level : (index + 1) << level])

        return consistency_proof(old_size, new_size, node)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    return make_log(tmp_path_factory.mktemp("log"), 60)


@pytest.fixture
def source(log: SmallLog) -> LogSource:
    return LogSource(log)


def exporter(source: LogSource, **changes: Any) -> Exporter:
    log = source.log
    held: dict[str, Any] = {
        "source": source,
        "trust": log.region.feed.current,
        "signer": log.auditor,
        "policy": POLICY,
        "tool": "tests",
        "clock": log.clock,
        "random": log.random,
    }
    return Exporter(**(held | changes))


def made(
    source: LogSource, path: Path, wanted: Wanted, heads: Sequence[str] = (), **more: Any
) -> tuple[evidence_pb2.EvidenceDescription, Any]:
    """Export, verify with the auditor's own policy, and return description and facts."""
    attached = more.pop("attached", Attached())
    told = exporter(source, **more).write(path, wanted, heads=heads, attached=attached, force=False)
    log = source.log
    report = verify_bundle(io.BytesIO(path.read_bytes()), log.trusted(policy=POLICY))
    assert report.ok, [str(fault) for fault in report.faults]
    return told, report


def answered(log: SmallLog) -> list[int]:
    return [index for index, kept in log.kept.items() if kept.response is not None]


def blocks(path: Path) -> list[evidence_pb2.EvidenceBlock]:
    records = read_records(io.BytesIO(path.read_bytes()))
    return [parse(one.content, evidence_pb2.EvidenceBlock) for one in records if one.kind is Kind.ENTRIES]


def test_the_whole_log_needs_nothing_beside_it(source: LogSource, tmp_path: Path) -> None:
    told, report = made(source, tmp_path / "all", Wanted())
    assert (told.selected, told.supporting) == (source.log.size, 0)
    assert (told.range.first, told.range.end) == (0, source.log.size)
    assert report.facts["size"] == source.log.size
    # One block of at most 256 entries needs the proofs of its two ends alone.
    assert source.proofs == 2


def test_a_range_brings_the_keys_grants_and_catalogue_that_it_needs(
    source: LogSource, tmp_path: Path
) -> None:
    last = answered(source.log)
    told, report = made(source, tmp_path / "range", Wanted(first=last[-6], end=last[-1] + 1))
    assert told.selected == 6
    assert report.facts["responses_hold"] == report.facts["grants_hold"] == 6
    acts = [
        audit_pb2.AuditEntry.FromString(leaf).administrative.act
        for block in blocks(tmp_path / "range")
        if block.supporting
        for leaf in block.leaves
    ]
    assert acts.count(audit_pb2.ACT_BUNDLE) >= 2
    assert acts.count(audit_pb2.ACT_GRANT) == 1
    assert audit_pb2.ACT_ORGANISATION not in acts


def test_a_range_that_begins_with_a_decision_brings_the_grant_decided_on(
    source: LogSource, tmp_path: Path
) -> None:
    events = [
        index
        for index, leaf in enumerate(source.log.leaves)
        if audit_pb2.AuditEntry.FromString(leaf).administrative.act == audit_pb2.ACT_GRANT_EVENT
    ]
    told, _ = made(source, tmp_path / "event", Wanted(first=events[-1], end=events[-1] + 1))
    assert told.selected == 1
    assert told.supporting > 3


def test_a_case_brings_its_entries_and_says_what_was_asked(source: LogSource, tmp_path: Path) -> None:
    wanted = Wanted(filter=audit_pb2.EntryFilter(case_number="C-3"))
    told, report = made(source, tmp_path / "case", wanted)
    assert list(told.picked.words) == ["from=0", "case_number=C-3"]
    found = [
        entry.exchange.case_number
        for leaf in source.log.leaves
        if (entry := audit_pb2.AuditEntry.FromString(leaf)).exchange.case_number == "C-3"
    ]
    assert told.selected == len(found) == report.facts["exchanges"]


def test_exchanges_are_picked_by_id_with_what_their_parties_kept(source: LogSource, tmp_path: Path) -> None:
    log, index = source.log, answered(source.log)[4]
    kept, attached = log.kept[index], Attached()
    assert kept.response is not None
    receipt = audit_pb2.Receipt(
        leaf=log.leaves[index], index=index, proof=source.paths([index], log.size)[index]
    )
    for content in (
        kept.response.SerializeToString(),
        kept.request.SerializeToString(),
        to_tlog_proof(receipt, log.notes[log.size]).encode(),
    ):
        attached.add(content, f"{len(content)}")
    entry = audit_pb2.AuditEntry.FromString(log.leaves[index])
    wanted = Wanted(exchange_ids=(entry.exchange.exchange_id,))
    told, report = made(source, tmp_path / "one", wanted, attached=attached)
    assert (told.selected, told.attachments) == (1, 3)
    assert (report.facts["attachments_hold"], report.facts["bodies"]) == (3, 1)


def test_what_belongs_to_no_selected_entry_is_not_taken_along(source: LogSource, tmp_path: Path) -> None:
    log, attached = source.log, Attached()
    attached.add(log.kept[answered(log)[0]].request.SerializeToString(), "request.bin")
    wanted = Wanted(first=answered(log)[-1])
    with pytest.raises(BadConfiguration, match=r"request\.bin"):
        made(source, tmp_path / "none", wanted, attached=attached)
    with pytest.raises(BadConfiguration):
        Attached().add(b"\xff", "noise")


def test_the_witnessed_head_is_preferred_and_the_newest_where_it_does_not_reach(
    source: LogSource, tmp_path: Path
) -> None:
    source.witnessed = sorted(source.log.notes)[1]
    told, report = made(source, tmp_path / "witnessed", Wanted())
    assert report.facts["size"] == told.selected == source.witnessed
    _, report = made(source, tmp_path / "newest", Wanted(end=source.log.size))
    assert report.facts["size"] == source.log.size


def test_heads_that_somebody_holds_are_shown_to_be_of_one_history(source: LogSource, tmp_path: Path) -> None:
    log = source.log
    held = [log.known(size) for size in sorted(log.notes)[:2]]
    made(source, tmp_path / "held", Wanted(), [one.note for one in held])
    content = (tmp_path / "held").read_bytes()
    report = verify_bundle(io.BytesIO(content), log.trusted(policy=POLICY, heads=held))
    assert report.ok
    assert report.facts["known_heads"] == 2


def test_a_head_of_another_history_stops_the_export(source: LogSource, tmp_path: Path) -> None:
    other = LOG.sign(Checkpoint(LOG.origin, source.log.size, bytes(32)))
    with pytest.raises(LogForked):
        made(source, tmp_path / "fork", Wanted(), [other])
    newer = LOG.sign(Checkpoint(LOG.origin, source.log.size + 1, bytes(32)))
    with pytest.raises(BadConfiguration):
        made(source, tmp_path / "fork", Wanted(), [newer])
    assert not list(tmp_path.iterdir())


def test_a_gateway_that_goes_away_leaves_nothing_behind(source: LogSource, tmp_path: Path) -> None:
    source.away_after = 10
    with pytest.raises(GatewayAway):
        made(source, tmp_path / "cut", Wanted())
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_when_forced_and_is_private(source: LogSource, tmp_path: Path) -> None:
    path = tmp_path / "held"
    path.write_text("mine")
    with pytest.raises(BadConfiguration, match="exists"):
        exporter(source).write(path, Wanted(), heads=(), attached=Attached(), force=False)
    assert path.read_text() == "mine"
    exporter(source).write(path, Wanted(), heads=(), attached=Attached(), force=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["held"]


@pytest.mark.parametrize(
    "wanted", [Wanted(first=10**6), Wanted(end=10**6), Wanted(first=5, end=5), Wanted(first=5, end=4)]
)
def test_a_range_that_the_log_does_not_have_is_refused(
    source: LogSource, tmp_path: Path, wanted: Wanted
) -> None:
    with pytest.raises(UnknownEntry):
        made(source, tmp_path / "none", wanted)


def test_a_range_with_erased_entries_is_refused_and_a_search_takes_what_is_left(
    source: LogSource, tmp_path: Path
) -> None:
    source.erased = frozenset(answered(source.log)[:2])
    with pytest.raises(EntryErased, match="2 entries"):
        made(source, tmp_path / "range", Wanted())
    left = Wanted(filter=audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_RELEASED]))
    told, _ = made(source, tmp_path / "left", left)
    assert told.selected == len(answered(source.log)) - 2


def test_heads_of_other_logs_in_a_file_are_left_aside(source: LogSource, tmp_path: Path) -> None:
    other = LogSigner(origin="other/gateway", key=SigningKey(b"\1" * 32))
    note = other.sign(Checkpoint(other.origin, 5, bytes(32)))
    told, _ = made(source, tmp_path / "bundle", Wanted(), [note, source.log.notes[min(source.log.notes)]])
    assert told.heads == 2


def test_a_search_that_finds_nothing_makes_no_bundle(source: LogSource, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="no entry fits"):
        made(source, tmp_path / "none", Wanted(filter=audit_pb2.EntryFilter(case_number="unknown")))


def test_a_log_that_the_trust_list_does_not_name_is_not_exported(source: LogSource, tmp_path: Path) -> None:
    strange = read_trust_list(Authority().trust_list(source.log.clock.ms))
    with pytest.raises(ReceiptBroken):
        made(source, tmp_path / "strange", Wanted(), trust=strange)
