"""The region's rules in evidence: two administrators signed them, and their versions count up."""

import pytest

from exchange import canonical
from exchange.evidence.acts import Acts
from exchange.evidence.findings import Findings
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2
from tests.support.region import DIVISION, DOMAIN, Authority
from tests.support.rules import MORNING_MS, rules_body

AUTHORITY = Authority()
LI, WANG = (AUTHORITY.person(Role.ADMIN, name) for name in ("li", "wang"))
OFFICER = AUTHORITY.person(Role.OFFICER, "officer-1")


def entry(
    *people: StatementSigner, version: int = 1, actor: StatementSigner | None = None, alter: bool = False
) -> audit_pb2.AuditEntry:
    """Return the entry of rules that some people signed."""
    body = rules_body(version, MORNING_MS)
    signed = [one.sign(canonical.RULES, body) for one in people]
    if alter:
        signed[-1] = people[-1].sign(canonical.RULES, rules_body(version, MORNING_MS))
    made = audit_pb2.AuditEntry(version=1, time_ms=MORNING_MS)
    made.administrative.act = audit_pb2.ACT_RULES
    made.administrative.actor = (actor or people[0]).identity.uri
    made.administrative.statement.CopyFrom(signed[0])
    made.administrative.countersignatures.extend(signed[1:])
    return made


def taken(*entries: audit_pb2.AuditEntry) -> tuple[Acts, Findings]:
    findings = Findings()
    anchor = TrustAnchor(root_pem=AUTHORITY.root_pem, division=DIVISION, trust_domain=DOMAIN)
    acts = Acts(anchor=anchor, newest=[], findings=findings)
    for index, one in enumerate(entries):
        acts.take(index, one)
    return acts, findings


def test_rules_that_two_administrators_signed_hold() -> None:
    acts, findings = taken(entry(LI, WANG), entry(WANG, LI, version=2))
    assert not findings.faults and findings.counted["acts_signed"] == 2
    assert acts.rules_version == 2


@pytest.mark.parametrize(
    "entries",
    [
        [entry(LI)],
        [entry(LI, LI)],
        [entry(LI, OFFICER)],
        [entry(LI, WANG, actor=WANG)],
        [entry(LI, WANG, alter=True)],
        [entry(LI, WANG, version=2), entry(LI, WANG, version=2)],
        [entry(LI, WANG, version=2), entry(LI, WANG)],
    ],
)
def test_rules_that_they_did_not_sign_or_that_go_back_are_a_fault(
    entries: list[audit_pb2.AuditEntry],
) -> None:
    _, findings = taken(*entries)
    assert len(findings.faults) == 1
