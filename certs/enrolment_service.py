"""The authority's two services: enrolment and trust lists for anyone, everything else over mutual TLS."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

import structlog

from certs.authority import Authority
from certs.tokens import MAX_TOKEN_CHARS
from exchange.errors import Malformed, QueueFull
from exchange.trust import Verified
from exchange.v1 import trust_pb2, trust_pb2_grpc

DEFAULT_PAGE = 100
MAX_PAGE = 500
MAX_WAITING = 64
P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """Runs the authority's rules on their one thread, a bounded number at a time.

    Args:
        authority: the rules.
        executor: has one thread.
    """

    def __init__(self, *, authority: Authority, executor: Executor) -> None:
        self.authority = authority
        self._executor = executor
        self._waiting = 0

    async def run(self, rule: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a rule to its end, also when the caller goes away, and tell a new trust list.

        Raises:
            QueueFull: too many wait already.
            ExchangeError: as the rule.
        """
        if self._waiting >= MAX_WAITING:
            raise QueueFull("authority")
        self._waiting += 1
        before = self.authority.trust_lists.newest_number
        work = asyncio.get_running_loop().run_in_executor(self._executor, lambda: rule(*args, **kwargs))
        work.add_done_callback(lambda done: self._finished(done, before))
        return await asyncio.shield(work)

    def _finished(self, done: "asyncio.Future[T]", before: int) -> None:
        self._waiting -= 1
        if not done.cancelled():
            done.exception()  # seen here, in case that the caller went away
        if self.authority.trust_lists.newest_number != before:
            self.authority.trust_lists.tell()


class EnrolmentService(trust_pb2_grpc.EnrolmentServiceServicer):
    """Enrolment and trust lists; no certificate is asked for."""

    def __init__(self, *, desk: Desk) -> None:
        self._desk = desk
        self._log = structlog.get_logger("certs.enrolment")

    async def Enrol(self, request: trust_pb2.EnrolRequest, context: Any) -> trust_pb2.EnrolResponse:
        """Turn a token into a certificate."""
        authority = self._desk.authority
        alarms = authority.alarms
        try:
            chain = await self._desk.run(authority.enrol, request.token, request.csr)
        finally:
            if authority.alarms != alarms:
                self._log.warning("token-reused", count=authority.alarms)
        return trust_pb2.EnrolResponse(chain=chain, trust_list=authority.trust_lists.current.statement)

    async def GetTrustList(
        self, request: trust_pb2.GetTrustListRequest, context: Any
    ) -> trust_pb2.GetTrustListResponse:
        """Return the newest trust list."""
        current = self._desk.authority.trust_lists.current
        return trust_pb2.GetTrustListResponse(trust_list=current.statement)

    async def WatchTrustList(
        self, request: trust_pb2.WatchTrustListRequest, context: Any
    ) -> AsyncIterator[trust_pb2.WatchTrustListResponse]:
        """Send the newest trust list and each that follows."""
        async for statement in self._desk.authority.trust_lists.watch():
            yield trust_pb2.WatchTrustListResponse(trust_list=statement)


class AuthorityService(trust_pb2_grpc.AuthorityServiceServicer):
    """Work on the authority.

    Args:
        desk: runs the rules.
        caller: tells who makes the present call.
    """

    def __init__(self, *, desk: Desk, caller: Callable[[], Verified]) -> None:
        self._desk = desk
        self._rules = desk.authority
        self._caller = caller
        self._log = structlog.get_logger("certs.authority")

    async def Renew(self, request: trust_pb2.RenewRequest, context: Any) -> trust_pb2.RenewResponse:
        """Renew the caller's certificate."""
        chain = await self._desk.run(self._rules.renew, self._caller(), request.csr)
        return trust_pb2.RenewResponse(chain=chain)

    async def CreateToken(
        self, request: trust_pb2.CreateTokenRequest, context: Any
    ) -> trust_pb2.CreateTokenResponse:
        """Make a token."""
        token_id, token, needs = await self._desk.run(
            self._rules.create_token,
            request.enrolment,
            creator=self._caller().identity,
            lifetime_s=request.lifetime_s,
        )
        return trust_pb2.CreateTokenResponse(token_id=token_id, token=token, needs=needs)

    async def ApproveToken(
        self, request: trust_pb2.ApproveTokenRequest, context: Any
    ) -> trust_pb2.ApproveTokenResponse:
        """Approve a token as the second person."""
        by = self._caller().identity
        needs = await self._desk.run(self._rules.approve, request.token_id, by=by)
        return trust_pb2.ApproveTokenResponse(needs=needs)

    async def ListTokens(
        self, request: trust_pb2.ListTokensRequest, context: Any
    ) -> trust_pb2.ListTokensResponse:
        """List tokens that wait to be used, a page at a time; a page token is the last one's id."""
        limit = request.page_size or DEFAULT_PAGE
        if limit > MAX_PAGE or len(request.page_token) > MAX_TOKEN_CHARS:
            raise Malformed("page")
        by = self._caller().identity
        tokens = await self._desk.run(self._rules.tokens, by=by, after=request.page_token, limit=limit)
        answer = trust_pb2.ListTokensResponse(
            next_page_token=tokens[-1].token_id if len(tokens) == limit else ""
        )
        for token in tokens:
            one = answer.tokens.add(token_id=token.token_id, created_by=token.created_by, needs=token.needs)
            who = token.identity
            one.enrolment.role = trust_pb2.Role.Value(f"ROLE_{who.role.upper()}")
            one.enrolment.organisation, one.enrolment.name = who.organisation, who.name
            one.enrolment.hosts.extend(token.hosts)
            one.expires_at.FromMilliseconds(token.expires_at_ms)
        return answer

    async def CountersignToken(
        self, request: trust_pb2.CountersignTokenRequest, context: Any
    ) -> trust_pb2.CountersignTokenResponse:
        """Countersign a token for an organisation."""
        by = self._caller().identity
        needs = await self._desk.run(self._rules.countersign, request.countersignature, by=by)
        return trust_pb2.CountersignTokenResponse(needs=needs)

    async def Revoke(self, request: trust_pb2.RevokeRequest, context: Any) -> trust_pb2.RevokeResponse:
        """Revoke something; the trust list that says so is out when this returns."""
        by = self._caller().identity
        number = await self._desk.run(self._rules.revoke, request, by=by)
        return trust_pb2.RevokeResponse(trust_list=number)

    async def ListCertificates(
        self, request: trust_pb2.ListCertificatesRequest, context: Any
    ) -> trust_pb2.ListCertificatesResponse:
        """List certificates a page at a time; a page token is the last record's number."""
        limit = request.page_size or DEFAULT_PAGE
        token = request.page_token
        if limit > MAX_PAGE or (token and not (token.isascii() and token.isdigit() and len(token) < 16)):
            raise Malformed("page")
        rows = await self._desk.run(self._rules.certificates, after=int(token or 0), limit=limit)
        answer = trust_pb2.ListCertificatesResponse(
            next_page_token=str(rows[-1].id) if len(rows) == limit else ""
        )
        for row in rows:
            one = answer.certificates.add(serial=row.serial, spiffe_id=row.uri, revoked=row.revoked)
            one.not_after.FromMilliseconds(row.not_after_ms)
        return answer

    async def RegisterGateway(
        self, request: trust_pb2.RegisterGatewayRequest, context: Any
    ) -> trust_pb2.RegisterGatewayResponse:
        """Enter the caller's log and addresses."""
        by = self._caller().identity
        number = await self._desk.run(self._rules.register_gateway, request, by=by)
        return trust_pb2.RegisterGatewayResponse(trust_list=number)

    async def GetTagKeys(
        self, request: trust_pb2.GetTagKeysRequest, context: Any
    ) -> trust_pb2.GetTagKeysResponse:
        """Return the keys with which providers tag now and next."""
        keys = await self._desk.run(self._rules.tags.keys)
        return trust_pb2.GetTagKeysResponse(
            keys=[trust_pb2.TagKey(period=period, key=key) for period, key in keys.items()]
        )

    async def DeriveTags(
        self, request: trust_pb2.DeriveTagsRequest, context: Any
    ) -> trust_pb2.DeriveTagsResponse:
        """Return a subject's inner tags; that they were asked for is recorded first."""
        by = self._caller().identity
        derive = self._rules.tags.derive
        tags = await self._desk.run(derive, request.format, request.identifier, request.justification, by=by)
        self._log.info("tags-derived", spiffe_id=by.uri, name=request.format, count=len(tags))
        return trust_pb2.DeriveTagsResponse(
            tags=[trust_pb2.DerivedTag(period=period, tag=tag) for period, tag in tags.items()]
        )

    async def DeriveCorrectionTags(
        self, request: trust_pb2.DeriveCorrectionTagsRequest, context: Any
    ) -> trust_pb2.DeriveCorrectionTagsResponse:
        """Return the signed tags of whom a corrected value is about; that they were asked for is recorded."""
        by = self._caller().identity
        tags = await self._desk.run(self._rules.correction_tags, request, by=by)
        self._log.info("correction-tags-derived", spiffe_id=by.uri, name=request.format)
        return trust_pb2.DeriveCorrectionTagsResponse(tags=tags)

    async def EraseTagKey(
        self, request: trust_pb2.EraseTagKeyRequest, context: Any
    ) -> trust_pb2.EraseTagKeyResponse:
        """Erase the providers' key of a period, or wait for the second person."""
        by = self._caller().identity
        needs = await self._desk.run(self._rules.tags.erase, request.period, by=by)
        self._log.warning("tag-key-erasure", spiffe_id=by.uri, subject=request.period, reason=needs)
        return trust_pb2.EraseTagKeyResponse(needs=needs)
