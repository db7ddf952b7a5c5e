"""Puts questions to a database in a thread of its own, through a connection that can only read.

While exchanges run, the thread rests between questions (`gateway.pace`): many who ask wait for each
other, and exchanges for none of them.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from exchange.errors import AuditUnavailable, StoreDamaged, TooMany
from gateway.pace import Pace

MAX_QUESTIONS = 32
_DAMAGE = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
)
"""SQLITE_ERROR: a table or column that is not there."""

T = TypeVar("T")


class Questions:
    """One reading thread; its connection is opened when it is first asked.

    Args:
        path: of the database file.
        pace: how long to rest.
    """

    def __init__(self, path: Path, pace: Pace) -> None:
        self._path = path
        self._pace = pace
        self._rest_s = 0.0
        self._closing = threading.Event()
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None
        self._waiting = 0
        self._anew = False
        self.damaged = False

    def start(self) -> None:
        """Take questions from now on."""
        self._closing.clear()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self._path.stem}-read")

    async def close(self) -> None:
        """Answer what was asked and close the connection."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing.set()
            thread.submit(self._close)
            await asyncio.to_thread(thread.shutdown)

    def reopen(self) -> None:
        """Open the file again before the next question: it is another one now. From any thread."""
        self._anew = True

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a question finds.

        Raises:
            StoreDamaged: the file cannot be read; `damaged` tells whether it is broken.
            TooMany: too many ask.
            AuditUnavailable: nothing is asked any more.
            ExchangeError: what the question raises.
        """
        if self._thread is None:
            raise AuditUnavailable(self._path.name)
        if self._waiting >= MAX_QUESTIONS:
            raise TooMany("questions")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)
        finally:
            self._waiting -= 1

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        # The rest that the question before earned is taken here, so that no answer waits for its own.
        self._closing.wait(self._rest_s)
        begun = time.thread_time()
        try:
            if self._anew:
                self._anew = False
                self._close()
            if self._db is None:
                uri = f"{self._path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
                self._db.execute("PRAGMA cache_size = -32768")
            return question(self._db)
        except sqlite3.Error as error:
            self._close()
            self.damaged = self.damaged or is_damage(error)
            raise StoreDamaged(self._path.name) from error
        finally:
            self._rest_s = self._pace.rest_s(time.thread_time() - begun)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def is_damage(error: Exception) -> bool:
    """Return whether an error says that the file is not what it should be, beyond being out of reach."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
