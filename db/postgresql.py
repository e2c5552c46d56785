"""PostgreSQL through psycopg 3: connections that survive a restart of the server, transactions, and errors in words.

Nothing is kept in a session: behind PgBouncer each transaction may meet another one.
"""

from __future__ import annotations

import logging
import select
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import IsolationLevel
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import QueuePool

from db.errors import DatabaseLost, DatabaseProblem
from db.postgresql_errors import in_words
from db.retrying import PAUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

_CONNECT = {
    "application_name": "candle-fetcher",
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    # A cable pulled, a router that forgot us: without these a statement waits for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_NEW = "new"
# What the driver has to say is in its exceptions, and they become sentences: no line of its own on stderr beside them.
logging.getLogger("psycopg").addHandler(logging.NullHandler())
_NUL = "\N{SYMBOL FOR NULL}"


def open_postgresql(url: URL) -> Engine:
    """An engine that connects when first asked; options in the URL win over ours."""
    ours = {name: value for name, value in _CONNECT.items() if name not in url.query}
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=0,  # no limit: a thread that has one connection and waits for another would wait for ever
        use_native_hstore=False,  # else each start asks for a type that is not ours
        # prepare_threshold None: what is prepared belongs to a session, and PgBouncer gives each transaction another.
        connect_args={**ours, "prepare_threshold": None},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "checkout", _look)
    return engine


@contextmanager
def transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    """A transaction, committed at the end: READ COMMITTED where it writes, else one snapshot that cannot write."""
    with engine.connect() as conn:
        driver: Any = conn.connection.driver_connection
        driver.isolation_level = IsolationLevel.READ_COMMITTED if writes else IsolationLevel.REPEATABLE_READ
        driver.read_only = None if writes else True
        begun = conn.begin()
        try:
            yield conn
            number = _number(conn) if writes else None
        except BaseException as error:
            if driver.closed:  # found by COPY, of which SQLAlchemy knows nothing
                conn.invalidate(error)
            begun.rollback()
            raise
        try:
            begun.commit()
        except DBAPIError as error:
            if number is not None and not (error.connection_invalidated and _took_place(engine, number)):
                raise


@contextmanager
def sentences(shown: str) -> Iterator[None]:
    """Errors about the database itself as sentences, of SQLAlchemy's as well as of the driver's own statements."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        if (told := in_words(error)) is None:
            raise
        kind, advice = told
        raise kind(f"database {shown} {advice}") from error


def _number(conn: Connection) -> str | None:
    """The transaction's number, by which the server can be asked what became of it; None where it wrote nothing."""
    found: str | None = conn.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()::text").scalar()
    return found


def _took_place(engine: Engine, number: str) -> bool:
    """Whether a transaction was committed whose COMMIT got no answer: else it would be lost, or done twice."""
    never = Event()
    for pause in PAUSES:
        never.wait(pause)
        try:
            with engine.connect() as conn:
                status = conn.exec_driver_sql(f"SELECT pg_xact_status('{number}')").scalar()
        except DBAPIError as error:
            told = in_words(error)
            if told is None:
                return False  # a server that never heard of it: another took over, before it got there
            if not issubclass(told[0], DatabaseLost):
                raise
            continue
        if status != "in progress":
            return bool(status == "committed")
    raise DatabaseProblem(
        "the connection to the database was lost while a transaction was being committed; whether it was is not known, "
        "and the next run looks"
    )


def _set_up(connection: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
    connection.adapters.register_dumper(str, _Text)
    record.info[_NEW] = True


def _look(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
    """Before a pooled connection is used: has the server closed it? Then it has something to read, which costs nothing.

    A question to the server would, for each of the many short transactions. What else there may be to read is no harm.
    """
    if record.info.pop(_NEW, False):  # its first statement will tell; to the pool a second broken one is a bug of ours
        return
    driver: Any = connection
    if driver.closed:
        raise DisconnectionError("closed")
    driver.isolation_level, driver.read_only = IsolationLevel.READ_COMMITTED, None  # as if it were a new one
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    if not poll.poll(0):
        return
    try:
        driver.execute("SELECT 1")
        driver.rollback()
    except psycopg.Error as error:
        raise DisconnectionError(str(error)) from error


class _Text(StrDumper):
    """Text as the server takes it: no NUL, no half of a character; a hostile payload is kept with both made visible."""

    def dump(self, obj: str) -> Any:  # noqa: ANN401 - bytes of one kind or another
        try:
            return super().dump(obj)
        except (psycopg.DataError, UnicodeEncodeError):
            return super().dump(obj.replace("\0", _NUL).encode("utf-8", "replace").decode())
