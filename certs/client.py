"""What people do at the authority, asynchronously and as one identity."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc

from exchange.canonical import COUNTERSIGN
from exchange.clock import Clock, SystemClock
from exchange.enrolment import CALL_S, IdentityFolder, call
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import NoIdentity
from exchange.identity import Identity, Role
from exchange.trust import TrustList
from exchange.v1 import trust_pb2, trust_pb2_grpc

PAGE = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was made.

    Attributes:
        token_id: public id, for whoever approves or countersigns.
        needs: "ready", "second-person" or "countersignature".
        file: the one file to hand over; it holds the secret.
    """

    token_id: str
    needs: str
    file: EnrolmentFile


class AuthorityClient:
    """Acts at the authority with the identity in a folder.

    Args:
        held: the identity.
        service_address, enrolment_address: where the authority is; as at enrolment where empty.
        clock: tells the time.
    """

    def __init__(
        self,
        held: IdentityFolder,
        *,
        service_address: str = "",
        enrolment_address: str = "",
        clock: Clock | None = None,
    ) -> None:
        known = held.enrolment()
        self._held = held
        self._service = service_address or known.service_address
        self._enrolment = enrolment_address or known.enrolment_address
        self._clock = clock or SystemClock()

    async def create_token(
        self,
        role: Role,
        *,
        name: str,
        organisation: str = "",
        hosts: Sequence[str] = (),
        lifetime_s: int = 0,
    ) -> NewToken:
        """Make a token as an administrator.

        Args:
            role: of whom is to be enrolled.
            name: of the agent or gateway, or the person's id.
            organisation: credit code, for agents and stewards.
            hosts: DNS names and IP addresses of a gateway.
            lifetime_s: at most 86,400; 0 for one hour.
        """
        own = self._held.identity()
        who = Identity(own.trust_domain, own.division, role, organisation, name)
        request = trust_pb2.CreateTokenRequest(enrolment=enrolment_of(who, hosts), lifetime_s=lifetime_s)
        made = await self._ask(lambda stub: stub.CreateToken(request, timeout=CALL_S))
        trust = await self.trust_list()
        file = EnrolmentFile(
            enrolment_address=self._enrolment,
            service_address=self._service,
            root_pem=self._held.root_pem(),
            gateways=tuple(one for one in trust.gateways.values() if not one.closed),
            identity=who,
            hosts=tuple(hosts),
            token=made.token,
        )
        return NewToken(token_id=made.token_id, needs=made.needs, file=file)

    async def approve(self, token_id: str) -> str:
        """Approve a token as the second administrator; return what it still needs."""
        request = trust_pb2.ApproveTokenRequest(token_id=token_id)
        return (await self._ask(lambda stub: stub.ApproveToken(request, timeout=CALL_S))).needs

    async def list_tokens(self) -> list[trust_pb2.TokenRecord]:
        """Return every token that waits to be used and that this identity may see."""
        found: list[trust_pb2.TokenRecord] = []
        request = trust_pb2.ListTokensRequest(page_size=PAGE)
        while True:
            page = await self._ask(lambda stub: stub.ListTokens(request, timeout=CALL_S))
            found.extend(page.tokens)
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def countersign(self, token_id: str, who: Identity) -> str:
        """Countersign a token for a further agent of the own organisation; return what it still needs."""
        body = trust_pb2.CountersignBody(token_id=token_id, enrolment=enrolment_of(who))
        body.issued_at.FromMilliseconds(self._clock.now_ms())
        statement = self._held.statement_signer().sign(COUNTERSIGN, body.SerializeToString())
        request = trust_pb2.CountersignTokenRequest(countersignature=statement)
        return (await self._ask(lambda stub: stub.CountersignToken(request, timeout=CALL_S))).needs

    async def revoke(self, *, serial: str = "", spiffe_id: str = "", kid: bytes = b"", note: str = "") -> int:
        """Revoke one thing; return the number of the trust list that says so."""
        request = trust_pb2.RevokeRequest(note=note)
        if serial:
            request.serial = serial
        elif spiffe_id:
            request.spiffe_id = spiffe_id
        elif kid:
            request.kid = kid
        return (await self._ask(lambda stub: stub.Revoke(request, timeout=CALL_S))).trust_list

    async def list_certificates(self) -> list[trust_pb2.CertificateRecord]:
        """Return every certificate that the authority issued."""
        found: list[trust_pb2.CertificateRecord] = []
        token = ""
        while True:
            page = await self._page(token)
            found.extend(page.certificates)
            token = page.next_page_token
            if not token:
                return found

    async def trust_list(self) -> TrustList:
        """Return the newest trust list, verified."""

        async def ask(channel: grpc.aio.Channel) -> trust_pb2.GetTrustListResponse:
            stub: trust_pb2_grpc.EnrolmentServiceAsyncStub = trust_pb2_grpc.EnrolmentServiceStub(channel)
            return await stub.GetTrustList(trust_pb2.GetTrustListRequest(), timeout=CALL_S)

        answer = await call(self._enrolment, ask, root_pem=self._held.root_pem())
        return self._held.anchor().verify_trust_list(
            answer.trust_list, now_ms=self._clock.now_ms(), held=None
        )

    async def _page(self, token: str) -> trust_pb2.ListCertificatesResponse:
        request = trust_pb2.ListCertificatesRequest(page_size=PAGE, page_token=token)
        return await self._ask(lambda stub: stub.ListCertificates(request, timeout=CALL_S))

    async def _ask(self, method: Callable[["trust_pb2_grpc.AuthorityServiceAsyncStub"], Awaitable[T]]) -> T:
        async def ask(channel: grpc.aio.Channel) -> T:
            return await method(trust_pb2_grpc.AuthorityServiceStub(channel))

        return await call(
            self._service,
            ask,
            root_pem=self._held.root_pem(),
            key_pem=self._held.key_pem(),
            chain_pem=self._held.chain_pem(),
        )


def enrolment_of(who: Identity, hosts: Sequence[str] = ()) -> trust_pb2.Enrolment:
    """Return who is to be enrolled, as it travels.

    Raises:
        NoIdentity: an authority cannot be enrolled.
    """
    if who.role is Role.AUTHORITY:
        raise NoIdentity(str(who))
    number = trust_pb2.Role.Value(f"ROLE_{who.role.upper()}")
    return trust_pb2.Enrolment(role=number, organisation=who.organisation, name=who.name, hosts=hosts)
