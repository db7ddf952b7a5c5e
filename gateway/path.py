"""THE PATH: what every exchange passes, a batch at a time.

admit(batch)
  1  identity, from the certificate
  2  the request: digest, signature, bundle, deadline, skew, audience, replay
  3  the resource, by longest division prefix
  4  authorisation: the guards in their order, from stops to quotas
  5  forward on the provider's link
complete(batch)
  6  match: the provider's signature, that it answers this request, and the tags of its subjects
  7  release guards: what an answer would complete
  8  append the entries, tags beside them, wait until they are durable
  9  release, with receipts

Nothing leaves at 9 that is not durable at 8: refusals too are entries. Where 8 fails the answer is
AUDIT_UNAVAILABLE and nothing is released. No task per exchange: both halves are plain functions.

What nobody foresaw in one exchange, such as a guard with a defect, refuses that one as INTERNAL; the others
of its batch go on, and so does the link (`exchange.defects`).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from google.protobuf.message import DecodeError

from exchange.clock import Clock, Random
from exchange.defects import Defects
from exchange.entries import check_told
from exchange.errors import (
    AuditUnavailable,
    CertificateExpired,
    DeadlinePassed,
    ExchangeError,
    LogUnwitnessed,
    NoIdentity,
    QueueFull,
    ResponseMismatch,
    Revoked,
    by_reason,
)
from exchange.stop_set import StopSet
from exchange.trust import TrustList
from exchange.v1 import common_pb2, exchange_pb2, link_pb2
from gateway.access.guards import Guard, ReleaseGuard
from gateway.access.refusals import RefusalLimiter
from gateway.access.requests import RequestCheck
from gateway.audit.entries.exchange_entry import exchange_leaf
from gateway.audit.log.logged import Logged
from gateway.audit.writing.sequencer import Sequencer
from gateway.metrics import PathMetrics
from gateway.record import Caller, Exchange
from gateway.routing.links import AgentLink, Links
from gateway.state import RegionState
from gateway.storage.ports import QuotaKey
from gateway.subject_tags import AnswerTags

MAX_OWED = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class PathParts:
    """What the path is made of.

    Attributes:
        concluded: takes every batch whose entries are durable, after it was released.
    """

    origin: str
    hop: str
    state: RegionState
    links: Links
    sequencer: Sequencer
    requests: RequestCheck
    guards: Sequence[Guard]
    release_guards: Sequence[ReleaseGuard]
    tags: AnswerTags
    refusals: RefusalLimiter
    trust: Callable[[], TrustList | None]
    clock: Clock
    random: Random
    metrics: PathMetrics
    concluded: Callable[[Sequence[Exchange]], None] = lambda exchanges: None


class Path:
    """The numbered steps over Exchange records."""

    def __init__(self, parts: PathParts) -> None:
        self._ = parts
        self._defects = Defects(
            logger="gateway.path", now_ms=parts.clock.now_ms, count=parts.metrics.unforeseen.inc
        )
        self._owed: deque[Exchange] = deque(maxlen=MAX_OWED)

    # -- admission ---------------------------------------------------------------------------------------

    def admit(self, caller: Caller, requests: Sequence[common_pb2.Signed]) -> None:
        """Take requests of one caller through steps 1 to 5; whoever is refused goes to step 8.

        Args:
            caller: who asked, from its certificate.
            requests: signed RequestBody.
        """
        p = self._
        now_ms, admitted_ns = p.clock.now_ms(), time.perf_counter_ns()
        trust, log_fault = p.trust(), p.sequencer.fault
        rules_version = p.state.rules.current.version
        refused = []
        for signed in requests:
            exchange = Exchange(caller, signed, admitted_ns)
            caller.in_flight += 1
            try:
                if log_fault is not None:
                    self._turn_away(exchange, log_fault)
                    continue
                exchange.rules_version = rules_version
                self._identify(exchange, trust, now_ms)  # 1
                p.requests.check(exchange, trust, now_ms)  # 2
                if caller.in_flight > caller.consumer_window:
                    raise QueueFull("consumer window")
                exchange.resource = p.state.resource(exchange.header.resource)  # 3
                for guard in p.guards:  # 4
                    guard(exchange, trust, now_ms)
                self._forward(exchange)  # 5
            except Exception as raised:
                rule = exchange.rule or "admit"
                refused.append(exchange.stop(self._defects.error(raised, rule), rule=rule, hop=p.hop))
                self._give_back(exchange)
        if refused:
            self._refuse(refused, now_ms)

    def _turn_away(self, exchange: Exchange, fault: ExchangeError) -> None:
        """Answer at once while the log is down: no provider is asked for what could not be released."""
        with suppress(ExchangeError):
            self._.requests.read(exchange)
        exchange.stop(_withheld(fault), rule="append", hop=self._.hop)
        self._settle(exchange, b"", None)
        self._.metrics.withheld.inc()

    def _identify(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        caller = exchange.caller
        error: ExchangeError | None = None
        if trust is None:
            error = NoIdentity("no trust list yet")
        elif caller.serial in trust.revoked_serials:
            error = Revoked(caller.identity.name)
        elif now_ms >= caller.not_after_ms:
            error = CertificateExpired(caller.identity.name)
        if error is not None:
            with suppress(ExchangeError):
                # Only so that the refusal finds whoever waits for it.
                self._.requests.read(exchange)
            raise error

    def _forward(self, exchange: Exchange) -> None:
        header = exchange.header
        exchange.rule = "forward"
        link = self._.links.newest(header.provider_organisation, header.provider_agent)
        exchange.forwarded_ns = time.perf_counter_ns()
        link.forward(exchange)
        exchange.provider = link

    def _refuse(self, refused: list[Exchange], now_ms: int) -> None:
        """Send refusals to the log; those beyond their caller's rate are answered and only counted."""
        p = self._
        logged = []
        for exchange in refused:
            assert exchange.error is not None
            if p.refusals.admit(exchange.caller.identity, exchange.error.reason, now_ms):
                logged.append(exchange)
            else:
                self._settle(exchange, b"", None)
        if logged:
            self._conclude(logged)

    # -- completion --------------------------------------------------------------------------------------

    def complete(self, link: AgentLink, items: Sequence[link_pb2.LinkItem]) -> None:
        """Take a provider's answers through steps 6 to 9.

        Args:
            link: whose answers they are.
            items: responses and failures; those that answer nothing pending are dropped and counted.
        """
        done = []
        for item in items:
            if item.HasField("response"):
                exchange = self._match(link, item.response)
            else:
                exchange = link.pending.pop(item.failure.exchange_id, None)
                if exchange is not None:
                    error = by_reason(item.failure.reason)(item.failure.subject[:80])
                    exchange.stop(error, rule="provider", hop=f"provider/{link.identity.name}")
            if exchange is None:
                self._.metrics.unmatched.inc()
            else:
                done.append(exchange)
        if done:
            self._conclude(done)

    def _match(self, link: AgentLink, answer: common_pb2.Signed) -> Exchange | None:  # 6
        p = self._
        hop = f"provider/{link.identity.name}"
        try:
            body = exchange_pb2.ResponseBody.FromString(answer.body)
            header = exchange_pb2.ResponseHeader.FromString(body.header)
        except DecodeError:
            return None
        exchange = link.pending.pop(header.exchange_id, None)
        if exchange is None:
            return self._match_late(link, header, body, answer)
        exchange.answered_ns = time.perf_counter_ns()
        exchange.rule = "match"
        try:
            if header.request_digest != exchange.digest:
                raise ResponseMismatch("request digest")
            self._take(exchange, body, answer)
        except Exception as raised:
            exchange.tags = None
            return exchange.stop(self._defects.error(raised, exchange.rule), rule=exchange.rule, hop=hop)
        try:
            for guard in p.release_guards:  # 7
                guard(exchange, body)
        except Exception as raised:
            exchange.stop(self._defects.error(raised, exchange.rule), rule=exchange.rule, hop=p.hop)
            exchange.answer = answer
            self._owe(exchange)
            return exchange
        exchange.answer = answer
        if body.failure:
            exchange.failure = body.failure
            exchange.stop(by_reason(body.failure)(""), rule="provider", hop=hop)
        return exchange

    def _owe(self, exchange: Exchange) -> None:
        """Have a refused exchange's answer entered for itself, and take it out of the refusal.

        The provider did answer: it gets its receipt, or it would take the gateway for a thief.
        """
        self._owed.append(replace(exchange, failure=0, owed=True, reservation=None))
        exchange.answer, exchange.failure = None, 0
        exchange.tags, exchange.answer_digest = None, b""

    def _match_late(
        self,
        link: AgentLink,
        header: exchange_pb2.ResponseHeader,
        body: exchange_pb2.ResponseBody,
        answer: common_pb2.Signed,
    ) -> Exchange | None:
        """Take an answer that came after its deadline: it is entered, so that the provider gets its receipt.

        A provider takes an answer without a receipt for one that was handed over in secret, and stops.
        """
        held = link.late.pop(header.exchange_id, None)
        if held is None or header.request_digest != held.digest:
            return None
        exchange = replace(held, answered_ns=time.perf_counter_ns(), owed=True, reservation=None)
        try:
            self._take(exchange, body, answer)
        except ExchangeError:
            return None
        except Exception as raised:
            self._defects.note(raised, "match")
            return None
        exchange.answer = answer
        return exchange

    def _take(self, exchange: Exchange, body: exchange_pb2.ResponseBody, answer: common_pb2.Signed) -> None:
        """Take over what the entry repeats of an answer, once that was shown to be the provider's."""
        exchange.answer_digest = self._.requests.check_answer(exchange, answer)
        check_told(body)
        exchange.tags = self._.tags.take(exchange, body, self._.clock.now_ms())
        exchange.data_as_of_ms, exchange.metering = body.data_as_of_ms, body.metering

    def lose(self, exchanges: list[Exchange]) -> None:
        """Conclude exchanges whose provider's link broke, or that were stopped; each already says why."""
        if exchanges:
            self._conclude(exchanges)

    def expire(self) -> None:
        """Conclude what passed its deadline, and enter what is owed to providers; called every second."""
        p = self._
        now_ms = p.clock.now_ms()
        late = []
        for link in p.links:
            overdue = [key for key, ex in link.pending.items() if ex.deadline_ms <= now_ms]
            hop = f"provider/{link.identity.name}"
            late += [
                link.give_up(key).stop(DeadlinePassed(link.identity.name), rule="deadline", hop=hop)
                for key in overdue
            ]
        late += self._owed
        self._owed.clear()
        if late:
            self._conclude(late)

    def _conclude(self, exchanges: list[Exchange]) -> None:  # 8
        p = self._
        now_ms = p.clock.now_ms()
        charges = self._charges(exchanges, now_ms)
        salts = p.random(16 * len(exchanges))
        leaf_of = partial(exchange_leaf, gateway=p.origin, time_ms=now_ms)
        try:
            leaves = [leaf_of(ex, salt=salts[16 * i : 16 * i + 16]) for i, ex in enumerate(exchanges)]
        except Exception:
            # One of them has no entry as it is: which one is only looked for now.
            exchanges, leaves, charges = self._with_leaves(exchanges, charges, salts, leaf_of)
            if not exchanges:
                return
        beside = [ex.tags.tags if ex.tags is not None else b"" for ex in exchanges]
        try:
            p.sequencer.submit(
                leaves, lambda outcome: self._release(exchanges, leaves, outcome), beside, charges
            )
        except Exception as raised:
            self._release(exchanges, leaves, self._defects.error(raised, "append"))

    def _with_leaves(
        self,
        exchanges: list[Exchange],
        charges: Sequence[Sequence[QuotaKey]],
        salts: bytes,
        leaf_of: Callable[..., bytes],
    ) -> tuple[list[Exchange], list[bytes], list[Sequence[QuotaKey]]]:
        """Return the exchanges of a batch that have an entry, these, and what they count against.

        An exchange without one is refused; its entry then says so. Where there is no entry even so, it is
        answered without.
        """
        whole: list[tuple[Exchange, bytes, Sequence[QuotaKey]]] = []
        for place, (exchange, keys) in enumerate(zip(exchanges, charges, strict=True)):
            salt = salts[16 * place : 16 * place + 16]
            try:
                whole.append((exchange, leaf_of(exchange, salt=salt), keys))
                continue
            except Exception as raised:
                exchange.stop(self._defects.error(raised, "append"), rule="append", hop=self._.hop)
                if exchange.answer is not None and not exchange.owed:
                    self._owe(exchange)
            try:
                whole.append((exchange, leaf_of(exchange, salt=salt), ()))
            except Exception as raised:
                self._defects.note(raised, "append")
                exchange.answer = None
                self._give_back(exchange)
                if not exchange.owed:
                    self._settle(exchange, b"", None)
        return [one[0] for one in whole], [one[1] for one in whole], [one[2] for one in whole]

    def _charges(self, exchanges: list[Exchange], now_ms: int) -> Sequence[Sequence[QuotaKey]]:
        """Return the quotas that each entry counts against: those that say RELEASED, at their own time."""
        charges: list[Sequence[QuotaKey]] = []
        for exchange in exchanges:
            keys: Sequence[QuotaKey] = ()
            if exchange.error is not None:
                self._give_back(exchange)
            elif exchange.reservation is not None:
                try:
                    keys = exchange.reservation.charge(now_ms)
                except Exception as raised:
                    exchange.stop(self._defects.error(raised, "quota"), rule="quota", hop=self._.hop)
                    self._give_back(exchange)
                    if exchange.answer is not None:
                        self._owe(exchange)
            charges.append(keys)
        return charges

    def _release(
        self, exchanges: list[Exchange], leaves: list[bytes], outcome: Sequence[Logged] | ExchangeError
    ) -> None:  # 9
        p = self._
        for exchange in exchanges:
            self._give_back(exchange)
        if isinstance(outcome, ExchangeError):
            # Not durable: the answer is dropped here and goes nowhere. An entry that exists after all does no
            # harm: an entry without a release is allowed, a release without an entry is not.
            for exchange in exchanges:
                if exchange.answer is not None:
                    # Entered as withheld once the log is back: the provider waits for its receipt.
                    owed = replace(exchange, failure=0, owed=True, reservation=None)
                    self._owed.append(owed.stop(_withheld(outcome), rule="append", hop=p.hop))
                if not exchange.owed:
                    exchange.answer, exchange.failure = None, 0
                    exchange.stop(_withheld(outcome), rule="append", hop=p.hop)
                    self._settle(exchange, b"", None)
            p.metrics.withheld.inc(len(exchanges))
            return
        stops, now_ms = p.state.stops.force, p.clock.now_ms()
        for exchange, leaf, logged in zip(exchanges, leaves, outcome, strict=True):
            if not exchange.owed:
                if not stops.quiet and self._stopped_meanwhile(exchange, stops, now_ms):
                    self._settle(exchange, b"", None)
                else:
                    self._settle(exchange, leaf, logged)
            if exchange.answer is not None and exchange.provider is not None:
                try:
                    exchange.provider.receipt(exchange, leaf, logged)
                except Exception as raised:
                    self._defects.note(raised, "receipt")
        p.metrics.concluded(exchanges)
        try:
            p.concluded(exchanges)
        except Exception as raised:
            # Everybody has what is theirs by now; what only counts must not look like a fault of the log.
            self._defects.note(raised, "concluded")

    def _settle(self, exchange: Exchange, leaf: bytes, logged: Logged | None) -> None:
        """Tell whoever asked; that it cannot be told ends with its own deadline and keeps nobody else."""
        try:
            exchange.caller.settle(exchange, leaf, logged)
        except Exception as raised:
            self._defects.note(raised, "release")

    def _give_back(self, exchange: Exchange) -> None:
        """End a place in the quotas; one that cannot be ended lapses a little after the deadline."""
        if exchange.reservation is not None:
            try:
                exchange.reservation.end()
            except Exception as raised:
                self._defects.note(raised, "quota")

    def _stopped_meanwhile(self, exchange: Exchange, stops: StopSet, now_ms: int) -> bool:
        """Whether an answer that is durable by now was stopped while it was made durable.

        Its entry says released and nothing is: that is allowed, as after a crash at this line; the provider
        has its receipt all the same.
        """
        if not exchange.released or exchange.resource is None:
            return False
        try:
            stop = stops.find(exchange.header, exchange.resource.id, now_ms)
        except Exception as raised:
            exchange.failure = 0
            exchange.stop(self._defects.error(raised, "stop"), rule="stop", hop=self._.hop)
            return True
        if stop is None:
            return False
        exchange.failure = 0
        exchange.stop(stops.refusal(stop), rule=stop.rule, hop=self._.hop)
        return True


def _withheld(fault: ExchangeError) -> ExchangeError:
    """Return what a caller is told whose entry was not made durable; why in detail is not its business."""
    return LogUnwitnessed() if isinstance(fault, LogUnwitnessed) else AuditUnavailable()
