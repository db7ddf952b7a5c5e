"""Entries as rows of one table, for CSV and Parquet: a column per part, empty where there is no such part.

Texts that departments choose freely could be taken for formulas by a spreadsheet; CSV cells that begin like
one get an apostrophe before them.
"""

from collections.abc import Sequence

from shuqiao.exports.records import Record

TEXTS = (
    "log", "time", "type", "decision", "reason", "rule", "hop", "consumer", "consumer_agent", "provider",
    "provider_agent", "operator", "resource", "kind", "fields", "purpose", "matter", "case_number",
    "exchange_id", "grant_id", "act", "actor", "subject", "caller", "request_digest", "response_digest",
    "leaf_hash",
)  # fmt: skip
NUMBERS = (
    "index", "time_ms", "grant_revision", "request_bytes", "response_bytes", "admit_us", "provider_us",
    "count",
)  # fmt: skip
COLUMNS: Sequence[str] = (NUMBERS[0], *TEXTS, *NUMBERS[1:])
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # full width counts as well


def row(record: Record) -> list[str | int]:
    """Return an entry's cells, one per column of COLUMNS."""
    own: dict[str, str | int] = {
        "index": record.index,
        "time_ms": record.time_ms,
        "log": record.origin,
        "leaf_hash": record.hash.hex(),
        "fields": " ".join(record.texts("fields")),
    }
    return [
        own[name] if name in own else record.number(name) if name in NUMBERS else record.text(name)
        for name in COLUMNS
    ]


def cells(record: Record) -> list[str]:
    """Return an entry's cells for CSV, none of which is a formula."""
    return [_plain(str(value)) for value in row(record)]


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
