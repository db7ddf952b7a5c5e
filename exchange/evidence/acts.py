"""Administrative entries: who signed what an entry says was done, and what follows from it for later entries.

Each statement is verified at the time of its entry against the trust list that counted then; its signer is
the actor that the entry names, and has the role for it. What changes keys, trust or grants is folded.
Acts without a statement (the log was opened or read, a call was refused) are the gateway's word alone.
"""

from exchange import canonical
from exchange.errors import EvidenceBroken, RoleNotAllowed
from exchange.evidence.findings import Check, Findings
from exchange.evidence.grants_then import DOMAINS as GRANT_DOMAINS
from exchange.evidence.grants_then import GrantsThen
from exchange.evidence.keys_then import KeysThen
from exchange.evidence.revocations import Revocations
from exchange.identity import Role
from exchange.trust import TrustAnchor, TrustList, Verified
from exchange.v1 import audit_pb2

SIGNED_BY = {
    audit_pb2.ACT_ORGANISATION: (canonical.ORGANISATION, frozenset({Role.ADMIN})),
    audit_pb2.ACT_BUNDLE: (canonical.BUNDLE, frozenset({Role.AGENT})),
    audit_pb2.ACT_TRUST_LIST: (canonical.TRUST_LIST, frozenset({Role.AUTHORITY})),
} | {act: (domain, frozenset({Role.STEWARD, Role.AGENT})) for act, domain in GRANT_DOMAINS.items()}
"""Acts whose statements this version reads: the domain they are signed under, and the roles that may."""


class Acts:
    """Verifies administrative entries in the order of the log.

    Args:
        anchor: the pinned root.
        newest: trust lists that are known from outside the log.
        findings: takes what does not hold.

    Attributes:
        keys, grants, revocations: what the entries so far say.
    """

    def __init__(self, *, anchor: TrustAnchor, newest: list[TrustList], findings: Findings) -> None:
        self._anchor = anchor
        self._findings = findings
        self.revocations = Revocations(newest=newest)
        self.keys = KeysThen(anchor=anchor, revocations=self.revocations)
        self.grants = GrantsThen()

    def take(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Verify an entry and fold what it says; what does not hold is not folded."""
        act, counted = entry.administrative, self._findings.counted
        with self._findings.during(Check.ACT):
            if not act.HasField("statement"):
                counted["acts_unsigned"] += 1
                return
            known = SIGNED_BY.get(act.act)
            if known is None:
                counted["acts_unread"] += 1
                return
            if act.act == audit_pb2.ACT_TRUST_LIST:
                self._enter_trust(act, index, entry.time_ms)
            else:
                self._enter(act, entry.time_ms, *known)
            counted["acts_signed"] += 1

    def _enter_trust(self, act: audit_pb2.AdministrativeEntry, index: int, time_ms: int) -> None:
        held = self.revocations.current
        trust = self._anchor.verify_trust_list(act.statement, now_ms=time_ms, held=held)
        signer = self._anchor.verify_statement(act.statement, canonical.TRUST_LIST, at_ms=time_ms, trust=held)
        _check_actor(act, signer)
        self.revocations.enter(trust, index, time_ms)

    def _enter(
        self, act: audit_pb2.AdministrativeEntry, time_ms: int, domain: bytes, roles: frozenset[Role]
    ) -> None:
        statement = act.statement
        signer = self._anchor.verify_statement(
            statement, domain, at_ms=time_ms, trust=self.revocations.current
        )
        if signer.identity.role not in roles:
            raise RoleNotAllowed(str(signer.identity))
        _check_actor(act, signer)
        if act.act == audit_pb2.ACT_BUNDLE:
            self.keys.enter(statement, time_ms)
        elif act.act in GRANT_DOMAINS:
            self.grants.enter(act.act, statement, signer, time_ms)


def _check_actor(act: audit_pb2.AdministrativeEntry, signer: Verified) -> None:
    if act.actor != signer.identity.uri:
        raise EvidenceBroken(f"signed by {signer.identity}, entered for another")
