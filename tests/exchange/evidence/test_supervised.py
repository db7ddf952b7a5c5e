"""A bundle that brings the rules shows whether a grant had to be approved by a supervisor, and was."""

from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.evidence.acts import Acts
from exchange.evidence.findings import Findings
from exchange.v1 import audit_pb2, common_pb2, directory_pb2
from tests.support.granting import GovernedRegion, supervision
from tests.support.region import HEALTH, POLICE, RESOURCE
from tests.support.sealing import NOW_MS


@pytest.fixture
async def region(tmp_path: Path) -> GovernedRegion:
    made = GovernedRegion(tmp_path)
    await made.settled()
    return made


def read(region: GovernedRegion, *, but: frozenset[int] = frozenset()) -> tuple[Acts, Findings]:
    """Read the log's entries as a verifier does, except for some acts."""
    findings = Findings()
    trust = region.feed.current
    assert trust is not None
    acts = Acts(anchor=region.anchor, newest=[trust], findings=findings)
    for index, leaf in enumerate(region.log.entries):
        entry = audit_pb2.AuditEntry.FromString(leaf)
        if entry.administrative.act not in but:
            findings.entry = index
            acts.take(index, entry)
    return acts, findings


def exchange(grant: bytes, revision: int, **changes: Any) -> audit_pb2.ExchangeEntry:
    held: dict[str, Any] = {
        "consumer_organisation": HEALTH,
        "provider_organisation": POLICE,
        "resource": RESOURCE,
        "kind": common_pb2.KIND_QUERY,
        "fields": ["name"],
        "purpose": "birth",
        "matter": "newborn",
        "step": "file",
        "case_number": "1",
    }
    return audit_pb2.ExchangeEntry(grant_id=grant, grant_revision=revision, **(held | changes))


async def test_an_exchange_before_the_supervisor_approved_was_not_granted(region: GovernedRegion) -> None:
    await region.rule(supervisions=[supervision()])
    grant = await region.apply(steps=["newborn/file"])
    await region.do(grant, "ACCEPT", region.police)
    await region.do(grant, "SUPERVISE", region.bureau)
    acts, findings = read(region)
    assert findings.faults == []
    acts.grants.check(exchange(grant, 2), NOW_MS, NOW_MS)
    with pytest.raises(e.GrantRevoked):
        acts.grants.check(exchange(grant, 1), NOW_MS, NOW_MS)
    with pytest.raises(e.StepNotGranted):
        acts.grants.check(exchange(grant, 2, step="other"), NOW_MS, NOW_MS)
    # Rules that one administrator signed alone prove nothing.
    _, alone = read(cut(region))
    assert any("SECOND_PERSON_REQUIRED" in fault.about for fault in alone.faults)


def cut(region: GovernedRegion) -> GovernedRegion:
    """Take the second signature off the rules."""
    for index, leaf in enumerate(region.log.entries):
        entry = audit_pb2.AuditEntry.FromString(leaf)
        if entry.administrative.act == audit_pb2.ACT_RULES:
            del entry.administrative.countersignatures[:]
            region.log.entries[index] = entry.SerializeToString()
    return region


async def test_a_bundle_without_the_rules_does_not_take_an_approval_for_what_it_is(
    region: GovernedRegion,
) -> None:
    await region.rule(supervisions=[supervision()])
    grant = await region.apply()
    await region.do(grant, "ACCEPT", region.police)
    await region.do(grant, "SUPERVISE", region.bureau)
    _, findings = read(region, but=frozenset({audit_pb2.ACT_RULES}))
    assert [fault.about.split(":")[0] for fault in findings.faults] == ["ROLE_NOT_ALLOWED"]


async def test_a_body_that_is_no_governments_was_granted_no_more_than_verdicts(
    region: GovernedRegion,
) -> None:
    grant = await region.apply(kinds=[common_pb2.KIND_QUERY, common_pb2.KIND_VERIFY])
    await region.do(grant, "ACCEPT", region.police)
    acts, _ = read(region)
    acts.grants.check(exchange(grant, 1), NOW_MS, NOW_MS)
    region.clock.ms += 1
    await region.add(HEALTH, "health", kind=directory_pb2.ORGANISATION_KIND_OTHER)
    acts, findings = read(region)
    assert findings.faults == []
    acts.grants.check(exchange(grant, 1, kind=common_pb2.KIND_VERIFY), NOW_MS, NOW_MS)
    with pytest.raises(e.NonGovernment):
        acts.grants.check(exchange(grant, 1), NOW_MS, NOW_MS)
