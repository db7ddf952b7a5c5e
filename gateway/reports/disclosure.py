"""Grants as they are disclosed: who may have what, for which purpose and how long. No personal data."""

from exchange import grants
from exchange.grants import Grant
from exchange.timestamps import timestamp
from exchange.v1 import grant_pb2, report_pb2
from gateway.state import RegionState

STEP = 500
"""Grants that are looked at in one go."""
MAX_STEPS = 20


def page(
    state: RegionState, *, party: str | None, after: int, most: int, ended_too: bool, now_ms: int
) -> tuple[list[report_pb2.Disclosure], int | None]:
    """Return some grants, oldest first, and the log index after which to go on; None at the end.

    Args:
        party: credit code of consumer or provider; None for all.
        after: log index of the application after which to begin, -1 for the start.
        most: how many at most.
        ended_too: whether grants that are not in force are wanted.
        now_ms: Unix milliseconds.
    """
    found: list[report_pb2.Disclosure] = []
    for _ in range(MAX_STEPS):
        placed = state.grants.page(party, after, STEP)
        for one in placed:
            if len(found) == most:
                return found, after
            after = one.index
            if ended_too or _in_force(one.grant, now_ms):
                found.append(_disclosure(state, one.grant))
        if len(placed) < STEP:
            return found, None
    # The page is short, or empty: the event loop has other things to do.
    return found, after


def _in_force(grant: Grant, now_ms: int) -> bool:
    return grant.state == grants.ACTIVE and grant.not_before_ms <= now_ms < grant.not_after_ms


def _disclosure(state: RegionState, grant: Grant) -> report_pb2.Disclosure:
    organisations, purposes = state.organisations.by_code, state.rules.current.purposes
    resource = state.catalogue.by_id.get(grant.resource)
    named = sorted(grant.purposes)
    bases = [purposes[code].legal_basis if code in purposes else "" for code in named]
    return report_pb2.Disclosure(
        grant_id=grant.grant_id,
        consumer=grant.consumer,
        consumer_name=organisations[grant.consumer].name_zh if grant.consumer in organisations else "",
        provider=grant.provider,
        provider_name=organisations[grant.provider].name_zh if grant.provider in organisations else "",
        resource=grant.resource,
        resource_title=resource.title_zh if resource is not None else "",
        fields=sorted(grant.fields),
        purposes=named,
        legal_bases=bases,
        scope=grant_pb2.GrantScope.ValueType(grant.limits.scope),
        matters=sorted(grant.matters),
        not_before=timestamp(grant.not_before_ms),
        not_after=timestamp(grant.not_after_ms),
        state=grant_pb2.GrantState.ValueType(grant.state),
    )
