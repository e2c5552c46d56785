"""Rows into SQLite by the plain driver, over a connection set up as the program's."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from db.engine import open_engine

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from db.candles import Rows

_STATEMENT_ROWS = 100
_WIDTH = 13


def sqlite_ways(commits: Sequence[Rows]) -> dict[str, Callable[[str], float]]:
    """By name, what writes these commits into the file behind a URL and answers the seconds it took.

    Rows and cells are made ready here: the driver and SQLite alone are measured.
    """
    tuples: list[Any] = [rows.tolist() for rows in commits]
    return {
        "sqlite3.executemany, the same rows and table": partial(_executemany, tuples),
        f"INSERTs of {_STATEMENT_ROWS} rows, cells ready": partial(_multi_row, [_cells(rows) for rows in tuples]),
    }


def _executemany(commits: Sequence[Sequence[tuple[Any, ...]]], url: str) -> float:
    one = _insert(1)
    with _connected(url) as connection:
        began = time.perf_counter()
        for rows in commits:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(one, rows)
            connection.execute("COMMIT")
        return time.perf_counter() - began


def _multi_row(commits: Sequence[Sequence[tuple[Any, ...]]], url: str) -> float:
    statements = {size: _insert(size // _WIDTH) for size in {len(chunk) for chunks in commits for chunk in chunks}}
    with _connected(url) as connection:
        began = time.perf_counter()
        for chunks in commits:
            connection.execute("BEGIN IMMEDIATE")
            for chunk in chunks:
                connection.execute(statements[len(chunk)], chunk)
            connection.execute("COMMIT")
        return time.perf_counter() - began


def _cells(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(chain.from_iterable(rows[n : n + _STATEMENT_ROWS])) for n in range(0, len(rows), _STATEMENT_ROWS)]


def _insert(rows: int) -> str:
    line = f"({','.join('?' * _WIDTH)})"
    return f"INSERT INTO candles VALUES {','.join([line] * rows)}"  # noqa: S608 - nothing but question marks


@contextmanager
def _connected(url: str) -> Iterator[sqlite3.Connection]:
    engine = open_engine(url)
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    try:
        yield connection
    finally:
        pooled.close()
        engine.dispose()
