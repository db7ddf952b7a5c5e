"""Abuse of administrative calls: each is refused for its own reason, with an entry that says so."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf.message import Message

from exchange import canonical
from exchange.identity import Identity, Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, case_pb2, common_pb2, grant_pb2, reason_pb2, rules_pb2
from gateway.calls import Calls
from gateway.case_service import CaseService
from gateway.rules_service import RulesService
from tests.support.callers import by, peer
from tests.support.casework import closing, step
from tests.support.names import with_names
from tests.support.region import CIVIL, DIVISION, DOMAIN, Authority, Region, moment
from tests.support.rules import rules_body

ACCEPT, PAUSE = grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_PAUSE
AUTHORITY = Authority()
OTHER = AUTHORITY.person(Role.ADMIN, "admin-2")
OFFICER = AUTHORITY.person(Role.OFFICER, "one")


class Ended(Exception):
    """The call was ended with a status."""


class Context:
    """A call by somebody."""

    def __init__(self, signer: StatementSigner) -> None:
        self._signer = signer

    def invocation_metadata(self) -> Any:
        return by(self._signer)

    async def abort(self, code: Any, details: str = "", trailing: Any = ()) -> None:
        raise Ended(details)


class Desk:
    """Services of a region, called without a network."""

    def __init__(self, folder: Path) -> None:
        self.region = Region(folder, authority=AUTHORITY)
        calls = Calls(registrar=self.region.registrar, peer=peer)
        state, nobody = self.region.state, cast(Any, None)
        self.grants = self.region.grant_service(calls)
        self.rules = RulesService(
            registrar=self.region.registrar, rules=state.rules, explainer=nobody, dry_runs=nobody, calls=calls
        )
        self.cases = CaseService(
            registrar=self.region.registrar, cases=state.cases, calls=calls, clock=self.region.clock
        )

    async def refused(
        self, call: Callable[[Any, Any], Awaitable[Any]], request: Message, signer: StatementSigner
    ) -> str:
        """Return why a call was refused, as the entry of the refusal says."""
        before = len(self.region.log.entries)
        self.region.clock.ms += 1000  # refusals have a rate
        with pytest.raises(Ended):
            await call(request, Context(signer))
        acts = [
            audit_pb2.AuditEntry.FromString(leaf).administrative for leaf in self.region.log.entries[before:]
        ]
        assert [(one.act, one.actor) for one in acts] == [(audit_pb2.ACT_REFUSED, signer.identity.uri)]
        assert acts[0].subject.endswith(call.__name__)
        return reason_pb2.Reason.Name(acts[0].reason).removeprefix("REASON_")

    def rules_by(
        self, *signers: StatementSigner, version: int = 1, **changes: Any
    ) -> rules_pb2.SetRulesRequest:
        body = rules_body(version, self.region.clock.ms, **changes)
        return rules_pb2.SetRulesRequest(rules=[one.sign(canonical.RULES, body) for one in signers])


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    await made.region.settled()
    return made


async def test_an_administrator_alone_where_two_are_needed(desk: Desk) -> None:
    admin = desk.region.admin
    for signers, reason in (
        ([admin], "SECOND_PERSON_REQUIRED"),
        ([admin, admin], "SECOND_PERSON_REQUIRED"),
        ([admin, OTHER, OTHER], "SECOND_PERSON_REQUIRED"),
        ([admin, OFFICER], "ROLE_NOT_ALLOWED"),
        ([OTHER, admin], "ROLE_NOT_ALLOWED"),
        ([admin, *[OTHER] * 5], "OVERSIZED"),
    ):
        assert await desk.refused(desk.rules.SetRules, desk.rules_by(*signers), admin) == reason
    assert desk.region.state.rules.current.version == 0


async def test_a_second_signature_of_another_body_or_kind(desk: Desk) -> None:
    admin = desk.region.admin
    one, two = desk.rules_by(admin), desk.rules_by(OTHER)
    mixed = rules_pb2.SetRulesRequest(rules=[*one.rules, *two.rules])
    assert await desk.refused(desk.rules.SetRules, mixed, admin) == "BAD_SIGNATURE"
    body = one.rules[0].body
    strange = rules_pb2.SetRulesRequest(rules=[*one.rules, OTHER.sign(canonical.CASE, body)])
    assert await desk.refused(desk.rules.SetRules, strange, admin) == "BAD_SIGNATURE"


async def test_two_administrators_racing(desk: Desk) -> None:
    admin = desk.region.admin
    first, second = desk.rules_by(admin, OTHER), desk.rules_by(OTHER, admin, catalogue_review=True)
    await desk.rules.SetRules(first, Context(admin))
    assert await desk.refused(desk.rules.SetRules, second, OTHER) == "WRONG_STATE"
    assert not desk.region.state.rules.current.catalogue_review


async def test_grant_events_replayed_altered_or_raced(desk: Desk) -> None:
    region, call = desk.region, desk.grants.DecideGrant
    grant_id = await region.apply()
    accept = region.event(grant_id, ACCEPT, 1)
    await call(grant_pb2.DecideGrantRequest(event=accept), Context(region.police))
    entries = len(region.log.entries)
    again = await call(grant_pb2.DecideGrantRequest(event=accept), Context(region.police))
    assert again.index == entries - 1 and len(region.log.entries) == entries, "one entry, and the same answer"

    altered = common_pb2.Statement()
    altered.CopyFrom(region.event(grant_id, PAUSE, 2))
    body = grant_pb2.GrantEventBody.FromString(altered.body)
    body.action = grant_pb2.GRANT_ACTION_REVOKE
    altered.body = body.SerializeToString()
    request = grant_pb2.DecideGrantRequest(event=altered)
    assert await desk.refused(call, request, region.police) == "BAD_SIGNATURE"

    stale = grant_pb2.DecideGrantRequest(event=region.event(grant_id, PAUSE, 1))
    assert await desk.refused(call, stale, region.police) == "WRONG_STATE"
    old = region.event(grant_id, PAUSE, 2, issued_at=moment(region.clock.ms - 600_000))
    assert await desk.refused(call, grant_pb2.DecideGrantRequest(event=old), region.police) == "CLOCK_SKEW"
    assert region.state.grants.one(grant_id).state == grant_pb2.GRANT_STATE_ACTIVE


async def test_a_statement_under_a_certificate_of_two_roles(desk: Desk) -> None:
    region = desk.region
    grant_id = await region.apply()
    event = region.event(grant_id, ACCEPT, 1)
    leaf = x509.load_der_x509_certificate(event.chain[0])
    officer = Identity(DOMAIN, DIVISION, Role.OFFICER, "", "li")
    both = with_names(leaf, AUTHORITY.issuing, [region.police.identity, officer])
    event.chain[0] = both.public_bytes(serialization.Encoding.DER)
    request = grant_pb2.DecideGrantRequest(event=event)
    assert await desk.refused(desk.grants.DecideGrant, request, region.police) == "TWO_ROLES"


async def test_cases_of_others_and_those_that_are_over(desk: Desk) -> None:
    region, call = desk.region, desk.cases.SubmitCaseEvent
    civil = AUTHORITY.person(Role.STEWARD, "wang", CIVIL)
    at_ms = region.clock.ms

    def submit(statement: common_pb2.Statement) -> case_pb2.SubmitCaseEventRequest:
        return case_pb2.SubmitCaseEventRequest(event=statement)

    assert await desk.refused(call, submit(step(civil, at_ms)), civil) == "ROLE_NOT_ALLOWED"
    await call(submit(step(region.health, at_ms)), Context(region.health))
    taken = submit(step(region.health, at_ms))
    assert await desk.refused(call, taken, region.health) == "REPLAYED"
    await call(submit(closing(region.health, at_ms)), Context(region.health))
    again = submit(closing(region.health, at_ms, revision=3))
    assert await desk.refused(call, again, region.health) == "WRONG_STATE"
