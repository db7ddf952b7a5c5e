"""Entries of exchanges: both parties' signatures with the keys of that time, and the grant of that time.

An entry is made when an exchange ends. When it was admitted follows from the durations in the entry; where an
exchange failed without an answer, it was at most its longest life before, and where the log was away, a day.
A refusal at the first step may repeat a signature that the gateway found wanting: nothing is asked of it.
"""

from collections.abc import Callable

from exchange.canonical import DIGEST_BYTES
from exchange.errors import EvidenceBroken, ExchangeError
from exchange.evidence.cases_then import CasesThen
from exchange.evidence.findings import RAISED, Check, Findings
from exchange.evidence.grants_then import GrantsThen
from exchange.evidence.keys_then import KeysThen
from exchange.v1 import audit_pb2, reason_pb2

UNCHECKED_RULES = frozenset({"", "admit", "request"})
"""Rules at which an exchange was refused before or while its signature was looked at."""
SLACK_MS = 2_000
MAX_LIFE_MS = 302_000
OUTAGE_MS = 24 * 3_600_000
RELEASED = audit_pb2.DECISION_RELEASED


class Exchanges:
    """Verifies the entries of exchanges in the order of the log.

    Args:
        keys: the agents' keys as of the entry at hand.
        grants: the grants as of the entry at hand.
        cases: the cases as of the entry at hand.
        findings: takes what does not hold.
    """

    def __init__(self, *, keys: KeysThen, grants: GrantsThen, cases: CasesThen, findings: Findings) -> None:
        self._keys = keys
        self._grants = grants
        self._cases = cases
        self._findings = findings
        self._counted = findings.counted

    def take(self, entry: audit_pb2.AuditEntry) -> None:
        """Verify an entry of an exchange."""
        said, counted = entry.exchange, self._counted
        counted["exchanges"] += 1
        to_ms = entry.time_ms
        from_ms = to_ms - _lag_ms(said)
        answered = bool(said.response_digest)
        passed = answered or said.decision == RELEASED
        if passed or said.rule not in UNCHECKED_RULES:
            self._hold(Check.REQUEST, "requests_hold", self._request, said, from_ms, to_ms)
        else:
            self._unchecked(said, from_ms, to_ms)
        if passed:
            self._hold(Check.RESPONSE, "responses_hold", self._response, said, from_ms, to_ms)
            self._hold(Check.GRANT, "grants_hold", self._grants.check, said, from_ms, to_ms)
            self._case(said, from_ms, to_ms)
        else:
            counted["unanswered"] += 1

    def _hold(
        self,
        check: Check,
        name: str,
        verify: Callable[[audit_pb2.ExchangeEntry, int, int], None],
        said: audit_pb2.ExchangeEntry,
        from_ms: int,
        to_ms: int,
    ) -> None:
        """Verify one thing and count it; where it does not hold that is a fault."""
        try:
            verify(said, from_ms, to_ms)
        except RAISED as error:
            self._findings.raised(check, error)
        else:
            self._counted[name] += 1

    def _request(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        if len(said.request_digest) != DIGEST_BYTES:
            raise EvidenceBroken("no request")
        self._keys.verify(
            said.consumer_organisation,
            said.consumer_agent,
            said.request_digest,
            said.request_signature,
            from_ms,
            to_ms,
        )

    def _response(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        if len(said.response_digest) != DIGEST_BYTES:
            raise EvidenceBroken("no response")
        self._keys.verify(
            said.provider_organisation,
            said.provider_agent,
            said.response_digest,
            said.response_signature,
            from_ms,
            to_ms,
        )

    def _case(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        """Verify that a case was open of which the entry says so; without its steps that is only said."""
        if said.case_standing != audit_pb2.CASE_STANDING_OPEN:
            return
        if self._cases.knows(said.case_number):
            self._hold(Check.CASE, "cases_hold", self._cases.check, said, from_ms, to_ms)
        else:
            self._counted["cases_unproven"] += 1

    def _unchecked(self, said: audit_pb2.ExchangeEntry, from_ms: int, to_ms: int) -> None:
        """Count a refusal whose signature holds all the same; where it does not, that may be why."""
        try:
            self._request(said, from_ms, to_ms)
        except ExchangeError:
            self._counted["requests_unproven"] += 1
        else:
            self._counted["requests_hold"] += 1


def _lag_ms(said: audit_pb2.ExchangeEntry) -> int:
    """Return how long before its entry an exchange may have been admitted, milliseconds."""
    if said.reason == reason_pb2.REASON_AUDIT_UNAVAILABLE:
        return OUTAGE_MS
    if said.decision == RELEASED or said.response_digest:
        took_ms = (said.admit_us + said.provider_us) // 1000
        return max(took_ms, MAX_LIFE_MS if said.decision != RELEASED else 0) + SLACK_MS
    return MAX_LIFE_MS
