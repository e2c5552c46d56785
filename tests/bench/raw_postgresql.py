"""Rows into PostgreSQL by the plain driver: binary COPY into a temporary table, merged from there with ON CONFLICT.

Two ways make the bytes: psycopg's `write_row` from tuples made ready before, or numpy. The faster one here is taken.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from tests.bench.places import WHOLE_ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from db.candles import Rows

    Send = Callable[[psycopg.Copy, Any], None]

_TYPES = {"i2": "int2", "i4": "int4", "i8": "int8", "f8": "float8"}
_KINDS = {name: WHOLE_ROW[name].str[1:] for name in WHOLE_ROW.names or ()} | {"trades": "i8"}
_COLUMNS = ", ".join(_KINDS)
_VALUES = [name for name in _KINDS if name not in {"series_id", "open_time"}]
_COPY = "COPY {} ({}) FROM STDIN (FORMAT BINARY)"
_MERGE = (
    f"INSERT INTO candles ({_COLUMNS}) SELECT {_COLUMNS} FROM incoming ON CONFLICT (series_id, open_time) "  # noqa: S608 - names of ours only
    f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _VALUES)}"
)
_TEMPORARY = "CREATE TEMP TABLE incoming (LIKE candles) ON COMMIT DELETE ROWS"
_ROWS_PER_WRITE = 10_000
_ENOUGH_TO_CHOOSE = 3  # commits

_WIRE = np.dtype(
    [
        ("fields", ">i2"),
        *(field for name, kind in _KINDS.items() for field in ((f"size of {name}", ">i4"), (name, f">{kind}"))),
    ]
)


def postgresql_ways(commits: Sequence[Rows]) -> dict[str, Callable[[str], float]]:
    """By name, what writes these commits into the database behind a URL and answers the seconds it took."""
    if any(np.isnan(rows[name]).any() for rows in commits for name in _VALUES if _KINDS[name] == "f8"):
        raise RuntimeError("rows with unknown values: this limit is written for rows that have all")
    tuples = [rows.tolist() for rows in commits]
    chosen: list[tuple[Send, Sequence[Any]]] = []

    def best(target: str, finish: str | None, url: str) -> float:
        if not chosen:
            candidates: list[tuple[Send, Sequence[Any]]] = [(_by_numpy, commits), (_by_rows, tuples)]
            chosen.append(min(candidates, key=lambda way: _trial(way, url)))
        send, prepared = chosen[0]
        return _write(prepared, send, target, finish, url)

    return {
        "raw COPY → temporary table → merge": partial(best, "incoming", _MERGE),
        "raw COPY straight into the table": partial(best, "candles", None),
    }


def _trial(way: tuple[Send, Sequence[Any]], url: str) -> float:
    """How long the first commits take that way; nothing of them stays."""
    send, prepared = way
    seconds = _write(prepared[:_ENOUGH_TO_CHOOSE], send, "incoming", _MERGE, url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE candles")
    return seconds


def _write(commits: Sequence[Any], send: Send, target: str, finish: str | None, url: str) -> float:
    with psycopg.connect(url) as connection:
        connection.execute(_TEMPORARY)
        connection.commit()
        began = time.perf_counter()
        for rows in commits:
            cursor = connection.cursor()
            with cursor.copy(_COPY.format(target, _COLUMNS)) as copy:
                send(copy, rows)
            if finish is not None:
                cursor.execute(finish)
            connection.commit()
        return time.perf_counter() - began


def _by_rows(copy: psycopg.Copy, rows: Sequence[tuple[Any, ...]]) -> None:
    copy.set_types([_TYPES[kind] for kind in _KINDS.values()])
    write = copy.write_row
    for row in rows:
        write(row)


def _by_numpy(copy: psycopg.Copy, rows: Rows) -> None:
    copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for start in range(0, len(rows), _ROWS_PER_WRITE):
        chunk = rows[start : start + _ROWS_PER_WRITE]
        packed = np.empty(len(chunk), dtype=_WIRE)
        packed["fields"] = len(_KINDS)
        for name, kind in _KINDS.items():
            packed[f"size of {name}"] = np.dtype(kind).itemsize
            packed[name] = chunk[name]
        copy.write(packed.tobytes())
    copy.write(b"\xff\xff")
