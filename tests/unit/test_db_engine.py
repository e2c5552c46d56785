"""SQLite as the program opens it: its settings, its locks, its threads, and its errors in words."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from db.engine import database_file, open_engine, reading, writing
from db.errors import DatabaseProblem, DatabaseUnusable
from db.sqlite import use_wal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a new file whose folder does not exist yet; it waits a tenth of a second for locks."""
    engine = open_engine(f"sqlite:///{tmp_path}/new/folder/market.db", busy_seconds=0.1)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 1), ("foreign_keys", 1), ("busy_timeout", 100), ("temp_store", 2)],
)
def test_every_connection_is_set_up(engine: Engine, pragma: str, value: object) -> None:
    """WAL with synchronous NORMAL, foreign keys on, waiting for locks; the folder was created."""
    with reading(engine) as conn:
        assert conn.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_each_thread_has_a_connection_of_its_own(engine: Engine) -> None:
    """Readers in several threads at once hold different connections."""
    held: list[int] = []
    together = threading.Barrier(3, timeout=20)

    def read() -> None:
        with reading(engine) as conn:
            held.append(id(conn.connection.driver_connection))
            together.wait()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(held)) == 3


def test_a_writer_takes_the_lock_at_once(engine: Engine) -> None:
    """A second writer is refused at its beginning with a sentence, not half-way through its work."""
    begun = False
    with writing(engine), pytest.raises(DatabaseProblem, match="kept locked by another process"), writing(engine):
        begun = True
    assert not begun
    with writing(engine):
        begun = True
    assert begun


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A text file behind database_url gets a sentence with its name."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and they are long enough to be looked at\n" * 50)
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnusable, match=r"notes\.txt is not an SQLite database"), reading(engine):
        pass
    assert path.read_text().startswith("these are my notes")


def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    """A folder where the file should be gets a sentence when the engine is opened."""
    with pytest.raises(DatabaseUnusable, match=r"database_url names .*, which is a directory; name a file in it"):
        open_engine(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder gets a sentence when the engine is opened."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnusable, match=r"folder .*file.* cannot be created"):
        open_engine(f"sqlite:///{tmp_path}/file/market.db")


def test_a_read_only_file_is_named(tmp_path: Path) -> None:
    """Writing where only reading is possible gets a sentence."""
    path = tmp_path / "market.db"
    open_engine(f"sqlite:///{path}").connect().close()
    engine = open_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    with (
        pytest.raises(DatabaseProblem, match="cannot be written; check the permissions") as caught,
        writing(engine) as conn,
    ):
        conn.exec_driver_sql("CREATE TABLE t (a)")
    assert not isinstance(caught.value, DatabaseUnusable), "its permissions must change, not the configuration"
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("market.db", "is not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://host/market.db", "names no file"),
        ("sqlite:///market.db?mode=ro", r"has options \(mode\), which are not supported"),
        ("sqlite:////", "which is a directory; name a file in it"),
        ("sqlite+aiosqlite:///market.db", "write it like sqlite:///market.db"),
        ("nosuchdb://user:secret@host/x", "cannot be used: it must be sqlite or postgresql"),
        ("mysql://user:secret@host/x", "cannot be used: it must be sqlite or postgresql"),
        ("postgresql://user:secret@host:99999/x", "there is no port 99999"),
        ("postgresql://user:secret@secret@host/x", "holds an @ too many; .* with %40 for @"),
        ("postgresql://user:p@secret/w@host/x", "holds an @ too many"),
        ("postgresql://user:p@s:secret/w@host/x", r"is not a database URL; write it like postgresql://.* %2F for /"),
        ("postgresql+nosuchdriver://user:secret@host/x", "its driver is not installed"),
    ],
)
def test_a_bad_url_is_told_without_its_password(url: str, words: str) -> None:
    """Each kind of bad URL has its sentence; a password in it is not repeated."""
    with pytest.raises(DatabaseUnusable, match=words) as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


def test_errors_of_ours_are_not_dressed_up(engine: Engine) -> None:
    """A wrong statement is a bug and stays SQLAlchemy's error."""
    with pytest.raises(Exception, match="no such column") as caught, reading(engine) as conn:
        conn.exec_driver_sql("SELECT nobody FROM sqlite_master")
    assert not isinstance(caught.value, DatabaseProblem)


def test_the_file_behind_an_engine(engine: Engine, tmp_path: Path) -> None:
    """SQLite's file is known; whoever opens it beside us sees a plain SQLite database."""
    path = database_file(engine)
    assert path == tmp_path / "new/folder/market.db"
    with writing(engine) as conn:
        conn.exec_driver_sql("CREATE TABLE t (a)")
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def test_switching_to_wal_waits_for_a_writer(tmp_path: Path) -> None:
    """A file not in WAL yet (a restored backup) that another is writing: SQLite refuses the switch, we wait and try."""
    path = tmp_path / "restored.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (a)")
        writer.execute("BEGIN IMMEDIATE")

        class UntilWeWait(sqlite3.Connection):
            """Lets the writer finish when we begin to wait for it."""

            def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
                if sql == "BEGIN IMMEDIATE":
                    writer.execute("COMMIT")
                return super().execute(sql, *parameters)  # type: ignore[arg-type]  # passed on as they came

        with closing(sqlite3.connect(path, isolation_level=None, factory=UntilWeWait)) as ours:
            use_wal(ours)
            assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)


PREPARE = """
import sys
from db.engine import open_engine
from db.manager import DatabaseManager
sys.stdin.read(1)
url = sys.argv[1]
DatabaseManager(open_engine(url), url).prepare()
assert not {"alembic", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql"} & set(sys.modules)
"""


def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    """Four processes prepare the same new file at the same moment: none fails; nothing slow is imported."""
    url = f"sqlite:///{tmp_path}/market.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", PREPARE, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go")
        process.stdin.flush()
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert results == [("", 0)] * 4
    with closing(sqlite3.connect(tmp_path / "market.db")) as conn:
        assert conn.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
