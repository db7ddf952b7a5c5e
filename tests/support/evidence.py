"""A small log with real keys, trust lists, grants and witnesses, and bundles of evidence of it."""

import asyncio
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from exchange import canonical
from exchange.checkpoint import Checkpoint, LogSigner, open_checkpoint
from exchange.cosignature import Cosigner, add_lines
from exchange.errors import by_reason
from exchange.evidence.building import BundleWriter, block_of, digest_of_indexes
from exchange.evidence.heads import normal_note
from exchange.evidence.ranges import edges_from_paths
from exchange.evidence.records import Kind
from exchange.evidence.trusted import KnownHead, Trusted
from exchange.identity import Role
from exchange.merkle import batch_paths, consistency_proof, leaf_hash, root_of
from exchange.own_keys import OwnKeys
from exchange.receipt import to_tlog_proof
from exchange.signing import BatchSigner
from exchange.v1 import audit_pb2, common_pb2, evidence_pb2, exchange_pb2, grant_pb2, reason_pb2, trust_pb2
from gateway.audit.entries.exchange_entry import exchange_leaf
from gateway.record import Exchange
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, RESOURCE, Region
from tests.support.sealing import numbered_random

LOG = LogSigner(origin=ORIGIN, key=SigningKey(b"\x11" * 32))
WITNESSES = [Cosigner(name=f"w{n}.example", key=SigningKey(bytes([0x20 + n]) * 32)) for n in range(3)]
POLICY = (
    "".join(f"witness w{n} {one.key.text}\n" for n, one in enumerate(WITNESSES))
    + "group all 2 w0 w1 w2\nquorum all\n"
).encode()
HALF_DAY_MS = 12 * 3_600_000


@dataclass
class Asker:
    """What the log entry takes of a caller."""

    identity: Any


@dataclass
class Kept:
    """What the parties of an exchange kept."""

    request: common_pb2.Signed
    response: common_pb2.Signed | None = None


@dataclass
class SmallLog:
    """A log and who takes part in it.

    Attributes:
        leaves: the entries.
        kept: bodies by index of the entry.
        notes: signed and cosigned checkpoints by size.
    """

    region: Region
    leaves: list[bytes] = field(default_factory=list)
    kept: dict[int, Kept] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    random: Any = field(default_factory=lambda: numbered_random(b"evidence"))

    def __post_init__(self) -> None:
        authority = self.region.authority
        self.auditor = authority.person(Role.AUDITOR, "auditor-1")
        self.health_agent = authority.person(Role.AGENT, "health-1", HEALTH)
        self.civil_agent = authority.person(Role.AGENT, "civil-1", CIVIL)
        self.officer = authority.person(Role.OFFICER, "officer-1")
        self.declared = [trust_pb2.TrustedGateway(name="gateway-1", origin=ORIGIN, log_keys=[LOG.public_key])]
        self.health, self.police, self.civil = (
            self.region.own_keys(one)
            for one in (self.health_agent, self.region.police_agent, self.civil_agent)
        )

    @property
    def clock(self) -> Any:
        return self.region.clock

    @property
    def size(self) -> int:
        return len(self.leaves)

    # -- the course of things ----------------------------------------------------------------------------

    async def run(self, exchanges: int) -> None:
        """Enter acts and exchanges in turn: new keys, a pause, a revoked key, a revoked grant."""
        region, act = self.region, grant_pb2
        self.leaves = region.log.entries
        await region.registrar.record_opening(region.admin.identity)
        await self.tell_trust()
        await region.settled()
        await region.add(CIVIL, "civil")
        self.grant = await region.apply()
        await region.decide(self.grant, act.GRANT_ACTION_ACCEPT, 1)
        self.civil_grant = await region.apply(
            self.region.authority.person(Role.STEWARD, "zhao", CIVIL), consumer=CIVIL
        )
        await region.decide(self.civil_grant, act.GRANT_ACTION_ACCEPT, 1)
        await self.publish_bundles(3)
        part = max(1, exchanges // 5)
        self.exchanges(part, revision=1)
        self.exchanges(part, revision=1, civil=True)
        self.sign_head()
        await self.tell_trust(revoked_kids=[self.civil.signing_kid])
        self.refused(part // 4 + 1)
        await region.registrar.record_read(self.officer.identity, "Tail from 0")
        await region.decide(self.grant, act.GRANT_ACTION_PAUSE, 2)
        await region.decide(self.grant, act.GRANT_ACTION_RESUME, 3)
        self.sign_head()
        self.clock.ms += HALF_DAY_MS
        await self.tell_trust(revoked_kids=[self.civil.signing_kid])
        assert self.health.rotate_if_due()
        assert self.police.rotate_if_due()
        await self.publish_bundles(2)
        self.exchanges(2 * part, revision=3)
        self.failed(part // 4 + 1)
        await region.decide(self.grant, act.GRANT_ACTION_REVOKE, 4)
        self.refused(2)
        self.sign_head()

    def _agents(self) -> list[tuple[OwnKeys, Any]]:
        return [
            (self.health, self.health_agent),
            (self.police, self.region.police_agent),
            (self.civil, self.civil_agent),
        ]

    async def tell_trust(self, **changes: Any) -> None:
        feed = self.region.feed
        feed.offer(self.region.authority.trust_list(self.clock.ms, gateways=self.declared, **changes))
        assert feed.current is not None
        await self.region.registrar.record_trust_list(feed.current)

    async def publish_bundles(self, count: int) -> None:
        """Enter the newest bundles of the first of: the consumer's agent, the provider's, another's."""
        for keys, agent in self._agents()[:count]:
            await self.region.enter(audit_pb2.ACT_BUNDLE, agent, keys.bundle)
            keys.confirm(keys.seq, keys.bundle_digest)
            keys.rotate_if_due()

    # -- exchanges ---------------------------------------------------------------------------------------

    def exchanges(self, count: int, *, revision: int, civil: bool = False, batch: int = 8) -> None:
        """Enter answered exchanges, signed in batches."""
        for start in range(0, count, batch):
            self._batch(min(batch, count - start), revision, civil=civil, outcome="released")

    def refused(self, count: int) -> None:
        """Enter exchanges that were refused at their signature."""
        self._batch(count, 1, civil=True, outcome="refused")

    def failed(self, count: int) -> None:
        """Enter exchanges that got no answer in time."""
        self._batch(count, 3, civil=False, outcome="failed")

    def _batch(self, count: int, revision: int, *, civil: bool, outcome: str) -> None:
        keys, agent = (self.civil, self.civil_agent) if civil else (self.health, self.health_agent)
        self.clock.ms += 50
        bodies = [self._request(keys, agent, revision, civil) for _ in range(count)]
        requests = _signed(keys, canonical.REQUEST, [body.SerializeToString() for body in bodies])
        records = [self._record(agent, signed, revision, outcome) for signed in requests]
        if outcome == "released":
            answers = [self._response(record) for record in records]
            for record, signed in zip(
                records, _signed(self.police, canonical.RESPONSE, answers), strict=True
            ):
                record.answer = signed
                record.answer_digest = canonical.digest(canonical.RESPONSE, signed.body)
                record.forwarded_ns, record.answered_ns = 1_000_000, 9_000_000
        for record in records:
            self.kept[self.size] = Kept(record.signed, record.answer)
            self.leaves.append(
                exchange_leaf(record, salt=self.random(16), gateway=ORIGIN, time_ms=self.clock.ms)
            )

    def _record(self, agent: Any, signed: common_pb2.Signed, revision: int, outcome: str) -> Exchange:
        body = exchange_pb2.RequestBody.FromString(signed.body)
        made = Exchange(Asker(agent.identity), signed, 0)  # type: ignore[arg-type]
        made.header = exchange_pb2.RequestHeader.FromString(body.header)
        made.exchange_id, made.digest = (
            made.header.exchange_id,
            canonical.digest(canonical.REQUEST, signed.body),
        )
        made.claimed, made.grant_revision, made.rule = True, revision, "forward"
        if outcome == "refused":
            made.stop(by_reason(reason_pb2.REASON_REVOKED)("test"), rule="request", hop="gateway/gateway-1")
        elif outcome == "failed":
            made.stop(
                by_reason(reason_pb2.REASON_DEADLINE_PASSED)("test"), rule="deadline", hop="provider/police-1"
            )
        return made

    def _request(self, keys: OwnKeys, agent: Any, revision: int, civil: bool) -> exchange_pb2.RequestBody:
        header = exchange_pb2.RequestHeader(
            nonce=self.random(16),
            exchange_id=self.random(16),
            division="970100",
            gateway=ORIGIN,
            issued_at_ms=self.clock.ms,
            deadline_ms=self.clock.ms + 10_000,
            kind=common_pb2.KIND_QUERY,
            consumer_organisation=agent.identity.organisation,
            consumer_agent=agent.identity.name,
            consumer_kid=keys.signing_kid,
            provider_organisation=POLICE,
            provider_agent="police-1",
            resource=RESOURCE,
            fields=["name", "address"],
            grant_id=self.civil_grant if civil else self.grant,
            grant_revision=revision,
            purpose="birth",
            matter="newborn",
            case_number=f"C-{self.size % 7}",
            operator="op-1",
        )
        return exchange_pb2.RequestBody(header=header.SerializeToString(), wrap=self.random(64))

    def _response(self, record: Exchange) -> bytes:
        header = exchange_pb2.ResponseHeader(
            nonce=self.random(16), exchange_id=record.exchange_id, request_digest=record.digest
        )
        return exchange_pb2.ResponseBody(header=header.SerializeToString()).SerializeToString()

    # -- heads -------------------------------------------------------------------------------------------

    def root(self, size: int) -> bytes:
        return root_of([leaf_hash(leaf) for leaf in self.leaves[:size]])

    def sign_head(self) -> str:
        """Sign and cosign the newest head."""
        size = self.size
        note = LOG.sign(Checkpoint(ORIGIN, size, self.root(size)))
        self.notes[size] = note = cosigned(note, self.clock.ms // 1000 + size)
        return note

    def known(self, size: int) -> KnownHead:
        note = self.notes[size]
        head = open_checkpoint(note, origin=ORIGIN, log_keys=[LOG.public_key])
        return KnownHead(f"head-{size}", note, head)

    def trusted(self, **changes: Any) -> Trusted:
        held: dict[str, Any] = {"root_pem": self.region.authority.root_pem}
        return Trusted(**(held | changes))


def cosigned(note: str, time_s: int, witnesses: Iterable[Cosigner] = WITNESSES) -> str:
    """Return a note with cosignatures, in the order that a bundle has."""
    text = note.rpartition("\n\n")[0] + "\n"
    note = add_lines(note, [one.cosign(text, time_s=time_s).line.rstrip("\n") for one in witnesses])
    keys = [one.key for one in WITNESSES]
    return normal_note(note, origin=ORIGIN, log_keys=[LOG.public_key], witnesses=keys)


def _signed(keys: OwnKeys, domain: bytes, bodies: Sequence[bytes]) -> list[common_pb2.Signed]:
    signer = BatchSigner(kid=keys.signing_kid, key=keys.signing_key)
    signatures = signer.sign([canonical.digest(domain, body) for body in bodies])
    return [
        common_pb2.Signed(body=body, signature=signature)
        for body, signature in zip(bodies, signatures, strict=True)
    ]


def make_log(folder: Path, exchanges: int = 120) -> SmallLog:
    """Return a log with some exchanges, whose head is signed and cosigned at three sizes."""

    async def made() -> SmallLog:
        log = SmallLog(Region(folder))
        await log.run(exchanges)
        await log.region.registrar.close()
        return log

    return asyncio.run(made())


Item = tuple[Kind, bytes]


@dataclass
class Made:
    """A bundle as records, before the manifest."""

    items: list[Item]

    def parsed(self, kind: Kind, message: Any) -> list[tuple[int, Any]]:
        return [(n, message.FromString(raw)) for n, (of, raw) in enumerate(self.items) if of is kind]


def records_of(
    log: SmallLog,
    *,
    first: int = 0,
    end: int = 0,
    picked: Sequence[int] = (),
    block: int = 64,
    attached: Sequence[int] = (),
    receipts: Sequence[int] = (),
    size: int = 0,
) -> list[Item]:
    """Return the records of a bundle: of a range, or of picked entries with every administrative entry."""
    size = size or log.size
    hashes = [leaf_hash(leaf) for leaf in log.leaves[:size]]
    _, paths = batch_paths(hashes)
    end = end or size
    chosen = list(picked) or list(range(first, end))
    needed = [
        index
        for index in range(size)
        if index not in set(chosen)
        and audit_pb2.AuditEntry.FromString(log.leaves[index]).administrative.HasField("statement")
    ]
    older = [one for one in sorted(log.notes) if one < size]

    def node(level: int, index: int) -> bytes:
        return root_of(hashes[index << level : (index + 1) << level])

    heads = [
        evidence_pb2.EvidenceHead(
            checkpoint=log.notes[one],
            proof=consistency_proof(one, size, node),
            cosignatures=3,
            ordinal=ordinal,
        )
        for ordinal, one in enumerate(older)
    ]
    heads.append(evidence_pb2.EvidenceHead(checkpoint=log.notes[size], cosignatures=3, ordinal=len(older)))
    attachments = _attachments(log, attached, receipts, paths, size)
    assert log.region.feed.current is not None
    description = evidence_pb2.EvidenceDescription(
        nonce=log.random(16),
        origin=ORIGIN,
        selected=len(chosen),
        supporting=len(needed),
        trust_lists=1,
        heads=len(heads),
        attachments=len(attachments),
        exporter=log.auditor.identity.uri,
        exported_at_ms=log.clock.ms,
        tool="tests",
        selected_digest=digest_of_indexes(chosen),
        supporting_digest=digest_of_indexes(needed),
        policy_digest=canonical.digest(b"", POLICY),
    )
    if picked:
        description.picked.words.append("case_number=C-1")
    else:
        description.range.first, description.range.end = first, end
    items = [
        (Kind.DESCRIPTION, description),
        (Kind.TRUST_LIST, log.region.feed.current.statement),
        (Kind.POLICY, POLICY),
        *((Kind.HEAD, one) for one in heads),
        *((Kind.ATTACHMENT, one) for one in attachments),
    ]
    written = {False: 0, True: 0}
    for run, supporting in _runs(chosen, needed, block):
        left, right = edges_from_paths(run[0], paths[run[0]], run[-1], paths[run[-1]], size)
        leaves = log.leaves[run[0] : run[-1] + 1]
        ordinal, peers = sum(written.values()), written[supporting]
        made = block_of(run[0], leaves, left, right, supporting=supporting, ordinal=ordinal, peers=peers)
        items.append((Kind.ENTRIES, made))
        written[supporting] += len(run)
    return [
        (kind, one if isinstance(one, bytes) else one.SerializeToString(deterministic=True))
        for kind, one in items
    ]


def _attachments(
    log: SmallLog, attached: Sequence[int], receipts: Sequence[int], paths: Sequence[bytes], size: int
) -> list[evidence_pb2.EvidenceAttachment]:
    made = []
    for index in sorted({*attached, *receipts}):
        kept = log.kept[index]
        if index in attached:
            made.append(evidence_pb2.EvidenceAttachment(index=index, request=kept.request))
            if kept.response is not None:
                made.append(evidence_pb2.EvidenceAttachment(index=index, response=kept.response))
        if index in receipts:
            receipt = audit_pb2.Receipt(leaf=log.leaves[index], index=index, proof=paths[index])
            text = to_tlog_proof(receipt, log.notes[size])
            made.append(evidence_pb2.EvidenceAttachment(index=index, receipt=text))
    for ordinal, one in enumerate(made):
        one.ordinal = ordinal
    return made


def _runs(chosen: Sequence[int], needed: Sequence[int], block: int) -> list[tuple[list[int], bool]]:
    """Part indexes into runs of neighbours of one role."""
    marked = sorted([(index, False) for index in chosen] + [(index, True) for index in needed])
    runs: list[tuple[list[int], bool]] = []
    for index, supporting in marked:
        if runs and runs[-1][1] is supporting and runs[-1][0][-1] + 1 == index and len(runs[-1][0]) < block:
            runs[-1][0].append(index)
        else:
            runs.append(([index], supporting))
    return runs


def signed_file(log: SmallLog, items: Sequence[Item], signer: Any = None) -> bytes:
    """Return the file of records with a manifest of the auditor, or of another signer."""
    file = io.BytesIO()
    writer = BundleWriter(file)
    for kind, raw in items:
        writer.add(kind, raw)
    writer.finish(signer or log.auditor, now_ms=log.clock.ms, random=log.random)
    return file.getvalue()
