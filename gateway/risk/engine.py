"""The rules at work: fed with what was concluded, batch by batch, and asked before an answer is released.

1. What a rule finds is held back from memory at once, and entered in the log as soon as it can be.
2. Of one rule and key there is one finding per window; while a decision lets it pass there is none.
3. A key is told by a mark, HMAC under a key that never leaves the gateway: after a restart it is known again
   from the finding's id, and no tag stands in the log. The id is the mark, 8 bytes, and 8 random bytes.
4. Rules that providers could steer hold back nothing but the one answer (gateway/risk/combination.py).
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from exchange.clock import Clock, Random
from exchange.errors import ApprovalRequired, ExchangeError
from exchange.region_rules import RegionRules
from exchange.resources import Resource
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2
from gateway.record import Exchange
from gateway.risk.combination import Shape
from gateway.risk.detector import Alarm
from gateway.risk.holds import Holds, hold_of
from gateway.risk.observed import Observed, observe
from gateway.risk.register import Row
from gateway.risk.rule_set import Windows
from gateway.risk.rules_file import Rule, read_risk_rules
from gateway.risk.windows import ID_BYTES

MARK_BYTES = 8
MAX_MARKS = 20_000

_log = structlog.get_logger("gateway.risk")


def check_rules(rules: RegionRules) -> None:
    """Refuse risk rules that cannot be read; for `RulesRegister.require`.

    Raises:
        RulesInvalid.
    """
    read_risk_rules(rules.risk)


class Engine:
    """Looks at what passes.

    Args:
        resource: finds the resource that an id resolves to.
        found: takes a finding that is to be entered in the log.
        key: of the marks, 32 bytes.
        clock, random: time, and the rest of findings' ids.

    Attributes:
        rules: in force.
        holds: what they hold back now.
        windows: what they have seen; replaced when it was rebuilt from the log.
        seen: told of every batch that was taken in, while somebody wants it.
        fault: why the rules in force could not be read, empty where they could.
    """

    def __init__(
        self,
        *,
        resource: Callable[[str], Resource | None],
        found: Callable[[audit_pb2.FindingRecord], None],
        key: bytes,
        clock: Clock,
        random: Random,
    ) -> None:
        self._resource = resource
        self._found = found
        self._key = key
        self._clock = clock
        self._random = random
        self.rules: Sequence[Rule] = ()
        self.region = RegionRules()
        self.holds = Holds()
        self.fault = ""
        self.windows = self.fresh_windows()
        self.seen: Callable[[Sequence[Observed]], None] | None = None
        self._known: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._passes: OrderedDict[bytes, int] = OrderedDict()
        self._changed: list[Callable[[], None]] = []

    # -- rules -------------------------------------------------------------------------------------------

    def use_rules(self, region: RegionRules) -> None:
        """Work by other rules from now on; windows begin anew where the risk rules or days off differ.

        Rules were read before they were logged. Should this version refuse what another took, it goes on
        without them and says so: a log that does not fold would be worse.
        """
        before = (self.region.risk, self.region.days_off, self.region.working_days)
        if (region.risk, region.days_off, region.working_days) == before:
            self.region = region
            return
        try:
            self.rules, self.fault = read_risk_rules(region.risk), ""
        except ExchangeError as error:
            self.rules, self.fault = (), error.subject
            _log.critical("risk rules unreadable", subject=error.subject)
        self.region = region
        self.holds.keep_rules(frozenset(rule.id for rule in self.rules if rule.action != "alert"))
        self.windows = self.fresh_windows()
        for callback in self._changed:
            callback()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have a function called whenever windows began anew because the rules changed."""
        self._changed.append(changed)

    def fresh_windows(self) -> Windows:
        """Return windows of the rules in force that have seen nothing."""
        return Windows(self.rules, self.region, self._resource)

    # -- what passes -------------------------------------------------------------------------------------

    def concluded(self, exchanges: Sequence[Exchange]) -> None:
        """Take in a batch of exchanges whose entries are durable."""
        if not self.rules:
            return
        now_ms = self._clock.now_ms()
        batch = [seen for one in exchanges if (seen := observe(one, now_ms)) is not None]
        self._taken(batch, self.windows.take_moment(now_ms, batch))

    def take(self, batch: Sequence[Observed]) -> None:
        """Take in what was observed."""
        self._taken(batch, self.windows.take(batch))

    def _taken(self, batch: Sequence[Observed], alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            self._fire(alarm, alarm.rule.action)
        if self.seen is not None:
            self.seen(batch)

    def release(self, exchange: Exchange, body: exchange_pb2.ResponseBody) -> None:
        """Hold back an answer that completes a combination (step 7 of gateway/path.py; the last guard there).

        Raises:
            ApprovalRequired: it does, and no decision lets it pass.
        """
        resource, tags = exchange.resource, exchange.tags
        if tags is None or resource is None:
            return
        combinations = self.windows.combinations
        if not combinations.concerns(resource):
            return
        header = exchange.header
        if header.kind == common_pb2.KIND_VERIFY or body.failure:
            return
        fields = tuple(header.fields[:])  # a slice is copied at once, an iterator asks one by one
        shape = combinations.shape_of(resource, fields)
        if not shape:
            return
        seen = Observed(
            self._clock.now_ms(),
            exchange.caller.identity.organisation,
            "",
            "",
            header.provider_organisation,
            resource.id,
            "",
            resource.sealed,
            True,
            0,
            False,
            exchange.exchange_id,
            fields,
            0,
            tags.tags,
        )
        held = self.weigh(seen, shape)
        if held is not None:
            exchange.rule = f"risk/{held[0]}"
            raise ApprovalRequired(f"finding {held[1].hex()}")

    def weigh(self, seen: Observed, shape: Shape | None = None) -> tuple[str, bytes] | None:
        """Take in an answer that is about to be released, unless it is held back.

        It counts from here on, not from when it is durable: of two that come together, the second completes.

        Args:
            seen: the answer, with its fields and tags.
            shape: what it brings of combinations; found here where None.

        Returns:
            Rule and finding that hold it back; None where it may go.
        """
        combinations = self.windows.combinations
        if shape is None:
            shape = combinations.shape(seen.resource, seen.fields)
        if not shape:
            return None
        held = None
        for alarm, holds in combinations.weigh(seen, shape):
            finding_id = self._fire(alarm, alarm.rule.action if holds else "alert")
            if holds and finding_id is not None:
                held = held or (alarm.rule.id, finding_id)
        if held is None:
            combinations.take(seen, shape)
        return held

    # -- findings ----------------------------------------------------------------------------------------

    def decided(self, row: Row) -> None:
        """Take over a finding of the log, or what was decided about it."""
        record, mark = row.record, row.record.finding_id[:MARK_BYTES]
        now_ms = self._clock.now_ms()
        if row.passes_until_ms > now_ms:
            _remember(self._passes, mark, row.passes_until_ms)
        else:
            self._passes.pop(mark, None)
        quiet_ms = row.held_until_ms
        if not (record.from_tags and quiet_ms):
            quiet_ms = max(row.time_ms + int(record.window_s) * 1000, quiet_ms)
        if quiet_ms > now_ms:
            _remember(self._known, mark, (quiet_ms, record.finding_id))
        self.holds.end(record.finding_id)
        rule = next((rule for rule in self.rules if rule.id == record.rule), None)
        if rule is not None and row.held_until_ms > now_ms:
            hold = hold_of(rule, record, row.held_until_ms)
            if hold is not None:
                self.holds.put(hold, now_ms)

    def _fire(self, alarm: Alarm, action: str) -> bytes | None:
        """Make a finding of an alarm, unless there is one already; return its id.

        Returns:
            None where a decision lets it pass.
        """
        rule, now_ms = alarm.rule, alarm.time_ms
        message = rule.id.encode() + b"\0" + alarm.key
        mark = hmac.digest(self._key, message, "sha256")[:MARK_BYTES]
        if self._passes.get(mark, 0) > now_ms:
            return None
        quiet_ms, finding_id = self._known.get(mark, (0, b""))
        if quiet_ms > now_ms:
            return finding_id
        hold_ms = rule.hold_s * 1000 if action != "alert" else 0
        finding = audit_pb2.FindingRecord(
            finding_id=mark + self._random(ID_BYTES - MARK_BYTES),
            rule=rule.id,
            severity=rule.severity,
            action=action,
            consumer=alarm.consumer,
            agent=alarm.agent or "",
            operator=alarm.operator or "",
            resources=alarm.resources,
            count=alarm.counted,
            window_s=rule.window,
            from_tags=rule.from_tags,
            exchange_ids=_ids(alarm.ids),
            since_ms=now_ms - rule.window * 1000,
            until_ms=now_ms + hold_ms if hold_ms else 0,
        )
        # An answer that is held back stays so for as long as the combination stands: a new finding each time.
        quiet_ms = now_ms + (hold_ms if rule.from_tags and hold_ms else max(rule.window * 1000, hold_ms))
        _remember(self._known, mark, (quiet_ms, finding.finding_id))
        hold = hold_of(rule, finding, finding.until_ms)
        if hold is not None:
            self.holds.put(hold, now_ms)
        self._found(finding)
        return finding.finding_id


V = TypeVar("V")


def _remember(held: OrderedDict[bytes, V], mark: bytes, value: V) -> None:
    held[mark] = value
    held.move_to_end(mark)
    if len(held) > MAX_MARKS:
        held.popitem(last=False)


def _ids(joined: bytes) -> list[bytes]:
    return [joined[start : start + ID_BYTES] for start in range(0, len(joined), ID_BYTES)]
