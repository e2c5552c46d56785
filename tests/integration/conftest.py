"""Both databases for end-to-end tests: `database` for a test, `databases` for what several tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine
from db.manager import DatabaseManager
from fetcher.observe.lines import LOG
from tests.databases import SQLITE, Databases, PostgreSQLServer, chosen
from tests.integration.webhooks import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.integration.webhooks import Webhooks


THOROUGH = "TEST_BOTH_DATABASES"
_ABOUT_SOURCES = {
    "test_audit_cross", "test_cli_running", "test_real_changes", "test_real_clocks", "test_real_recorded",
    "test_real_sources", "test_real_storms", "test_sources_failover", "test_sources_lazy", "test_sources_quiet",
    "test_sources_storm", "test_sources_unserved", "test_sources_witness", "test_spread",
}  # fmt: skip
"""Modules that are about exchanges and the command line more than about databases, and take minutes."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those to SQLite in `make check`; `make acceptance` runs all of them on PostgreSQL too."""
    if os.environ.get(THOROUGH):
        return

    def is_left(item: pytest.Item) -> bool:
        told = getattr(item, "callspec", None)
        return item.path.stem in _ABOUT_SOURCES and told is not None and told.params.get("databases") == "postgresql"

    if left := [item for item in items if is_left(item)]:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not is_left(item)]


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
def hooks() -> Iterator[Webhooks]:
    """A webhook."""
    with serving() as made:
        yield made


@pytest.fixture
def own_log() -> Iterator[None]:
    """The program's log as it was before the test."""
    before = (LOG.handlers[:], LOG.level, LOG.propagate)
    yield
    LOG.handlers[:], LOG.propagate = before[0], before[2]
    LOG.setLevel(before[1])
