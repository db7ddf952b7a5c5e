"""A region in miniature with rules: who supervises, what purposes there are, which clocks run."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

from exchange import canonical
from exchange.clock import BEIJING
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, grant_pb2, rules_pb2
from gateway.calls import Calls
from tests.support.callers import by, peer
from tests.support.region import CIVIL, HEALTH, POLICE, Region, moment, nonce

BUREAU = "11970000MB1A0002X6"


def ms(text: str) -> int:
    """Return Unix milliseconds of a time in UTC+8."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp() * 1000)


def supervision(**changes: Any) -> rules_pb2.Supervision:
    held: dict[str, Any] = {"provider": POLICE, "supervisor": BUREAU, "grants": True}
    return rules_pb2.Supervision(**(held | changes))


class GovernedRegion(Region):
    """A region whose rules two administrators set."""

    def start(self) -> None:
        super().start()
        self.version = getattr(self, "version", 0)
        self.second_admin = self.authority.person(Role.ADMIN, "admin-2")
        self.bureau = self.authority.person(Role.STEWARD, "zhao", BUREAU)
        self.civil = self.authority.person(Role.STEWARD, "wang", CIVIL)
        self.officer = self.authority.person(Role.OFFICER, "officer-1")
        self.service = self.grant_service(Calls(registrar=self.registrar, peer=peer))

    async def rule(self, **changes: Any) -> int:
        self.version += 1
        body = rules_pb2.RegionRulesBody(
            nonce=nonce(), version=self.version, issued_at=moment(self.clock.ms), **changes
        ).SerializeToString()
        first, second = (signer.sign(canonical.RULES, body) for signer in (self.admin, self.second_admin))
        return await self.registrar.record(
            audit_pb2.ACT_RULES, self.admin.identity, first, countersignatures=[second]
        )

    async def do(self, grant_id: bytes, action: str, signer: StatementSigner, **changes: Any) -> int:
        """Do the next thing to a grant."""
        number = grant_pb2.GrantAction.Value(f"GRANT_ACTION_{action}")
        revision = self.state.grants.one(grant_id).revision + 1
        return await self.decide(grant_id, number, revision, signer, **changes)

    def standing(self, grant_id: bytes) -> str:
        name: str = grant_pb2.GrantState.Name(self.state.grants.one(grant_id).state)
        return name.removeprefix("GRANT_STATE_")

    async def get(self, grant_id: bytes, signer: StatementSigner) -> grant_pb2.GrantRecord:
        request = grant_pb2.GetGrantRequest(grant_id=grant_id)
        return (await self.service.GetGrant(request, call_by(signer))).grant

    async def list(self, signer: StatementSigner, **wanted: Any) -> list[bytes]:
        """Return the ids of all grants that are listed, page by page."""
        found: list[bytes] = []
        request = grant_pb2.ListGrantsRequest(**wanted)
        while True:
            answer = await self.service.ListGrants(request, call_by(signer))
            assert not request.page_size or len(answer.grants) <= request.page_size
            found += [record.grant_id for record in answer.grants]
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    async def settled(self) -> None:
        await super().settled()
        await self.add(BUREAU, "bureau")
        await self.add(CIVIL, "civil")


class Refusal(Exception):
    """A call was ended."""


def call_by(signer: StatementSigner) -> Any:
    """Return the context of a person's call; it is ended with `Refusal`."""

    async def ended(*rest: Any, **named: Any) -> None:
        raise Refusal(*rest)

    return SimpleNamespace(
        invocation_metadata=lambda: by(signer),
        abort_with_status=ended,
        abort=ended,
        set_trailing_metadata=len,
    )


__all__ = ["BUREAU", "CIVIL", "HEALTH", "POLICE", "GovernedRegion", "Refusal", "call_by", "ms", "supervision"]
