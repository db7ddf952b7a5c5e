"""Parquet: a folder of parts, each a range of the log, named by it; written whole or not at all.

Needs DuckDB, which `pip install 'shuqiao[files]'` brings.
"""

import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exchange.durable import sync_folder
from exchange.errors import BadConfiguration
from shuqiao.exports import columns
from shuqiao.exports.records import Record

PART_RECORDS = 50_000


class ParquetSink:
    """A folder of parts.

    Args:
        folder: made where it is absent.
        settle_after: this many records make a part.
    """

    settle_s, lags = 600.0, False

    def __init__(self, folder: Path, *, settle_after: int = PART_RECORDS) -> None:
        self._folder = folder
        self.settle_after = settle_after
        self._held: list[Record] = []

    def open(self, length: int) -> None:
        """Make the folder; parts are whole, so there is nothing to cut off."""
        try:
            import duckdb  # noqa: F401  asked for here, so that what is missing is told at once
        except ImportError as error:
            raise BadConfiguration("pip install 'shuqiao[files]'") from error
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadConfiguration(f"{self._folder}: {error.strerror}") from error

    def take(self, records: Sequence[Record]) -> None:
        """Hold records for the next part."""
        self._held.extend(records)

    def settle(self, *, final: bool) -> int:
        """Write what is held as one part. A crash before the rename leaves a draft that is written over."""
        if not self._held:
            return 0
        first, last = self._held[0].index, self._held[-1].index
        part = self._folder / f"entries-{first:012d}-{last:012d}.parquet"
        try:
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".part-") as scratch:
                draft = Path(scratch) / "part.parquet"
                _write(self._held, Path(scratch) / "rows.csv", draft)
                draft.chmod(0o600)
                with draft.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(draft, part)
            sync_folder(self._folder)
        except OSError as error:
            raise BadConfiguration(f"{self._folder}: {error.strerror}") from error
        self._held.clear()
        return 0

    def close(self) -> None:
        """Forget what was not settled: it is read again."""
        self._held.clear()


def _write(records: Sequence[Record], rows: Path, draft: Path) -> None:
    import duckdb

    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.COLUMNS)
        writer.writerows(columns.row(record) for record in records)
    types = {name: "BIGINT" if name in columns.NUMBERS else "VARCHAR" for name in columns.COLUMNS}
    with duckdb.connect(":memory:") as db:
        table = db.read_csv(str(rows), header=True, columns=types, quotechar='"', escapechar='"')
        table.write_parquet(str(draft), compression="zstd")
