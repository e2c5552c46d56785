"""What people get wrong about PostgreSQL, and what its servers do: one sentence each, what to do, and no password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import text

from db import locks
from db.checks import writable
from db.engine import checked_url, open_engine, reading, shown, writing
from db.errors import DatabaseLost, DatabaseProblem, DatabaseUnusable, TableGone
from db.locks import alone
from db.manager import DatabaseManager
from db.postgresql_errors import in_words
from tests.contract.wire import unused_url
from tests.postgresql import WITH_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgresql import Server


@pytest.fixture
def name(postgresql: Server) -> Iterator[str]:
    """A database with our tables."""
    made = postgresql.prepared()
    yield made
    postgresql.drop(made)


@pytest.fixture
def keyed(postgresql: Server) -> Iterator[str]:
    """A user who has the password `hush` and may do nothing."""
    postgresql.do(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'hush'")
    yield WITH_PASSWORD
    postgresql.do(f"DROP ROLE {WITH_PASSWORD}")


def told(url: str, *, writes: bool = False) -> DatabaseProblem:
    """What a look at the database ends with."""
    engine = open_engine(url)
    try:
        with pytest.raises(DatabaseProblem) as caught, (writing if writes else reading)(engine) as conn:
            writable(conn)
    finally:
        engine.dispose()
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    return caught.value


def test_a_server_that_is_not_there(name: str) -> None:
    """Nobody listens: to be tried again, the configuration may be right."""
    problem = told(unused_url().replace("http://", "postgresql://me:hush@") + f"/{name}")
    assert isinstance(problem, DatabaseLost)
    assert "cannot be reached" in str(problem)
    assert "is the server running" in str(problem)


def test_a_host_that_does_not_exist() -> None:
    """A name that nobody knows is told like a server that is not there."""
    assert "cannot be reached" in str(told("postgresql://me:hush@no-such-host.invalid/market"))


@pytest.mark.parametrize("password", ["", ":hushed"])
def test_a_wrong_password(postgresql: Server, name: str, keyed: str, password: str) -> None:
    """None, or another: the configuration must change."""
    problem = told(postgresql.url(name, keyed + password))
    assert isinstance(problem, DatabaseUnusable)
    assert str(problem).endswith("refuses the user or its password; mend database_url")


def test_the_right_password_opens_and_what_is_not_granted_is_refused(postgresql: Server, name: str, keyed: str) -> None:
    """Who may connect but not write is told what is lacking; the configuration may be right."""
    problem = told(postgresql.url(name, f"{keyed}:hush"), writes=True)
    assert type(problem) is DatabaseProblem
    assert "permission denied for table" in str(problem)


def test_an_unknown_user_and_an_unknown_database(postgresql: Server) -> None:
    """Both are matters of the configuration."""
    nobody = told(postgresql.url(user="nobody_here"))
    nothing = told(postgresql.url("nothing_here"))
    assert isinstance(nobody, DatabaseUnusable)
    assert isinstance(nothing, DatabaseUnusable)
    assert "refuses the user" in str(nobody)
    assert "does not exist on that server; create it" in str(nothing)


def test_a_server_that_is_full(postgresql: Server, name: str, keyed: str) -> None:
    """Too many connections pass by themselves."""
    postgresql.do(f"ALTER ROLE {keyed} CONNECTION LIMIT 0")
    problem = told(postgresql.url(name, f"{keyed}:hush"))
    assert isinstance(problem, DatabaseLost)
    assert "no connection left" in str(problem)


@pytest.mark.parametrize(
    "option", ["connect_timeout=soon", "service=none", "sslmode=surely", "keepalives_idle=x", "nosuch=1"]
)
def test_an_option_that_cannot_be_used(postgresql: Server, name: str, option: str) -> None:
    """The configuration must change: trying again would not help."""
    problem = told(f"{postgresql.url(name, 'me:hush')}?{option}")
    assert isinstance(problem, DatabaseUnusable)
    assert "has an option in its URL that cannot be used" in str(problem)


def test_a_server_without_tls_that_was_asked_for(postgresql: Server, name: str) -> None:
    """It is there, so nobody is asked whether it is running."""
    problem = told(f"{postgresql.url(name, 'me:hush')}?sslmode=verify-full")
    assert type(problem) is DatabaseProblem
    assert "is not as sslmode asks for" in str(problem)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ('root certificate file "/root/.postgresql/root.crt" does not exist\nEither provide the file',
         DatabaseUnusable, 'root.crt" does not exist Either provide the file); mend the options'),
        ('could not read root certificate file "x": no certificate found', DatabaseUnusable, "mend the options"),
        ('private key file "x" has group or world access', DatabaseUnusable, "mend the options"),
        ('server certificate for "a" does not match host name "b"', DatabaseProblem, "sslmode"),
        ("SSL error: certificate verify failed", DatabaseProblem, "sslmode"),
        ("SSL error: unexpected eof while reading", DatabaseLost, "is the server running"),
    ],
)  # fmt: skip
def test_certificates_are_not_taken_for_databases(said: str, kind: type[DatabaseProblem], words: str) -> None:
    """What libpq says of TLS, as it says it (libpq 17, fe-secure-openssl.c)."""
    found = in_words(psycopg.OperationalError(f'connection to server at "db", port 5432 failed: {said}'))
    assert found is not None
    assert found[0] is kind
    assert words in found[1]


def test_a_refusal_shows_nothing_of_our_statement(postgresql: Server) -> None:
    """On an empty database where the user may make no tables."""
    empty = postgresql.new_database()
    postgresql.do("CREATE ROLE visitor LOGIN")
    with psycopg.connect(postgresql.url(empty), autocommit=True) as conn:
        conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    engine = open_engine(postgresql.url(empty, "visitor"))
    with pytest.raises(DatabaseProblem, match=r"refuses this \(permission denied for schema public\); grant it"):
        DatabaseManager(engine, "").prepare()
    engine.dispose()
    postgresql.drop(empty)
    postgresql.do("DROP ROLE visitor")


def test_a_database_that_cannot_be_written(postgresql: Server, name: str) -> None:
    """As on a standby: another server has to be named."""
    postgresql.do(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    problem = told(postgresql.url(name), writes=True)
    assert "cannot be written (a standby, or set so)" in str(problem)


def test_a_statement_that_the_server_ends(postgresql: Server, name: str) -> None:
    """A timeout that somebody set is named."""
    postgresql.do(f"ALTER DATABASE {name} SET statement_timeout = '20ms'")
    engine = open_engine(postgresql.url(name))
    with pytest.raises(DatabaseProblem, match="is statement_timeout set"), reading(engine) as conn:
        conn.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_a_lock_that_is_never_given_back(postgresql: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long for another process says so, as on SQLite."""
    engine = open_engine(postgresql.url(name))
    with writing(engine) as holder:
        alone(holder, "plan")
        monkeypatch.setattr("db.locks._ALONE", text(str(locks._ALONE).replace("60s", "20ms")))
        with pytest.raises(DatabaseProblem, match="is kept locked by another process"), writing(engine) as conn:
            alone(conn, "plan", "series:1")
    engine.dispose()


def test_a_database_of_another_encoding(postgresql: Server) -> None:
    """It would not hold every text that is to be kept."""
    postgresql.do("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    url = postgresql.url("ascii")
    engine = open_engine(url)
    with pytest.raises(DatabaseUnusable, match="is encoded in SQL_ASCII"):
        DatabaseManager(engine, url).prepare()
    engine.dispose()
    postgresql.drop("ascii")


def test_a_schema_where_nothing_may_be_made(postgresql: Server, keyed: str) -> None:
    """A database of somebody else's: what to grant is said."""
    name = postgresql.new_database()
    with psycopg.connect(postgresql.url(name), autocommit=True) as conn:
        conn.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    url = postgresql.url(name, f"{keyed}:hush")
    engine = open_engine(url)
    with pytest.raises(DatabaseProblem, match=r"permission denied for schema|has no schema"):
        DatabaseManager(engine, url).prepare()
    engine.dispose()
    postgresql.drop(name)


def test_another_programs_database_is_left_alone(postgresql: Server) -> None:
    """Tables that are not ours are named, and nothing is created beside them."""
    name = postgresql.new_database()
    with psycopg.connect(postgresql.url(name), autocommit=True) as conn:
        conn.execute("CREATE TABLE invoices (id int)")
    url = postgresql.url(name)
    engine = open_engine(url)
    with pytest.raises(DatabaseUnusable, match="belongs to another program"):
        DatabaseManager(engine, url).prepare()
    assert not postgresql.has_table(name, "candles")
    engine.dispose()
    postgresql.drop(name)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (psycopg.errors.DiskFull("could not extend file"), DatabaseProblem, "the server's disk is full"),
        (psycopg.errors.OutOfMemory("out of memory"), DatabaseProblem, "no memory left"),
        (psycopg.errors.DataCorrupted("invalid page in block 7"), DatabaseProblem, "is damaged (invalid page"),
        (psycopg.errors.UntranslatableCharacter("x"), DatabaseUnusable, "not encoded in UTF8"),
        (psycopg.errors.CrashShutdown("x"), DatabaseLost, "broke the connection"),
        (psycopg.errors.CannotConnectNow("x"), DatabaseLost, "takes no connections just now"),
        (psycopg.errors.IdleInTransactionSessionTimeout("x"), DatabaseLost, "broke the connection"),
        (psycopg.errors.SerializationFailure("x"), DatabaseLost, "asked to try again"),
        (psycopg.errors.ConfigurationLimitExceeded("temp files"), DatabaseProblem, "cannot be used: temp files"),
        (
            psycopg.OperationalError("the database system is starting up"),
            DatabaseLost,
            "no connections just now",
        ),
        (psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "::1"'), DatabaseProblem, "pg_hba.conf"),
        (psycopg.OperationalError('FATAL:  role "anna" is not permitted to log in'), DatabaseProblem, "grant it"),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), DatabaseLost, "no connection left"),
        (psycopg.OperationalError("FATAL:  no such database: market"), DatabaseUnusable, "does not exist"),
        (psycopg.OperationalError("server closed the connection unexpectedly"), DatabaseLost, "broke the connection"),
        (psycopg.errors.UndefinedTable("relation does not exist"), TableGone, "lacks a table of this program"),
        (psycopg.ProgrammingError('invalid connection option "fast"'), DatabaseUnusable, "an option in its URL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_cannot_be_staged_here(error: psycopg.Error, kind: type[DatabaseProblem], words: str) -> None:
    """Errors that the server or PgBouncer sends when something is really wrong are sorted by state, or by words."""
    found = in_words(error)
    assert found is not None
    assert found[0] is kind
    assert words in found[1]


def test_our_own_mistakes_are_no_sentence() -> None:
    """A wrong statement is a bug and shows as one."""
    assert in_words(psycopg.errors.UndefinedColumn("column does not exist")) is None
    assert in_words(psycopg.errors.NotNullViolation("null value")) is None


def test_passwords_in_options_are_not_shown() -> None:
    """Libpq takes one there too."""
    url = "postgresql://me:hush@db:5432/market?sslmode=require&password=hush"
    assert shown(url) == "postgresql://me:***@db:5432/market"
    assert checked_url(url).database == "market"
    with pytest.raises(DatabaseUnusable, match="write it like postgresql://user:password@host/database") as caught:
        checked_url("postgresql+asyncpg://me:hush@db/market")
    assert "hush" not in str(caught.value)
