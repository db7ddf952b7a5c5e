"""A table or view of any database that SQLAlchemy speaks to, read only.

What keeps it read only: SQLite is opened with `mode=ro` and `PRAGMA query_only`, PostgreSQL and MySQL
sessions are set to read only; other databases rely on the account that the URL names, which should have no
more than SELECT. Nothing but SELECTs compiled from reflected columns is ever sent.

What bounds it: `pool` threads, each with one connection; a batch is one thread hop and one round trip per
64 keys. A time-out interrupts SQLite, and is handed to PostgreSQL and MySQL as their own statement time-out;
with other drivers the thread stays busy until the driver gives up, and no other is made in its place.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from agent.provider.connectors.batch import BadValue, Encode, Lookup
from agent.provider.connectors.port import Found
from agent.provider.connectors.statements import SIZES, Statement, compile_select
from agent.provider.connectors.workers import Workers
from agent.provider.values import parse
from exchange.errors import BadConfiguration, SourceDown, SourceTimeout

T = TypeVar("T")
_PG_CANCELED = "57014"
_MYSQL_TIMEOUTS = (1969, 3024)  # MariaDB, MySQL
_KINDS: Mapping[type, str] = {int: "integer", Decimal: "decimal", float: "decimal", bool: "boolean"}


class _Running:
    """The connection that a batch is using now, so that its time-out can interrupt it."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw: object = None

    def interrupt(self) -> None:
        if isinstance(self.raw, sqlite3.Connection):
            self.raw.interrupt()


class SqlConnector:
    """Reads one table by its key columns.

    Args:
        name: of the source, for refusals and thread names.
        url: SQLAlchemy URL; it may hold a password and is never shown.
        table: name of a table or view.
        schema: its schema, where not the default one.
        keys: key columns.
        columns: columns to read.
        row_cap: how many records one key may have.
        timeout_s: how long a statement may take at the most, seconds.
        pool: how many threads and connections.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        table: str,
        schema: str | None = None,
        keys: Sequence[str],
        columns: Sequence[str],
        row_cap: int,
        timeout_s: float,
        pool: int = 4,
    ) -> None:
        self._name = name
        self._table, self._schema = table, schema
        self._keys, self._columns = tuple(keys), tuple(columns)
        self._row_cap, self._timeout_s = row_cap, timeout_s
        self._engine = _engine(url, name=name, pool=pool, timeout_s=timeout_s)
        self._workers = Workers(name=name, threads=pool)
        self._lookup: Lookup | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of a record's values."""
        return self._columns

    @property
    def data_version(self) -> str:
        """Empty: a database tells no version of its data."""
        return ""

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Found]:
        """See `Connector.read`."""
        running = _Running()
        return await self._workers.run(
            lambda: self._read(keys, running), timeout_s=timeout_s, interrupt=running.interrupt
        )

    async def check(self) -> None:
        """See `Connector.check`."""
        running = _Running()
        await self._workers.run(
            lambda: self._probe(running), timeout_s=self._timeout_s, interrupt=running.interrupt
        )

    async def close(self) -> None:
        """See `Connector.close`."""
        self._workers.close()
        self._engine.dispose()

    def _probe(self, running: _Running) -> None:
        lookup = self._connected(self._reflect, running)
        self._connected(lambda c: lookup.probe(self._executor(c)), running)
        self._lookup = lookup

    def _read(self, keys: Sequence[Mapping[str, str]], running: _Running) -> list[Found]:
        if self._lookup is None:
            try:
                self._lookup = self._connected(self._reflect, running)
            except BadConfiguration as error:
                raise SourceDown(self._name) from error
        lookup = self._lookup
        return self._connected(lambda c: lookup.read(keys, self._executor(c)), running)

    def _connected(self, work: Callable[[sa.Connection], T], running: _Running) -> T:
        """Run work on a connection; once more where the connection turned out to be dead."""
        for attempt in (1, 2):
            try:
                with self._engine.connect() as connection:
                    running.raw = connection.connection.driver_connection
                    try:
                        return work(connection)
                    finally:
                        running.raw = None
            except sa.exc.DBAPIError as error:
                if _ran_out_of_time(error.orig):
                    raise SourceTimeout(self._name) from _plain(error)
                if attempt == 2 or not error.connection_invalidated:
                    raise SourceDown(self._name) from _plain(error)
            except sa.exc.SQLAlchemyError as error:
                raise SourceDown(self._name) from _plain(error)
        raise AssertionError("unreachable")

    def _executor(self, connection: sa.Connection) -> Callable[[Statement, Any], Sequence[Sequence[Any]]]:
        def execute(statement: Statement, values: Any) -> Sequence[Sequence[Any]]:
            try:
                return connection.exec_driver_sql(statement.sql, values).fetchall()
            except (sa.exc.DataError, OverflowError, UnicodeError) as error:
                raise BadValue from error
            except sa.exc.DBAPIError as error:
                if isinstance(error.orig, OverflowError | UnicodeError):
                    raise BadValue from error
                raise

        return execute

    def _reflect(self, connection: sa.Connection) -> Lookup:
        """Compare the configured names with the source's own and compile the statements."""
        about = self._table if self._schema is None else f"{self._schema}.{self._table}"
        try:
            table = sa.Table(self._table, sa.MetaData(), schema=self._schema, autoload_with=connection)
        except sa.exc.NoSuchTableError:
            raise BadConfiguration(f"{self._name}: no table {about}") from None
        missing = [c for c in (*self._keys, *self._columns) if c not in table.columns]
        if missing:
            raise BadConfiguration(f"{self._name}: no column {', '.join(sorted(set(missing)))} in {about}")
        dialect = self._engine.dialect
        keys, columns = [table.columns[c] for c in self._keys], [table.columns[c] for c in self._columns]
        return Lookup(
            name=self._name,
            encoders={c.name: self._encoder(c) for c in keys},
            statements={
                size: compile_select(
                    keys=keys, columns=columns, size=size, row_cap=self._row_cap, dialect=dialect
                )
                for size in SIZES
            },
            row_cap=self._row_cap,
        )

    def _encoder(self, column: sa.Column[Any]) -> Encode:
        """Return what turns a key's text into what the driver binds for a column."""
        try:
            python: type = column.type.python_type
        except NotImplementedError:
            python = str
        kind = _KINDS.get(python) or python.__name__.replace("datetime", "timestamp")
        bind = column.type.dialect_impl(self._engine.dialect).bind_processor(self._engine.dialect)
        if kind in ("integer", "decimal", "boolean", "date", "timestamp"):
            return (lambda text: bind(parse(kind, text))) if bind else (lambda text: parse(kind, text))
        if kind in ("bytes", "dict", "list"):
            raise BadConfiguration(f"{self._name}: column {column.name} cannot be a key")
        return str


def _engine(url: str, *, name: str, pool: int, timeout_s: float) -> sa.Engine:
    """Make an engine whose connections only read.

    Raises:
        BadConfiguration: the URL is malformed or its driver is not installed; the URL itself is not shown.
    """
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        options: dict[str, Any] = {"pool_size": pool, "max_overflow": 0, "pool_timeout": timeout_s}
        if backend == "sqlite":
            options["creator"] = _sqlite_opener(parsed.database, name=name, timeout_s=timeout_s)
        engine = sa.create_engine(
            parsed, poolclass=QueuePool, isolation_level="AUTOCOMMIT", hide_parameters=True, **options
        )
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, TypeError) as error:
        raise BadConfiguration(f"{name}: {type(error).__name__} in the database's URL") from None
    session = _SESSIONS.get(backend)
    if session is not None:
        event.listen(engine, "connect", _session_setter(session, int(timeout_s * 1000)))
    return engine


_SESSIONS: Mapping[str, Callable[[int], Sequence[str]]] = {
    "postgresql": lambda ms: (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        f"SET statement_timeout = {ms:d}",
    ),
    "mysql": lambda ms: ("SET SESSION TRANSACTION READ ONLY", f"SET SESSION max_execution_time = {ms:d}"),
    "mariadb": lambda ms: (
        "SET SESSION TRANSACTION READ ONLY",
        f"SET SESSION max_statement_time = {ms / 1000:.3f}",
    ),
}


def _session_setter(session: Callable[[int], Sequence[str]], timeout_ms: int) -> Callable[[Any, Any], None]:
    def prepare(raw: Any, _: Any) -> None:
        cursor = raw.cursor()
        for command in session(timeout_ms):
            cursor.execute(command)
        cursor.close()
        raw.commit()  # without it a rollback at the pool's reset would undo the settings

    return prepare


def _sqlite_opener(database: str | None, *, name: str, timeout_s: float) -> Callable[[], sqlite3.Connection]:
    if not database or database.startswith((":memory:", "file:")):
        raise BadConfiguration(f"{name}: an SQLite URL must name a file, like sqlite:////srv/data/people.db")
    uri = Path(database).absolute().as_uri() + "?mode=ro"

    def opened() -> sqlite3.Connection:
        raw = sqlite3.connect(uri, uri=True, timeout=timeout_s, check_same_thread=False, cached_statements=16)
        raw.execute("PRAGMA query_only = ON")
        raw.execute("PRAGMA trusted_schema = OFF")
        return raw

    return opened


def _ran_out_of_time(error: object) -> bool:
    """Whether a driver's error is the database's own time-out, or SQLite's for a lock that others hold."""
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    number = next(iter(getattr(error, "args", ())), None)
    return state == _PG_CANCELED or number in _MYSQL_TIMEOUTS


def _plain(error: Exception) -> Exception | None:
    """Return a cause without the driver's text, which may quote values or the URL."""
    orig = getattr(error, "orig", None)
    return RuntimeError(type(orig or error).__name__)
