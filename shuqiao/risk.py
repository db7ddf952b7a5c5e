"""Findings of the risk rules, as calls: who lists them, and what people decide about them."""

import grpc

from exchange import canonical
from exchange.clock import Clock, Random
from exchange.errors import BadConfiguration, UnknownFinding
from exchange.timestamps import timestamp
from exchange.v1 import risk_pb2, risk_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling, not_one
from shuqiao.regional import PAGE, Signer

ID_HEX = 32
HOUR_MS = 3_600_000


def list_findings(
    channel: grpc.Channel, *, holding: bool = False, rule: str = "", most: int = 0
) -> list[risk_pb2.FindingRow]:
    """Return findings, newest first.

    Args:
        channel: to the gateway.
        holding: only those that hold something back now.
        rule: only those of this rule; all where empty.
        most: at most this many; all that the gateway holds where 0.
    """
    stub = risk_pb2_grpc.RiskServiceStub(channel)
    found: list[risk_pb2.FindingRow] = []
    token = ""
    while True:
        size = min(PAGE, most - len(found)) if most else PAGE
        request = risk_pb2.ListFindingsRequest(holding=holding, rule=rule, page_size=size, page_token=token)
        with calling():
            answer = stub.ListFindings(request, timeout=CALL_TIMEOUT_S)
        found += answer.findings
        token = answer.next_page_token
        if not token or (most and len(found) >= most):
            return found


def find(channel: grpc.Channel, text: str) -> risk_pb2.FindingRow:
    """Return a finding by its id, which may be typed short.

    Raises:
        BadConfiguration: it is no id.
        UnknownFinding: none or several fit.
    """
    wanted = text.lower()
    if not wanted or set(wanted) - set("0123456789abcdef") or len(wanted) > ID_HEX:
        raise BadConfiguration(f"finding id: {text}")
    fitting = [row for row in list_findings(channel) if row.finding.finding_id.hex().startswith(wanted)]
    if len(fitting) != 1:
        raise UnknownFinding(not_one(text, len(fitting)), hop=HOP)
    return fitting[0]


def decide(
    channel: grpc.Channel,
    signer: Signer,
    finding_id: bytes,
    verdict: "risk_pb2.FindingVerdict.ValueType",
    *,
    until_ms: int,
    note: str,
    clock: Clock,
    random: Random,
) -> int:
    """Decide on a finding; return the index of the log entry.

    Args:
        channel: to the gateway.
        signer: an officer, or a steward of the provider of every resource that it is about.
        finding_id: 16 bytes.
        verdict: what is decided.
        until_ms: until when it holds, Unix milliseconds; 0 for a false alarm.
        note: why; no personal data.
        clock: for the time of signing.
        random: for the nonce.
    """
    body = risk_pb2.FindingDecisionBody(
        nonce=random(canonical.NONCE_BYTES),
        finding_id=finding_id,
        verdict=verdict,
        note=note,
        issued_at=timestamp(clock.now_ms()),
    )
    if until_ms:
        body.until.CopyFrom(timestamp(until_ms))
    statement = signer.sign(canonical.FINDING_DECISION, body.SerializeToString())
    stub = risk_pb2_grpc.RiskServiceStub(channel)
    with calling():
        request = risk_pb2.DecideFindingRequest(decision=statement)
        return stub.DecideFinding(request, timeout=CALL_TIMEOUT_S).index


def until(moment_ms: int, hours: int, now_ms: int) -> int:
    """Return until when a decision holds, Unix milliseconds: as it was said, or some hours from now.

    Args:
        moment_ms: what was said, 0 for nothing.
        hours: how many, 0 where none were said.
        now_ms: the time.

    Raises:
        BadConfiguration: neither or both were said.
    """
    if (moment_ms == 0) == (hours == 0):
        raise BadConfiguration("--until / --hours")
    return moment_ms or now_ms + hours * HOUR_MS
