"""The provider's side of an exchange, a batch at a time.

requests(frame)
  1  parse                                          (agent/provider/inspection.py)
  2  addressed to this agent, now
  3  signed by the consumer whose bundle it names
  4  not stopped, and granted: fields, purpose, matter, case, term, from the agent's own signed state
  5  not answered before
  6  open the parameters
  7  read the source, one read per resource and batch
  8  seal, tag the subjects; a verdict only within the limits (agent/provider/respond.py, verify_limits.py)
  9  journal, durable before it leaves; what was stopped meanwhile becomes a failure
 10  sign, with whatever else the frame carries, and send, unless it was stopped meanwhile
receipts(frame)
 11  the log entry of what was answered; without one in time the agent alarms and stops answering

A slow source delays its own resource's questions and no other's. What nobody foresaw in one exchange fails
that one as INTERNAL; the others of its frame are answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from agent.heads import Seen
from agent.peers import Peers
from agent.provider.inspection import Inspector, Job, parse
from agent.provider.journal import Journal
from agent.provider.projections import NOTHING, Least, least_of
from agent.provider.respond import Responder
from agent.provider.source import Question, Source, Verdicts
from agent.provider.verify_limits import VerifyCounts
from agent.stream import LinkStream
from exchange import canonical
from exchange.clock import Clock
from exchange.defects import Defects
from exchange.entries import Told, check_entry, check_repeated, check_standing
from exchange.errors import (
    ExchangeError,
    Internal,
    Oversized,
    QueueFull,
    ReceiptBroken,
    ReceiptOverdue,
    Replayed,
    UnknownResource,
)
from exchange.link import MAX_RESPONSE_BYTES
from exchange.merkle import InclusionMemo, leaf_hash
from exchange.region_rules import NO_RULES, RegionRules
from exchange.rpc_errors import to_failure
from exchange.stop_set import StopSet
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2, link_pb2

HOUR_MS = 3_600_000
Finished = tuple[Job, bytes]
"""A request and the body of its answer."""
Sent = tuple[exchange_pb2.RequestHeader, Told]
"""The header of a request that was answered, and what the answer tells beside its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderParts:
    """What a provider is made of.

    Attributes:
        rules: returns the region's, as the agent knows them.
    """

    hop: str
    inspector: Inspector
    responder: Responder
    peers: Peers
    sources: Mapping[str, Source]
    journal: Journal
    clock: Clock
    window: int
    receipt_after_s: float
    stops: StopSet
    verify_counts: VerifyCounts
    unreceipted_per_hour: int = 5000
    rules: Callable[[], RegionRules] = lambda: NO_RULES


class Provider:
    """Answers requests that come over the link."""

    def __init__(self, parts: ProviderParts) -> None:
        self._ = parts
        self._log = structlog.get_logger("agent.provider")
        self._defects = Defects(logger="agent.provider", now_ms=parts.clock.now_ms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand = 0
        self._under_way: dict[LinkStream, int] = {}
        self._sent: dict[LinkStream, dict[bytes, Sent]] = {}
        self._unreceipted: deque[tuple[int, int]] = deque()
        self._hidden: dict[bytes, Least] = {}
        self.fault: ExchangeError | None = None

    def requests(self, items: Sequence[link_pb2.Delivery], stream: LinkStream) -> None:
        """Take the requests of one frame; the answers go back on its stream."""
        if self._in_hand + len(items) > self._.window:
            for item in items:
                self._reject(item.request, QueueFull("provider window"), stream)
            return
        self._in_hand += len(items)
        self._under_way[stream] = self._under_way.get(stream, 0) + len(items)
        self._spawn(self._answer([item.request for item in items], stream))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("answering failed", error=type(task.exception()).__name__)

    async def _answer(self, requests: Sequence[common_pb2.Signed], stream: LinkStream) -> None:
        try:
            jobs = []
            for signed in requests:
                try:
                    jobs.append(parse(signed))  # 1
                except Exception as raised:
                    self._reject(signed, self._defects.error(raised, "parse"), stream)
            await self._inspect(jobs)  # 2 to 6
            now_ms = self._.clock.now_ms()
            groups: dict[tuple[str, int], list[Job]] = {}
            refused: list[Finished] = []
            for job in jobs:
                if isinstance(job.error, Replayed):
                    # What is journalled under this id is the first answer; a second has no place there.
                    self._reject(job.signed, job.error, stream)
                elif job.error is not None:
                    refused += self._failure(job, job.error, now_ms, stream)
                else:
                    groups.setdefault((job.header.resource, job.header.kind), []).append(job)
            async with asyncio.TaskGroup() as group:
                if refused:
                    group.create_task(self._finish(refused, stream))
                for (resource, kind), members in groups.items():
                    group.create_task(self._read(resource, kind, members, stream))
        finally:
            self._in_hand -= len(requests)
            self._under_way[stream] -= len(requests)
            if not self._under_way[stream]:
                del self._under_way[stream]

    async def _inspect(self, jobs: Sequence[Job]) -> None:
        if self.fault is not None:
            for job in jobs:
                job.error = self.fault
            return
        for job in jobs:
            header = job.header
            try:
                keys = self._.peers.keys_known(header.consumer_bundle)
                if keys is None:
                    keys = await self._.peers.keys_by_digest(
                        header.consumer_bundle, header.consumer_organisation, header.consumer_agent
                    )
                now_ms = self._.clock.now_ms()
                self._.inspector.inspect(job, keys, now_ms)
                self._.responder.check(job, now_ms)
                if header.kind == common_pb2.KIND_VERIFY and job.resource is not None:
                    counts, consumer = self._.verify_counts, header.consumer_organisation
                    job.subject = counts.subject(consumer, job.resource, job.parameters)
                    counts.check(consumer, job.subject, now_ms)
            except Exception as raised:
                job.error = self._defects.error(raised, "inspect")

    async def _read(self, resource: str, kind: int, jobs: Sequence[Job], stream: LinkStream) -> None:  # 7, 8
        verify = kind == common_pb2.KIND_VERIFY
        outcomes: Sequence[object]
        version, as_of_ms = "", 0
        try:
            source = self._.sources.get(resource)
            if source is None:
                raise UnknownResource(resource)
            questions = [self._question(job) for job in jobs]
            left_s = max(
                0.001, max(job.header.deadline_ms for job in jobs) / 1000 - self._.clock.now_ms() / 1000
            )
            if verify:
                outcomes = await source.verify(questions, timeout_s=left_s)
            else:
                cap = jobs[0].resource.row_cap if jobs[0].resource else 1
                outcomes = await source.answer(questions, timeout_s=left_s, row_cap=cap)
            version, as_of_ms = source.data_version, source.data_as_of_ms
            if len(outcomes) != len(jobs):
                # Nobody can tell whose is whose.
                raise Internal(f"{len(outcomes)} outcomes")
        except ExchangeError as error:
            outcomes = [error] * len(jobs)
        except Exception as fault:
            # Whatever a driver raises: it must not end the questions that came in the same frame.
            self._log.error("source failed", resource=resource, error=type(fault).__name__)
            outcomes = [Internal()] * len(jobs)
        now_ms = self._.clock.now_ms()
        finished: list[Finished] = []
        for job, result in zip(jobs, outcomes, strict=True):
            try:
                finished.append((job, self._body(job, result, verify, version, as_of_ms, now_ms)))
            except Exception as raised:
                job.error = self._defects.error(raised, "answer")
                finished += self._failure(job, job.error, now_ms, stream)
        if finished:
            await self._finish(finished, stream)

    def _question(self, job: Job) -> Question:
        return Question(
            job.parameters,
            list(job.header.fields),
            job.claims,
            job.grant.row_filters if job.grant else (),
            self._least(job),
            (job.header.consumer_organisation, job.header.purpose),
        )

    def _failure(self, job: Job, error: ExchangeError, now_ms: int, stream: LinkStream) -> list[Finished]:
        """Return a failure as it is signed; none where it cannot be made and was told unsigned."""
        try:
            return [(job, self._.responder.failure(job, error.reason, now_ms))]
        except Exception as raised:
            self._reject(job.signed, self._defects.error(raised, "failure"), stream)
            return []

    def _least(self, job: Job) -> Least:
        """Return what the catalogue entry hides; worked out once per entry."""
        if job.resource is None:
            return NOTHING
        found = self._hidden.get(job.resource.digest)
        if found is None:
            if len(self._hidden) > 2 * len(self._.sources):
                self._hidden.clear()
            found = self._hidden[job.resource.digest] = least_of(job.resource)
        return found

    def _body(
        self, job: Job, result: object, verify: bool, version: str, as_of_ms: int, now_ms: int
    ) -> bytes:
        responder = self._.responder
        if isinstance(result, ExchangeError):
            raise result
        self._check_stopped(job, now_ms)
        if verify:
            verdicts: Verdicts = result  # type: ignore[assignment]
            self._.verify_counts.settle(job.header.consumer_organisation, job.subject, verdicts, now_ms)
            body = responder.verify(job, verdicts, version, now_ms, as_of_ms=as_of_ms)
        else:
            as_of_ms = result.as_of_ms or as_of_ms  # type: ignore[attr-defined]
            columns, records = result.columns, result.records  # type: ignore[attr-defined]
            body = responder.query(job, columns, records, version, now_ms, as_of_ms=as_of_ms)
        if len(body) > MAX_RESPONSE_BYTES:
            # The gateway would refuse it, and its receipt would never come.
            raise Oversized("answer")
        return body

    def _check_stopped(self, job: Job, now_ms: int) -> None:
        """Refuse an answer in hand that was stopped meanwhile; what is refused already goes its way."""
        stops = self._.stops
        stop = None if job.error is not None else stops.find(job.header, job.header.resource, now_ms)
        if stop is not None:
            raise stops.refusal(stop)

    async def _finish(self, finished: Sequence[Finished], stream: LinkStream) -> None:
        p = self._
        now_ms = p.clock.now_ms()
        rows, items = [], []
        for job, body in finished:
            digest = canonical.digest(canonical.RESPONSE, body)
            rows.append((job.header.exchange_id, job.digest, digest, now_ms))
            item = link_pb2.LinkItem()
            item.response.body = body
            items.append((digest, item, len(body) + 512))
        try:
            await p.journal.answered(rows)  # 9
        except Exception as raised:
            error = self._defects.error(raised, "journal")
            for job, _ in finished:
                self._reject(job.signed, error, stream)
            return
        lost, now_ms = [], p.clock.now_ms()
        for (job, _), (exchange_id, *_), (digest, item, size) in zip(finished, rows, items, strict=True):
            try:
                self._check_stopped(job, now_ms)
            except Exception as raised:
                # Journalled by now: the answer never leaves, and its row is closed below.
                self._reject(job.signed, self._defects.error(raised, "stop"), stream)
                lost.append(exchange_id)
                continue
            try:
                stream.send(digest, item, size)  # 10
            except ExchangeError:
                lost.append(exchange_id)
            else:
                self._sent.setdefault(stream, {})[exchange_id] = (
                    job.header,
                    Told(*job.tagged, *job.counted),
                )
        if lost:
            await p.journal.lost(lost)

    def _reject(self, signed: common_pb2.Signed, error: ExchangeError, stream: LinkStream) -> None:
        """Answer what cannot be answered with a signed body; a gateway that is gone needs no answer."""
        try:
            exchange_id = parse(signed).header.exchange_id
        except Exception:
            self._log.warning("request dropped", reason=error.name)
            return
        item = link_pb2.LinkItem(failure=to_failure(error, exchange_id))
        try:
            stream.send(b"", item, 256)
        except ExchangeError as gone:
            self._log.debug("refusal not sent", reason=gone.name)

    # -- receipts ----------------------------------------------------------------------------------------

    def receipts(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Verify the log entries of what was answered, and note them."""
        memos = [InclusionMemo(seen.checkpoint.size, seen.checkpoint.root) for seen in checkpoints]
        rows = []
        for item in items:
            receipt = item.receipt
            try:
                if receipt.checkpoint >= len(memos):
                    raise ReceiptBroken("checkpoint")
                memos[receipt.checkpoint].verify(receipt.index, leaf_hash(receipt.leaf), receipt.proof)
                leaf = audit_pb2.AuditEntry.FromString(receipt.leaf)
                entry = leaf.exchange
                for sent in self._sent.values():
                    told = sent.pop(entry.exchange_id, None)
                    if told is not None:
                        header, answered = told
                        check_entry(leaf, header)
                        check_repeated(entry, answered)
                        check_standing(entry, self._.rules())
            except (ExchangeError, DecodeError) as error:
                self._alarm(ReceiptBroken(type(error).__name__, hop=self._.hop))
                continue
            except Exception as raised:
                # Not noted: should it be wrong, it is overdue before long.
                self._defects.note(raised, "receipt")
                continue
            rows.append((entry.exchange_id, entry.request_digest, entry.response_digest, receipt.index))
        if rows:
            self._spawn(self._note(rows))

    async def _note(self, rows: Sequence[tuple[bytes, bytes, bytes, int]]) -> None:
        strange = await self._.journal.receipted(rows)
        if strange:
            self._alarm(ReceiptBroken(f"{len(strange)} entries of answers never given", hop=self._.hop))

    def _alarm(self, error: ExchangeError) -> None:
        self._log.error("alarm", reason=error.name, subject=error.subject)
        self.fault = error

    def watch(self) -> None:
        """Alarm when receipts are overdue, and resume when they have come; called every second."""
        now_ms = self._.clock.now_ms()
        late = len(self._.journal.overdue(now_ms, self._.receipt_after_s))
        while self._unreceipted and self._unreceipted[0][0] <= now_ms - HOUR_MS:
            self._unreceipted.popleft()
        # A gateway that breaks the link after each answer to keep back its receipt is caught by their number.
        gone = sum(count for _, count in self._unreceipted)
        if gone > self._.unreceipted_per_hour:
            late += gone
        if late and self.fault is None:
            self._alarm(ReceiptOverdue(f"{late} answers", hop=self._.hop))
        elif not late and isinstance(self.fault, ReceiptOverdue):
            self._log.warning("receipts have come, answering again")
            self.fault = None

    def busy(self, stream: LinkStream) -> bool:
        """Whether answers to a stream's requests are in hand, or wait for their receipts."""
        return stream in self._under_way or bool(self._sent.get(stream))

    def lost(self, stream: LinkStream) -> None:
        """A stream ended: receipts of what was sent on it may never come, answers in hand go nowhere."""
        ids = list(self._sent.pop(stream, {}))
        if ids:
            self._unreceipted.append((self._.clock.now_ms(), len(ids)))
            self._spawn(self._.journal.lost(ids))

    async def close(self) -> None:
        """Give up what is in hand."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
