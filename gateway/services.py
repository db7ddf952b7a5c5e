"""Registers what the gateway serves over gRPC: one service each for links, exchanges, directory and so on.

Who may call which method is `gateway.access.method_table`'s; here a service only gets its parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from exchange.clock import Clock
from exchange.errors import ExchangeError
from exchange.trust_feed import TrustFeed
from exchange.v1 import (
    admin_pb2_grpc,
    audit_pb2_grpc,
    case_pb2_grpc,
    directory_pb2_grpc,
    exchange_pb2_grpc,
    grant_pb2_grpc,
    link_pb2_grpc,
    report_pb2_grpc,
    review_pb2_grpc,
    risk_pb2_grpc,
    rules_pb2_grpc,
    stop_pb2_grpc,
    ticket_pb2_grpc,
)
from gateway import interceptors
from gateway.access.call_rate import CallRate
from gateway.access.guards import standard_guards
from gateway.admin_service import AdminService
from gateway.audit.epochs.rotation import KeyRotation
from gateway.audit.writing.sequencer import Sequencer
from gateway.calls import Calls
from gateway.case_service import CaseService
from gateway.clocks.workdays import Workdays
from gateway.config import Limits
from gateway.directory_service import DirectoryService
from gateway.evidence import Evidence
from gateway.exchange_service import ExchangeService
from gateway.governance import Governance
from gateway.grant_list import GrantLists
from gateway.grant_service import GrantService
from gateway.link_service import LinkParts, LinkService
from gateway.path import Path
from gateway.registrar import Registrar
from gateway.report_service import ReportParts, ReportService
from gateway.review_service import ReviewService
from gateway.risk_service import RiskService
from gateway.routing.links import Links
from gateway.rules.dry_run import DryRuns
from gateway.rules.explain import Explainer
from gateway.rules_service import RulesService
from gateway.state import RegionState
from gateway.stop_service import StopService
from gateway.ticket_service import TicketService


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """What the services are made of.

    Attributes:
        faults: returns what keeps exchanges from succeeding, now.
    """

    path: Path
    governance: Governance
    links: Links
    registrar: Registrar
    state: RegionState
    log: Sequencer
    evidence: Evidence
    rotation: KeyRotation
    trust_feed: TrustFeed
    limits: Limits
    faults: Callable[[], Sequence[ExchangeError]]
    clock: Clock


def add_services(server: grpc.aio.Server, parts: ServiceParts) -> LinkService:
    """Register every service with a server that was not started.

    Returns:
        The service of the agents' links, which is drained before the server stops.
    """
    calls = Calls(registrar=parts.registrar, peer=interceptors.caller)
    links = _link_service(parts)
    link_pb2_grpc.add_LinkServiceServicer_to_server(links, server)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(
        ExchangeService(
            path=parts.path, peer=interceptors.caller, consumer_window=parts.limits.consumer_window
        ),
        server,
    )
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
        DirectoryService(
            registrar=parts.registrar, state=parts.state, calls=calls, linked=parts.links.agents_of
        ),
        server,
    )
    grant_pb2_grpc.add_GrantServiceServicer_to_server(_grant_service(parts, calls), server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(parts.evidence.service(calls), server)
    review_pb2_grpc.add_ReviewServiceServicer_to_server(_review_service(parts, calls), server)
    rules_pb2_grpc.add_RulesServiceServicer_to_server(_rules_service(parts, calls), server)
    report_pb2_grpc.add_ReportServiceServicer_to_server(_report_service(parts, calls), server)
    stop_pb2_grpc.add_StopServiceServicer_to_server(_stop_service(parts, calls), server)
    case_pb2_grpc.add_CaseServiceServicer_to_server(_case_service(parts, calls), server)
    ticket_pb2_grpc.add_TicketServiceServicer_to_server(_ticket_service(parts, calls), server)
    risk_pb2_grpc.add_RiskServiceServicer_to_server(_risk_service(parts, calls), server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(_admin_service(parts, calls), server)
    return links


def _link_service(parts: ServiceParts) -> LinkService:
    return LinkService(
        LinkParts(
            origin=parts.log.origin,
            path=parts.path,
            links=parts.links,
            registrar=parts.registrar,
            sequencer=parts.log,
            trust_feed=parts.trust_feed,
            peer=interceptors.caller,
            clock=parts.clock,
            consumer_window=parts.limits.consumer_window,
            provider_window=parts.limits.provider_window,
            max_links=parts.limits.max_links,
            stop_notices=parts.governance.stops.notices,
        )
    )


def _grant_service(parts: ServiceParts, calls: Calls) -> GrantService:
    governance = parts.governance
    clocks = governance.grant_clocks
    return GrantService(
        registrar=parts.registrar,
        state=parts.state,
        calls=calls,
        clocks=clocks,
        lists=GrantLists(state=parts.state, clocks=clocks, supervised=governance.supervised),
        taken=lambda grant: governance.quotas.taken(grant, parts.clock.now_ms()),
    )


def _review_service(parts: ServiceParts, calls: Calls) -> ReviewService:
    return ReviewService(
        registrar=parts.registrar,
        reviews=parts.state.reviews,
        selection=parts.governance.selection,
        calls=calls,
        check_head=parts.log.compare_head,
        gaps=parts.log.gaps,
    )


def _report_service(parts: ServiceParts, calls: Calls) -> ReportService:
    return ReportService(
        ReportParts(
            registrar=parts.registrar,
            state=parts.state,
            usage=parts.evidence.usage,
            log_size=lambda: parts.log.head.size,
            calendar=lambda: Workdays(parts.state.rules.current),
            calls=calls,
            clock=parts.clock,
        )
    )


def _rules_service(parts: ServiceParts, calls: Calls) -> RulesService:
    explainer = Explainer(
        registrar=parts.registrar,
        state=parts.state,
        guards=parts.governance.guards,
        trust=lambda: parts.trust_feed.current,
        clock=parts.clock,
        rate=CallRate("explain"),
    )
    dry_runs = DryRuns(
        log=parts.log,
        registrar=parts.registrar,
        state=parts.state,
        make_guards=standard_guards,
        trust=lambda: parts.trust_feed.current,
        clock=parts.clock,
    )
    return RulesService(
        registrar=parts.registrar,
        rules=parts.state.rules,
        explainer=explainer,
        dry_runs=dry_runs,
        calls=calls,
    )


def _stop_service(parts: ServiceParts, calls: Calls) -> StopService:
    return StopService(desk=parts.governance.stops, stops=parts.state.stops, calls=calls, clock=parts.clock)


def _case_service(parts: ServiceParts, calls: Calls) -> CaseService:
    return CaseService(registrar=parts.registrar, cases=parts.state.cases, calls=calls, clock=parts.clock)


def _risk_service(parts: ServiceParts, calls: Calls) -> RiskService:
    return RiskService(
        registrar=parts.registrar, findings=parts.state.findings, calls=calls, clock=parts.clock
    )


def _ticket_service(parts: ServiceParts, calls: Calls) -> TicketService:
    return TicketService(
        registrar=parts.registrar,
        tickets=parts.state.tickets,
        quality=parts.state.quality,
        clocks=parts.governance.ticket_clocks,
        corrections=parts.governance.corrections,
        find=parts.evidence.searches.find,
        calls=calls,
        clock=parts.clock,
    )


def _admin_service(parts: ServiceParts, calls: Calls) -> AdminService:
    return AdminService(
        registrar=parts.registrar,
        calls=calls,
        log=parts.log,
        trust_feed=parts.trust_feed,
        agents=lambda: [(link.identity.uri, len(link.pending)) for link in parts.links],
        faults=lambda: [str(fault) for fault in parts.faults()],
        rotate=lambda overlap_s, by: parts.rotation.order(overlap_s, by=by),
    )
