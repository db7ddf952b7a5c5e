"""The consumer's side of an exchange, a batch at a time.

submit(questions)
  1  plan: the resource, the provider's keys, the grant
  2  the sealing session: one key agreement for minutes of exchanges
  3  header and sealed parameters
  4  sign, with whatever else the frame carries
  5  send, and wait
outcomes(frame)
  6  verify the receipt           (agent/consumer/outcome.py)
  7  verify the signature
  8  compare the header with the request
  9  open, and deliver
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uuid_utils
from google.protobuf.message import DecodeError

from agent.consumer import outcome
from agent.consumer.asker import Deliver
from agent.consumer.outcome import Pending
from agent.consumer.plan import Plan, Planner, Speaker, split_parameters, wanted_fields
from agent.consumer.quality import Observe, unobserved
from agent.consumer.receipts import ReceiptShelf
from agent.heads import Seen
from agent.peers import Peers, Resolved
from agent.stream import LinkStream
from exchange import canonical
from exchange.clock import Clock, Random
from exchange.codes import holds_citizen_id
from exchange.defects import Defects
from exchange.envelope import ColumnPlan, direction_key, seal
from exchange.errors import (
    BundleStale,
    DeadlinePassed,
    ExchangeError,
    Internal,
    Malformed,
    QueueFull,
    ReceiptBroken,
    ResponseMismatch,
    ResponseSignature,
    TrustStale,
)
from exchange.keys import OwnKeys
from exchange.merkle import InclusionMemo
from exchange.region_rules import NO_RULES, RegionRules
from exchange.rpc_errors import from_failure, to_failure
from exchange.session import ConsumerSessions, Parties
from exchange.signing import BatchVerifier
from exchange.stop_set import StopSet
from exchange.suites import suite
from exchange.trust import TrustList
from exchange.v1 import agent_pb2, common_pb2, exchange_pb2, link_pb2

DEFAULT_TIMEOUT_MS = 10_000
MAX_TIMEOUT_MS = 300_000
MAX_PLANS = 4096

KINDS = frozenset({common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY})

Send = Callable[[bytes, link_pb2.LinkItem, int], LinkStream]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerParts:
    """What a consumer is made of.

    Attributes:
        rules: returns the region's, as the agent knows them.
    """

    speaker: Speaker
    keys: OwnKeys
    planner: Planner
    peers: Peers
    sessions: ConsumerSessions
    shelf: ReceiptShelf
    send: Send
    trust: Callable[[], TrustList | None]
    head: Callable[[], common_pb2.LogHead | None]
    clock: Clock
    random: Random
    capacity: int
    observe: Observe = unobserved
    rules: Callable[[], RegionRules] = lambda: NO_RULES


class Consumer:
    """Asks other departments through the link."""

    def __init__(self, parts: ConsumerParts) -> None:
        self._ = parts
        self.hop = f"consumer/{parts.speaker.identity.name}"
        self._pending: dict[bytes, Pending] = {}
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        self._verifiers: OrderedDict[bytes, BatchVerifier] = OrderedDict()
        self._resolving: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._defects = Defects(logger="agent.consumer", now_ms=parts.clock.now_ms)
        self._consumer = (parts.speaker.identity.organisation, parts.speaker.identity.name)

    # -- asking ------------------------------------------------------------------------------------------

    async def ask(self, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        """Ask once; a failure is an outcome."""
        done: asyncio.Future[agent_pb2.AskResponse] = asyncio.get_running_loop().create_future()

        def deliver(response: agent_pb2.AskResponse) -> None:
            if not done.done():
                done.set_result(response)

        try:
            self.submit([question], deliver)
        except QueueFull as error:
            deliver(self._failed(question, b"", error))
        return await done

    def submit(self, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver) -> None:
        """Ask many; take all or none.

        Raises:
            QueueFull: too many are under way.
        """
        if len(self._pending) + self._waiting + len(questions) > self._.capacity:
            raise QueueFull("consumer", hop=self.hop)
        waiting: dict[str, list[agent_pb2.AskRequest]] = {}
        for question in questions:
            resolved = self._.peers.known(question.resource)
            if resolved is None:
                waiting.setdefault(question.resource, []).append(question)
            else:
                self._begin(question, deliver, resolved, retried=False)
        for resource, held in waiting.items():
            self._later(resource, held, deliver, retried=False)

    def _later(
        self, resource: str, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver, *, retried: bool
    ) -> None:
        """Ask once the resource is resolved: one task for all questions that wait for it."""

        async def resolve() -> None:
            try:
                resolved = await self._.peers.resolve(resource)
            except Exception as error:
                # Whatever it is: a question always gets an outcome.
                told = error if isinstance(error, ExchangeError) else Internal(type(error).__name__)
                for question in questions:
                    deliver(self._failed(question, b"", told))
                return
            finally:
                self._waiting -= len(questions)
            for question in questions:
                self._begin(question, deliver, resolved, retried=retried)

        self._waiting += len(questions)
        task = asyncio.create_task(resolve())
        self._resolving.add(task)
        task.add_done_callback(self._resolving.discard)

    def _begin(
        self, question: agent_pb2.AskRequest, deliver: Deliver, resolved: Resolved, *, retried: bool
    ) -> None:
        try:
            self._send(question, deliver, resolved, retried)
        except ExchangeError as error:
            if self._again(question, deliver, error, retried=retried):
                return
            deliver(self._failed(question, b"", error))

    def _send(
        self, question: agent_pb2.AskRequest, deliver: Deliver, resolved: Resolved, retried: bool
    ) -> None:
        p = self._
        now_ms = p.clock.now_ms()
        if question.kind not in KINDS or question.timeout_ms > MAX_TIMEOUT_MS:
            raise Malformed("kind or timeout")
        if holds_citizen_id(question.case_number) or holds_citizen_id(question.operator):
            # The gateway and its log would keep it for good.
            raise Malformed("case_number or operator: a citizen id")
        plan = self._plan(question, resolved, now_ms)  # 1
        kid = p.keys.signing_kid
        parties = Parties(
            *self._consumer, kid, resolved.keys.organisation, resolved.keys.agent, plan.provider_kid
        )
        session = p.sessions.current(  # 2
            suite(plan.suite), parties, plan.provider_public, until_ms=plan.provider_until_ms
        )
        fields = wanted_fields(question, plan)
        exchange_id = uuid_utils.uuid7().bytes
        deadline_ms = now_ms + (question.timeout_ms or DEFAULT_TIMEOUT_MS)
        varying = exchange_pb2.RequestHeader(  # 3
            nonce=p.random(16),
            exchange_id=exchange_id,
            issued_at_ms=now_ms,
            deadline_ms=deadline_ms,
            fields=fields,
            case_number=question.case_number,
            operator=question.operator,
            session_id=session.id,
            session_expiry_ms=session.expiry_ms,
        )
        # Concatenated messages merge: the constant part is serialised once per plan, not once per exchange.
        header = plan.prefix + varying.SerializeToString()
        body = exchange_pb2.RequestBody(header=header, wrap=session.wrap, last_head=p.head())
        clear, sealed = split_parameters(question, resolved.resource)
        body.clear.extend(clear)
        if sealed:
            key = direction_key(suite(plan.suite), session.secret, header, "request")
            columns = [ColumnPlan(name, [value], padding) for name, value, padding in sealed]
            body.sealed.CopyFrom(seal(key, columns, 1))
        raw = body.SerializeToString()
        digest = canonical.digest(canonical.REQUEST, raw)
        item = link_pb2.LinkItem()
        item.request.body = raw
        stream = p.send(digest, item, len(raw) + 512)  # 4, 5
        self._pending[exchange_id] = Pending(
            question,
            deliver,
            plan,
            exchange_id,
            header,
            digest,
            session.secret,
            kid,
            fields,
            deadline_ms,
            retried,
            stream,
        )

    def _plan(self, question: agent_pb2.AskRequest, resolved: Resolved, now_ms: int) -> Plan:
        p = self._
        trust = p.trust()
        if trust is None:
            raise TrustStale("no trust list yet", hop=self.hop)
        key = (
            question.resource,
            question.kind,
            question.purpose,
            question.matter,
            question.step,
            bool(question.case_number),
            tuple(question.fields),
            question.grant_id,
            question.application,
            p.keys.spoken_digest,
            resolved.keys.digest,
            resolved.resource.digest,
            trust.suite,
        )
        plan = self._plans.get(key)
        if plan is None or plan.provider_until_ms <= now_ms:
            plan = p.planner.plan(
                question,
                resolved,
                consumer_kid=p.keys.signing_kid,
                consumer_bundle=p.keys.spoken_digest,
                trust=trust,
                now_ms=now_ms,
            )
            self._plans[key] = plan
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        return plan

    def forget_plans(self) -> None:
        """Forget all plans, because a grant has changed."""
        self._plans.clear()

    # -- outcomes ----------------------------------------------------------------------------------------

    def outcomes(self, items: Sequence[link_pb2.Delivery], checkpoints: Sequence[Seen]) -> None:
        """Verify, open and deliver the outcomes of one frame."""
        memos = [InclusionMemo(seen.checkpoint.size, seen.checkpoint.root) for seen in checkpoints]
        now_ms = self._.clock.now_ms()
        for item in items:
            try:
                if item.HasField("released"):
                    self._answered(item.released, memos, checkpoints, now_ms)
                else:
                    self._refused(item.failure, memos, checkpoints)
            except DecodeError:
                # Nothing pending can be named: the question ends by its deadline.
                continue

    def _answered(
        self,
        released: exchange_pb2.Released,
        memos: Sequence[InclusionMemo],
        checkpoints: Sequence[Seen],
        now_ms: int,
    ) -> None:
        signed = released.response
        body = exchange_pb2.ResponseBody.FromString(signed.body)
        header = exchange_pb2.ResponseHeader.FromString(body.header)
        pending = self._pending.pop(header.exchange_id, None)
        if pending is None:
            return
        hop = f"provider/{pending.plan.resolved.keys.agent}"
        response = agent_pb2.AskResponse(tag=pending.question.tag, exchange_id=pending.exchange_id)
        try:
            digest = canonical.digest(canonical.RESPONSE, signed.body)
            place = released.receipt.checkpoint
            if place >= len(memos):
                raise ReceiptBroken("checkpoint")
            entry = outcome.check_receipt(pending, released.receipt, memos[place], digest)  # 6
            outcome.check_decision(entry, body, self._.rules())
            response.receipt.index = released.receipt.index
            response.receipt.receipt.CopyFrom(released.receipt)
            response.receipt.checkpoint = checkpoints[place].note
            verifier = self._verifier(pending, signed.signature.kid)
            outcome.check_signature(pending, signed, digest, verifier)  # 7
            outcome.check_header(pending, header, self._consumer, now_ms)  # 8
            outcome.provider_failure(body, hop)
            response.answer.CopyFrom(outcome.open_answer(pending, body, header))  # 9
            if pending.question.kind == common_pb2.KIND_QUERY:
                resource = pending.plan.resolved.resource
                self._.observe(resource, response.answer, body.data_as_of_ms)
        except Exception as raised:
            error = self._defects.error(raised, "outcome")
            told = self._stale(pending, error, signed.signature.kid)
            if self._again(pending.question, pending.deliver, told, retried=pending.retried):
                return
            error.hop = error.hop or self.hop
            response.failure.CopyFrom(to_failure(error, pending.exchange_id))
        self._deliver(pending, response)

    def _refused(
        self,
        failure: exchange_pb2.Failure,
        memos: Sequence[InclusionMemo],
        checkpoints: Sequence[Seen],
    ) -> None:
        pending = self._pending.pop(failure.exchange_id, None)
        if pending is None:
            return
        error = from_failure(failure)
        response = agent_pb2.AskResponse(tag=pending.question.tag, exchange_id=pending.exchange_id)
        try:
            if failure.HasField("receipt"):
                place = failure.receipt.checkpoint
                if place >= len(memos):
                    raise ReceiptBroken("checkpoint")
                entry = outcome.check_receipt(pending, failure.receipt, memos[place], b"")
                if entry.decision == outcome.RELEASED or entry.reason != failure.reason:
                    raise ResponseMismatch("the entry says otherwise")
                response.receipt.index = failure.receipt.index
                response.receipt.receipt.CopyFrom(failure.receipt)
                response.receipt.checkpoint = checkpoints[place].note
        except Exception as raised:
            error = self._defects.error(raised, "outcome")
        if self._again(pending.question, pending.deliver, error, retried=pending.retried):
            return
        error.hop = error.hop or self.hop
        response.failure.CopyFrom(to_failure(error, pending.exchange_id))
        self._deliver(pending, response)

    def _verifier(self, pending: Pending, kid: bytes) -> BatchVerifier | None:
        trust = self._.trust()
        if trust is None or kid in trust.revoked_kids:
            return None
        verifier = self._verifiers.get(kid)
        if verifier is None:
            public = outcome.signing_key(pending.plan.resolved.keys, kid)
            if public is None:
                return None
            verifier = self._verifiers[kid] = BatchVerifier(kid=kid, public_key=public)
            if len(self._verifiers) > MAX_PLANS:
                self._verifiers.popitem(last=False)
        elif outcome.signing_key(pending.plan.resolved.keys, kid) is None:
            return None
        return verifier

    def _stale(self, pending: Pending, error: ExchangeError, kid: bytes) -> ExchangeError:
        """Return what an answer failed for: with a key not known yet, the provider has changed its own."""
        if not isinstance(error, ResponseSignature):
            return error
        self._.peers.forget(pending.question.resource)
        trust = self._.trust()
        revoked = trust is None or kid in trust.revoked_kids
        if revoked or outcome.signing_key(pending.plan.resolved.keys, kid) is not None:
            return error
        return BundleStale(error.subject, hop=error.hop)

    def _again(
        self, question: agent_pb2.AskRequest, deliver: Deliver, error: ExchangeError, *, retried: bool
    ) -> bool:
        """Ask again, once, where the keys or the catalogue entry were stale, whoever found it."""
        if not isinstance(error, BundleStale) or retried:
            return False
        self._.peers.forget(question.resource)
        self._later(question.resource, [question], deliver, retried=True)
        return True

    def _deliver(self, pending: Pending, response: agent_pb2.AskResponse) -> None:
        if response.HasField("receipt"):
            self._.shelf.keep(response.exchange_id, response.receipt)
        pending.deliver(response)

    def _failed(
        self, question: agent_pb2.AskRequest, exchange_id: bytes, error: ExchangeError
    ) -> agent_pb2.AskResponse:
        error.hop = error.hop or self.hop
        return agent_pb2.AskResponse(
            tag=question.tag, exchange_id=exchange_id, failure=to_failure(error, exchange_id)
        )

    # -- endings -----------------------------------------------------------------------------------------

    def busy(self, stream: LinkStream) -> bool:
        """Whether anything is under way on a stream."""
        return any(item.stream is stream for item in self._pending.values())

    def lost(self, stream: LinkStream, why: ExchangeError) -> None:
        """Fail everything under way on a stream that ended."""
        for key in [key for key, item in self._pending.items() if item.stream is stream]:
            item = self._pending.pop(key)
            item.deliver(self._failed(item.question, key, type(why)(why.subject, hop=why.hop)))

    def drop_stopped(self, stops: StopSet) -> None:
        """Fail everything under way that is stopped; an answer that comes all the same finds nobody."""
        now_ms = self._.clock.now_ms()
        for key, item in list(self._pending.items()):
            header = exchange_pb2.RequestHeader.FromString(item.header)
            stop = stops.find(header, item.plan.resolved.resource.id, now_ms)
            if stop is not None:
                del self._pending[key]
                item.deliver(self._failed(item.question, key, stops.refusal(stop)))

    def expire(self) -> None:
        """Fail what passed its deadline; called several times a second."""
        now_ms = self._.clock.now_ms()
        for key in [key for key, item in self._pending.items() if item.deadline_ms <= now_ms]:
            item = self._pending.pop(key)
            item.deliver(self._failed(item.question, key, DeadlinePassed(item.question.resource)))
