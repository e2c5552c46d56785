"""The commands that are about the database itself, on PostgreSQL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from fetcher.sandbox.control import spawn_sandbox
from tests.databases import PostgreSQLServer
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market
from tests.postgresql import WITH_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.mark.parametrize("name", ["pg_reader", " ", "r" * 64])
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
