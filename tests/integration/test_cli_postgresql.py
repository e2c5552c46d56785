"""The commands that are about the database itself, on PostgreSQL."""

from __future__ import annotations

import json
import os
import shlex
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import psycopg
import pytest
from psycopg import sql

from db.engine import open_engine
from fetcher.cli.working import waiting_words
from fetcher.sandbox.control import spawn_sandbox
from tests.contract.wire import unused_url
from tests.databases import PostgreSQLServer
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market
from tests.postgresql import WITH_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fetcher.app import App
    from tests.postgresql import Server


@pytest.fixture(scope="module")
def server(postgresql: Server) -> Iterator[Server]:
    """A server with a user who logs in with the password `hush`."""
    postgresql.do(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'hush'")
    yield postgresql
    postgresql.do(f"DROP ROLE {WITH_PASSWORD}")


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A database, owned by that user, where one run has fetched a day."""
    databases = PostgreSQLServer(server)
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path_factory.mktemp("commands"))
        made.databases = databases
        server.do(f"ALTER DATABASE {databases.name_of(made.folder)} OWNER TO {WITH_PASSWORD}")
        made.configure(market("BTC/USDT", "1h", "2026-05-31"))
        text = made.config_path.read_text(encoding="utf-8").replace("postgres@", f"{WITH_PASSWORD}:hush@")
        made.config_path.write_text(text, encoding="utf-8")
        first = made.command()
        assert first.code == 0, first
        yield made
    databases.drop_all()


def url_for(line: CommandLine, user: str) -> str:
    """The database as another user."""
    return line.database_url.replace("postgres@", f"{user}@")


def test_doctor_and_config_check_name_it_without_its_password(filled: CommandLine) -> None:
    """Sound, writable, on a server; the URL is shown and the password is not."""
    said = filled.command("doctor")
    assert said.code == 0, said
    assert f"{url_for(filled, f'{WITH_PASSWORD}:***')} is sound and up to date" in said.out
    assert "ok   writing: the database can be written" in said.out
    assert "ok   disk: the database is on a server" in said.out
    shown = filled.command("config", "check")
    assert "database  postgresql://" in shown.out
    assert "hush" not in said.out + said.err + shown.out + shown.err


def test_check_and_upgrade_find_nothing_to_do(filled: CommandLine) -> None:
    """A database that the program made is sound and up to date."""
    assert filled.answer("db", "check") == {"sound": True, "problems": []}
    assert filled.answer("db", "upgrade", "--dump", "dumps") == {"from": None, "to": None, "copy": None}
    assert not (filled.folder / "dumps").exists()


def test_a_backup_is_a_dump_that_can_be_restored(filled: CommandLine, server: Server) -> None:
    """What pg_restore makes of it is the same database; an existing file is kept; no password in the command."""
    path = f"{server.bin}{os.pathsep}{os.environ['PATH']}"
    said = filled.command("db", "backup", "market.dump", PATH=path)
    assert said.code == 0, said
    assert said.out.startswith("Copied into market.dump, 0.")
    assert [each.name for each in filled.folder.glob("*.dump*")] == ["market.dump"]
    again = filled.command("db", "backup", "market.dump", PATH=path)
    assert (again.code, again.err.count("\n")) == (2, 1)
    copy = server.restored(filled.folder / "market.dump")
    there = filled.command("status", FETCHER_DATABASE_URL=server.url(copy))
    assert there.code == 0
    assert there.out == filled.command("status").out
    assert "Sound" in filled.command("audit", FETCHER_DATABASE_URL=server.url(copy)).out
    server.drop(copy)


@pytest.mark.parametrize(
    ("script", "words"),
    [("", "on PATH, where none is"), ("echo 'pg_dump (PostgreSQL) 9.6.1'", "where that of version 9 is")],
)
def test_a_backup_without_its_program_says_what_to_run(
    filled: CommandLine, tmp_path: Path, script: str, words: str
) -> None:
    """None, or one that is too old: the whole command is told, but for the password."""
    if script:
        (tmp_path / "pg_dump").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "pg_dump").chmod(0o755)
    said = filled.command("db", "backup", "none.dump", PATH=str(tmp_path))
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert words in said.err
    assert f"pg_dump --format=custom --file=none.dump {url_for(filled, WITH_PASSWORD)}" in said.err
    assert "hush" not in said.err
    assert not (filled.folder / "none.dump").exists()


def test_the_command_to_run_can_be_pasted_into_a_shell(filled: CommandLine, tmp_path: Path) -> None:
    """Options of the address and blanks in a name hold together there."""
    url = f"{url_for(filled, f'{WITH_PASSWORD}:hush')}?application_name=mine&connect_timeout=3"
    said = filled.command("db", "backup", "my copy.dump", PATH=str(tmp_path), FETCHER_DATABASE_URL=url)
    words = shlex.split(said.err[said.err.index("pg_dump --format") :])
    assert words == ["pg_dump", "--format=custom", "--file=my copy.dump", url.replace(":hush", "")]


def test_a_backup_that_fails_leaves_no_file(filled: CommandLine, tmp_path: Path) -> None:
    """What pg_dump says is told in one line; what it was told holds no password."""
    (tmp_path / "pg_dump").write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'pg_dump (PostgreSQL) 99' && exit\necho it broke: $@ >&2\nexit 1\n"
    )
    (tmp_path / "pg_dump").chmod(0o755)
    said = filled.command("db", "backup", "broken.dump", PATH=f"{tmp_path}:/bin")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "failed: it broke: --format=custom" in said.err
    assert "hush" not in said.err, "a command is for everybody on the machine to read"
    assert list(filled.folder.glob("broken*")) == []


def test_readers_read_and_change_nothing(filled: CommandLine, server: Server) -> None:
    """A role made by the owner, or by an administrator where the owner may not; its members see tables to come too."""
    refused = filled.command("db", "roles")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert 'let an administrator run CREATE ROLE "candle_readers" NOLOGIN' in refused.err
    server.do(f"ALTER ROLE {WITH_PASSWORD} CREATEROLE")
    said = filled.command("db", "roles")
    assert said.code == 0, said
    assert said.out.splitlines()[1] == "  GRANT candle_readers TO somebody;"
    assert filled.answer("db", "roles")["created"] is False
    server.do("CREATE ROLE anna LOGIN IN ROLE candle_readers")
    mine = url_for(filled, "anna")
    with psycopg.connect(url_for(filled, "postgres"), autocommit=True) as conn:
        conn.execute(f"SET ROLE {WITH_PASSWORD}")
        conn.execute("CREATE TABLE later (id int)")
    with psycopg.connect(mine, autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM klines").fetchone() == (24,)
        assert conn.execute("SELECT symbol FROM latest").fetchone() == ("BTC/USDT",)
        assert conn.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM later").fetchone() == (0,)
        for statement in ("DELETE FROM candles", "UPDATE series SET enabled = false", "CREATE TABLE mine (id int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
    assert filled.command("status", FETCHER_DATABASE_URL=mine).out == filled.command("status").out
    run = filled.command(FETCHER_DATABASE_URL=mine)
    assert (run.code, run.err.count("\n")) == (1, 1)
    assert "permission denied for table" in run.err
    doctor = filled.command("doctor", FETCHER_DATABASE_URL=mine)
    assert doctor.code == 1
    assert "BAD  database: " in doctor.out
    for statement in ("DROP TABLE later", "DROP OWNED BY candle_readers"):
        with psycopg.connect(url_for(filled, "postgres"), autocommit=True) as conn:
            conn.execute(statement)
    for role in ("anna", "candle_readers"):
        server.do(f"DROP ROLE {role}")


def test_a_reader_can_make_a_backup(filled: CommandLine, server: Server) -> None:
    """Whoever is to make copies need not be able to change anything."""
    path = f"{server.bin}{os.pathsep}{os.environ['PATH']}"
    server.do(f"ALTER ROLE {WITH_PASSWORD} CREATEROLE")
    assert filled.command("db", "roles").code == 0
    server.do("CREATE ROLE berta LOGIN IN ROLE candle_readers")
    said = filled.command("db", "backup", "read.dump", PATH=path, FETCHER_DATABASE_URL=url_for(filled, "berta"))
    assert said.code == 0, said
    forget(filled, server, "berta", "candle_readers")


def test_who_may_not_grant_does_not_say_that_it_did(filled: CommandLine, server: Server) -> None:
    """PostgreSQL itself only warns; the owner is named."""
    server.do("CREATE ROLE carl LOGIN CREATEROLE")
    said = filled.command("db", "roles", "nobody_reads", FETCHER_DATABASE_URL=url_for(filled, "carl"))
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert f"the tables belong to {WITH_PASSWORD}, who alone may let others read" in said.err
    with psycopg.connect(url_for(filled, "postgres")) as conn:
        assert conn.execute("SELECT 1 FROM pg_roles WHERE rolname = 'nobody_reads'").fetchone() is None
    forget(filled, server, "carl")


def test_an_administrator_may_make_the_role_too(filled: CommandLine, server: Server) -> None:
    """What the owner makes later is read as well; a name may hold any sign, and a second call finds it."""
    admin, name = url_for(filled, "postgres"), 'Leser "50 %s"'
    said = filled.command("db", "roles", name, FETCHER_DATABASE_URL=admin)
    assert said.out.splitlines() == [
        f"{name} was created and may read everything. For each reader:", '  GRANT "Leser ""50 %s""" TO somebody;'
    ]  # fmt: skip
    again = filled.command("db", "roles", name, FETCHER_DATABASE_URL=admin)
    assert again.out.startswith(f"{name} was there and")
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"SET ROLE {WITH_PASSWORD}")
        conn.execute("CREATE TABLE much_later (id int)")
        told = conn.execute("SELECT has_table_privilege(%s, 'much_later', 'SELECT')", [name]).fetchone()
        conn.execute("DROP TABLE much_later")
    assert told == (True,)
    forget(filled, server, name)


def forget(line: CommandLine, server: Server, *roles: str) -> None:
    """Remove roles and what they were granted."""
    for role in roles:
        quoted = role.replace('"', '""')
        with psycopg.connect(url_for(line, "postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        server.do(f'DROP ROLE "{quoted}"')


def test_a_database_that_no_run_has_filled_is_not_taken_for_a_broken_one(filled: CommandLine, server: Server) -> None:
    """As of an SQLite file that is not there; readers may be let in before."""
    empty = server.new_database()
    for words in (("db", "check"), ("db", "backup", "empty.dump")):
        said = filled.command(*words, FETCHER_DATABASE_URL=server.url(empty))
        assert (said.code, said.out) == (1, "")
        assert said.err.endswith("has no tables yet; a run makes them\n")
    assert not (filled.folder / "empty.dump").exists()
    assert filled.command("db", "roles", "early", FETCHER_DATABASE_URL=server.url(empty)).code == 0
    server.drop(empty)
    server.do("DROP ROLE early")


def test_a_server_that_is_away_is_no_damage(filled: CommandLine) -> None:
    """`db check` says nothing of what it has not seen, and with what exit code it is told follows from the reason."""
    away = unused_url().replace("http://", "postgresql://me@") + "/market"
    said = filled.command("db", "check", "--json", FETCHER_DATABASE_URL=away)
    assert said.code == 1
    assert json.loads(said.out).keys() == {"error", "exit_code"}
    wrong = filled.command("db", "check", FETCHER_DATABASE_URL=url_for(filled, f"{WITH_PASSWORD}:other"))
    assert (wrong.code, wrong.out) == (2, "")


def test_progress_says_that_it_waits_for_the_database() -> None:
    """While the server restarts nobody blames the exchange."""
    engine = open_engine(unused_url().replace("http://", "postgresql://me@") + "/market")
    told = waiting_words(cast("App", SimpleNamespace(engine=engine)))
    engine.dispose()
    assert told == "waiting for the database, which cannot be reached"


@pytest.mark.parametrize("name", ["pg_reader", " ", "two\nlines", "r" * 64])
def test_a_name_that_no_role_can_have(filled: CommandLine, name: str) -> None:
    """Is refused before anything is asked of the server."""
    said = filled.command("db", "roles", name)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "cannot be the name of a role" in said.err


def test_sqlite_has_no_roles(filled: CommandLine) -> None:
    """One sentence says what stands for them there."""
    said = filled.command("db", "roles", FETCHER_DATABASE_URL=f"sqlite:///{filled.folder}/config.yaml")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "has no roles: whoever may read the file reads it" in said.err
