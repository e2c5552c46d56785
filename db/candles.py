"""Candle rows in and out as numpy columns: the hot path, by the driver's fastest way. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sqlalchemy import bindparam, delete, func, select

from db import copying, images
from db.schema import candles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, CursorResult, Select

Rows: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.void]]"
Times: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

STORED_DTYPE = np.dtype(
    [
        ("open_time", "i8"), ("open", "f8"), ("high", "f8"), ("low", "f8"), ("close", "f8"), ("volume", "f8"),
        ("quote_volume", "f8"), ("trades", "i8"), ("taker_base", "f8"), ("taker_quote", "f8"), ("flags", "i2"),
        ("source_id", "i4"),
    ]
)  # fmt: skip
"""A stored row: the columns of a fetched candle, then who served it. NaN and trades −1 mean unknown (NULL)."""

COLUMNS = tuple(STORED_DTYPE.names or ())[:-1]
UNKNOWN_COUNT = -1

_CELLS = ("series_id", *COLUMNS, "source_id")
# Measured on SQLite 3.40 with these 13 columns: 100 to 1000 rows a statement are equally fast, twice as fast as
# executemany.
_ROWS_PER_STATEMENT = 200
_ROWS_OF_AN_IMAGE = 5_000  # from 200 rows on one is faster, but a transaction has room for a few only
_REPLACE = f"ON CONFLICT (series_id, open_time) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in _CELLS[2:])}"
_EXACT = 2**53  # up to here a double is a whole number, as all are read by way of doubles

_c = candles.c
_WINDOW = (_c.series_id == bindparam("series"), _c.open_time >= bindparam("start"), _c.open_time < bindparam("end"))
_OPEN_TIMES = select(_c.open_time).where(*_WINDOW).order_by(_c.open_time)
_COUNT = select(func.count()).select_from(candles).where(*_WINDOW)
_ERASE = delete(candles).where(*_WINDOW)
_BEFORE = select(func.max(_c.open_time)).where(_c.series_id == bindparam("series"), _c.open_time < bindparam("ms"))
_AFTER = select(func.min(_c.open_time)).where(_c.series_id == bindparam("series"), _c.open_time >= bindparam("ms"))


def insert(conn: Connection, series_id: int, source_id: int, rows: Rows, *, fresh: bool = False) -> None:
    """Store candles, replacing what was stored at the same open times.

    `rows`: shape (n,), the fields of COLUMNS (at least) in that order. NaN and trades −1 are stored as NULL; a NaN
    price is refused by the table (the driver's IntegrityError). Which source may replace which is the caller's
    decision. `fresh`: the caller knows that nothing is stored at these open times, which PostgreSQL has twice as fast.
    """
    if rows.dtype.names != COLUMNS:
        rows = rows[list(COLUMNS)]
    if conn.dialect.name == "postgresql":
        copying.insert(conn, series_id, source_id, rows, unknown_count=UNKNOWN_COUNT, fresh=fresh)
    else:
        _insert_sqlite(conn, series_id, source_id, rows)


def read(conn: Connection, series_id: int, start: int, end: int, columns: Sequence[str] | None = None) -> Rows:
    """The candles of `[start, end)` ascending: shape (n,), dtype STORED_DTYPE, or these of its columns.

    `columns` has `open_time` first. OverflowError where a row, written by another hand, holds a number too large.
    """
    dtype = STORED_DTYPE if columns is None else _dtype_of(tuple(columns))
    if conn.dialect.name == "postgresql":
        return copying.read(conn, dtype, series_id, start, end, UNKNOWN_COUNT)
    result = conn.execute(_reading(dtype.names or ()), {"series": series_id, "start": start, "end": end})
    # All cells as one run of doubles: no list of rows and no tuple of columns; numpy reads None as NaN.
    cells = np.fromiter(chain.from_iterable(_raw(result)), dtype=np.float64)
    result.close()
    return _to_array(cells.reshape(-1, len(dtype.names or ())), dtype)


def open_times(conn: Connection, series_id: int, start: int, end: int) -> Times:
    """The open times stored in `[start, end)`, ascending: shape (n,), int64."""
    result = conn.execute(_OPEN_TIMES, {"series": series_id, "start": start, "end": end})
    found = np.fromiter(chain.from_iterable(_raw(result)), dtype=np.int64)
    result.close()
    return found


def count(conn: Connection, series_id: int, start: int, end: int) -> int:
    """How many candles `[start, end)` holds."""
    return conn.execute(_COUNT, {"series": series_id, "start": start, "end": end}).scalar_one()


def before(conn: Connection, series_id: int, ms: int) -> int | None:
    """The nearest stored open time strictly before `ms`."""
    found: int | None = conn.execute(_BEFORE, {"series": series_id, "ms": ms}).scalar_one()
    return found


def after(conn: Connection, series_id: int, ms: int) -> int | None:
    """The nearest stored open time at or after `ms`."""
    found: int | None = conn.execute(_AFTER, {"series": series_id, "ms": ms}).scalar_one()
    return found


def erase(conn: Connection, series_id: int, start: int, end: int) -> int:
    """Delete the candles of `[start, end)`; how many there were."""
    return conn.execute(_ERASE, {"series": series_id, "start": start, "end": end}).rowcount


def _raw(result: CursorResult[Any]) -> Any:  # noqa: ANN401 - the driver's own cursor
    """The driver's cursor: its plain tuples, without SQLAlchemy's object for each row."""
    return result.cursor


@lru_cache(maxsize=4)
def _dtype_of(columns: tuple[str, ...]) -> np.dtype[np.void]:
    return np.dtype([(name, STORED_DTYPE[name]) for name in columns])


@lru_cache(maxsize=4)
def _reading(columns: tuple[str, ...]) -> Select[Any]:
    return select(*(_c[name] for name in columns)).where(*_WINDOW).order_by(_c.open_time)


def _to_array(cells: np.ndarray[tuple[int, int], np.dtype[np.float64]], dtype: np.dtype[np.void]) -> Rows:
    """Cells of shape (n, columns) as rows."""
    out = np.empty(len(cells), dtype=dtype)
    for place, name in enumerate(dtype.names or ()):
        column = cells[:, place]
        if dtype[name].kind == "i":
            column = np.where(np.isnan(column), UNKNOWN_COUNT, column)
            largest = min(_EXACT, np.iinfo(dtype[name]).max)
            if len(column) and (absurd := float(np.abs(column).max())) > largest:
                raise OverflowError(f"{absurd:.0f} is too large for {name}")
        out[name] = column
    return out


def _insert_sqlite(conn: Connection, series_id: int, source_id: int, rows: Rows) -> None:
    """Many rows as an image, few as parameters, on the raw driver; either way NaN is stored as NULL by itself."""
    execute: Any = getattr(conn.connection.driver_connection, "execute")  # noqa: B009 - typed per driver
    if len(rows) >= _ROWS_OF_AN_IMAGE and images.can_attach(conn, rows):
        execute(_sqlite_copy(images.attach(conn, rows)), (series_id, source_id))
        return
    # All cells go as doubles, which costs half of what a tuple a row does: SQLite turns those of the integer columns
    # back into integers, exactly, since no time in ms and no count of trades comes near 2⁵³.
    cells = np.empty((_ROWS_PER_STATEMENT, len(_CELLS)))  # filled again and again: it fits the processor's cache
    cells[:, 0], cells[:, -1] = series_id, source_id
    trades = cells[:, _CELLS.index("trades")]
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        chunk = rows[start : start + _ROWS_PER_STATEMENT]
        for place, name in enumerate(COLUMNS, 1):
            cells[: len(chunk), place] = chunk[name]
        trades[trades == UNKNOWN_COUNT] = np.nan
        execute(_sqlite_upsert(len(chunk)), cells[: len(chunk)].ravel().tolist())


@lru_cache(maxsize=16)
def _sqlite_copy(table: str) -> str:
    """The statement that copies an image, whose series and source are bound."""
    values = [f"nullif({name}, {UNKNOWN_COUNT})" if name == "trades" else name for name in COLUMNS]
    return (
        f"INSERT INTO candles ({', '.join(_CELLS)}) SELECT ?, {', '.join(values)}, ? FROM {table} "  # noqa: S608 - names of ours only
        f"WHERE true {_REPLACE}"  # without a WHERE, SQLite would take the ON for a join's
    )


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def _sqlite_upsert(rows: int) -> str:
    """The statement for so many rows. No `?1`: to compile numbered ones takes time by the square of their number."""
    line = f"({','.join('?' * len(_CELLS))})"
    return (
        f"INSERT INTO candles ({', '.join(_CELLS)}) VALUES {','.join([line] * rows)} "  # noqa: S608 - names of ours only
        f"{_REPLACE}"
    )
