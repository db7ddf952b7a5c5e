"""A region on loopback that remembers what it was sent, and the command run against it."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_status import rpc_status
from nacl.signing import SigningKey

from exchange import canonical
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.enrolment import pem_of
from exchange.errors import ExchangeError, UnknownGrant, UnknownResource, UnknownTicket
from exchange.identity import Identity, Role
from exchange.merkle import batch_paths, leaf_hash
from exchange.rpc_errors import to_status
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    common_pb2,
    directory_pb2,
    directory_pb2_grpc,
    grant_pb2,
    grant_pb2_grpc,
    review_pb2,
    review_pb2_grpc,
    risk_pb2,
    risk_pb2_grpc,
    ticket_pb2,
    ticket_pb2_grpc,
    trust_pb2,
    trust_pb2_grpc,
)
from shuqiao.cli.app import run
from shuqiao.context import Context
from shuqiao.door import Door
from tests.support.region import DIVISION, DOMAIN, ORIGIN
from tests.support.region import Authority as AuthorityOfTests
from tests.support.sealing import NOW_MS, StillClock

CONSUMER = "11970000MB1A0001X5"
HOUSEHOLD = "970100/public-security/household"


class Person:
    """A steward below an authority, as an identity folder would hold one."""

    def __init__(self) -> None:
        self.authority = AuthorityOfTests()
        self._signer = self.authority.person(Role.STEWARD, "steward-1", CONSUMER)
        self._chain = list(self._signer.sign(b"", b"").chain)
        self.certificate = x509.load_der_x509_certificate(self._chain[0])

    def chain_pem(self) -> bytes:
        return pem_of(self._chain)

    def key_pem(self) -> bytes:
        raise AssertionError("no mutual TLS on loopback")

    def root_pem(self) -> bytes:
        return self.authority.root_pem

    def identity(self) -> Identity:
        return self._signer.identity

    def anchor(self) -> TrustAnchor:
        return TrustAnchor(root_pem=self.root_pem(), division=DIVISION, trust_domain=DOMAIN)

    def statement_signer(self) -> StatementSigner:
        return self._signer


def end(context: grpc.ServicerContext, error: ExchangeError) -> Any:
    context.abort_with_status(rpc_status.to_status(to_status(error)))


def resource_id(statement: common_pb2.Statement) -> str:
    return directory_pb2.ResourceBody.FromString(statement.body).id


@dataclass
class Region:
    """Everything the servers say and were told."""

    received: list[Any] = field(default_factory=list)
    refuse: ExchangeError | None = None
    leaves: list[bytes] = field(default_factory=list)
    witnessed: str = ""
    witnessed_size: int = 0
    tokens: list[trust_pb2.TokenRecord] = field(default_factory=list)
    tags: list[trust_pb2.DerivedTag] = field(default_factory=list)
    grants: list[grant_pb2.GrantRecord] = field(default_factory=list)
    resources: list[common_pb2.Statement] = field(default_factory=list)
    versions: list[directory_pb2.VersionRecord] = field(default_factory=list)
    found: list[directory_pb2.VersionRecord] = field(default_factory=list)
    revision: int = 0
    organisations: list[common_pb2.Statement] = field(default_factory=list)
    reviews: list[review_pb2.ReviewSummary] = field(default_factory=list)
    review_items: list[review_pb2.ReviewItem] = field(default_factory=list)
    drawing: int = 0
    tickets: list[ticket_pb2.TicketRecord] = field(default_factory=list)
    qualities: list[ticket_pb2.ResourceQuality] = field(default_factory=list)
    findings: list[risk_pb2.FindingRow] = field(default_factory=list)
    answer: agent_pb2.AskResponse = field(default_factory=agent_pb2.AskResponse)
    hops: list[agent_pb2.HopStatus] = field(default_factory=list)
    authority: AuthorityOfTests = field(default_factory=AuthorityOfTests)
    trust_list: trust_pb2.TrustListBody = field(default_factory=trust_pb2.TrustListBody)
    log: LogSigner = field(default_factory=lambda: LogSigner(origin=ORIGIN, key=SigningKey(b"\7" * 32)))
    address: str = ""
    agent_address: str = ""

    def take(self, request: Any, context: grpc.ServicerContext) -> None:
        self.received.append(request)
        if self.refuse is not None:
            end(context, self.refuse)

    def checkpoint(self) -> tuple[str, list[bytes]]:
        root, paths = batch_paths([leaf_hash(leaf) for leaf in self.leaves])
        return self.log.sign(Checkpoint(ORIGIN, len(self.leaves), root)), paths


class Admin(admin_pb2_grpc.AdminServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def AddOrganisation(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return admin_pb2.AddOrganisationResponse(index=7)


class Directory(directory_pb2_grpc.DirectoryServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def ListOrganisations(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        at = int(request.page_token or 0)
        rest = len(self.region.organisations) - at - 1
        return directory_pb2.ListOrganisationsResponse(
            organisations=self.region.organisations[at : at + 1],
            next_page_token=str(at + 1) if rest > 0 else "",
        )

    def ListResources(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return directory_pb2.ListResourcesResponse(resources=self.region.resources)

    def SearchResources(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        at = int(request.page_token or 0)
        told = self.region.found
        return directory_pb2.SearchResourcesResponse(
            resources=told[at : at + 1], next_page_token=str(at + 1) if at + 1 < len(told) else ""
        )

    def ListVersions(self, request: Any, context: Any) -> Any:
        """What is in force where no versions were told; one a page, so that paging shows."""
        self.region.take(request, context)
        told = [one for one in self.region.versions if resource_id(one.resource) == request.resource] or [
            directory_pb2.VersionRecord(
                resource=one,
                standing=directory_pb2.RESOURCE_STANDING_PUBLISHED,
                revision=self.region.revision,
            )
            for one in self.region.resources
            if resource_id(one) == request.resource
        ]
        if not told:
            end(context, UnknownResource(request.resource, hop="gateway/gateway-1"))
        at = int(request.page_token or 0)
        return directory_pb2.ListVersionsResponse(
            versions=told[at : at + 1], next_page_token=str(at + 1) if at + 1 < len(told) else ""
        )

    def ListEvents(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        events = [directory_pb2.Event(index=i, leaf=leaf) for i, leaf in enumerate(self.region.leaves)]
        return directory_pb2.ListEventsResponse(events=events, next=len(events))

    def PublishResource(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return directory_pb2.PublishResourceResponse(index=8)

    def SetResourceState(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return directory_pb2.SetResourceStateResponse(index=9)


class Grants(grant_pb2_grpc.GrantServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def ApplyGrant(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return grant_pb2.ApplyGrantResponse(grant_id=b"\xab" * 32, index=10)

    def DecideGrant(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return grant_pb2.DecideGrantResponse(state=grant_pb2.GRANT_STATE_ACTIVE, index=11)

    def GetGrant(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        for record in self.region.grants:
            if record.grant_id == request.grant_id:
                return grant_pb2.GetGrantResponse(grant=record)
        return end(context, UnknownGrant("none", hop="gateway/gateway-1"))

    def ListGrants(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return grant_pb2.ListGrantsResponse(grants=self.region.grants)


class Audit(audit_pb2_grpc.AuditServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def GetCheckpoint(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return audit_pb2.GetCheckpointResponse(
            checkpoint=self.region.checkpoint()[0], witnessed=self.region.witnessed
        )

    def GetEntry(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        note, paths = self.region.checkpoint()
        index = request.index
        receipt = audit_pb2.Receipt(leaf=self.region.leaves[index], index=index, proof=paths[index])
        return audit_pb2.GetEntryResponse(receipt=receipt, checkpoint=note)

    def Tail(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        first = request.from_index
        leaves = self.region.leaves[first : first + request.limit if request.limit else None]
        indexes = range(first, first + len(leaves))
        yield audit_pb2.TailResponse(
            indexes=indexes,
            leaves=leaves,
            next_index=first + len(leaves),
            checkpoint=self.region.checkpoint()[0],
            witnessed_size=self.region.witnessed_size,
        )

    def Search(self, request: Any, context: Any) -> Any:
        """Two a page, so that paging shows; a token is the number that were told."""
        self.region.take(request, context)
        order = list(enumerate(self.region.leaves))[:: -1 if request.newest_first else 1]
        at = int(request.page_token or 0)
        size = min(2, request.page_size)
        found = [audit_pb2.FoundEntry(index=index, leaf=leaf) for index, leaf in order[at : at + size]]
        return audit_pb2.SearchResponse(
            entries=found,
            next_page_token=str(at + size) if at + size < len(order) else "",
            searched_size=len(order),
            witnessed_size=self.region.witnessed_size,
        )

    def Trace(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        at = int(request.page_token or 0)
        found = [audit_pb2.FoundEntry(index=n, leaf=leaf) for n, leaf in enumerate(self.region.leaves)]
        return audit_pb2.TraceResponse(
            entries=found[at : at + 1],
            next_page_token=str(at + 1) if at + 1 < len(found) else "",
            searched_size=len(found),
            delayed_purpose_days={"investigation": 30},
            erased_periods=["2026Q1"],
        )


class Reviews(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def Draw(self, request: Any, context: Any) -> Any:
        """Still at it as often as the region says."""
        self.region.take(request, context)
        self.region.drawing -= 1
        selection = 0 if self.region.drawing >= 0 else 12
        return review_pb2.DrawResponse(review_id=b"\xab" * 32, index=11, selection_index=selection)

    def Act(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return review_pb2.ActResponse(state=review_pb2.REVIEW_ITEM_STATE_CLOSING, index=13)

    def ListReviews(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        at = int(request.page_token or 0)
        rest = len(self.region.reviews) - at - 1
        return review_pb2.ListReviewsResponse(
            reviews=self.region.reviews[at : at + 1], next_page_token=str(at + 1) if rest > 0 else ""
        )

    def GetReview(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        review = next(one for one in self.region.reviews if one.review_id == request.review_id)
        wanted = [
            one for one in self.region.review_items if not request.items or one.entry.index in request.items
        ]
        at = int(request.page_token or 0)
        return review_pb2.GetReviewResponse(
            review=review,
            items=wanted[at : at + 1],
            next_page_token=str(at + 1) if len(wanted) > at + 1 else "",
        )


class Tickets(ticket_pb2_grpc.TicketServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def RaiseTicket(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return ticket_pb2.RaiseTicketResponse(ticket_id=b"\xab" * 32, index=21)

    def ActOnTicket(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return ticket_pb2.ActOnTicketResponse(state=ticket_pb2.TICKET_STATE_CORRECTED, index=22, told=2)

    def ListTickets(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        at = int(request.page_token or 0)
        rest = len(self.region.tickets) - at - 1
        return ticket_pb2.ListTicketsResponse(
            tickets=self.region.tickets[at : at + 1], next_page_token=str(at + 1) if rest > 0 else ""
        )

    def GetTicket(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        for record in self.region.tickets:
            if record.ticket_id == request.ticket_id:
                return ticket_pb2.GetTicketResponse(ticket=record)
        return end(context, UnknownTicket("none", hop="gateway/gateway-1"))

    def ListQuality(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return ticket_pb2.ListQualityResponse(resources=self.region.qualities)


class Risks(risk_pb2_grpc.RiskServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def ListFindings(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        wanted = [
            row
            for row in self.region.findings
            if (row.holds or not request.holding) and request.rule in ("", row.finding.rule)
        ]
        at = int(request.page_token or 0)
        return risk_pb2.ListFindingsResponse(
            findings=wanted[at : at + 1], next_page_token=str(at + 1) if len(wanted) > at + 1 else ""
        )

    def DecideFinding(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return risk_pb2.DecideFindingResponse(index=14)


class Authority(trust_pb2_grpc.AuthorityServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def ListTokens(self, request: Any, context: Any) -> Any:
        """One a page, so that paging shows."""
        self.region.take(request, context)
        left = [one for one in self.region.tokens if one.token_id > request.page_token]
        return trust_pb2.ListTokensResponse(
            tokens=left[:1], next_page_token=left[0].token_id if len(left) > 1 else ""
        )

    def ApproveToken(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return trust_pb2.ApproveTokenResponse(needs="ready")

    def CountersignToken(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return trust_pb2.CountersignTokenResponse(needs="second-person")

    def Revoke(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return trust_pb2.RevokeResponse(trust_list=12)

    def DeriveTags(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return trust_pb2.DeriveTagsResponse(tags=self.region.tags)

    def DeriveCorrectionTags(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return trust_pb2.DeriveCorrectionTagsResponse(
            tags=common_pb2.Statement(body=request.identifier.encode())
        )

    def EraseTagKey(self, request: Any, context: Any) -> Any:
        """The second call finds the first one's wish."""
        self.region.take(request, context)
        again = sum(isinstance(one, trust_pb2.EraseTagKeyRequest) for one in self.region.received) > 1
        return trust_pb2.EraseTagKeyResponse(needs="erased" if again else "second-person")

    def ListCertificates(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        record = trust_pb2.CertificateRecord(serial="1092", spiffe_id="spiffe://x", revoked=True)
        return trust_pb2.ListCertificatesResponse(certificates=[record])


class Enrolment(trust_pb2_grpc.EnrolmentServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def GetTrustList(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        body = self.region.trust_list.SerializeToString()
        statement = self.region.authority.signer.sign(canonical.TRUST_LIST, body)
        return trust_pb2.GetTrustListResponse(trust_list=statement)


class Agent(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, region: Region) -> None:
        self.region = region

    def Ask(self, request: Any, context: Any) -> Any:
        self.region.take((request, dict(context.invocation_metadata())), context)
        return self.region.answer

    def GetAgentStatus(self, request: Any, context: Any) -> Any:
        self.region.take(request, context)
        return agent_pb2.GetAgentStatusResponse(spiffe_id="spiffe://agent", hops=self.region.hops)


@pytest.fixture
def region(person: Person) -> Iterator[Region]:
    told = Region(authority=person.authority)
    told.trust_list = trust_pb2.TrustListBody(
        number=5, division=DIVISION, trust_domain=DOMAIN, max_age_s=120, suite=2
    )
    told.trust_list.issued_at.FromMilliseconds(NOW_MS - 30_000)
    told.trust_list.gateways.add(name="gateway-1", origin=ORIGIN, log_keys=[told.log.public_key])
    with ThreadPoolExecutor(max_workers=4) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        admin_pb2_grpc.add_AdminServiceServicer_to_server(Admin(told), server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(Directory(told), server)
        grant_pb2_grpc.add_GrantServiceServicer_to_server(Grants(told), server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(Audit(told), server)
        review_pb2_grpc.add_ReviewServiceServicer_to_server(Reviews(told), server)
        ticket_pb2_grpc.add_TicketServiceServicer_to_server(Tickets(told), server)
        risk_pb2_grpc.add_RiskServiceServicer_to_server(Risks(told), server)
        trust_pb2_grpc.add_AuthorityServiceServicer_to_server(Authority(told), server)
        trust_pb2_grpc.add_EnrolmentServiceServicer_to_server(Enrolment(told), server)
        told.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        local = grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        agents = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        agent_pb2_grpc.add_AgentServiceServicer_to_server(Agent(told), agents)
        told.agent_address = f"127.0.0.1:{agents.add_secure_port('127.0.0.1:0', local)}"
        server.start()
        agents.start()
        yield told
        server.stop(None).wait()
        agents.stop(None).wait()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def person() -> Person:
    return Person()


@pytest.fixture
def context_file(region: Region, tmp_path: Path) -> Path:
    (tmp_path / "agent-token").write_text("local-secret\n")
    (tmp_path / "identity").mkdir()
    file = tmp_path / "context.toml"
    file.write_text(
        f'gateway = "{region.address}"\nauthority = "{region.address}"\nenrolment = "{region.address}"\n'
        f'identity = "identity"\npassphrase_file = "passphrase"\n'
        f'agent = "{region.agent_address}"\nagent_token_file = "agent-token"\n'
    )
    return file


Shuqiao = Callable[..., Ran]


@pytest.fixture
def shuqiao(person: Person, context_file: Path) -> Shuqiao:
    """Run the command against the region."""

    def hold(context: Context) -> Person:
        return person

    def dial(address: str, holder: Any) -> grpc.Channel:
        return grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def call(*arguments: str, lang: str = "zh", context: Path | None = None) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        environ = {"SHUQIAO_LANG": lang, "SHUQIAO_CONTEXT": str(context or context_file)}
        code = run(
            arguments,
            stdout=out,
            stderr=err,
            environ=environ,
            door=Door(hold=hold, dial=dial),
            clock=StillClock(),
            random=bytes,
        )
        return Ran(code, out.getvalue(), err.getvalue())

    return call


def exchange_leaf(decision: audit_pb2.Decision, reason: int = 0) -> bytes:
    told = audit_pb2.ExchangeEntry(
        exchange_id=b"\1" * 16,
        consumer_organisation=CONSUMER,
        resource=HOUSEHOLD,
        fields=["name"],
        kind=common_pb2.KIND_QUERY,
        decision=decision,
        reason=reason,
    )
    return audit_pb2.AuditEntry(version=1, gateway=ORIGIN, time_ms=NOW_MS, exchange=told).SerializeToString()


def state_leaf(revision: int) -> bytes:
    body = directory_pb2.ResourceStateBody(id=HOUSEHOLD, revision=revision, suspended=True)
    act = audit_pb2.AdministrativeEntry(
        act=audit_pb2.ACT_RESOURCE_STATE,
        actor="spiffe://steward",
        statement=common_pb2.Statement(body=body.SerializeToString()),
        subject=HOUSEHOLD,
    )
    return audit_pb2.AuditEntry(
        version=1, gateway=ORIGIN, time_ms=NOW_MS, administrative=act
    ).SerializeToString()
