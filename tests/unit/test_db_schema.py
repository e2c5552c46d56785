"""The schema's two descriptions, metadata and migrations, are one; so are the views and their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db import manager
from db.engine import open_engine, reading, writing
from db.schema import REVISIONS, metadata
from db.views import VIEWS, statements

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

KLINES = (
    "symbol timeframe open_time open_time_ms open high low close volume quote_volume trades taker_base taker_quote "
    "source flags"
)
LATEST = "symbol timeframe open_time open_time_ms open high low close volume source"
GAPS = "symbol timeframe start_ms end_ms missing"


def everything(engine: Engine) -> dict[str, str]:
    """All that a database is made of, by name: its SQL with white space made even, no quotes around rebuilt tables."""
    with reading(engine) as conn:
        rows = conn.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: _in_order(" ".join(sql.replace('"', "").split())) for name, sql in rows}


def _in_order(sql: str) -> str:
    """The statement with its constraints sorted: alembic rebuilds a table with them in any order."""
    inside, end, behind = sql.rpartition(" )")
    columns, *constraints = inside.split(", CONSTRAINT ")
    return ", CONSTRAINT ".join([columns, *sorted(constraints)]) + end + behind


@pytest.fixture
def migrated(tmp_path: Path) -> Engine:
    """A database that alembic made from nothing."""
    engine = open_engine(f"sqlite:///{tmp_path}/migrated.db")
    with writing(engine) as conn:
        manager._run_migrations(conn, REVISIONS[-1])
    return engine


@pytest.fixture
def created(tmp_path: Path) -> Engine:
    """A database that the metadata made."""
    url = f"sqlite:///{tmp_path}/created.db"
    engine = open_engine(url)
    manager.DatabaseManager(engine, url).prepare()
    return engine


def test_migrations_from_nothing_make_what_the_metadata_makes(migrated: Engine, created: Engine) -> None:
    """Every table, constraint, index and view is the same, to the letter."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert everything(migrated) == everything(created)
    with reading(migrated) as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
    migrated.dispose()
    created.dispose()


def test_the_revisions_are_those_of_the_migrations() -> None:
    """REVISIONS lists every migration in its order, so that alembic need not be asked."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(manager.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


@pytest.mark.parametrize(("view", "columns"), [("klines", KLINES), ("latest", LATEST), ("gaps", GAPS)])
def test_views_have_the_columns_of_the_contract(created: Engine, view: str, columns: str) -> None:
    """People's queries name these columns, in this order."""
    with reading(created) as conn:
        assert list(conn.exec_driver_sql(f"SELECT * FROM {view}").keys()) == columns.split()  # noqa: S608 - a fixed list
    created.dispose()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_views_are_written_for_each_dialect(dialect: str) -> None:
    """No macro is left in the text, and each view has its statement."""
    written = statements(dialect)
    assert [statement.split()[2] for statement in written] == list(VIEWS)
    assert not any("{" in statement for statement in written)


@pytest.mark.parametrize("table", ["candles", "coverage", "endpoint_hours", "series_sources"])
def test_tables_found_by_their_key_have_no_rowid(created: Engine, table: str) -> None:
    """They are stored in the order of their key, once."""
    assert everything(created)[table].endswith("WITHOUT ROWID")
    created.dispose()
