"""Candles to and from PostgreSQL without a Python loop over rows: numpy columns are the bytes that travel.

In: COPY in binary, straight into `candles` where the caller knows that none are there, else into a temporary table of
the transaction and from there by one upsert. Out: the server packs rows of a fixed width into one value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

Rows: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.void]]"
_Bits: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROWS_PER_WRITE = 10_000  # measured: one buffer of 100,000 rows is a sixth slower
_ROWS_PER_VALUE = 100_000  # 9 MB at a time, far below the server's bound of 1 GB for one value
_TYPES = {"i2": "smallint", "i4": "integer", "i8": "bigint", "f8": "double precision"}
_SENDERS = {"i2": "int2send", "i4": "int4send", "i8": "int8send", "f8": "float8send"}


def insert(conn: Connection, series_id: int, source_id: int, rows: Rows, *, unknown_count: int, fresh: bool) -> None:
    """Store rows (fields of candles.COLUMNS), replacing what is there; `fresh`: nothing is, at any of their times."""
    if not len(rows):
        return
    if not (rows["open_time"][1:] > rows["open_time"][:-1]).all():
        rows = _last_of_each(rows)  # an upsert refuses to meet one row twice
    columns = ("series_id", *(rows.dtype.names or ()), "source_id")
    cursor = _driver(conn).cursor()
    if fresh:
        _copy(cursor, f"candles ({', '.join(columns)})", _packed(rows, series_id, source_id, unknown_count))
        return
    create, target, merge, clear = _through_temporary(columns, _kinds(rows))
    cursor.execute(create)
    _copy(cursor, target, _packed(rows, series_id, source_id, unknown_count))
    cursor.execute(merge)
    cursor.execute(clear)  # a commit of several pages comes back to it


def read(
    conn: Connection, dtype: np.dtype[np.void], series_id: int, start: int, end: int, unknown_count: int
) -> Rows:  # fmt: skip
    """The candles of `[start, end)` ascending, with the fields of `dtype`; NULL becomes NaN, or `unknown_count`."""
    cursor = _driver(conn).cursor(binary=True)
    wire, statement = _reading(dtype, unknown_count)
    parts: list[Rows] = []
    while True:
        [(value,)] = cursor.execute(statement, (series_id, start, end, _ROWS_PER_VALUE)).fetchall()
        part = np.frombuffer(value or b"", dtype=wire)
        parts.append(part.astype(dtype))
        if len(part) < _ROWS_PER_VALUE:
            return np.concatenate(parts)
        start = int(part["open_time"][-1]) + 1


def _driver(conn: Connection) -> Any:  # noqa: ANN401 - psycopg's connection
    return conn.connection.driver_connection


def _kinds(rows: Rows) -> tuple[str, ...]:
    return ("i4", *(rows.dtype[name].str[1:] for name in rows.dtype.names or ()), "i4")


def _last_of_each(rows: Rows) -> Rows:
    _, backwards = np.unique(rows["open_time"][::-1], return_index=True)
    return rows[len(rows) - 1 - backwards]


def _copy(cursor: Any, target: str, parts: Sequence[bytes]) -> None:  # noqa: ANN401 - psycopg's cursor
    with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(_HEADER)
        for part in parts:
            copy.write(part)
        copy.write(_TRAILER)


def _packed(rows: Rows, series_id: int, source_id: int, unknown_count: int) -> list[bytes]:
    """The rows as COPY takes them: those that lack the same columns have the same width, and are packed together."""
    parts = []
    fixed = {"series_id": series_id, "source_id": source_id}
    lacking = _lacking(rows, unknown_count)
    for pattern in np.unique(lacking).tolist():
        alike = rows[lacking == pattern] if lacking.any() else rows
        wire, sizes = _wire(rows.dtype, pattern)
        for start in range(0, len(alike), _ROWS_PER_WRITE):
            chunk = alike[start : start + _ROWS_PER_WRITE]
            packed = np.empty(len(chunk), dtype=wire)
            packed["fields"] = len(sizes)
            for name, size in sizes.items():
                packed[f"size of {name}"] = size
                if size >= 0:
                    packed[name] = fixed[name] if name in fixed else chunk[name]
            parts.append(packed.tobytes())
    return parts


def _lacking(rows: Rows, unknown_count: int) -> _Bits:
    """For each row the columns that it lacks, as bits in the columns' order."""
    found = np.zeros(len(rows), dtype=np.int64)
    for bit, name in enumerate(rows.dtype.names or ()):
        if name == "trades":
            found |= (rows[name] == unknown_count).astype(np.int64) << bit
        elif rows.dtype[name].kind == "f":
            found |= np.isnan(rows[name]).astype(np.int64) << bit
    return found


@lru_cache(maxsize=64)
def _wire(dtype: np.dtype[np.void], pattern: int) -> tuple[np.dtype[np.void], dict[str, int]]:
    """A row of COPY that lacks the columns of `pattern`: before each value its size, for NULL −1 and no value.

    And the sizes by column.
    """
    kinds = {"series_id": "i4"} | {name: dtype[name].str[1:] for name in dtype.names or ()} | {"source_id": "i4"}
    lacked = {name for bit, name in enumerate(dtype.names or ()) if pattern >> bit & 1}
    fields, sizes = [("fields", ">i2")], dict[str, int]()
    for name, kind in kinds.items():
        fields.append((f"size of {name}", ">i4"))
        if name not in lacked:
            fields.append((name, f">{kind}"))
        sizes[name] = -1 if name in lacked else np.dtype(kind).itemsize
    return np.dtype(fields), sizes


@lru_cache(maxsize=4)
def _through_temporary(columns: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[str, str, str, str]:
    """How to make the temporary table, what to copy into, the upsert from there into `candles`, and how to empty it.

    Behind PgBouncer a session may have it from another process, of another version too: its columns are in its name.
    The schema pg_temp is named, so that no table of anybody else's is meant.
    """
    table = f"pg_temp.candles_{'_'.join(kinds)}"
    made = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in zip(columns, kinds, strict=True))
    listed = ", ".join(columns)
    values = [name for name in columns if name not in {"series_id", "open_time"}]
    old, new = (", ".join(f"{of}.{name}" for name in values) for of in ("candles", "excluded"))
    merge = (
        f"INSERT INTO candles ({listed}) SELECT {listed} FROM {table} ON CONFLICT (series_id, open_time) DO UPDATE SET "  # noqa: S608 - names of ours only
        f"{', '.join(f'{name} = excluded.{name}' for name in values)} WHERE ({old}) IS DISTINCT FROM ({new})"
    )
    create = f"CREATE TEMP TABLE IF NOT EXISTS {table} ({made}) ON COMMIT DELETE ROWS"
    return create, f"{table} ({listed})", merge, f"DELETE FROM {table}"  # noqa: S608 - the same; TRUNCATE costs a file


@lru_cache(maxsize=4)
def _reading(dtype: np.dtype[np.void], unknown_count: int) -> tuple[np.dtype[np.void], str]:
    """How rows travel as one value, and the statement that packs so many of a window."""
    names = dtype.names or ()
    kinds = {name: dtype[name].str[1:] for name in names}
    unknown = {"i8": str(unknown_count), "f8": "'NaN'"}
    columns = ", ".join(
        f"coalesce({name}, {unknown[kinds[name]]}) AS {name}"
        if name != "open_time" and kinds[name] in unknown
        else name
        for name in names
    )
    packed = " || ".join(f"{_SENDERS[kinds[name]]}({name})" for name in names)
    statement = (
        f"SELECT string_agg({packed}, ''::bytea) FROM (SELECT {columns} FROM candles "  # noqa: S608 - names of ours only
        "WHERE series_id = %s AND open_time >= %s AND open_time < %s ORDER BY open_time LIMIT %s) AS chosen"
    )
    return np.dtype([(name, ">" + kinds[name]) for name in names]), statement
