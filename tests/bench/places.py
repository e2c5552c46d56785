"""Where the program keeps its candles while it is measured: an SQLite file, or a PostgreSQL server that loses nothing.

The server is the tests' own, but with fsync, synchronous_commit and full_page_writes on, else as it comes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from db import candles
from db.engine import open_engine, reading
from db.manager import DatabaseManager
from db.series import read_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from db.candles import Rows
    from tests.postgresql import Server

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
KINDS = (SQLITE, POSTGRESQL)
WHOLE_ROW = np.dtype([("series_id", "i4"), *candles.STORED_DTYPE.descr])
"""The 13 columns of `candles` in the table's order."""


class Place(Protocol):
    """One database; `kind` is one of KINDS."""

    kind: str
    url: str

    def empty(self) -> None:
        """Begin with an empty database, without tables."""

    def settle(self) -> None:
        """Have what was written so far on the disk, so that it slows nothing of what is measured next."""

    def beside(self) -> Place:
        """Another database of the same kind, for what is measured without the program."""


class SQLiteFile:
    """A file of a folder."""

    kind = SQLITE

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def empty(self) -> None:
        """As Place has it."""
        for left in self._path.parent.glob(f"{self._path.name}*"):
            left.unlink()

    def settle(self) -> None:
        """As Place has it."""
        os.sync()

    def beside(self) -> SQLiteFile:
        """As Place has it."""
        return SQLiteFile(self._path.with_name(f"beside-{self._path.name}"))


class PostgreSQLDatabase:
    """A database of a server."""

    kind = POSTGRESQL

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.url = server.url(name)

    def empty(self) -> None:
        """As Place has it."""
        self._server.drop(self._name)
        self._server.do(f"CREATE DATABASE {self._name} TEMPLATE template0")

    def settle(self) -> None:
        """As Place has it."""
        self._server.do("CHECKPOINT")
        os.sync()

    def beside(self) -> PostgreSQLDatabase:
        """As Place has it."""
        return PostgreSQLDatabase(self._server, f"beside_{self._name}")


@contextmanager
def opened(kind: str) -> Iterator[Place]:
    """An empty database of that kind; nothing of it is left afterwards."""
    if kind == SQLITE:
        folder = Path(tempfile.mkdtemp(prefix="fetcher-bench-"))
        try:
            yield SQLiteFile(folder / "market.db")
        finally:
            shutil.rmtree(folder)
        return
    from tests.postgresql import DURABLE, serving  # noqa: PLC0415 - the driver, for who needs a server

    with serving(DURABLE) as server:
        made = PostgreSQLDatabase(server, "market")
        made.empty()
        yield made


@contextmanager
def engine_of(place: Place) -> Iterator[Engine]:
    """The program's own engine, with the program's tables."""
    engine = open_engine(place.url)
    try:
        DatabaseManager(engine, place.url).prepare()
        yield engine
    finally:
        engine.dispose()


def stored_rows(place: Place) -> Rows:
    """Every candle of a database in key order: shape (n,), dtype WHOLE_ROW."""
    parts = [np.empty(0, dtype=WHOLE_ROW)]
    with engine_of(place) as engine, reading(engine) as connection:
        for series in read_series(connection):
            rows = candles.read(connection, series.id, 0, 2**62)
            part = np.empty(len(rows), dtype=WHOLE_ROW)
            part["series_id"] = series.id
            for name in candles.STORED_DTYPE.names or ():
                part[name] = rows[name]
            parts.append(part)
    return np.concatenate(parts)


def count_rows(place: Place) -> int:
    """How many candles a database has."""
    with engine_of(place) as engine, reading(engine) as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM candles").scalar_one())
