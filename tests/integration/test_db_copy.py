"""`db copy` from either kind of database to either: everything arrives, or nothing does."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event, select, text

from db import locks
from db.engine import open_engine, reading, writing
from db.errors import DatabaseProblem
from db.manager import DatabaseManager
from db.schema import metadata
from db.transfer import transfer
from fetcher.cli import main
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import SQLITE
from tests.integration.commands import NOW, CommandLine, until
from tests.integration.world import market
from tests.postgresql import WITH_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgresql import Server

Content = dict[str, list[tuple[Any, ...]]]
HELD = (
    "UPDATE jobs SET status = 'leased', lease_owner = 'other 1 1', lease_until = 9000000000000 WHERE id = 1",
    "UPDATE endpoint_state SET probe_owner = 'other 1 1', probe_until = 9000000000000",
    "INSERT INTO locks VALUES ('run', 'other 1 1', 9000000000000)",
)
"""What a process of the old place holds: none of it may keep the new place waiting."""
JOB = "series_id, kind, start_ms, end_ms, priority, status, created_ms, updated_ms"
GONE = (
    f"INSERT INTO jobs (id, {JOB}) VALUES (700, 1, 'gap', 0, 1, 1, 'done', 0, 0)",  # noqa: S608 - names of ours
    "DELETE FROM jobs WHERE id = 700",
)
"""A job that people were told of by its number, which is never given again."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """An SQLite database of a week with an outage, by one run."""
    with spawn_sandbox("--clock", NOW, "--outage", "2026-05-28T02:00/2026-05-28T05:00") as sandbox:
        made = CommandLine(sandbox, tmp_path_factory.mktemp("copy"))
        made.databases = SQLITE
        made.configure(market("BTC/USDT ETH/USDT", "1h 1d", "2026-05-25"))
        first = made.command()
        assert first.code == 0, first
        for statement in (*HELD, *GONE):
            made.change(statement)
        yield made


def content(url: str) -> Content:
    """Every row of every table, without locks, which are never copied."""
    engine = open_engine(url)
    with reading(engine) as conn:
        tables = [table for table in metadata.sorted_tables if table.name != "locks"]
        found = {t.name: [tuple(row) for row in conn.execute(select(t).order_by(*t.primary_key))] for t in tables}
    engine.dispose()
    return found


def let_go(rows: Content) -> Content:
    """The same without what a process held."""
    jobs = [(*row[:6], "queued", *row[7:9], None, None, *row[11:]) if row[6] == "leased" else row
            for row in rows["jobs"]]  # fmt: skip
    names = [column.name for column in metadata.tables["endpoint_state"].columns]
    held = {names.index("probe_owner"), names.index("probe_until")}
    endpoints = [tuple(None if at in held else cell for at, cell in enumerate(row)) for row in rows["endpoint_state"]]
    return rows | {"jobs": jobs, "endpoint_state": endpoints}


def numbered(url: str) -> int:
    """The number that the next job gets."""
    engine = open_engine(url)
    with writing(engine) as conn:
        conn.execute(text(f"INSERT INTO jobs ({JOB}) VALUES (1, 'gap', 0, 1, 1, 'done', 0, 0)"))  # noqa: S608 - the same
        number: int = conn.execute(text("SELECT max(id) FROM jobs")).scalar_one()
    engine.dispose()
    return number


def spoil(line: CommandLine | None, url: str, statement: str) -> None:
    """Change a database by another hand; of a command line: a copy of its file."""
    if line is not None:
        source = open_engine(line.database_url)
        DatabaseManager(source, line.database_url).backup(Path(url.removeprefix("sqlite:///")))
        source.dispose()
    engine = open_engine(url)
    with writing(engine) as conn:
        conn.execute(text(statement))
    engine.dispose()


def prepare(url: str) -> None:
    """Make our tables, as a copy that was interrupted leaves them."""
    engine = open_engine(url)
    DatabaseManager(engine, url).prepare()
    engine.dispose()


def test_to_postgresql_and_back(filled: CommandLine, postgresql: Server) -> None:
    """Bit for bit, whichever way; what was held is free; numbers go on; a run there fetches nothing."""
    before = content(filled.database_url)
    assert before["candles"]
    there, back = postgresql.url(postgresql.new_database()), f"sqlite:///{filled.folder}/back.db"
    for source, target in ((filled.database_url, there), (there, back)):
        answer = json.loads(filled.command("--json", "db", "copy", target, FETCHER_DATABASE_URL=source).out)
        assert (answer["sound"], answer["findings"]) == (True, 0)
        assert answer["tables"] == {name: len(rows) for name, rows in before.items()}
        assert content(target) == let_go(before)
    assert [numbered(there), numbered(back)] == [701, 701]
    filled.sandbox.clear_log()
    for url in (there, back):
        run = filled.command(FETCHER_DATABASE_URL=url)
        assert run.code == 0, run
    assert filled.klines() == []


def test_a_file_into_a_file_is_told_to_people(filled: CommandLine) -> None:
    """A relative path starts beside the configuration, as that of database_url does; the answer says what is next."""
    said = filled.command("db", "copy", "sqlite:///deeper/other.db")
    assert said.code == 0, said
    rows = len(content(filled.database_url)["candles"])
    assert said.out.startswith(f"{rows:,} candles and all that belongs to them are in sqlite:///")
    assert said.out.endswith("Sound: coverage and candles agree there. Name it in database_url.\n")
    assert "rows copied; now they are audited" in said.err
    assert (filled.folder / "deeper/other.db").exists()
    assert filled.command("-q", "db", "copy", "sqlite:///deeper/quiet.db").err == ""


def test_a_password_in_the_environment_is_shown_nowhere(filled: CommandLine, postgresql: Server) -> None:
    """FETCHER_TARGET_URL stands in for the argument, which everybody on the machine could read."""
    postgresql.do(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'hush'")
    name = postgresql.new_database()
    postgresql.do(f"ALTER DATABASE {name} OWNER TO {WITH_PASSWORD}")
    said = filled.command("db", "copy", FETCHER_TARGET_URL=postgresql.url(name, f"{WITH_PASSWORD}:hush"))
    assert said.code == 0, said
    wrong = filled.command("db", "copy", FETCHER_TARGET_URL=postgresql.url(name, f"{WITH_PASSWORD}:wronghush"))
    assert wrong.code == 2
    assert "refuses the user or its password" in wrong.err
    assert "hush" not in said.out + said.err + wrong.out + wrong.err
    postgresql.drop(name)
    postgresql.do(f"DROP ROLE {WITH_PASSWORD}")


def test_a_source_that_takes_its_time(filled: CommandLine, postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends other transactions that idle; this one waits while a large source is read and counted."""
    monkeypatch.setattr(locks, "_ALONE", text(locks._ALONE.text.replace("'120s'", "'100ms'")))
    url = postgresql.url(postgresql.new_database())
    prepare(url)
    source, target = open_engine(filled.database_url), open_engine(url)

    def slow(_table: str, _rows: int) -> None:
        Event().wait(0.3)

    copied = transfer(source, target, slow)
    assert copied["candles"] == len(content(filled.database_url)["candles"])
    for engine in (source, target):
        engine.dispose()


def test_killed_on_the_way_to_postgresql(filled: CommandLine, postgresql: Server) -> None:
    """The candles have arrived when it is killed: the server takes all of it back, and the next one copies all."""
    name = postgresql.new_database()
    url = postgresql.url(name)
    prepare(url)
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("SELECT pg_advisory_lock(4711)")
        conn.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_lock_shared(4711); RETURN NEW; END'"
        )
        conn.execute("CREATE TRIGGER slow BEFORE INSERT ON runs EXECUTE FUNCTION wait()")
        child = filled.start("db", "copy", url)
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
        until(lambda: child.poll() is not None or conn.execute(waits).fetchone() is not None)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        conn.execute("SELECT pg_advisory_unlock(4711)")
        conn.execute("DROP TRIGGER slow ON runs")
        assert not any(content(url).values())
    assert filled.command("db", "copy", url).code == 0
    assert content(url) == let_go(content(filled.database_url))


def test_killed_on_the_way_to_sqlite(filled: CommandLine, postgresql: Server) -> None:
    """The same the other way: the file is there and empty, and is filled by the next one."""
    name = postgresql.new_database()
    source, target = postgresql.url(name), f"sqlite:///{filled.folder}/killed.db"
    assert filled.command("db", "copy", source).code == 0
    with psycopg.connect(source) as conn, closing(psycopg.connect(source, autocommit=True)) as look:
        conn.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        child = filled.start("db", "copy", target, FETCHER_DATABASE_URL=source)
        waits = "SELECT 1 FROM pg_locks WHERE relation = 'runs'::regclass AND NOT granted"
        until(lambda: child.poll() is not None or look.execute(waits).fetchone() is not None)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert not any(content(target).values())
    assert filled.command("db", "copy", target, FETCHER_DATABASE_URL=source).code == 0
    assert content(target) == content(source)


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("nonsense", 2, "TARGET_URL is not a database URL; write it like sqlite:///market.db"),
        ("mysql://me:hush@host/market", 2, "TARGET_URL mysql://me:***@host/market cannot be used"),
        ("sqlite:///.", 2, "which is a directory; name a file in it"),
        ("sqlite:///market.db", 2, "is the database itself; name another, empty one"),
        ("sqlite:///config.yaml", 2, "is not an SQLite database"),
        ("postgresql://127.0.0.1:1/market", 1, "cannot be reached"),
    ],
)
def test_a_target_that_is_none(
    filled: CommandLine, target: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence says what is wrong with it; nothing is copied."""
    assert main(["--config", str(filled.config_path), "db", "copy", target]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said
    assert "hush" not in said


def test_a_target_that_holds_rows_is_left_alone(filled: CommandLine, postgresql: Server) -> None:
    """Whatever they are: one series is enough."""
    url = postgresql.url(postgresql.new_database())
    prepare(url)
    spoil(None, url, "INSERT INTO sources (name) VALUES ('mine')")
    said = filled.command("db", "copy", url)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "is not empty: its table sources has rows; name a new database" in said.err
    assert content(url)["candles"] == []


def test_no_database_to_copy(filled: CommandLine) -> None:
    """Nothing is made where there is nothing."""
    said = filled.command("db", "copy", "sqlite:///x.db", FETCHER_DATABASE_URL="sqlite:///none.db")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "does not exist yet; there is nothing to copy" in said.err
    assert not (filled.folder / "none.db").exists()


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("UPDATE coverage SET route = 'a route that is longer than any'", "a row of coverage cannot be copied into"),
        ("UPDATE candles SET trades = 'many'", "a row of candles cannot be copied into"),
        ("UPDATE candles SET series_id = 99 WHERE series_id = 1", "rows of candles arrived in"),
    ],
)
def test_rows_of_another_hand(filled: CommandLine, postgresql: Server, tmp_path: Path, spoilt: str, words: str) -> None:
    """SQLite holds what PostgreSQL cannot: it is told which table, and nothing has arrived."""
    url, target = f"sqlite:///{tmp_path}/spoilt.db", postgresql.url(postgresql.new_database())
    spoil(filled, url, spoilt)
    said = filled.command("db", "copy", target, FETCHER_DATABASE_URL=url)
    assert (said.code, said.err.count("\n")) == (1, 1), said
    assert words in said.err
    assert "nothing was copied: run `db check`" in said.err
    assert not any(content(target).values())


@pytest.mark.parametrize("on_server", [False, True], ids=["into a file", "into a server"])
def test_a_damaged_source_is_blamed_itself(
    filled: CommandLine, postgresql: Server, tmp_path: Path, *, on_server: bool
) -> None:
    """Not the new database, which nobody could mend."""
    url, damaged = f"sqlite:///{tmp_path}/damaged.db", tmp_path / "damaged.db"
    spoil(filled, url, "UPDATE series SET enabled = enabled")
    with closing(sqlite3.connect(damaged)) as conn:
        [(page,)] = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'candles'").fetchall()
        [(size,)] = conn.execute("PRAGMA page_size").fetchall()
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with damaged.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    target = postgresql.url(postgresql.new_database()) if on_server else f"sqlite:///{tmp_path}/new.db"
    said = filled.command("db", "copy", target, FETCHER_DATABASE_URL=url)
    assert (said.code, said.err.count("\n")) == (1, 1), said
    assert f"database {url} is damaged; restore the last backup" in said.err
    assert not any(content(target).values())


def test_a_target_without_room_is_blamed_itself(filled: CommandLine, tmp_path: Path) -> None:
    """The other way round."""
    source, target = open_engine(filled.database_url), open_engine(f"sqlite:///{tmp_path}/small.db")
    DatabaseManager(target, f"sqlite:///{tmp_path}/small.db").prepare()
    event.listen(target, "begin", lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 1"))  # no more than now
    with pytest.raises(DatabaseProblem, match=r"small\.db cannot grow: the disk is full"):
        transfer(source, target, lambda *_: None)
    for engine in (source, target):
        engine.dispose()


def test_what_is_not_sound_comes_along_and_is_told(filled: CommandLine, tmp_path: Path) -> None:
    """A copy is no repair: candles that coverage misses are missing there too, with exit code 1."""
    url = f"sqlite:///{tmp_path}/hole.db"
    spoil(filled, url, "DELETE FROM candles WHERE open_time = (SELECT min(open_time) FROM candles)")
    said = filled.command("db", "copy", f"sqlite:///{tmp_path}/again.db", FETCHER_DATABASE_URL=url)
    assert said.code == 1
    assert "Not sound: the audit found 4 differences, which came along" in said.out
