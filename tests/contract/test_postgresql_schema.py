"""A PostgreSQL database as the program makes, upgrades and checks it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from db import manager
from db.engine import open_engine, reading, writing
from db.errors import DatabaseProblem
from db.manager import DatabaseManager
from db.schema import REVISIONS, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgresql import Server

_PARTS = (
    (
        "SELECT 'column', table_name || '.' || column_name, concat_ws(' ', ordinal_position, data_type, "
        "character_maximum_length, is_nullable, column_default) FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    ),
    (
        "SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    ),
    "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'",
    (
        "SELECT 'comment', objoid::regclass || '.' || objsubid, description FROM pg_description "
        "WHERE classoid = 'pg_class'::regclass AND objoid IN (SELECT oid FROM pg_class WHERE relnamespace = "
        "'public'::regnamespace)"
    ),
)
PREPARE = """
import sys
from db.engine import open_engine
from db.manager import DatabaseManager
sys.stdin.read(1)
DatabaseManager(open_engine(sys.argv[1]), sys.argv[1]).prepare()
"""


def everything(engine: Engine) -> dict[tuple[str, str], str]:
    """All that a database is made of, by kind and name."""
    with reading(engine) as conn:
        return {(kind, name): text for part in _PARTS for kind, name, text in conn.exec_driver_sql(part)}


@contextmanager
def empty(server: Server) -> Iterator[tuple[str, Engine]]:
    """A new database: its URL, and an engine on it."""
    name = server.new_database()
    engine = open_engine(server.url(name))
    try:
        yield server.url(name), engine
    finally:
        engine.dispose()
        server.drop(name)


def test_migrations_from_nothing_make_what_the_metadata_makes(postgresql: Server) -> None:
    """Every column, constraint, index, view and comment is the same, to the letter."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with empty(postgresql) as (_, migrated), empty(postgresql) as (url, created):
        with writing(migrated) as conn:
            manager._run_migrations(conn, REVISIONS[-1])
        DatabaseManager(created, url).prepare()
        assert everything(migrated) == everything(created)
        with reading(migrated) as conn:
            assert compare_metadata(MigrationContext.configure(conn), metadata) == []


def test_an_older_database_is_upgraded_by_one_of_many(postgresql: Server) -> None:
    """Programs that start at once on a database that is behind: one upgrades it, the others find it done."""
    with empty(postgresql) as (url, engine):
        with writing(engine) as conn:
            manager._run_migrations(conn, REVISIONS[0])
        assert prepare_at_once(url) == [("", 0)] * 3
        with reading(engine) as conn:
            assert conn.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall() == [(REVISIONS[-1],)]
        assert DatabaseManager(engine, url).check() == []


def test_processes_that_start_at_once_make_one_database(postgresql: Server) -> None:
    """On an empty one none fails."""
    with empty(postgresql) as (url, engine):
        assert prepare_at_once(url) == [("", 0)] * 3
        assert DatabaseManager(engine, url).check() == []


def prepare_at_once(url: str) -> list[tuple[str, int]]:
    """What three processes that prepare a database at the same moment say, and how they end."""
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", PREPARE, url], stdin=pipe, stderr=pipe, text=True) for _ in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go")
        child.stdin.flush()
    return [(child.communicate()[1], child.returncode) for child in children]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP VIEW klines", "view klines is missing"),
        ("DROP TABLE endpoint_hours", "table endpoint_hours is missing"),
        ("INSERT INTO candles VALUES (9, 0, 1, 1, 1, 1, NULL, NULL, NULL, NULL, NULL, 0, 1)", "candles of series_id 9"),
        ("UPDATE alembic_version SET version_num = '0001'", "the schema is at revision 0001"),
    ],
)
def test_check_names_what_is_wrong(postgresql: Server, damage: str, words: str) -> None:
    """Each kind of damage, done behind our back, is named."""
    with empty(postgresql) as (url, engine):
        DatabaseManager(engine, url).prepare()
        assert DatabaseManager(engine, url).check() == []
        with writing(engine) as conn:
            conn.exec_driver_sql(damage)
        assert words in " ".join(DatabaseManager(engine, url).check())


def test_views_made_again_keep_what_was_granted_and_built_on_them(postgresql: Server) -> None:
    """`upgrade` replaces them in place."""
    with empty(postgresql) as (url, engine):
        DatabaseManager(engine, url).prepare()
        with writing(engine) as conn:
            conn.exec_driver_sql("CREATE VIEW mine AS SELECT max(open_time) AS newest FROM klines")
            conn.exec_driver_sql("GRANT SELECT ON klines TO PUBLIC")
        assert DatabaseManager(engine, url).upgrade() is None
        with reading(engine) as conn:
            assert conn.exec_driver_sql("SELECT newest FROM mine").fetchall() == [(None,)]
            granted = "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' "
            assert conn.exec_driver_sql(granted + "AND table_name = 'klines'").scalar() == 1


def test_an_upgrade_is_dumped_first_where_asked(
    postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pg_dump nothing is upgraded; with it the dump stays, but not that of an upgrade that failed."""
    with empty(postgresql) as (url, engine):
        with writing(engine) as conn:
            manager._run_migrations(conn, REVISIONS[-2])
        database, dumps = DatabaseManager(engine, url), tmp_path / "dumps"
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(DatabaseProblem, match="the backup needs pg_dump"):
            database.upgrade(dumps)
        assert f"at revision {REVISIONS[-2]}" in " ".join(database.check()) or "is missing" in database.check()[0]
        monkeypatch.setenv("PATH", str(postgresql.bin))
        with monkeypatch.context() as broken:
            broken.setattr(manager, "_run_migrations", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                database.upgrade(dumps)
        assert not list(dumps.iterdir())
        made = database.upgrade(dumps)
        assert made is not None
        assert (made.before, made.after, [made.copy]) == (REVISIONS[-2], REVISIONS[-1], list(dumps.iterdir()))
        assert made.copy is not None
        assert made.copy.read_bytes().startswith(b"PGDMP")
        assert database.check() == []
        assert database.upgrade(dumps) is None
