"""Corrections in a bundle of evidence: the gateway's entry holds the provider's own step, and no other."""

from pathlib import Path
from typing import Any

import pytest

from exchange import canonical
from exchange.evidence.acts import Acts
from exchange.evidence.findings import Findings
from exchange.identity import Role
from exchange.tickets import CORRECT, DECLINE
from exchange.v1 import audit_pb2
from tests.support.region import CIVIL, RESOURCE, Region
from tests.support.tickets import event


def entry(region: Region, action: int = CORRECT, actor: str = "", **told: Any) -> audit_pb2.AuditEntry:
    """Return the entry of a correction that the provider's steward signed."""
    gateway = region.authority.person(Role.GATEWAY, "gateway-1", hosts=["localhost"])
    step = event(b"t" * 32, action, 1)
    held: dict[str, Any] = {
        "ticket_id": b"t" * 32,
        "resource": RESOURCE,
        "recipient": CIVIL,
        "fields": ["name"],
    }
    made = audit_pb2.AuditEntry(time_ms=region.clock.ms)
    made.administrative.act = audit_pb2.ACT_CORRECTION
    made.administrative.actor = actor or gateway.identity.uri
    made.administrative.statement.CopyFrom(
        region.police.sign(canonical.TICKET_EVENT, step.SerializeToString())
    )
    made.administrative.correction.CopyFrom(audit_pb2.CorrectionRecord(**(held | told)))
    return made


def faults(region: Region, made: audit_pb2.AuditEntry) -> int:
    findings = Findings()
    assert region.feed.current is not None
    acts = Acts(anchor=region.anchor, newest=[region.feed.current], findings=findings)
    acts.take(3, made)
    return findings.fault_count


def test_a_correction_beside_the_provider_s_step_holds(tmp_path: Path) -> None:
    region = Region(tmp_path)
    assert faults(region, entry(region)) == 0


@pytest.mark.parametrize(
    "changes",
    [{"ticket_id": b"u" * 32}, {"fields": ["address"]}, {"action": DECLINE}, {"actor": "steward"}],
)
def test_a_correction_beside_another_step_or_by_nobody_is_a_finding(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    region = Region(tmp_path)
    if "actor" in changes:
        changes = {"actor": region.police.identity.uri}
    assert faults(region, entry(region, **changes)) == 1
