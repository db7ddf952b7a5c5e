"""Makes the signed body of an answer: header, sealed or clear columns, or the code of a failure.

A failure carries its code and the tags of whom was asked about, nothing else: never a source's own text,
never a count.
"""

from collections.abc import Sequence

from agent.provider.inspection import Job
from agent.provider.tagging import Tagger
from exchange.clock import Random
from exchange.envelope import ColumnPlan, direction_key, seal, slots_of
from exchange.identity import Identity
from exchange.resources import VERIFY_PADDING
from exchange.suites import suite
from exchange.v1 import exchange_pb2, reason_pb2
from exchange.values import clear_cells, encode_value

FRESH_MS = 60_000
Column = tuple[str, str, int, Sequence[object]]
"""Name, type, padding and values."""

_STEPS = (
    (1, exchange_pb2.METERING_UP_TO_1),
    (10, exchange_pb2.METERING_UP_TO_10),
    (100, exchange_pb2.METERING_UP_TO_100),
    (1000, exchange_pb2.METERING_UP_TO_1000),
)


class Responder:
    """Makes response bodies.

    Args:
        identity: of this agent.
        random: for nonces.
        tagger: tags subjects.
    """

    def __init__(self, *, identity: Identity, random: Random, tagger: Tagger) -> None:
        self._identity = identity
        self._random = random
        self._tagger = tagger

    def check(self, job: Job, now_ms: int) -> None:
        """Refuse a request whose answer could not be tagged; raises as Tagger.check."""
        if job.resource is not None:
            self._tagger.check(job.resource, now_ms)

    def failure(self, job: Job, reason: "reason_pb2.Reason.ValueType", now_ms: int) -> bytes:
        """Return the body of a failure."""
        header = self._header(job, [], now_ms).SerializeToString()
        body = exchange_pb2.ResponseBody(header=header, failure=reason)
        # An answer that was given up had told something else.
        job.tagged, job.counted = ("", 0), (0, 0)
        self._tagger.failure(body, job, now_ms)
        return body.SerializeToString()

    def query(
        self,
        job: Job,
        columns: Sequence[Sequence[object]],
        records: int,
        version: str,
        now_ms: int,
        *,
        as_of_ms: int = 0,
    ) -> bytes:
        """Return the body of an answer to a query: one column per field asked for.

        Args:
            job: the request.
            columns: per field, one value per record.
            records: how many.
            version: of the source's data.
            now_ms: Unix milliseconds.
            as_of_ms: as of when the data are, Unix milliseconds; 0 where the source does not tell.
        """
        assert job.resource is not None
        rules = job.resource.fields
        table = [
            (name, rules[name].type, rules[name].padding, values)
            for name, values in zip(job.header.fields, columns, strict=True)
        ]
        body = self._answer(job, table, records, version, now_ms)
        body.data_as_of_ms = as_of_ms
        job.counted = body.metering, as_of_ms
        self._tagger.answer(body, job, columns, records, now_ms)
        return body.SerializeToString()

    def verify(
        self,
        job: Job,
        verdicts: Sequence[bool | None],
        version: str,
        now_ms: int,
        *,
        as_of_ms: int = 0,
    ) -> bytes:
        """Return the body of an answer to a verification: one boolean per claim."""
        table = [
            (name, "boolean", VERIFY_PADDING, [verdict])
            for name, verdict in zip(job.header.fields, verdicts, strict=True)
        ]
        body = self._answer(job, table, 1, version, now_ms)
        body.data_as_of_ms = as_of_ms
        job.counted = body.metering, as_of_ms
        self._tagger.verdict(body, job, now_ms)
        return body.SerializeToString()

    def _answer(
        self, job: Job, table: Sequence[Column], records: int, version: str, now_ms: int
    ) -> exchange_pb2.ResponseBody:
        assert job.resource is not None
        header = self._header(job, table, now_ms).SerializeToString()
        body = exchange_pb2.ResponseBody(header=header, data_version=version)
        plans = [
            ColumnPlan(
                name, [None if value is None else encode_value(kind, value) for value in values], padding
            )
            for name, kind, padding, values in table
        ]
        if job.resource.sealed:
            key = direction_key(suite(job.header.suite), job.secret, header, "response")
            body.sealed.CopyFrom(seal(key, plans, records))
            body.metering = metering(slots_of(records))
        else:
            for name, values, _ in plans:
                body.clear.add(name=name, cells=clear_cells(values))
            body.metering = metering(records)
        return body

    def _header(self, job: Job, table: Sequence[Column], now_ms: int) -> exchange_pb2.ResponseHeader:
        asked = job.header
        header = exchange_pb2.ResponseHeader(
            nonce=self._random(16),
            exchange_id=asked.exchange_id,
            request_digest=job.digest,
            issued_at_ms=now_ms,
            expires_at_ms=max(asked.deadline_ms, now_ms) + FRESH_MS,
            consumer_organisation=asked.consumer_organisation,
            consumer_agent=asked.consumer_agent,
            consumer_kid=asked.consumer_kid,
            provider_organisation=self._identity.organisation,
            provider_agent=self._identity.name,
            provider_kid=asked.provider_kid,
            resource=asked.resource,
            resource_digest=asked.resource_digest,
            purpose=asked.purpose,
            grant_id=asked.grant_id,
            suite=asked.suite,
        )
        for name, kind, padding, _ in table:
            header.fields.add(name=name, type=kind, padding=padding)
        return header


def metering(records: int) -> "exchange_pb2.Metering.ValueType":
    """Return the coarse step of a count."""
    for most, step in _STEPS:
        if records <= most:
            return step
    return exchange_pb2.METERING_MORE
