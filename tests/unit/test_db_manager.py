"""DatabaseManager: creating, upgrading, refusing, checking and backing up an SQLite database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from db import candles, endpoints, health, manager
from db.engine import open_engine, reading, writing
from db.errors import DatabaseProblem, DatabaseUnusable, TableGone
from db.manager import DatabaseManager
from db.schema import REVISIONS
from db.series import WantedSeries, sync_series
from tests.contract.store_base import MINUTE, T0, candles_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

NEXT_REVISION = '''
"""A later schema."""
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{last}"
def upgrade():
    with op.batch_alter_table("series") as table:
        table.add_column(sa.Column("note", sa.Text))
        table.alter_column("symbol", type_=sa.String(60))
    {more}
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the database."""
    return tmp_path / "market.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on a file that does not exist yet."""
    engine = open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def database(engine: Engine, path: Path) -> DatabaseManager:
    """The manager of that file."""
    return DatabaseManager(engine, f"sqlite:///{path}")


def fill(engine: Engine) -> int:
    """Store a series with ten candles; its id."""
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, T0, ("binance",))], T0)
        candles.insert(conn, row.id, 1, candles_at(*range(10)))
    return row.id


def later(monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "pass") -> None:
    """Make this program one that knows a later revision."""
    shutil.copytree(manager.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9999_later.py").write_text(NEXT_REVISION.format(last=REVISIONS[-1], more=more))
    monkeypatch.setattr(manager, "MIGRATIONS", folder)
    monkeypatch.setattr(manager, "REVISIONS", (*REVISIONS, "9999"))


def test_a_new_file_becomes_a_sound_database(database: DatabaseManager, engine: Engine) -> None:
    """Tables, views and revision are there, and nothing is wrong with them."""
    database.prepare()
    assert database.check() == []
    with reading(engine) as conn:
        assert conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == [REVISIONS[-1]]
        for view in ("klines", "gaps", "latest"):
            assert conn.exec_driver_sql(f"SELECT * FROM {view}").all() == []  # noqa: S608 - a fixed list


def test_preparing_what_is_ready_costs_one_statement(database: DatabaseManager, engine: Engine) -> None:
    """The second time asks for the revision and nothing else."""
    database.prepare()
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    database.prepare()
    assert [statement for statement in asked if not statement.startswith("BEGIN")] == [
        "SELECT alembic_version.version_num \nFROM alembic_version"
    ]
    assert database.upgrade() is None


def test_an_older_database_is_backed_up_and_upgraded(
    database: DatabaseManager, engine: Engine, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file as it was stays beside it; rows, views and foreign keys survive a rebuilt table."""
    database.prepare()
    series_id = fill(engine)
    later(monkeypatch, tmp_path / "migrations")
    made = database.upgrade(tmp_path / "dumps")
    assert made == manager.Upgrade(REVISIONS[-1], "9999", path.with_name("market.db.before-9999"))
    assert not (tmp_path / "dumps").exists()
    with reading(engine) as conn:
        assert conn.exec_driver_sql("SELECT note FROM series").all() == [(None,)]
        assert candles.count(conn, series_id, 0, 2**62) == 10
        assert conn.exec_driver_sql("SELECT count(*) FROM latest").scalar() == 1
        assert conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
        assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    with closing(sqlite3.connect(path.with_name("market.db.before-9999"))) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISIONS[-1],)
        assert old.execute("SELECT count(*) FROM candles").fetchone() == (10,)


def test_the_first_schema_is_upgraded_to_this_one(database: DatabaseManager, engine: Engine, path: Path) -> None:
    """A database of revision 0001 keeps candles and endpoints, gains what is new, is sound, and is backed up first."""
    with writing(engine) as conn:
        manager._run_migrations(conn, "0001")
    series_id = fill(engine)
    with writing(engine) as conn:
        conn.exec_driver_sql(
            "INSERT INTO endpoint_state (endpoint, source, breaker, requests) VALUES ('a', 'b', 'open', 7)"
        )
    database.prepare()
    assert database.check() == []
    with reading(engine) as conn:
        assert candles.count(conn, series_id, 0, 2**62) == 10
        [row] = endpoints.read_all(conn)
        assert (row.endpoint, row.source, row.breaker, row.requests) == ("a", "b", "open", 7)
        assert health.read(conn, 0) == {}
        assert health.budget_spans(conn) == {}
    with closing(sqlite3.connect(path.with_name(f"market.db.before-{REVISIONS[-1]}"))) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert old.execute("SELECT requests FROM endpoint_state").fetchone() == (7,)


@pytest.mark.parametrize("more", ["raise RuntimeError('boom')", "op.execute('DELETE FROM sources')"])
def test_an_upgrade_that_fails_changes_nothing(
    database: DatabaseManager, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """Whether a step breaks or rows lose their parents: all is as before, and no try of cron's leaves a copy behind."""
    database.prepare()
    fill(engine)
    later(monkeypatch, tmp_path / "migrations", more)
    for _ in range(2):
        with pytest.raises((RuntimeError, DatabaseProblem), match=r"boom|cannot be upgraded"):
            database.prepare()
    monkeypatch.undo()
    assert database.check() == []
    assert not list(tmp_path.glob("*.before-*"))


def test_a_newer_database_is_refused(database: DatabaseManager, engine: Engine) -> None:
    """A revision that this program does not know gets the sentence that says what to do, and stays as it is."""
    database.prepare()
    with writing(engine) as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0042'")
    for attempt in (database.prepare, database.upgrade):
        with pytest.raises(
            DatabaseUnusable,
            match=rf"is newer than this program \(revision 0042, this program knows up to {REVISIONS[-1]}\); upgrade",
        ):
            attempt()
    assert "newer than this program" in database.check()[0]
    with writing(engine) as conn:
        conn.exec_driver_sql("DELETE FROM alembic_version")
    for attempt in (database.prepare, database.upgrade):
        with pytest.raises(DatabaseProblem, match=r"alembic_version is empty\); restore the last backup"):
            attempt()


@pytest.mark.parametrize("table", ["invoices", "alembic_version"])
def test_somebody_elses_database_is_left_alone(database: DatabaseManager, engine: Engine, table: str) -> None:
    """A database with other tables, even alembic's, is refused and not written to."""
    with writing(engine) as conn:
        conn.exec_driver_sql(f"CREATE TABLE {table} (version_num)")
        conn.exec_driver_sql(f"INSERT INTO {table} VALUES ('abc')")  # noqa: S608 - a fixed list
    with pytest.raises(DatabaseUnusable, match="belongs to another program"):
        database.prepare()
    with reading(engine) as conn:
        assert conn.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all() == [table]


def test_the_check_of_somebody_elses_database_lists_none_of_our_tables(
    database: DatabaseManager, engine: Engine
) -> None:
    """There is no backup of ours to restore."""
    with writing(engine) as conn:
        conn.exec_driver_sql("CREATE TABLE invoices (id)")
    [problem] = database.check()
    assert "belongs to another program (it has a table 'invoices', but not ours)" in problem


def test_our_database_without_its_revision_is_not_somebody_elses(database: DatabaseManager, engine: Engine) -> None:
    """One table was removed: naming another database would lose all others."""
    database.prepare()
    with writing(engine) as conn:
        conn.exec_driver_sql("DROP TABLE alembic_version")
    for attempt in (database.prepare, database.demand):
        with pytest.raises(TableGone, match="lacks a table of this program; `db check` names it"):
            attempt()
    assert database.check() == ["table alembic_version is missing; restore the last backup"]


def test_a_backup_of_a_database_in_use_stands_alone(database: DatabaseManager, engine: Engine, tmp_path: Path) -> None:
    """It holds what was committed, not what a writer has open; one file, sound, and usable by the program."""
    database.prepare()
    series_id = fill(engine)
    copy = tmp_path / "backups" / "copy.db"
    with writing(engine) as conn:
        candles.erase(conn, series_id, 0, 2**62)
        database.backup(copy)
    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # not in WAL mode: readable from read-only media too
    url = f"sqlite:///{copy}"
    restored = open_engine(url)
    DatabaseManager(restored, url).prepare()
    assert DatabaseManager(restored, url).check() == []
    with reading(restored) as conn:
        assert candles.count(conn, series_id, 0, 2**62) == 10
    restored.dispose()


def test_a_backup_overwrites_nothing(database: DatabaseManager, tmp_path: Path) -> None:
    """An existing file is refused and keeps its bytes."""
    database.prepare()
    there = tmp_path / "there"
    there.write_text("precious")
    with pytest.raises(DatabaseProblem, match="exists already and is not overwritten"):
        database.backup(there)
    assert there.read_text() == "precious"


def test_a_backup_onto_a_full_disk_blames_the_backup(
    database: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be all the room of the world for the database itself; nothing is left of the copy."""
    database.prepare()
    connect = sqlite3.connect

    def little_room(path: Path) -> sqlite3.Connection:
        made = connect(path)
        made.execute("PRAGMA max_page_count = 2")
        return made

    monkeypatch.setattr("db.backups.sqlite3.connect", little_room)
    with pytest.raises(DatabaseProblem, match=r"the backup .*copy\.db cannot be written: its disk is full"):
        database.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))


def test_a_backup_where_no_file_can_be_made_blames_the_backup(database: DatabaseManager) -> None:
    """/proc takes no files, from root neither."""
    database.prepare()
    with pytest.raises(
        DatabaseProblem, match=r"the backup /proc/copy\.db cannot be written: No such file or directory$"
    ):
        database.backup(Path("/proc/copy.db"))


def test_a_backup_that_cannot_be_written_says_so(database: DatabaseManager, tmp_path: Path) -> None:
    """A folder that cannot be made gets a sentence."""
    database.prepare()
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseProblem, match="cannot be written"):
        database.backup(tmp_path / "file" / "copy.db")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE quarantine", "table quarantine is missing"),
        ("DROP VIEW gaps", "view gaps is missing; `db upgrade` makes it again"),
        ("UPDATE alembic_version SET version_num = '0000'", "the schema is at revision 0000, newer than this program"),
        ("DELETE FROM alembic_version", "alembic_version is empty); restore the last backup"),
        ("UPDATE series_sources SET source_id = 9", "a row of series_sources names a row of sources"),
        ("UPDATE candles SET series_id = 9 WHERE open_time % 7 = 0", "candles of series_id 9, which series does not"),
        ("UPDATE candles SET source_id = 9", "candles of source_id 9, which sources does not"),
        (
            """INSERT INTO coverage (series_id, start_ms, end_ms, state, rows, source_id, route)
               VALUES (1, 0, 20, 'stored', 1, 1, 'rest'), (1, 10, 30, 'stored', 1, 1, 'rest')""",
            "coverage of series 1 overlaps at 10",
        ),
    ],
)
def test_check_names_what_is_wrong(
    database: DatabaseManager, engine: Engine, path: Path, damage: str, words: str
) -> None:
    """Each kind of damage, done behind our back, is found and named, and nothing else is."""
    database.prepare()
    fill(engine)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(damage)
    [problem] = database.check()
    assert words in problem


def test_check_finds_a_damaged_file(database: DatabaseManager, engine: Engine, path: Path) -> None:
    """Bytes overwritten in the middle of the file are reported, not a traceback."""
    database.prepare()
    fill(engine)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'candles'").fetchone()
        [size] = conn.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    problems = " ".join(database.check())
    assert "damaged" in problems


def test_upgrade_makes_lost_views_again(database: DatabaseManager, engine: Engine) -> None:
    """A dropped view is back after `upgrade`, which had nothing else to do."""
    database.prepare()
    with writing(engine) as conn:
        conn.exec_driver_sql("DROP VIEW latest")
    assert database.upgrade() is None
    assert database.check() == []
