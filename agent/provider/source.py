"""One resource's source: questions in, tables or verdicts out, each question with an outcome of its own.

A batch of questions is one `read` of the connector. What leaves is what was asked for and no more: other
columns of a record go nowhere. Whether it may be asked for at all is decided before (`provider/answer.py`).

A connector is loaded when a source of its kind is built: with most comes a library that starts slowly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timezone
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TypeAlias, TypeVar

from agent.provider.as_of import AsOfColumn, to_the_hour
from agent.provider.connectors.port import Connector, Found, Record
from agent.provider.connectors.synthetic import SyntheticConnector
from agent.provider.field_rules import (
    FieldRule,
    ParameterRule,
    claim_of,
    is_unsaid,
    key_of,
    normal,
)
from agent.provider.projections import NOTHING, Audience, Least, Projections
from agent.provider.pseudonyms import Pseudonyms
from agent.provider.row_filters import RowFilters
from agent.provider.sources_config import (
    FileSource,
    HttpSource,
    ResourceConfig,
    SqlSource,
    SyntheticSource,
    zone_of,
)
from agent.provider.synthetic_shapes import shapes_of
from agent.provider.values import Value
from exchange.clock import BEIJING
from exchange.errors import BadConfiguration, BadParameter, ExchangeError, RowCap
from exchange.grant_limits import RowFilter
from exchange.v1 import common_pb2

Verdicts: TypeAlias = list[bool | None]
"""Per claim, in order: it matches, it does not, or that cannot be said."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What one exchange asks of a source.

    Args:
        parameters: name to text; all of the resource's.
        fields: names of the fields to read (query).
        claims: field to claimed text (verify).
        filters: what a record must fit, by the grant; others are as if not there.
        least: what the catalogue entry hides.
        audience: for whom and for what pseudonyms are made.
    """

    parameters: Mapping[str, str]
    fields: Sequence[str] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[RowFilter, ...] = ()
    least: Least = NOTHING
    audience: Audience = ("", "")


@dataclass(frozen=True, slots=True)
class Table:
    """What was found: per field asked for, in order, one value per record.

    `as_of_ms` is as of when the oldest of them is, Unix milliseconds to the hour; 0 where that is not told.
    """

    columns: list[list[Value]]
    records: int
    as_of_ms: int = 0


class Source:
    """The source of one resource.

    Args:
        resource: its id.
        connector: how it is read.
        fields: the fields it can give; their columns are the connector's.
        parameters: by which it is asked.
        timeout_s: how long a batch may take at the most, seconds.
        zone: the offset of timestamps that carry none.
        as_of: what tells as of when the data are: a rule for a column, or a function for the whole source
            that returns Unix milliseconds, 0 where it cannot tell. None where nothing does.
        pseudonyms: for masks that need them.
    """

    def __init__(
        self,
        *,
        resource: str,
        connector: Connector,
        fields: Sequence[FieldRule],
        parameters: Sequence[ParameterRule],
        timeout_s: float,
        zone: timezone = BEIJING,
        as_of: FieldRule | Callable[[], int] | None = None,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self.resource = resource
        self._source_as_of = as_of if callable(as_of) else None
        self._as_of = (
            AsOfColumn(source=resource, columns=connector.columns, rule=as_of, zone=zone)
            if isinstance(as_of, FieldRule)
            else None
        )
        self.fields: Mapping[str, FieldRule] = {rule.name: rule for rule in fields}
        self.parameters: Mapping[str, ParameterRule] = {rule.name: rule for rule in parameters}
        self._connector = connector
        self._timeout_s = timeout_s
        self._filters = RowFilters(source=resource, columns=connector.columns, fields=self.fields, zone=zone)
        self._projections = Projections(
            source=resource, columns=connector.columns, fields=self.fields, zone=zone, pseudonyms=pseudonyms
        )

    @property
    def data_version(self) -> str:
        """Version of the data as the source tells it, empty where it does not."""
        return self._connector.data_version

    @property
    def data_as_of_ms(self) -> int:
        """As of when the whole source is, Unix milliseconds to the hour; 0 where that is not told."""
        return 0 if self._source_as_of is None else to_the_hour(self._source_as_of())

    async def answer(
        self, questions: Sequence[Question], *, timeout_s: float | None = None, row_cap: int | None = None
    ) -> list[Table | ExchangeError]:
        """Read what many questions ask for, in one batch.

        Args:
            questions: what is asked.
            timeout_s: how long it may take, where that is less than the source's own limit.
            row_cap: how many records one question may get, where that is less than the source's own cap.

        Returns:
            One outcome per question, in order. No record is an empty table.
        """
        return await self._each(questions, self._table, timeout_s, row_cap)

    async def verify(
        self, questions: Sequence[Question], *, timeout_s: float | None = None
    ) -> list[Verdicts | ExchangeError]:
        """Compare the claims of many questions with the sources' records, in one batch.

        Claims are compared with the one record that the parameters find, before any mask, in normal form
        (texts by NFKC and trimmed). Where there is no record or more than one, where the record's value is
        missing, or where the field is redacted or a pseudonym, the verdict is None: unknown.

        Args:
            questions: what is claimed; a question's `fields` are not looked at.
            timeout_s: how long it may take, where that is less than the source's own limit.

        Returns:
            Per question the verdicts in the order of its claims, or why there are none.
        """
        return await self._each(questions, self._verdicts, timeout_s, None)

    async def check(self) -> None:
        """See `Connector.check`."""
        await self._connector.check()

    async def close(self) -> None:
        """See `Connector.close`."""
        await self._connector.close()

    async def _each(
        self,
        questions: Sequence[Question],
        finish: Callable[[Question, list[Record]], T],
        timeout_s: float | None,
        row_cap: int | None,
    ) -> list[T | ExchangeError]:
        keys: list[dict[str, str]] = []
        slots: list[int | ExchangeError] = []
        for question in questions:
            try:
                self._filters.check(question.filters)
                keys.append(key_of(self.parameters, question.parameters))
                slots.append(len(keys) - 1)
            except ExchangeError as error:
                slots.append(error)
        found = await self._read(keys, timeout_s) if keys else []
        outcomes: list[T | ExchangeError] = []
        for question, slot in zip(questions, slots, strict=True):
            records = found[slot] if isinstance(slot, int) else slot
            if isinstance(records, ExchangeError):
                outcomes.append(records)
                continue
            try:
                fitting = self._filters.fitting(question.filters, records)
                if row_cap is not None and len(fitting) > row_cap:
                    raise RowCap(self.resource)
                outcomes.append(finish(question, fitting))
            except ExchangeError as error:
                outcomes.append(error)
        return outcomes

    async def _read(self, keys: Sequence[Mapping[str, str]], timeout_s: float | None) -> Sequence[Found]:
        limit = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        try:
            return await self._connector.read(keys, timeout_s=limit)
        except ExchangeError as error:
            return [error] * len(keys)

    def _table(self, question: Question, records: list[Record]) -> Table:
        projection = self._projections.masked(tuple(question.fields), question.least, question.audience)
        return Table(
            projection.run(records),
            len(records),
            self._as_of.oldest_ms(records) if self._as_of else 0,
        )

    def _verdicts(self, question: Question, records: list[Record]) -> Verdicts:
        if not question.claims:
            raise BadParameter("claims")
        rules = self._projections.rules(list(question.claims), question.least)
        claims = [claim_of(rule, question.claims[rule.name]) for rule in rules]
        if len(records) != 1:
            return [None] * len(claims)
        values = self._projections.plain(tuple(question.claims)).run(records)
        return [
            None if value is None or is_unsaid(rule) else same(normal(rule.type, value), claim)
            for rule, claim, (value,) in zip(rules, claims, values, strict=True)
        ]


def same(value: bytes, claim: bytes) -> bool:
    """Return whether a value is what was claimed; how long it takes depends on neither's content."""
    return compare_digest(sha256(value).digest(), sha256(claim).digest())


def build_source(config: ResourceConfig, *, base: Path, pseudonyms: Pseudonyms | None = None) -> Source:
    """Make the source that a configuration describes; nothing is opened yet.

    Args:
        config: one resource's.
        base: the folder from which relative paths count.
        pseudonyms: for masks that need them.

    Raises:
        BadConfiguration: a file named in it cannot be read, or an extra is not installed.
    """
    fields = [part.rule() for part in config.fields]
    parameters = [part.rule() for part in config.parameters]
    as_of = _as_of(config)
    columns = [rule.column for rule in fields] + ([as_of.column] if as_of else [])
    connector, changed = _connector(
        config,
        base,
        keys=[rule.column for rule in parameters],
        columns=list(dict.fromkeys(columns)),
    )
    return Source(
        resource=config.id,
        connector=connector,
        as_of=as_of or changed,
        fields=fields,
        parameters=parameters,
        timeout_s=config.timeout_s,
        zone=zone_of(config.utc_offset),
        pseudonyms=pseudonyms,
    )


def _as_of(config: ResourceConfig) -> FieldRule | None:
    """Return the rule of the column that tells as of when a record is; None where there is none."""
    if config.as_of_column is None:
        return None
    level = common_pb2.LEVEL_L1
    return FieldRule(name="as_of", column=config.as_of_column, type=config.as_of_type, level=level)


def _connector(
    config: ResourceConfig, base: Path, *, keys: Sequence[str], columns: Sequence[str]
) -> tuple[Connector, Callable[[], int] | None]:
    """Return the connector, and what tells when all of its data changed last where something does."""
    source, name, cap, limit = config.source, config.id, config.row_cap, config.timeout_s
    if isinstance(source, SqlSource):
        from agent.provider.connectors.sql import SqlConnector

        url = _anchored(source.url or _secret(name, base, source.url_file), base)
        return SqlConnector(
            name=name, url=url, table=source.table, schema=source.schema_name, keys=keys, columns=columns,
            row_cap=cap, timeout_s=limit, pool=source.pool,
        ), None  # fmt: skip
    if isinstance(source, FileSource):
        from agent.provider.connectors.file import FileConnector

        file = FileConnector(
            name=name, folder=base / source.folder, file=source.file, format=source.format, keys=keys,
            columns=columns, row_cap=cap, timeout_s=limit, pool=source.pool, memory_mb=source.memory_mb,
        )  # fmt: skip
        return file, file.changed_ms
    if isinstance(source, SyntheticSource):
        made = SyntheticConnector(
            name=name, shapes=shapes_of(config, source), seed=source.seed, missing=source.missing
        )
        return made, None
    return _http(source, config, base, columns), None


def _anchored(url: str, base: Path) -> str:
    """Return a database URL; the path of a SQLite file counts from the configuration's folder."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return url  # the connector says what is wrong with it
    path = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or not path or path == ":memory:" or path.startswith("file:"):
        return url
    return parsed.set(database=str(base / path)).render_as_string(hide_password=False)


def _http(source: HttpSource, config: ResourceConfig, base: Path, columns: Sequence[str]) -> Connector:
    from agent.provider.connectors.http import HttpConnector

    credentials = source.credentials_file
    return HttpConnector(
        name=config.id,
        origin=source.origin,
        path=source.path,
        columns=columns,
        row_cap=config.row_cap,
        timeout_s=config.timeout_s,
        records=source.records,
        allow=source.allow,
        max_body_bytes=source.max_body_bytes,
        concurrency=source.concurrency,
        credentials=None if credentials is None else _secret(config.id, base, credentials),
        credentials_header=source.credentials_header,
        ca_file=None if source.ca_file is None else base / source.ca_file,
    )


def _secret(name: str, base: Path, path: Path | None) -> str:
    """Return the one line of a secret's file.

    Raises:
        BadConfiguration: it cannot be read or is not one line of printable ASCII.
    """
    if path is None:
        raise BadConfiguration(f"{name}: no file is named")
    try:
        text = (base / path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{name}: {path.name}: {type(error).__name__}") from None
    if not text or not text.isascii() or not text.isprintable():
        raise BadConfiguration(f"{name}: {path.name} must hold one line of ASCII")
    return text
