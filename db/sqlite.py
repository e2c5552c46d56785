"""SQLite set up for one writer beside many readers, and its errors in words."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from db import images
from db.errors import TABLE_GONE, DatabaseProblem, DatabaseUnusable, TableGone
from db.fairness import FairLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

_CACHE_KIB = 16_384
_WAL_LIMIT_BYTES = 64 * 2**20
_PAGE_BYTES = 8192  # of a new file: rows come newest month first, and a sixth faster into bigger pages
_CHECKPOINT_PAGES = 8_000  # 64 MB of log: fewer waits for the disk than SQLite's 4 MB, while many rows come in

_NOT_OURS = {
    "file is not a database": "is not an SQLite database; name another file in database_url",
}
_GONE = {
    "no such table": TABLE_GONE,
}
_ADVICE = {
    "unable to open database file": "cannot be opened; check that the file and its folder can be read and written",
    "readonly database": "cannot be written; check the permissions of the file and of its folder",
    "disk is full": "cannot grow: the disk is full; make room and run again, nothing committed is lost",
    "database is locked": "is kept locked by another process; end that process or try again later",
    "malformed": "is damaged; restore the last backup (or move the file away: everything is fetched again)",
    "disk i/o error": "cannot be read or written: the disk reports an error; check it, then restore the last backup",
}


def check_url(address: URL) -> None:
    """Raise DatabaseUnusable for a URL that names no file we could use."""
    if address.drivername not in {"sqlite", "sqlite+pysqlite"}:
        shown = address.render_as_string(hide_password=True)
        raise DatabaseUnusable(f"database_url {shown} cannot be used: write it like sqlite:///market.db")
    if not address.database or address.database == ":memory:" or address.host:
        raise DatabaseUnusable("database_url names no file; write it like sqlite:///market.db")
    if address.query and not address.database.startswith("file:"):
        options = ", ".join(address.query)
        raise DatabaseUnusable(f"database_url has options ({options}), which are not supported; end it with the file")
    if Path(address.database).is_dir():
        raise DatabaseUnusable(f"database_url names {address.database}, which is a directory; name a file in it")


def open_sqlite(url: URL, busy_seconds: float) -> Engine:
    """An engine whose connections wait so long for other writers; makes the folder of the file."""
    if not (url.database or "").startswith("file:"):  # SQLite's own URI names no folder of ours
        _make_folder(Path(url.database or "").parent)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=0,  # no limit: as many connections as threads ask at once, all kept
        pool_use_lifo=True,  # the one last used has pages and statements at hand; at times the log's thread takes it
        # isolation_level None: the driver's own transaction control would begin too late (only before a write).
        connect_args={"timeout": busy_seconds, "isolation_level": None, "check_same_thread": False},
    )
    engine.update_execution_options(turns=FairLock(busy_seconds))
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "checkin", images.detach)
    return engine


def open_reader(url: URL) -> Engine:
    """An engine that only reads a file as it is: also a copy without WAL, also for who may not write."""
    file = Path(url.database or "")
    if not (url.database or "").startswith("file:") and not file.exists():
        raise DatabaseProblem(f"database {file} does not exist; a run makes it")
    engine = create_engine(url, poolclass=QueuePool, connect_args={"isolation_level": None, "check_same_thread": False})
    engine.update_execution_options(turns=FairLock(0))
    event.listen(engine, "do_connect", _connect_to_read)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def sentences(shown: str) -> Iterator[None]:
    """Errors about the database itself as sentences, of SQLAlchemy's as well as of the driver's own statements."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).lower()
        for kind, known in ((DatabaseUnusable, _NOT_OURS), (TableGone, _GONE), (DatabaseProblem, _ADVICE)):
            for words, advice in known.items():
                if words in reason:
                    raise kind(f"database {shown} {advice}") from error
        raise


@contextmanager
def transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    """A transaction, committed at the end; one that writes takes the write lock at once."""
    turns: FairLock = engine.get_execution_options()["turns"]
    with (
        turns.turn() if writes else nullcontext(),
        engine.connect() as conn,
        conn.execution_options(immediate=writes).begin(),
    ):
        yield conn


def bring_in_log(engine: Engine) -> None:
    """Copy what was committed from the log into the file, as far as readers let it; who writes goes on meanwhile."""
    with engine.connect() as conn:
        driver: Any = conn.connection.driver_connection
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").close()


@contextmanager
def rebuilding(engine: Engine, shown: str) -> Iterator[Connection]:
    """A transaction with foreign keys off, so that tables can be rebuilt; they are checked before the commit."""
    with engine.connect() as conn:
        driver: Any = conn.connection.driver_connection
        driver.execute("PRAGMA foreign_keys = OFF")  # SQLite ignores this inside a transaction
        try:
            with conn.execution_options(immediate=True).begin():
                yield conn
                if broken := conn.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                    raise DatabaseProblem(
                        f"database {shown} cannot be upgraded: {len(broken)} rows name rows that do not exist (first: "
                        f"table {broken[0][0]}); nothing was changed, run `db check`"
                    )
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


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
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute("PRAGMA temp_store = MEMORY")


def _connect_to_read(
    _dialect: Dialect, _record: ConnectionPoolEntry, words: list[Any], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect so that SQLite refuses to write, or to make a file; `words` hold the file's name, or SQLite's own URI."""
    name = words[0] if words[0].startswith("file:") else Path(words[0]).absolute().as_uri()
    connection: Any = sqlite3.connect(f"{name}{'&' if '?' in name else '?'}mode=ro", **options | {"uri": True})
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    made: DBAPIConnection = connection
    return made


def use_wal(connection: sqlite3.Connection) -> None:
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
