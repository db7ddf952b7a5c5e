"""Step 4 of the path as one list: each guard lets an exchange pass or raises the refusal.

Later parts extend the list (policies, quotas, risk); the order is the order in which a person would ask.
"""

from collections.abc import Callable, Sequence

from exchange import grants
from exchange.errors import BundleStale, NoGrant, TrustStale
from exchange.trust import TrustList
from exchange.v1 import exchange_pb2
from gateway.cases.guard import CaseIsOpen
from gateway.record import Exchange
from gateway.state import RegionState

Guard = Callable[[Exchange, TrustList | None, int], None]
"""Takes the exchange, the newest trust list and Unix milliseconds; raises an ExchangeError to refuse."""

ReleaseGuard = Callable[[Exchange, exchange_pb2.ResponseBody], None]
"""Takes the exchange and the answer's body; raises an ExchangeError to withhold it."""


def trust_is_fresh(exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
    """Refuse L3 and L4 on a trust list that is older than the region allows."""
    exchange.rule = "trust"
    if (
        exchange.resource is not None
        and exchange.resource.sealed
        and (trust is None or not trust.fresh(now_ms))
    ):
        raise TrustStale(exchange.resource.id)


def catalogue_is_current(exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
    """Refuse a request that was made from another version of the catalogue entry."""
    exchange.rule = "catalogue"
    if exchange.resource is None or exchange.header.resource_digest != exchange.resource.digest:
        raise BundleStale(exchange.header.resource)


class GrantCovers:
    """Refuses what the grant named in the request does not cover.

    Args:
        state: for the grants.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._state = state

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Check the exchange against its grant as it stands now."""
        exchange.rule = "grant"
        header, resource = exchange.header, exchange.resource
        grant = self._state.grants.get(header.grant_id)
        if grant is None or resource is None or resource.provider != header.provider_organisation:
            raise NoGrant(header.resource)
        exchange.grant_revision = grant.revision
        grants.check(
            grant,
            resource,
            consumer=exchange.caller.identity.organisation,
            kind=header.kind,
            fields=header.fields,
            purpose=header.purpose,
            matter=header.matter,
            case_number=header.case_number,
            now_ms=now_ms,
        )


def standard_guards(state: RegionState) -> Sequence[Guard]:
    """Return the guards of this version, in their order."""
    return (trust_is_fresh, GrantCovers(state=state), CaseIsOpen(state=state), catalogue_is_current)
