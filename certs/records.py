"""The authority's records: certificates, tokens, people, gateways, revocations and who did what.

One SQLite file with one connection (WAL, FULL), used from one thread at a time. What a call changes is one
transaction: it is durable when `begin` is left without an error, and not there at all otherwise. The tables
hold no secrets: a token is kept as its hash.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from exchange.errors import StoreDamaged

SCHEMA_VERSION = 1
METADATA = sa.MetaData()

META = sa.Table("meta", METADATA, sa.Column("schema_version", sa.Integer, nullable=False))
CERTIFICATES = sa.Table(
    "certificates",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("serial", sa.String, nullable=False, unique=True),
    sa.Column("uri", sa.String, nullable=False, index=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("organisation", sa.String, nullable=False),
    sa.Column("not_after_ms", sa.Integer, nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("revoked_at_ms", sa.Integer),
)
TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("uri", sa.String, nullable=False),
    sa.Column("hosts", sa.JSON, nullable=False),
    sa.Column("created_by", sa.String, nullable=False),
    sa.Column("expires_at_ms", sa.Integer, nullable=False),
    sa.Column("seconded_by", sa.String),
    sa.Column("used_at_ms", sa.Integer),
    sa.Column("reuses", sa.Integer, nullable=False, default=0),
)
PEOPLE = sa.Table(
    "people",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("uri", sa.String, nullable=False),
)
GATEWAYS = sa.Table(
    "gateways",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("log_keys", sa.JSON, nullable=False),
    sa.Column("addresses", sa.JSON, nullable=False),
)
GATEWAY_LIVE_KEYS = sa.Table(
    "gateway_live_keys",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)
GATEWAY_EPOCHS = sa.Table(
    "gateway_epochs",
    METADATA,
    sa.Column("origin", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),
    sa.Column("first_entry", sa.Integer, nullable=False),
    sa.Column("lost_size", sa.Integer, nullable=False),
    sa.Column("opening", sa.LargeBinary, nullable=False),
)
ENDED_LOGS = sa.Table(
    "ended_logs",
    METADATA,
    sa.Column("origin", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),
    sa.Column("log_keys", sa.JSON, nullable=False),
)
REVOKED_KIDS = sa.Table("revoked_kids", METADATA, sa.Column("kid", sa.LargeBinary, primary_key=True))
TRUST_LISTS = sa.Table(
    "trust_lists",
    METADATA,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("statement", sa.LargeBinary, nullable=False),
)
TAG_ERASURES = sa.Table(
    "tag_erasures",
    METADATA,
    sa.Column("period", sa.String, primary_key=True),
    sa.Column("asked_by", sa.String, nullable=False),
    sa.Column("asked_at_ms", sa.Integer, nullable=False),
    sa.Column("erased_by", sa.String),
    sa.Column("erased_at_ms", sa.Integer),
)
ACTS = sa.Table(
    "acts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_ms", sa.Integer, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("act", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
)


class Records:
    """The authority's database.

    Args:
        path: of the SQLite file, made where it is missing.

    Raises:
        StoreDamaged: it is no database of this schema version.
    """

    def __init__(self, *, path: Path) -> None:
        self._engine = sa.create_engine(
            f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        sa.event.listen(self._engine, "connect", _configure)
        try:
            METADATA.create_all(self._engine)
            with self._engine.begin() as connection:
                version = connection.execute(sa.select(META.c.schema_version)).scalar_one_or_none()
                if version is None:
                    connection.execute(META.insert().values(schema_version=SCHEMA_VERSION))
        except sa.exc.SQLAlchemyError as error:
            raise StoreDamaged(path.name) from error
        if version not in (None, SCHEMA_VERSION):
            raise StoreDamaged(f"{path.name}: schema version {version}")
        path.chmod(0o600)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Give a connection within one transaction.

        Raises:
            StoreDamaged: the database could not be read or written; nothing was changed.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StoreDamaged("authority.db") from error

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def note(connection: sa.Connection, at_ms: int, actor: str, act: str, subject: str) -> None:
    """Enter an administrative act: who, what, about which id."""
    connection.execute(ACTS.insert().values(at_ms=at_ms, actor=actor, act=act, subject=subject))


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
