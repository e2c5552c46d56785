"""Where a world keeps its candles: an SQLite file in its folder, or a database of a throw-away PostgreSQL server.

A test that is to hold on both asks for the fixture `database`; worlds made meanwhile are made on the one that it chose.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from db.engine import open_engine
from db.manager import DatabaseManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgresql import Server


class Databases(Protocol):
    """Makes databases, one for each folder."""

    name: str

    def url(self, folder: Path) -> str:
        """The URL of the folder's database; empty when first asked for."""

    def exists(self, folder: Path) -> bool:
        """Whether anybody has made our tables in the folder's database."""

    def keep(self, folder: Path) -> Path:
        """Keep the folder's database as it is now; what `put_back` takes."""

    def put_back(self, kept: Path, folder: Path) -> None:
        """Let the folder's database be once more what was kept."""


class SQLiteFiles:
    """`market.db` in each folder."""

    name = "sqlite"

    def url(self, folder: Path) -> str:
        """As Databases has it."""
        return f"sqlite:///{folder}/market.db"

    def exists(self, folder: Path) -> bool:
        """As Databases has it."""
        path = folder / "market.db"
        if not path.exists():
            return False
        with closing(sqlite3.connect(path)) as conn:
            return conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'series'").fetchone() is not None

    def keep(self, folder: Path) -> Path:
        """As Databases has it."""
        url, kept = self.url(folder), folder / "kept.db"
        engine = open_engine(url)
        DatabaseManager(engine, url).backup(kept)
        engine.dispose()
        return kept

    def put_back(self, kept: Path, folder: Path) -> None:
        """As Databases has it."""
        (folder / "market.db").write_bytes(kept.read_bytes())


class PostgreSQLServer:
    """A database of the server for each folder."""

    name = "postgresql"

    def __init__(self, server: Server) -> None:
        self.server = server
        self._names: dict[Path, str] = {}

    def url(self, folder: Path) -> str:
        """As Databases has it."""
        return self.server.url(self.name_of(folder))

    def name_of(self, folder: Path) -> str:
        """The name of the folder's database on the server."""
        if folder not in self._names:
            self._names[folder] = self.server.new_database()
        return self._names[folder]

    def exists(self, folder: Path) -> bool:
        """As Databases has it."""
        return folder in self._names and self.server.has_table(self._names[folder], "series")

    def keep(self, folder: Path) -> Path:
        """As Databases has it."""
        kept = folder / "kept"
        self._names[kept] = self.server.new_database(self._names[folder])
        return kept

    def put_back(self, kept: Path, folder: Path) -> None:
        """As Databases has it."""
        self._names[folder] = self.server.new_database(self._names[kept])

    def drop_all(self) -> None:
        """Give the disk back: eight megabytes for each."""
        for name in self._names.values():
            self.server.drop(name)
        self._names.clear()


SQLITE = SQLiteFiles()
ON_SQLITE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
"""For a test in a module of both that is about one."""
ON_POSTGRESQL = pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
_chosen: list[Databases] = [SQLITE]


def current() -> Databases:
    """Where worlds are made now."""
    return _chosen[-1]


@contextmanager
def chosen(databases: Databases) -> Iterator[None]:
    """Let worlds be made there inside the block."""
    _chosen.append(databases)
    try:
        yield
    finally:
        _chosen.pop()
