"""The log's database read beside whoever writes it: one read-only connection, one snapshot."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange.errors import BadConfiguration
from gateway.storage.ports import StoredHead
from gateway.storage.sqlite import DATABASE


@contextmanager
def snapshot(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a gateway's folder, in one transaction, for as long as the context lasts.

    Raises:
        BadConfiguration: there is none.
        sqlite3.Error: it is damaged or cannot be read.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise BadConfiguration(f"{folder}: no {DATABASE}")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        db.execute("BEGIN")
        yield db
    finally:
        db.close()


def head_in(db: sqlite3.Connection) -> StoredHead | None:
    """Return the head that a database has; None where nothing was ever appended."""
    row = db.execute("SELECT size, root, checkpoint FROM head").fetchone()
    return StoredHead(size=row[0], root=row[1], checkpoint=row[2]) if row else None
