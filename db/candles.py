"""Candle rows in and out as numpy columns: the hot path, by the driver's fastest way. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sqlalchemy import bindparam, delete, func, select

from db import copying
from db.schema import candles

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

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

# Measured on SQLite 3.40 with these 13 columns: 100–300 rows a statement are equally fast, half as fast again as
# executemany; 1000 are slower than 100.
_ROWS_PER_STATEMENT = 200
_ROWS_PER_FETCH = 20_000

_c = candles.c
_WINDOW = (_c.series_id == bindparam("series"), _c.open_time >= bindparam("start"), _c.open_time < bindparam("end"))
_READ = select(*(_c[name] for name in STORED_DTYPE.names or ())).where(*_WINDOW).order_by(_c.open_time)
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


def read(conn: Connection, series_id: int, start: int, end: int) -> Rows:
    """The candles of `[start, end)` ascending: shape (n,), dtype STORED_DTYPE."""
    if conn.dialect.name == "postgresql":
        return copying.read(conn, STORED_DTYPE, series_id, start, end, UNKNOWN_COUNT)
    result = conn.execute(_READ, {"series": series_id, "start": start, "end": end})
    parts = [_to_array(part) for part in iter(lambda: _raw(result).fetchmany(_ROWS_PER_FETCH), [])]
    result.close()
    return np.concatenate(parts) if parts else np.empty(0, dtype=STORED_DTYPE)


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


def _to_array(part: list[tuple[Any, ...]]) -> Rows:
    """Driver rows as an array, column by column: numpy reads None as NaN in a column of floats."""
    out = np.empty(len(part), dtype=STORED_DTYPE)
    for name, column in zip(STORED_DTYPE.names or (), zip(*part, strict=True), strict=True):
        if name == "trades":
            out[name] = [UNKNOWN_COUNT if value is None else value for value in column]
        else:
            out[name] = np.array(column, dtype=STORED_DTYPE[name])
    return out


def _insert_sqlite(conn: Connection, series_id: int, source_id: int, rows: Rows) -> None:
    """Multi-row VALUES on the raw driver; the driver stores NaN as NULL by itself.

    All cells go as doubles, which costs half of what a tuple a row does: SQLite turns those of the integer columns back
    into integers, exactly, since no time in ms and no count of trades comes near 2⁵³.
    """
    execute: Any = getattr(conn.connection.driver_connection, "execute")  # noqa: B009 - typed per driver
    width = len(COLUMNS)
    cells = np.empty((len(rows), width))
    for place, name in enumerate(COLUMNS):
        cells[:, place] = rows[name]
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        chunk = cells[start : start + _ROWS_PER_STATEMENT].ravel().tolist()
        statement = _sqlite_upsert(len(chunk) // width)
        chunk += (series_id, source_id)
        execute(statement, chunk)


@lru_cache(maxsize=_ROWS_PER_STATEMENT)
def _sqlite_upsert(rows: int) -> str:
    """The statement for so many rows; series and source are bound once for all of them, behind their cells."""
    width = len(COLUMNS)
    trades = COLUMNS.index("trades")

    def cell(number: int) -> str:
        return f"nullif(?{number + 1},{UNKNOWN_COUNT})" if number % width == trades else f"?{number + 1}"

    lines = (",".join(cell(row * width + column) for column in range(width)) for row in range(rows))
    series, source = rows * width + 1, rows * width + 2
    replaced = (*COLUMNS[1:], "source_id")
    return (
        f"INSERT INTO candles (series_id, {', '.join(COLUMNS)}, source_id) VALUES "  # noqa: S608 - names of ours only
        f"{','.join(f'(?{series},{line},?{source})' for line in lines)} "
        f"ON CONFLICT (series_id, open_time) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in replaced)}"
    )
