"""A region whose rules put versions in review, and the stewards who hand in and approve them."""

from typing import Any

from exchange import canonical
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, rules_pb2
from tests.support.region import POLICE, RESOURCE, Region, moment, nonce

APPROVE = directory_pb2.RESOURCE_ACTION_APPROVE
REJECT = directory_pb2.RESOURCE_ACTION_REJECT
WITHDRAW = directory_pb2.RESOURCE_ACTION_WITHDRAW
BREAKING = directory_pb2.COMPATIBILITY_BREAKING


class ReviewRegion(Region):
    """A region with two stewards of public security and a second administrator."""

    @property
    def second(self) -> StatementSigner:
        return self._person(Role.STEWARD, "wu", POLICE)

    def _person(self, role: Role, name: str, organisation: str = "") -> StatementSigner:
        held = self.__dict__.setdefault("_people", {})
        if name not in held:
            held[name] = self.authority.person(role, name, organisation)
        return held[name]

    def rules(self, **changes: Any) -> list[common_pb2.Statement]:
        """Return rules, signed by both administrators."""
        held: dict[str, Any] = {"version": self.state.rules.current.version + 1, "catalogue_review": True}
        body = rules_pb2.RegionRulesBody(
            nonce=nonce(), issued_at=moment(self.clock.ms), **(held | changes)
        ).SerializeToString()
        other = self._person(Role.ADMIN, "admin-2")
        return [person.sign(canonical.RULES, body) for person in (self.admin, other)]

    async def set_rules(self, **changes: Any) -> int:
        own, other = self.rules(**changes)
        return await self.registrar.record(
            audit_pb2.ACT_RULES, self.admin.identity, own, countersignatures=[other]
        )

    def state_of(self, signer: StatementSigner, action: int, **changes: Any) -> common_pb2.Statement:
        held: dict[str, Any] = {"nonce": nonce(), "id": RESOURCE, "version": 1, "revision": 1}
        body = directory_pb2.ResourceStateBody(
            **(held | changes),
            action=action,  # type: ignore[arg-type]
            issued_at=moment(self.clock.ms),
        )
        return signer.sign(canonical.RESOURCE_STATE, body.SerializeToString())

    async def act(self, signer: StatementSigner, action: int, **changes: Any) -> int:
        statement = self.state_of(signer, action, **changes)
        return await self.enter(audit_pb2.ACT_RESOURCE_STATE, signer, statement)
