"""Engines and transactions on either database; what differs is in db/sqlite.py and db/postgresql.py."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from db import sqlite
from db.errors import DatabaseUnusable
from db.retrying import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

BUSY_SECONDS = 30.0
_BACKENDS = ("sqlite", "postgresql")
_LAST_PORT = 65_535
_EXAMPLES = {
    "sqlite": "write it like sqlite:///market.db",
    "postgresql": "write it like postgresql://user:password@host/database, inside the password with %40 for @, %3A for "
    ":, %2F for / and %25 for %",
}


def open_engine(url: str, *, busy_seconds: float = BUSY_SECONDS, stop: Event | None = None) -> Engine:
    """An engine for the URL; connects to nothing yet, but creates the folder of an SQLite file.

    Each thread that asks gets a connection of its own. `stop` ends the waiting for a server that is gone. Raises
    DatabaseUnusable where the URL is no good, and DatabaseProblem where its folder cannot be made.
    """
    address = checked_url(url)
    if address.get_backend_name() == "sqlite":
        engine = sqlite.open_sqlite(address, busy_seconds)
    else:
        from db import postgresql  # noqa: PLC0415 - the driver: a tenth of a second that SQLite needs not

        engine = postgresql.open_postgresql(address)
    engine.update_execution_options(patience=Patience(stop))
    return engine


def open_reader(url: str) -> Engine:
    """An engine that can only read, of a database that is there: nothing is created, no file's mode is changed.

    Raises DatabaseUnusable where the URL is no good, and DatabaseProblem where an SQLite file does not exist.
    """
    address = checked_url(url)
    if address.get_backend_name() != "sqlite":
        return open_engine(url)  # `reading` is a transaction that cannot write
    engine = sqlite.open_reader(address)
    engine.update_execution_options(patience=Patience(None))
    return engine


def checked_url(url: str) -> URL:
    """The URL read, where an engine can be made of it; connects to nothing, creates nothing.

    Raises DatabaseUnusable, whose message names `database_url` and holds no password, for any that no run could use.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: what cannot be parsed may hold a password.
        example = _EXAMPLES["postgresql" if url.startswith("postgres") else "sqlite"]
        raise DatabaseUnusable(f"database_url is not a database URL; {example}") from None
    backend = address.get_backend_name()
    if backend not in _BACKENDS:
        raise DatabaseUnusable(f"database_url {shown(address)} cannot be used: it must be {' or '.join(_BACKENDS)}")
    if backend == "sqlite":
        sqlite.check_url(address)
        return address
    if "@" in f"{address.host}{address.database}":  # not repeated: what stands before it is a part of the password
        raise DatabaseUnusable(f"database_url holds an @ too many; {_EXAMPLES['postgresql']}")
    if address.port is not None and not 0 < address.port <= _LAST_PORT:
        raise DatabaseUnusable(f"database_url {shown(address)} cannot be used: there is no port {address.port}")
    try:
        dialect = address.get_dialect()
        if dialect.driver == "psycopg":
            dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise DatabaseUnusable(
            f"database_url {shown(address)} cannot be used: its driver is not installed ({error})"
        ) from error
    if dialect.driver != "psycopg":
        raise DatabaseUnusable(
            f"database_url {shown(address)} cannot be used: write it like postgresql://user:password@host/database"
        )
    return address


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write, committed at the end and rolled back on any error.

    On SQLite it takes the write lock at once (BEGIN IMMEDIATE, waiting up to `busy_seconds`), because a reader that
    turns writer half-way is refused without waiting. On PostgreSQL others write at the same time: whoever reads before
    writing what depends on it names what must not change meanwhile (db/locks.py). Raises DatabaseProblem where the
    database cannot be used, DatabaseLost where nothing was kept and all of it may be done again.
    """
    with sentences(engine), _transaction(engine, writes=True) as conn:
        yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one consistent snapshot, never waiting for a writer."""
    with sentences(engine), _transaction(engine, writes=False) as conn:
        yield conn


def bring_in_log(engine: Engine) -> None:
    """Have SQLite's log copied into its file, which else is done while somebody waits; PostgreSQL does so by itself."""
    if engine.dialect.name == "sqlite":
        sqlite.bring_in_log(engine)


@contextmanager
def rebuilding(engine: Engine) -> Iterator[Connection]:
    """`writing` for a change of schema: SQLite's foreign keys are off inside, so that tables can be rebuilt.

    Before the commit they are checked; rows left without their parent raise DatabaseProblem, and all is rolled back.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as conn:
            yield conn
        return
    with sentences(engine), sqlite.rebuilding(engine, shown(engine.url)) as conn:
        yield conn


@contextmanager
def sentences(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors about the database itself into sentences; others are our bugs and pass unchanged."""
    if engine.dialect.name == "postgresql":
        from db import postgresql  # noqa: PLC0415 - loaded with the engine

        with postgresql.sentences(shown(engine.url)):
            yield
        return
    with sqlite.sentences(shown(engine.url)):
        yield


def database_file(engine: Engine) -> Path | None:
    """The SQLite file behind the engine; None for a database that is not a file."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database)


def shown(url: URL | str) -> str:
    """The URL as messages may have it: without the password, and without options, which may hold another."""
    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(query={})
    return address.render_as_string(hide_password=True)


@contextmanager
def _transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    if engine.dialect.name == "postgresql":
        from db import postgresql  # noqa: PLC0415 - loaded with the engine

        with postgresql.transaction(engine, writes=writes) as conn:
            yield conn
        return
    with sqlite.transaction(engine, writes=writes) as conn:
        yield conn
