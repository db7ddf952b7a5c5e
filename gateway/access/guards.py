"""Step 4 of the path as one list: each guard lets an exchange pass or raises the refusal.

The order is the order in which a person would ask: was it stopped, is the trust list fresh, is it the same
resource, was it granted, is its case open, for what, does a rule of the region forbid it. These look at the
state alone, so that other rules can be tried on it; `gateway/governance.py` adds what counts: risk, and last
quotas, which reserve something.
"""

from collections.abc import Callable, Sequence

from exchange import grants
from exchange.errors import BundleStale, ExchangeError, NoGrant, TrustStale
from exchange.region_rules import check_purpose
from exchange.trust import TrustList
from exchange.v1 import exchange_pb2
from gateway.cases.guard import CaseIsOpen
from gateway.record import Exchange
from gateway.rules.guards import RegionGuards
from gateway.state import RegionState
from gateway.stops.guard import NotStopped

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
        consumer = exchange.caller.identity.organisation
        grants.check(
            grant,
            resource,
            consumer=consumer,
            government=self._state.organisations.get(consumer).government,
            kind=header.kind,
            fields=header.fields,
            purpose=header.purpose,
            matter=header.matter,
            step=header.step,
            case_number=header.case_number,
            now_ms=now_ms,
        )


class PurposeIsKnown:
    """Refuses a purpose that the region's rules no longer know, or not for this matter.

    Args:
        state: for the rules.
    """

    def __init__(self, *, state: RegionState) -> None:
        self._rules = state.rules

    def __call__(self, exchange: Exchange, trust: TrustList | None, now_ms: int) -> None:
        """Look the purpose up; where the rules name none, any may be named."""
        exchange.rule, header = "purpose", exchange.header
        check_purpose(self._rules.current, header.purpose, header.matter, header.resource)


def guard_faults(guards: Sequence[Guard]) -> Sequence[ExchangeError]:
    """Return why guards let nothing pass that should; each has `fault` where that can be."""
    faults = (getattr(guard, "fault", None) for guard in guards)
    return [fault for fault in faults if fault is not None]


def standard_guards(state: RegionState) -> Sequence[Guard]:
    """Return the guards of step 4 in the order in which a person would ask.

    A guard that holds something back for an exchange, such as a quota, has a method `peek` with the same
    arguments that decides the same and holds nothing back: `explain` and the dry run ask that.
    """
    return (
        NotStopped(stops=state.stops.force),  # was it stopped in an emergency
        trust_is_fresh,  # is it known who may be trusted
        catalogue_is_current,  # does the consumer speak of the same resource
        GrantCovers(state=state),  # was it granted
        CaseIsOpen(state=state),  # is its case open
        PurposeIsKnown(state=state),  # does the region know what for
        RegionGuards(state=state),  # does the region forbid it here and now
    )
