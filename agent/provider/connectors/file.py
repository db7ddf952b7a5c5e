"""A CSV or Parquet file in a folder, read by DuckDB (extra `[files]`).

What confines it: an in-memory database that may open this one file and nothing else (not the folder's
others, no attaching, no copying, no network), loads and installs no extension, and whose configuration is
locked before anything is read. No component of the path may be a symbolic link; this is checked before and
after every batch, and a batch that saw the file change is thrown away.

The file is scanned for every batch: there is no copy of the data. A CSV's columns are all text, so that
leading zeros survive; it must have a header line.
"""

import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Column, MetaData, Table, types
from sqlalchemy.engine.default import DefaultDialect

from agent.provider.connectors.batch import BadValue, Encode, Execute, Lookup
from agent.provider.connectors.port import Found
from agent.provider.connectors.statements import SIZES, Statement, compile_select
from agent.provider.connectors.workers import Workers
from agent.provider.values import parse
from exchange.errors import BadConfiguration, SourceDown

T = TypeVar("T")
_VIEW = "records"
_KINDS = (
    "INTEGER",
    "BIGINT",
    "SMALLINT",
    "TINYINT",
    "HUGEINT",
    "UINTEGER",
    "UBIGINT",
    "USMALLINT",
    "UTINYINT",
)


class _Running:
    """The DuckDB connection that a batch is using now, so that its time-out can interrupt it."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw: Any = None

    def interrupt(self) -> None:
        if self.raw is not None:
            self.raw.interrupt()


class FileConnector:
    """Reads one file by its key columns.

    Args:
        name: of the source, for refusals and thread names.
        folder: the folder it is confined to.
        file: plain relative path of the file inside it.
        format: "csv" or "parquet".
        keys: key columns.
        columns: columns to read.
        row_cap: how many records one key may have.
        timeout_s: how long a check may take, seconds.
        pool: how many threads.
        memory_mb: what one thread's database may use, MiB.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        file: str,
        format: Literal["csv", "parquet"],
        keys: Sequence[str],
        columns: Sequence[str],
        row_cap: int,
        timeout_s: float,
        pool: int = 1,
        memory_mb: int = 256,
    ) -> None:
        self._duckdb = _import(name)
        self._name = name
        self._folder, self._file, self._format = folder.absolute(), file, format
        self._path = _confined(name, self._folder, file)
        self._keys, self._columns = tuple(keys), tuple(columns)
        self._row_cap, self._timeout_s, self._memory_mb = row_cap, timeout_s, memory_mb
        self._workers = Workers(name=name, threads=pool)
        self._local = threading.local()
        self._version = ""
        self._changed_ns = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of a record's values."""
        return self._columns

    @property
    def data_version(self) -> str:
        """When the file was last changed, Unix nanoseconds and size in bytes; empty before the first read."""
        return self._version

    def changed_ms(self) -> int:
        """Return when the file was last changed, Unix milliseconds; 0 before the first read."""
        return self._changed_ns // 1_000_000

    async def read(self, keys: Sequence[Mapping[str, str]], *, timeout_s: float) -> list[Found]:
        """See `Connector.read`."""
        running = _Running()

        def work() -> list[Found]:
            try:
                return self._watched(lambda lookup, execute: lookup.read(keys, execute), running)
            except BadConfiguration as error:
                raise SourceDown(self._name) from error

        return await self._workers.run(work, timeout_s=timeout_s, interrupt=running.interrupt)

    async def check(self) -> None:
        """See `Connector.check`."""
        running = _Running()
        await self._workers.run(
            lambda: self._watched(lambda lookup, execute: lookup.probe(execute), running),
            timeout_s=self._timeout_s,
            interrupt=running.interrupt,
        )

    async def close(self) -> None:
        """See `Connector.close`."""
        self._workers.close()

    def _watched(self, work: Callable[[Lookup, Execute], T], running: _Running) -> T:
        """Run work between two looks at the file; what it says of a file that changed is not believed."""
        before = _look(self._name, self._path)
        try:
            held = getattr(self._local, "held", None)
            if held is None or held[2] != before:
                held = (*self._open(running), before)
                self._local.held = held
            connection, lookup, _ = held
            running.raw = connection
            try:
                result = work(lookup, self._executor(connection))
            finally:
                running.raw = None
        except self._duckdb.Error as error:
            self._local.held = None
            raise SourceDown(self._name) from RuntimeError(type(error).__name__)
        if _look(self._name, self._path) != before:
            self._local.held = None
            raise SourceDown(f"{self._name}: the file changed while it was read")
        self._version, self._changed_ns = f"{before[2]}-{before[3]}", before[2]
        return result

    def _executor(self, connection: Any) -> Callable[[Statement, Any], Sequence[Sequence[Any]]]:
        def execute(statement: Statement, values: Any) -> Sequence[Sequence[Any]]:
            try:
                rows: Sequence[Sequence[Any]] = connection.execute(statement.sql, values).fetchall()
            except (self._duckdb.DataError, OverflowError, UnicodeError) as error:
                raise BadValue from error
            return rows

        return execute

    def _open(self, running: _Running) -> tuple[Any, Lookup]:
        """Open the confined database over the file and compile its statements."""
        connection = confined_database(self._duckdb, self._path, memory_mb=self._memory_mb)
        running.raw = connection
        if self._format == "csv":
            relation = connection.read_csv(str(self._path), header=True, all_varchar=True)
        else:
            relation = connection.read_parquet(str(self._path))
        relation.create_view(_VIEW)
        kinds = dict(zip(relation.columns, (str(kind) for kind in relation.types), strict=True))
        missing = sorted({c for c in (*self._keys, *self._columns) if c not in kinds})
        if missing:
            raise BadConfiguration(f"{self._name}: no column {', '.join(missing)} in {self._file}")
        names = dict.fromkeys((*self._keys, *self._columns))
        table = Table(_VIEW, MetaData(), *(Column(name, types.NullType()) for name in names))
        dialect = DefaultDialect(paramstyle="qmark")
        keys, columns = [table.columns[c] for c in self._keys], [table.columns[c] for c in self._columns]
        return connection, Lookup(
            name=self._name,
            encoders={c: self._encoder(c, kinds[c]) for c in self._keys},
            statements={
                size: compile_select(
                    keys=keys, columns=columns, size=size, row_cap=self._row_cap, dialect=dialect
                )
                for size in SIZES
            },
            row_cap=self._row_cap,
        )

    def _encoder(self, column: str, kind: str) -> Encode:
        if kind == "VARCHAR":
            return str
        if kind in _KINDS:
            return _integer
        if kind.startswith("DECIMAL"):
            return lambda text: parse("decimal", text)
        if kind in ("DATE", "BOOLEAN"):
            return lambda text: parse(kind.lower(), text)
        raise BadConfiguration(f"{self._name}: column {column} of type {kind} cannot be a key")


def _integer(text: str) -> int:
    """Read an integer of at most 64 bits: DuckDB would refuse a larger one for the whole batch."""
    number = int(str(parse("integer", text)))
    if not -(2**63) <= number < 2**63:
        raise ValueError("an integer of more than 64 bits")
    return number


def confined_database(duckdb: Any, path: Path, *, memory_mb: int) -> Any:
    """Return an in-memory database that may read one file, and whose settings can no longer be changed.

    Args:
        duckdb: the module.
        path: the one file.
        memory_mb: what it may use, MiB.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{memory_mb}MiB",
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_unsigned_extensions": False,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET allowed_paths = ?", [[str(path)]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _import(name: str) -> Any:
    try:
        import duckdb
    except ImportError:
        raise BadConfiguration(
            f"{name}: file sources need the extra [files]: pip install 'shuqiao[files]'"
        ) from None
    return duckdb


def _confined(name: str, folder: Path, file: str) -> Path:
    """Return the file's path, proven to lie inside the folder by its words alone."""
    parts = file.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or any(c in file for c in "*?[]{}\\\0")
        or "://" in file
    ):
        raise BadConfiguration(f"{name}: the file must be a plain path inside its folder")
    return folder.joinpath(*parts)


def _look(name: str, path: Path) -> tuple[int, int, int, int]:
    """Return device, inode, change time (ns) and size of a regular file reached without symbolic links.

    Raises:
        BadConfiguration: there is a symbolic link on the way, or it is no regular file.
        SourceDown: it is missing or may not be read.
    """
    try:
        for place in (*reversed(path.parents), path):
            status = os.lstat(place)
            if stat.S_ISLNK(status.st_mode):
                raise BadConfiguration(f"{name}: a symbolic link is on the way to the file")
    except OSError as error:
        raise SourceDown(name) from RuntimeError(type(error).__name__)
    if not stat.S_ISREG(status.st_mode):
        raise BadConfiguration(f"{name}: not a regular file")
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
