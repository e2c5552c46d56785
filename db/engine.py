"""Engines and transactions: SQLite set up for one writer beside many readers, errors turned into sentences."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from db.errors import DatabaseProblem, DatabaseUnusable
from db.fairness import FairLock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

BUSY_SECONDS = 30.0
_BACKENDS = ("sqlite", "postgresql")
_LAST_PORT = 65_535
_CACHE_KIB = 16_384
_WAL_LIMIT_BYTES = 64 * 2**20
_CHECKPOINT_PAGES = 16_000  # 64 MB of log: fewer waits for the disk than SQLite's 4 MB, while many rows come in

_TURNS: WeakKeyDictionary[Engine, FairLock] = WeakKeyDictionary()
"""The turns of this process's writers, for databases with one writer at a time."""

_NOT_OURS = {
    "file is not a database": "is not an SQLite database; name another file in database_url",
}
_ADVICE = {
    "unable to open database file": "cannot be opened; check that the file and its folder can be read and written",
    "readonly database": "cannot be written; check the permissions of the file and of its folder",
    "disk is full": "cannot grow: the disk is full; make room and run again, nothing committed is lost",
    "database is locked": "is kept locked by another process; end that process or try again later",
    "malformed": "is damaged; restore the last backup (or move the file away: everything is fetched again)",
    "disk i/o error": "cannot be read or written: the disk reports an error; check it, then restore the last backup",
}


def open_engine(url: str, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine for the URL; connects to nothing yet, but creates the folder of an SQLite file.

    Each thread that asks gets a connection of its own. Raises DatabaseUnusable where the URL is no good, and
    DatabaseProblem where its folder cannot be made.
    """
    address = checked_url(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address, busy_seconds)
    return create_engine(address)


def checked_url(url: str) -> URL:
    """The URL read, where an engine can be made of it; connects to nothing, creates nothing.

    Raises DatabaseUnusable, whose message names `database_url` and holds no password, for any that no run could use.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: what cannot be parsed may hold a password.
        raise DatabaseUnusable("database_url is not a database URL; write it like sqlite:///market.db") from None
    backend = address.get_backend_name()
    if backend not in _BACKENDS:
        raise DatabaseUnusable(f"database_url {_shown(address)} cannot be used: it must be {' or '.join(_BACKENDS)}")
    if backend == "sqlite":
        _check_sqlite(address)
        return address
    if address.port is not None and not 0 < address.port <= _LAST_PORT:
        raise DatabaseUnusable(f"database_url {_shown(address)} cannot be used: there is no port {address.port}")
    try:
        address.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise DatabaseUnusable(
            f"database_url {_shown(address)} cannot be used: its driver is not installed ({error})"
        ) from error
    return address


def _check_sqlite(address: URL) -> None:
    if address.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise DatabaseUnusable(f"database_url {_shown(address)} cannot be used: write it like sqlite:///market.db")
    if not address.database or address.database == ":memory:" or address.host:
        raise DatabaseUnusable("database_url names no file; write it like sqlite:///market.db")
    if address.query and not address.database.startswith("file:"):
        options = ", ".join(address.query)
        raise DatabaseUnusable(f"database_url has options ({options}), which are not supported; end it with the file")
    if Path(address.database).is_dir():
        raise DatabaseUnusable(f"database_url names {address.database}, which is a directory; name a file in it")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write, committed at the end and rolled back on any error.

    On SQLite it takes the write lock at once (BEGIN IMMEDIATE, waiting up to `busy_seconds`), because a reader that
    turns writer half-way is refused without waiting. Raises DatabaseProblem where the database cannot be used.
    """
    with sentences(engine), _turn(engine), engine.connect() as conn, conn.execution_options(immediate=True).begin():
        yield conn


def _turn(engine: Engine) -> AbstractContextManager[None]:
    lock = _TURNS.get(engine)
    return nullcontext() if lock is None else lock.turn()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one consistent snapshot, never waiting for the writer on SQLite."""
    with sentences(engine), engine.connect() as conn, conn.begin():
        yield conn


@contextmanager
def rebuilding(engine: Engine) -> Iterator[Connection]:
    """`writing` for a change of schema: SQLite's foreign keys are off inside, so that tables can be rebuilt.

    Before the commit they are checked; rows left without their parent raise DatabaseProblem, and all is rolled back.
    """
    with sentences(engine), engine.connect() as conn:
        if engine.dialect.name != "sqlite":
            with conn.begin():
                yield conn
            return
        driver: Any = conn.connection.driver_connection
        driver.execute("PRAGMA foreign_keys = OFF")  # SQLite ignores this inside a transaction
        try:
            with conn.execution_options(immediate=True).begin():
                yield conn
                if broken := conn.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                    raise DatabaseProblem(
                        f"database {_shown(engine.url)} cannot be upgraded: {len(broken)} rows name rows that do not "
                        f"exist (first: table {broken[0][0]}); nothing was changed, run `db check`"
                    )
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


@contextmanager
def sentences(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors about the database itself into sentences; others are our bugs and pass unchanged."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).lower()
        for kind, known in ((DatabaseUnusable, _NOT_OURS), (DatabaseProblem, _ADVICE)):
            for words, advice in known.items():
                if words in reason:
                    raise kind(f"database {_shown(engine.url)} {advice}") from error
        raise


def database_file(engine: Engine) -> Path | None:
    """The SQLite file behind the engine; None for a database that is not a file."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database)


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _open_sqlite(url: URL, busy_seconds: float) -> Engine:
    if not (url.database or "").startswith("file:"):  # SQLite's own URI names no folder of ours
        _make_folder(Path(url.database or "").parent)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=0,  # no limit: as many connections as threads ask at once, all kept
        # isolation_level None: the driver's own transaction control would begin too late (only before a write).
        connect_args={"timeout": busy_seconds, "isolation_level": None, "check_same_thread": False},
    )
    _TURNS[engine] = FairLock(busy_seconds)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DatabaseUnusable(
            f"the database's folder {folder} cannot be created: there is a file of that name; change database_url"
        ) from error
    except OSError as error:
        raise DatabaseProblem(f"the database's folder {folder} cannot be created: {error.strerror}") from error


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute("PRAGMA temp_store = MEMORY")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, which is kept in the file.

    SQLite does not wait when another process switches at the same moment, but refuses; then we wait for that
    process's lock and look again.
    """
    if _journal_mode(connection) == "wal":
        return
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except connection.OperationalError:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        if _journal_mode(connection) != "wal":
            connection.execute("PRAGMA journal_mode = WAL")


def _journal_mode(connection: sqlite3.Connection) -> Any:  # noqa: ANN401 - a cell of SQLite
    return connection.execute("PRAGMA journal_mode").fetchone()[0]


def _begin(conn: Connection) -> None:
    immediate = conn.get_execution_options().get("immediate", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
