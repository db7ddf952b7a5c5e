"""Step 4 after the grant: the case that an exchange names is open, for these parties and this matter."""

from exchange import cases
from exchange.errors import CaseNotOpen
from exchange.trust import TrustList
from exchange.v1 import audit_pb2
from gateway.record import Exchange
from gateway.state import RegionState


class CaseIsOpen:
    """Refuses exchanges for cases that are not open; where case numbers are claims, has the entries say so.

    A case that need not be named must be open all the same where it is named.

    Args:
        state: for the rules and the cases.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._rules = state.rules
        self._cases = state.cases

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Check the case, and note how it stands."""
        exchange.rule = "case"
        header = exchange.header
        number = header.case_number
        if not number:
            return
        if self._rules.current.claims:
            exchange.case_standing = audit_pb2.CASE_STANDING_CLAIM
            return
        try:
            cases.check(
                self._cases.get(number),
                consumer=exchange.caller.identity.organisation,
                provider=header.provider_organisation,
                matter=header.matter,
                now_ms=now_ms,
            )
        except CaseNotOpen:
            exchange.case_standing = audit_pb2.CASE_STANDING_NOT_OPEN
            raise
        exchange.case_standing = audit_pb2.CASE_STANDING_OPEN
