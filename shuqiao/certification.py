"""What people do at the authority, as calls: shared by the command and the demo."""

from collections.abc import Sequence

import grpc

from exchange import canonical
from exchange.clock import Clock
from exchange.errors import AuthorityAway, BadToken
from exchange.timestamps import timestamp
from exchange.v1 import common_pb2, trust_pb2, trust_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.regional import PAGE, Signer

HOP = "authority"


def enrolment(*, role: str, organisation: str, name: str, hosts: Sequence[str] = ()) -> trust_pb2.Enrolment:
    """Return who is to be enrolled.

    Args:
        role: "agent", "gateway", "steward", "officer", "operator", "auditor" or "admin".
        organisation: credit code, for agents and stewards.
        name: of the agent or gateway, or the person's id.
        hosts: DNS names and IP addresses of a gateway.
    """
    number = trust_pb2.Role.Value(f"ROLE_{role.upper()}")
    return trust_pb2.Enrolment(role=number, organisation=organisation, name=name, hosts=hosts)


def create_token(
    channel: grpc.Channel, who: trust_pb2.Enrolment, *, lifetime_s: int = 0
) -> trust_pb2.CreateTokenResponse:
    """Make a one-time token as an administrator; 0 s for the authority's own lifetime."""
    request = trust_pb2.CreateTokenRequest(enrolment=who, lifetime_s=lifetime_s)
    with calling(HOP, AuthorityAway):
        return trust_pb2_grpc.AuthorityServiceStub(channel).CreateToken(request, timeout=CALL_TIMEOUT_S)


def approve_token(channel: grpc.Channel, token_id: str) -> str:
    """Approve a token as the second person; return what it still needs."""
    request = trust_pb2.ApproveTokenRequest(token_id=token_id)
    with calling(HOP, AuthorityAway):
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return stub.ApproveToken(request, timeout=CALL_TIMEOUT_S).needs


def list_tokens(channel: grpc.Channel) -> list[trust_pb2.TokenRecord]:
    """Return every token that waits to be used and that the caller may see."""
    stub = trust_pb2_grpc.AuthorityServiceStub(channel)
    found: list[trust_pb2.TokenRecord] = []
    token = ""
    while True:
        request = trust_pb2.ListTokensRequest(page_size=PAGE, page_token=token)
        with calling(HOP, AuthorityAway):
            answer = stub.ListTokens(request, timeout=CALL_TIMEOUT_S)
        found.extend(answer.tokens)
        token = answer.next_page_token
        if not token:
            return found


def find_token(channel: grpc.Channel, wanted: str) -> trust_pb2.TokenRecord:
    """Return the one waiting token with an id, or for somebody of a name.

    Raises:
        BadToken: none or several fit.
    """
    fitting = [one for one in list_tokens(channel) if wanted in (one.token_id, one.enrolment.name)]
    if len(fitting) != 1:
        raise BadToken(f"{wanted}: {', '.join(one.token_id for one in fitting) or 0}", hop=HOP)
    return fitting[0]


def countersign_token(
    channel: grpc.Channel, signer: Signer, token_id: str, who: trust_pb2.Enrolment, *, clock: Clock
) -> str:
    """Countersign a token with a key of the same organisation; return what it still needs."""
    body = trust_pb2.CountersignBody(
        token_id=token_id, enrolment=who, issued_at=timestamp(clock.now_ms())
    ).SerializeToString()
    request = trust_pb2.CountersignTokenRequest(countersignature=signer.sign(canonical.COUNTERSIGN, body))
    with calling(HOP, AuthorityAway):
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return stub.CountersignToken(request, timeout=CALL_TIMEOUT_S).needs


def revoke(
    channel: grpc.Channel, *, serial: str = "", spiffe_id: str = "", kid: bytes = b"", note: str = ""
) -> int:
    """Revoke one thing; return the number of the trust list that says so.

    Args:
        channel: to the authority.
        serial: of a certificate, lower-case hexadecimal.
        spiffe_id: all certificates of one identity.
        kid: a key, 16 bytes.
        note: why; no personal data.
    """
    request = trust_pb2.RevokeRequest(note=note)
    if serial:
        request.serial = serial
    elif spiffe_id:
        request.spiffe_id = spiffe_id
    else:
        request.kid = kid
    with calling(HOP, AuthorityAway):
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return stub.Revoke(request, timeout=CALL_TIMEOUT_S).trust_list


def list_certificates(channel: grpc.Channel) -> list[trust_pb2.CertificateRecord]:
    """Return every certificate that the authority issued."""
    stub = trust_pb2_grpc.AuthorityServiceStub(channel)
    found: list[trust_pb2.CertificateRecord] = []
    token = ""
    while True:
        request = trust_pb2.ListCertificatesRequest(page_size=PAGE, page_token=token)
        with calling(HOP, AuthorityAway):
            answer = stub.ListCertificates(request, timeout=CALL_TIMEOUT_S)
        found.extend(answer.certificates)
        token = answer.next_page_token
        if not token:
            return found


def get_trust_list(channel: grpc.Channel) -> common_pb2.Statement:
    """Return the newest trust list as the authority signed it; not verified here."""
    stub = trust_pb2_grpc.EnrolmentServiceStub(channel)
    with calling(HOP, AuthorityAway):
        return stub.GetTrustList(trust_pb2.GetTrustListRequest(), timeout=CALL_TIMEOUT_S).trust_list
