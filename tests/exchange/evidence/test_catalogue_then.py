"""Which version of a catalogue entry was in force when an exchange was admitted, by the log alone."""

from typing import Any

import pytest

from exchange.errors import ExchangeError, RoleNotAllowed, SecondPersonRequired, UnknownField, UnknownResource
from exchange.evidence.grants_then import GrantsThen
from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules
from exchange.trust import Verified
from exchange.v1 import audit_pb2, common_pb2, directory_pb2, grant_pb2
from tests.support.region import (
    DIVISION,
    DOMAIN,
    HEALTH,
    POLICE,
    RESOURCE,
    grant_body,
    item,
    moment,
    nonce,
    resource_body,
)
from tests.support.sealing import NOW_MS

HOUR_MS = 3_600_000
APPROVE, WITHDRAW = directory_pb2.RESOURCE_ACTION_APPROVE, directory_pb2.RESOURCE_ACTION_WITHDRAW


def steward(name: str, organisation: str = POLICE) -> Verified:
    identity = Identity(DOMAIN, DIVISION, Role.STEWARD, organisation, name)
    return Verified(identity=identity, certificate=None, serial=1, not_after_ms=1 << 60)  # type: ignore[arg-type]


class Log:
    """Entries, an hour apart."""

    def __init__(self) -> None:
        self.then = GrantsThen()
        self.hours = 0
        self.enter(audit_pb2.ACT_RESOURCE, resource_body(NOW_MS), steward("li"))
        body = grant_body(NOW_MS)
        self.enter(audit_pb2.ACT_GRANT, body, steward("chen", HEALTH))
        self.grant_id = next(iter(self.then._grants))
        event = grant_pb2.GrantEventBody(
            nonce=nonce(), grant_id=self.grant_id, revision=1, action=1, issued_at=moment(NOW_MS)
        )
        self.enter(audit_pb2.ACT_GRANT_EVENT, event.SerializeToString(), steward("li"))

    def enter(self, act: int, body: bytes, signer: Verified) -> None:
        self.hours += 1
        statement = common_pb2.Statement(body=body)
        self.then.enter(act, statement, signer, NOW_MS + self.hours * HOUR_MS)

    def publish(self, version: int, **changes: Any) -> None:
        body = resource_body(NOW_MS, version=version, **changes)
        self.enter(audit_pb2.ACT_RESOURCE, body, steward("li"))

    def act(self, who: str, action: int, version: int, revision: int = 1) -> None:
        body = directory_pb2.ResourceStateBody(
            nonce=nonce(),
            id=RESOURCE,
            version=version,
            revision=revision,
            action=action,  # type: ignore[arg-type]
            issued_at=moment(NOW_MS),
        )
        self.enter(audit_pb2.ACT_RESOURCE_STATE, body.SerializeToString(), steward(who))

    def exchange(self, field: str) -> type[ExchangeError] | None:
        """Return why the grant did not cover an exchange an hour after the last entry."""
        said = audit_pb2.ExchangeEntry(
            grant_id=self.grant_id,
            grant_revision=1,
            resource=RESOURCE,
            consumer_organisation=HEALTH,
            provider_organisation=POLICE,
            kind=common_pb2.KIND_QUERY,
            fields=[field],
            purpose="birth",
            matter="newborn",
            case_number="C-1",
        )
        now_ms = NOW_MS + (self.hours + 1) * HOUR_MS
        try:
            self.then.check(said, now_ms - 1000, now_ms)
        except ExchangeError as error:
            return type(error)
        return None


def test_a_version_in_review_covers_nothing_before_it_was_approved() -> None:
    log = Log()
    log.then.rules = RegionRules(version=1, catalogue_review=True)
    log.publish(2, fields=[item("name")])
    assert log.exchange("address") is None
    with pytest.raises(SecondPersonRequired):
        log.act("li", APPROVE, 2)
    log.act("wu", APPROVE, 2)
    assert log.exchange("address") is UnknownField
    assert log.exchange("name") is None


def test_without_rules_a_version_is_in_force_at_once() -> None:
    log = Log()
    log.publish(2, fields=[item("name")])
    assert log.exchange("address") is UnknownField


def test_nothing_covers_an_exchange_after_a_withdrawal() -> None:
    log = Log()
    with pytest.raises(RoleNotAllowed):
        log.enter(audit_pb2.ACT_RESOURCE, resource_body(NOW_MS, version=2), steward("chen", HEALTH))
    log.act("li", WITHDRAW, 1)
    assert log.exchange("name") is UnknownResource
