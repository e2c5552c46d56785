"""Both databases for end-to-end tests: `database` for a test, `databases` for what several tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine
from db.manager import DatabaseManager
from fetcher.observe.logs import LOG
from tests.databases import SQLITE, Databases, PostgreSQLServer, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """SQLite files, then databases of a server; what was made goes with the module."""
    if request.param == "sqlite":
        yield SQLITE
        return
    made = PostgreSQLServer(request.getfixturevalue("postgresql"))
    yield made
    made.drop_all()


@pytest.fixture
def database(databases: Databases) -> Iterator[Databases]:
    """The test is run on either database: worlds made in it are made there."""
    with chosen(databases):
        yield databases


@pytest.fixture
def engine(databases: Databases, tmp_path: Path) -> Iterator[Engine]:
    """A fresh, prepared database of either kind."""
    url = databases.url(tmp_path)
    opened = open_engine(url)
    DatabaseManager(opened, url).prepare()
    yield opened
    opened.dispose()


@pytest.fixture
def own_log() -> Iterator[None]:
    """The program's log as it was before the test."""
    before = (LOG.handlers[:], LOG.level, LOG.propagate)
    yield
    LOG.handlers[:], LOG.propagate = before[0], before[2]
    LOG.setLevel(before[1])
