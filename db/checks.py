"""What can be wrong inside a database, as sentences; DatabaseManager.check() runs them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import false, func, insert, inspect, select

from db.schema import REVISIONS, alembic_version, candles, coverage, metadata, series, sources
from db.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

_SHOWN = 10
LEAST_POSTGRESQL = 13  # older ones do not tell what became of a transaction whose COMMIT got no answer


def problems(conn: Connection) -> list[str]:
    """Everything that is wrong, one sentence each; empty when all is sound. Reads every page of the database."""
    for check in (_server, _file, _missing):
        if found := list(check(conn)):
            return found  # the other checks would stumble over it
    return [problem for check in CHECKS for problem in check(conn)]


def unfit(conn: Connection) -> str | None:
    """Why a PostgreSQL server or its database is no place for candles, as the end of a sentence; None where it is."""
    if conn.dialect.name != "postgresql":
        return None
    version, encoding = conn.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    ).one()
    if version < LEAST_POSTGRESQL:
        return f"is on PostgreSQL {version}; it has to be {LEAST_POSTGRESQL} or newer"
    if encoding != "UTF8":
        return f"is encoded in {encoding} and cannot hold every text; create one with ENCODING 'UTF8'"
    return None


def writable(conn: Connection) -> None:
    """Write nothing into each table; raises what a run that writes something would meet."""
    for table in (*metadata.sorted_tables, alembic_version):
        conn.execute(insert(table).from_select(list(table.c.keys()), select(table).where(false())))


def _server(conn: Connection) -> Iterator[str]:
    if reason := unfit(conn):
        yield f"the database {reason}"


def _missing(conn: Connection) -> Iterator[str]:
    there = inspect(conn)
    tables = {*there.get_table_names()}
    for table in (*metadata.tables, alembic_version.name):
        if table not in tables:
            yield f"table {table} is missing; restore the last backup"
    views = {*there.get_view_names()}
    for view in VIEWS:
        if view not in views:
            yield f"view {view} is missing; `db upgrade` makes it again"


def _file(conn: Connection) -> Iterator[str]:
    if conn.dialect.name == "sqlite":
        for (verdict,) in conn.exec_driver_sql(f"PRAGMA quick_check({_SHOWN})"):
            if verdict != "ok":
                yield f"the file is damaged: {verdict}; restore the last backup"


def _foreign_keys(conn: Connection) -> Iterator[str]:
    if conn.dialect.name == "sqlite":
        for table, _row, parent, _number in conn.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_SHOWN):
            yield f"a row of {table} names a row of {parent} that does not exist"


def _revision(conn: Connection) -> Iterator[str]:
    revision = conn.execute(select(alembic_version.c.version_num)).scalar()
    if revision is None:
        yield "the schema's revision is gone (alembic_version is empty); restore the last backup"
    elif revision not in REVISIONS:
        yield f"the schema is at revision {revision}, newer than this program ({REVISIONS[-1]}); upgrade the program"
    elif revision != REVISIONS[-1]:
        yield f"the schema is at revision {revision}, the program at {REVISIONS[-1]}; run `db upgrade`"


def _overlaps(conn: Connection) -> Iterator[str]:
    ends = func.lag(coverage.c.end_ms).over(partition_by=coverage.c.series_id, order_by=coverage.c.start_ms)
    pairs = select(coverage.c.series_id, coverage.c.start_ms, ends.label("before")).subquery()
    found = select(pairs.c.series_id, pairs.c.start_ms).where(pairs.c.before > pairs.c.start_ms).limit(_SHOWN)
    for series_id, start in conn.execute(found):
        yield f"coverage of series {series_id} overlaps at {start}; run `audit --repair`"


def _orphans(conn: Connection) -> Iterator[str]:
    """Candles have no foreign keys (db/schema.py), so they are looked at here."""
    for column, parent in ((candles.c.series_id, series), (candles.c.source_id, sources)):
        used = select(column).distinct().subquery()
        for (orphan,) in conn.execute(select(used).where(used.c[column.name].not_in(select(parent.c.id)))):
            yield f"there are candles of {column.name} {orphan}, which {parent.name} does not have"


CHECKS: tuple[Callable[[Connection], Iterator[str]], ...] = (_foreign_keys, _revision, _overlaps, _orphans)
