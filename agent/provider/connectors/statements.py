"""One SELECT for a batch of keys, compiled once per batch size.

The text of a statement is made by SQLAlchemy Core from names that the source itself confirmed, and from
placeholders; values are bound by the driver. A batch is padded to the next size with its last key, so that
a source sees a handful of statements in all, which it can keep prepared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, and_, bindparam, or_, select
from sqlalchemy.engine.interfaces import Dialect

SIZES = (1, 4, 16, 32, 64)
LARGEST = SIZES[-1]


def size_for(keys: int) -> int:
    """Return the smallest statement size for a number of keys, 1 to 64."""
    return next(size for size in SIZES if size >= keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A compiled SELECT.

    Args:
        sql: its text, with placeholders.
        size: how many keys it takes.
        limit: how many rows it gives at most: one more than all its keys may have together.
        constants: values of placeholders that are not keys.
        pick: puts keys and constants into the driver's order.
        names: the placeholders' names where the driver wants them, else empty.
    """

    sql: str
    size: int
    limit: int
    constants: tuple[Any, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    names: tuple[str, ...]

    def bind(self, keys: Sequence[tuple[Any, ...]]) -> Any:
        """Return what the driver takes as parameters for 1 to `size` keys."""
        flat = [value for key in keys for value in key]
        for _ in range(self.size - len(keys)):
            flat.extend(keys[-1])
        flat.extend(self.constants)
        values = self.pick(flat)
        return dict(zip(self.names, values, strict=True)) if self.names else values


def compile_select(
    *, keys: Sequence[Column[Any]], columns: Sequence[Column[Any]], size: int, row_cap: int, dialect: Dialect
) -> Statement:
    """Compile the SELECT of key columns and columns for a number of keys.

    Args:
        keys: the columns that find, 1 to 16.
        columns: the columns to read.
        size: how many keys.
        row_cap: how many rows one key may have.
        dialect: whose SQL.
    """
    binds = [[bindparam(f"k{i}_{j}", type_=c.type) for j, c in enumerate(keys)] for i in range(size)]
    if len(keys) == 1:
        where = keys[0].in_([row[0] for row in binds]) if size > 1 else keys[0] == binds[0][0]
    else:
        where = or_(*(and_(*(c == b for c, b in zip(keys, row, strict=True))) for row in binds))
    limit = size * row_cap + 1
    query = select(*(c.label(f"c{n}") for n, c in enumerate((*keys, *columns)))).where(where).limit(limit)
    compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    order: list[str] = list(getattr(compiled, "positiontup", None) or compiled.params)
    named = getattr(compiled, "positiontup", None) is None
    place = {f"k{i}_{j}": i * len(keys) + j for i in range(size) for j in range(len(keys))}
    constants: list[Any] = []
    for name in order:
        if name not in place:
            place[name] = size * len(keys) + len(constants)
            constants.append(compiled.params[name])
    return Statement(
        sql=str(compiled),
        size=size,
        limit=limit,
        constants=tuple(constants),
        pick=_picker([place[name] for name in order]),
        names=tuple(order) if named else (),
    )


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    if len(places) == 1:
        at = places[0]
        return lambda flat: (flat[at],)
    return itemgetter(*places)


def group(
    rows: Sequence[Sequence[Any]], width: int, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Any]:
    """Sort rows, each a key followed by a record, to the keys asked for.

    A row whose key equals none of them exactly (a collation may find more than was asked for) is left out.

    Args:
        rows: from the driver.
        width: how many columns the key has.
        keys: the distinct keys asked for.

    Returns:
        Key to list of records.
    """
    found: dict[tuple[Any, ...], Any] = {key: [] for key in keys}
    for row in rows:
        records = found.get(tuple(row[:width]))
        if records is None:
            records = found.get(tuple(v.rstrip(" ") if isinstance(v, str) else v for v in row[:width]))
        if records is not None:
            records.append(tuple(row[width:]))
    return found
