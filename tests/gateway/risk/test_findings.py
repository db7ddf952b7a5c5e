"""Findings in the log: entered, listed, decided on by whom it concerns, and known again after a restart."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from exchange import canonical
from exchange import errors as e
from exchange.identity import Role
from exchange.rpc_errors import from_rpc_error
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, reason_pb2, risk_pb2, risk_pb2_grpc, rules_pb2
from gateway.calls import Calls
from gateway.risk.observed import Observed
from gateway.risk.setup import Risk, RiskParts
from gateway.risk_service import RiskService
from tests.support.callers import by, peer
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, RESOURCE, Authority, Region, moment, nonce
from tests.support.risk import HOUR, MINUTE, REFUSALS
from tests.support.sealing import NOW_MS, numbered_random

AUTHORITY = Authority()
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")
AUDITOR = AUTHORITY.person(Role.AUDITOR, "auditor-1")
ADMIN_2 = AUTHORITY.person(Role.ADMIN, "admin-2")
GATEWAY = AUTHORITY.person(Role.GATEWAY, "gateway-1", hosts=["gateway.example"])
CIVIL_STEWARD = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)
APPROVE = risk_pb2.FINDING_VERDICT_APPROVE
UPHOLD = risk_pb2.FINDING_VERDICT_UPHOLD
DISMISS = risk_pb2.FINDING_VERDICT_DISMISS


class Watched(Region):
    """A region whose gateway has risk rules."""

    risk: Risk

    def start(self) -> None:
        super().start()
        self.log.origin = ORIGIN
        self.log.beside = lambda first, count: {}
        self.risk = Risk(
            RiskParts(
                state=self.state,
                log=self.log,
                enter=lambda entry: self.registrar.record_made(lambda _: entry),
                gateway=GATEWAY.identity,
                key=bytes(32),
                registry=CollectorRegistry(),
                clock=self.clock,
                random=numbered_random(b"risk"),
            )
        )

    async def rule(self, text: str = REFUSALS, version: int = 1) -> int:
        body = rules_pb2.RegionRulesBody(
            nonce=nonce(), version=version, issued_at=moment(self.clock.ms), risk=text
        ).SerializeToString()
        first, second = (signer.sign(canonical.RULES, body) for signer in (self.admin, ADMIN_2))
        return await self.registrar.record(
            audit_pb2.ACT_RULES, self.admin.identity, first, countersignatures=[second]
        )

    def refused(self, times: int, **changes: Any) -> None:
        told: dict[str, Any] = {
            "consumer": HEALTH,
            "agent": "health-1",
            "operator": "op-1",
            "provider": POLICE,
            "resource": RESOURCE,
        } | changes
        for number in range(times):
            seen = Observed(
                time_ms=self.clock.ms,
                case="",
                sealed=True,
                released=False,
                reason=reason_pb2.REASON_CASE_REQUIRED,
                by_provider=False,
                exchange_id=number.to_bytes(16),
                **told,
            )
            self.risk.engine.take([seen])

    async def found(self, **changes: Any) -> bytes:
        """Have the rule fire, and its finding entered; return its id."""
        self.refused(5, **changes)
        await self.risk.recorder.enter_next()
        return next(iter(self.state.findings)).record.finding_id

    async def decide(
        self, finding_id: bytes, verdict: int, signer: StatementSigner = OFFICER, **changes: Any
    ) -> int:
        held: dict[str, Any] = {
            "nonce": nonce(),
            "finding_id": finding_id,
            "verdict": verdict,
            "issued_at": moment(self.clock.ms),
            "until": moment(self.clock.ms + HOUR),
            "note": "seen to",
        }
        body = risk_pb2.FindingDecisionBody(**(held | changes)).SerializeToString()
        statement = signer.sign(canonical.FINDING_DECISION, body)
        return await self.enter(audit_pb2.ACT_FINDING_DECISION, signer, statement)

    def holds(self) -> str:
        hold = self.risk.engine.holds.find(HEALTH, "health-1", "op-1", RESOURCE, self.clock.ms)
        return hold.action if hold else ""


@pytest.fixture
async def region(tmp_path: Path) -> Watched:
    region = Watched(tmp_path, authority=AUTHORITY)
    await region.settled()
    await region.rule()
    return region


async def test_a_finding_holds_at_once_and_is_the_gateways_own_entry_soon_after(region: Watched) -> None:
    region.refused(5)
    assert region.holds() == "refuse"
    finding_id = await region.found(agent="health-2") and next(iter(region.state.findings)).record.finding_id
    entry = region.log.acts()[-1]
    assert (entry.act, entry.actor) == (audit_pb2.ACT_FINDING, GATEWAY.identity.uri)
    assert entry.finding.finding_id == finding_id
    assert entry.finding.rule == entry.subject == "in-a-row"
    assert not entry.HasField("statement")


async def test_a_finding_that_could_not_be_made_durable_waits_and_is_entered_once(region: Watched) -> None:
    region.refused(5)
    region.log.fails = e.AuditUnavailable()
    with pytest.raises(e.AuditUnavailable):
        await region.risk.recorder.enter_next()
    assert region.holds() == "refuse"
    region.log.fails = None
    await region.risk.recorder.enter_next()
    acts = [act for act in region.log.acts() if act.act == audit_pb2.ACT_FINDING]
    assert len(acts) == 1


async def test_nobody_can_hand_in_a_finding(region: Watched) -> None:
    finding_id = await region.found()
    body = risk_pb2.FindingDecisionBody(nonce=nonce(), finding_id=finding_id).SerializeToString()
    statement = OFFICER.sign(canonical.FINDING_DECISION, body)
    with pytest.raises(e.Malformed):
        await region.enter(audit_pb2.ACT_FINDING, OFFICER, statement)


@pytest.mark.parametrize(("verdict", "holds"), [(APPROVE, ""), (UPHOLD, "refuse"), (DISMISS, "")])
async def test_a_decision_counts_at_once(region: Watched, verdict: int, holds: str) -> None:
    finding_id = await region.found()
    await region.decide(finding_id, verdict)
    assert region.holds() == holds


async def test_an_approval_lets_pass_until_its_time_and_then_the_rule_holds_again(region: Watched) -> None:
    finding_id = await region.found()
    await region.decide(finding_id, APPROVE)
    region.refused(50)
    assert region.holds() == ""
    region.clock.ms += HOUR + MINUTE
    region.refused(5)
    assert region.holds() == "refuse"


async def test_what_is_upheld_stays_held_beyond_the_rules_own_time_and_not_for_ever(region: Watched) -> None:
    finding_id = await region.found()
    await region.decide(finding_id, UPHOLD, until=moment(region.clock.ms + 5 * HOUR))
    region.clock.ms += 4 * HOUR
    assert region.holds() == "refuse"
    region.clock.ms += HOUR
    assert region.holds() == ""


async def test_officers_and_the_stewards_of_its_provider_decide_and_nobody_else(region: Watched) -> None:
    finding_id = await region.found()
    for signer in (region.health, CIVIL_STEWARD, AUDITOR, region.admin):
        with pytest.raises(e.RoleNotAllowed):
            await region.decide(finding_id, APPROVE, signer)
    assert region.holds() == "refuse"
    await region.decide(finding_id, APPROVE, region.police)
    assert region.holds() == ""


async def test_a_steward_decides_only_where_every_resource_is_its_organisations(region: Watched) -> None:
    region.refused(4)
    finding_id = await region.found(resource="970100/civil/marriage")
    with pytest.raises(e.RoleNotAllowed):
        await region.decide(finding_id, APPROVE, region.police)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"until": moment(NOW_MS)}, e.Malformed),
        ({"until": moment(NOW_MS + 31 * 24 * HOUR)}, e.Malformed),
        ({"until": None}, e.Malformed),
        ({"verdict": 9}, e.Malformed),
        ({"nonce": b"short"}, e.Malformed),
        ({"note": "身份证 11010519491231002X"}, e.Malformed),
        ({"note": "x" * 501}, e.Oversized),
        ({"issued_at": moment(NOW_MS - HOUR)}, e.ClockSkew),
        ({"finding_id": bytes(16)}, e.UnknownFinding),
    ],
)
async def test_a_decision_out_of_bounds_is_refused(
    region: Watched, changes: dict[str, Any], error: type[e.ExchangeError]
) -> None:
    finding_id = await region.found()
    with pytest.raises(error):
        await region.decide(**({"finding_id": finding_id, "verdict": APPROVE} | changes))
    assert region.holds() == "refuse"


async def test_a_dismissal_until_a_time_that_no_clock_shows_is_never_logged(region: Watched) -> None:
    finding_id, size = await region.found(), region.log.head.size
    with pytest.raises(e.Malformed, match="until"):
        await region.decide(finding_id, DISMISS, until=Timestamp(seconds=1 << 60))
    assert region.log.head.size == size


async def test_rules_that_cannot_be_read_are_never_logged(region: Watched) -> None:
    size = len(region.log.entries)
    with pytest.raises(e.RulesInvalid, match="least"):
        await region.rule(REFUSALS.replace("least = 5", "least = 0"), version=2)
    assert len(region.log.entries) == size


async def test_what_a_rule_holds_ends_with_the_rule(region: Watched) -> None:
    await region.found()
    await region.rule("", version=2)
    assert region.holds() == ""


async def test_after_a_restart_what_was_held_is_held_and_nothing_is_found_twice(region: Watched) -> None:
    await region.found()
    region.start()
    assert region.holds() == "refuse"
    region.refused(50)
    assert not region.risk.recorder._waiting


async def test_after_a_restart_a_decision_still_counts(region: Watched) -> None:
    await region.decide(await region.found(), APPROVE)
    region.start()
    assert region.holds() == ""
    region.refused(50)
    assert region.holds() == ""


async def test_windows_are_rebuilt_from_the_log_and_say_so(region: Watched) -> None:
    """Three refusals before the restart, two after it: together they are five."""
    for number in range(3):
        region.log.entries.append(refusal(number, region.clock.ms))
    region.start()
    rebuild = region.risk.rebuild
    assert rebuild.behind
    with ThreadPoolExecutor(1) as thread:
        await rebuild.turn(thread)
    assert not rebuild.behind
    assert rebuild.read >= 3
    region.refused(1)
    assert region.holds() == ""
    region.refused(1)
    assert region.holds() == "refuse"


async def test_what_comes_while_windows_are_rebuilt_is_not_lost(region: Watched) -> None:
    for number in range(3):
        region.log.entries.append(refusal(number, region.clock.ms))
    region.start()
    rebuild, reads = region.risk.rebuild, region.log.leaves

    def slow(first: int, count: int) -> list[bytes]:
        if first == 0 and count > 1 and not rebuild._meanwhile:
            region.refused(1)
        return reads(first, count)

    region.log.leaves = slow
    with ThreadPoolExecutor(1) as thread:
        await rebuild.turn(thread)
    region.refused(1)
    assert region.holds() == "refuse"


def refusal(number: int, time_ms: int) -> bytes:
    entry = audit_pb2.AuditEntry(time_ms=time_ms, gateway=ORIGIN, salt=bytes(16))
    told = entry.exchange
    told.exchange_id, told.consumer_organisation = number.to_bytes(16), HEALTH
    told.consumer_agent, told.operator, told.resource = "health-1", "op-1", RESOURCE
    told.decision, told.reason = audit_pb2.DECISION_REFUSED, reason_pb2.REASON_CASE_REQUIRED
    told.hop = "gateway/gateway-1"
    told.request_signature.kid = b"k" * 16
    return entry.SerializeToString()


# -- the service -----------------------------------------------------------------------------------------


@pytest.fixture
async def stub(region: Watched) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    calls = Calls(registrar=region.registrar, peer=peer)
    service = RiskService(
        registrar=region.registrar, findings=region.state.findings, calls=calls, clock=region.clock
    )
    risk_pb2_grpc.add_RiskServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield risk_pb2_grpc.RiskServiceStub(channel)
    await server.stop(None)


async def test_findings_are_listed_newest_first_a_page_at_a_time(region: Watched, stub: Any) -> None:
    for number in range(5):
        await region.found(agent=f"agent-{number}")
    listed: list[str] = []
    token = ""
    while True:
        request = risk_pb2.ListFindingsRequest(page_size=2, page_token=token)
        answer = await stub.ListFindings(request, metadata=by(OFFICER))
        listed += [row.finding.agent for row in answer.findings]
        token = answer.next_page_token
        if not token:
            break
    assert listed == [f"agent-{number}" for number in (4, 3, 2, 1, 0)]


async def test_a_steward_sees_the_findings_about_its_resources_only(region: Watched, stub: Any) -> None:
    finding_id = await region.found()
    for signer, seen in ((region.police, 1), (CIVIL_STEWARD, 0), (AUDITOR, 1)):
        answer = await stub.ListFindings(risk_pb2.ListFindingsRequest(), metadata=by(signer))
        assert len(answer.findings) == seen
    await region.decide(finding_id, DISMISS)
    request = risk_pb2.ListFindingsRequest(holding=True, rule="in-a-row")
    assert not (await stub.ListFindings(request, metadata=by(OFFICER))).findings


async def test_a_decision_that_is_refused_is_an_entry(region: Watched, stub: Any) -> None:
    finding_id = await region.found()
    body = risk_pb2.FindingDecisionBody(
        nonce=nonce(),
        finding_id=finding_id,
        verdict=APPROVE,
        until=moment(region.clock.ms + HOUR),
        issued_at=moment(region.clock.ms),
    ).SerializeToString()
    decision = CIVIL_STEWARD.sign(canonical.FINDING_DECISION, body)
    request = risk_pb2.DecideFindingRequest(decision=decision)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.DecideFinding(request, metadata=by(CIVIL_STEWARD))
    assert isinstance(from_rpc_error(refused.value, hop="gateway"), e.RoleNotAllowed)
    last = region.log.acts()[-1]
    assert (last.act, last.reason) == (audit_pb2.ACT_REFUSED, reason_pb2.REASON_ROLE_NOT_ALLOWED)
    decision = region.police.sign(canonical.FINDING_DECISION, body)
    request = risk_pb2.DecideFindingRequest(decision=decision)
    index = (await stub.DecideFinding(request, metadata=by(region.police))).index
    assert (await stub.DecideFinding(request, metadata=by(region.police))).index == index
