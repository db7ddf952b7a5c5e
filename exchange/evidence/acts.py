"""Administrative entries: who signed what an entry says was done, and what follows from it for later entries.

Each statement is verified at the time of its entry against the trust list that counted then; its signer is
the actor that the entry names, and has the role for it. What changes keys, trust or grants is folded.
Acts without a statement (the log was opened or read, a call was refused) are the gateway's word alone.
"""

from exchange import canonical
from exchange.errors import EvidenceBroken, RoleNotAllowed
from exchange.evidence.cases_then import CasesThen
from exchange.evidence.findings import Check, Findings
from exchange.evidence.grants_then import DOMAINS as GRANT_DOMAINS
from exchange.evidence.grants_then import GrantsThen
from exchange.evidence.keys_then import KeysThen
from exchange.evidence.revocations import Revocations
from exchange.identity import PEOPLE, Identity, Role, parse_uri
from exchange.log_keys import Epoch, check_opening
from exchange.region_rules import check_signers, read_rules
from exchange.tickets import CORRECT, read_event
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import audit_pb2

SIGNED_BY = {
    audit_pb2.ACT_ORGANISATION: (canonical.ORGANISATION, frozenset({Role.ADMIN})),
    audit_pb2.ACT_RULES: (canonical.RULES, frozenset({Role.ADMIN})),
    audit_pb2.ACT_CASE: (canonical.CASE, frozenset({Role.STEWARD, Role.AGENT})),
    audit_pb2.ACT_LOG_KEY: (canonical.LOG_KEY, frozenset({Role.GATEWAY})),
    audit_pb2.ACT_REVIEW_DRAW: (canonical.REVIEW_DRAW, frozenset({Role.OFFICER, Role.AUDITOR})),
    audit_pb2.ACT_FINDING_DECISION: (canonical.FINDING_DECISION, frozenset({Role.OFFICER, Role.STEWARD})),
    audit_pb2.ACT_REVIEW_EVENT: (canonical.REVIEW_EVENT, PEOPLE | {Role.GATEWAY}),
    audit_pb2.ACT_STOP: (canonical.STOP, frozenset({Role.OFFICER})),
    audit_pb2.ACT_STOP_LIFTED: (canonical.LIFT, frozenset({Role.OFFICER})),
    audit_pb2.ACT_TICKET: (canonical.TICKET, frozenset({Role.STEWARD})),
    audit_pb2.ACT_TICKET_EVENT: (canonical.TICKET_EVENT, frozenset({Role.STEWARD, Role.ADMIN})),
    audit_pb2.ACT_CORRECTION: (canonical.TICKET_EVENT, frozenset({Role.STEWARD})),
    audit_pb2.ACT_QUALITY: (canonical.QUALITY, frozenset({Role.AGENT})),
} | {act: (domain, frozenset({Role.STEWARD, Role.AGENT})) for act, domain in GRANT_DOMAINS.items()}
"""Acts read beside bundles, trust lists and epochs: the domain, and the roles that may sign."""


class Acts:
    """Verifies administrative entries in the order of the log.

    Args:
        anchor: the pinned root.
        newest: trust lists that are known from outside the log.
        findings: takes what does not hold.

    Attributes:
        keys, grants, cases, revocations: what the entries so far say.
        epochs: the openings among them.
        rules_version: of the region's rules, 0 where none were set.
    """

    def __init__(self, *, anchor: TrustAnchor, newest: list[TrustList], findings: Findings) -> None:
        self._anchor = anchor
        self._findings = findings
        self.revocations = Revocations(newest=newest)
        self.keys = KeysThen(anchor=anchor, revocations=self.revocations)
        self.grants = GrantsThen()
        self.cases = CasesThen()
        self.epochs: list[Epoch] = []
        self.rules_version = 0

    def take(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Verify an entry and fold what it says; what does not hold is not folded."""
        act, counted = entry.administrative, self._findings.counted
        with self._findings.during(Check.ACT):
            if not act.HasField("statement"):
                counted["acts_unsigned"] += 1
                return
            if act.act == audit_pb2.ACT_TRUST_LIST:
                self._enter_trust(act, index, entry.time_ms)
            elif act.act == audit_pb2.ACT_BUNDLE:
                self._enter_bundle(act, entry.time_ms)
            elif act.act == audit_pb2.ACT_LOG_EPOCH:
                self._open_epoch(act, index, entry)
            elif act.act == audit_pb2.ACT_RULES:
                self._set_rules(act, entry.time_ms)
            elif act.act in SIGNED_BY:
                self._enter(act, entry.time_ms)
            else:
                counted["acts_unread"] += 1
                return
            counted["acts_signed"] += 1

    def _enter_trust(self, act: audit_pb2.AdministrativeEntry, index: int, time_ms: int) -> None:
        trust = self._anchor.verify_trust_list(act.statement, now_ms=time_ms, held=self.revocations.current)
        _check_actor(act, Identity(trust.trust_domain, trust.division, Role.AUTHORITY))
        self.revocations.enter(trust, index, time_ms)

    def _enter_bundle(self, act: audit_pb2.AdministrativeEntry, time_ms: int) -> None:
        keys = self.keys.enter(act.statement, time_ms)
        actor = parse_uri(act.actor)
        if (actor.role, actor.organisation, actor.name) != (Role.AGENT, keys.organisation, keys.agent):
            raise EvidenceBroken(f"signed by {keys.organisation}/{keys.agent}, entered for another")

    def _open_epoch(
        self, act: audit_pb2.AdministrativeEntry, index: int, entry: audit_pb2.AuditEntry
    ) -> None:
        """Two administrators opened the epoch, at this place; the range that was lost is told."""
        statements = [act.statement, *act.countersignatures]
        trust = self.revocations.current
        epoch, _ = check_opening(statements, self._anchor, at_ms=entry.time_ms, trust=trust)
        if (epoch.origin, epoch.kept_size) != (entry.gateway, index):
            raise EvidenceBroken("epoch: origin or place")
        self.epochs.append(epoch)

    def _set_rules(self, act: audit_pb2.AdministrativeEntry, time_ms: int) -> None:
        """Two administrators set the rules, in a later version than those before."""
        statements, trust = [act.statement, *act.countersignatures], self.revocations.current
        signers = [
            self._anchor.verify_statement(one, canonical.RULES, at_ms=time_ms, trust=trust).identity
            for one in statements
        ]
        check_signers(statements, signers)
        _check_actor(act, signers[0])
        rules = read_rules(act.statement.body)
        if rules.version <= self.rules_version:
            raise EvidenceBroken(f"rules: version {rules.version} after {self.rules_version}")
        self.rules_version = rules.version
        self.grants.rules = rules

    def _enter(self, act: audit_pb2.AdministrativeEntry, time_ms: int) -> None:
        domain, roles = SIGNED_BY[act.act]
        trust = self.revocations.current
        signer = self._anchor.verify_statement(act.statement, domain, at_ms=time_ms, trust=trust)
        if signer.identity.role not in roles:
            raise RoleNotAllowed(str(signer.identity))
        if act.act == audit_pb2.ACT_CORRECTION:
            # The gateway's entry, beside the provider's step that it tells a recipient of.
            _check_correction(act)
        else:
            _check_actor(act, signer.identity)
        if act.act in GRANT_DOMAINS:
            self.grants.enter(act.act, act.statement, signer, time_ms)
        elif act.act == audit_pb2.ACT_ORGANISATION:
            self.grants.name(act.statement)
        elif act.act == audit_pb2.ACT_CASE:
            self.cases.enter(act.statement, signer, time_ms)


def _check_actor(act: audit_pb2.AdministrativeEntry, signer: Identity) -> None:
    if act.actor != signer.uri:
        raise EvidenceBroken(f"signed by {signer}, entered for another")


def _check_correction(act: audit_pb2.AdministrativeEntry) -> None:
    step = read_event(act.statement)
    told = act.correction
    if parse_uri(act.actor).role is not Role.GATEWAY:
        raise EvidenceBroken("correction entered by no gateway")
    if step.action != CORRECT or (step.ticket_id, step.fields) != (told.ticket_id, frozenset(told.fields)):
        raise EvidenceBroken("correction of another step")
