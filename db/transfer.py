"""All rows of one database into another, of either kind: as last committed, in bounded memory, whole or not at all.

The target is filled in one transaction, so that whatever ends it leaves the target empty, to be begun again. Left out
are locks; a job that somebody works on is queued there. Doubles stay what they are bit for bit.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import BigInteger, Integer, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from db import candles as candle_rows
from db.engine import reading, sentences, shown, writing
from db.errors import DatabaseProblem, DatabaseUnusable
from db.locks import SCHEMA, alone
from db.schema import candles, coverage, endpoint_state, jobs, locks, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, Table

    Heard = Callable[[str, int], None]

_ROWS = 5_000  # of a table, held at once
_SLOTS = 50_000  # of candles
_TABLES = tuple(table for table in metadata.sorted_tables if table is not locks)
_LET_GO: dict[str, dict[str, None]] = {endpoint_state.name: {"probe_owner": None, "probe_until": None}}


def expected(source: Engine) -> int:
    """About how many candles a copy will bring: as many as coverage speaks for, without counting them."""
    with reading(source) as conn:
        return int(conn.execute(select(func.coalesce(func.sum(coverage.c.rows), 0))).scalar_one())


def transfer(source: Engine, target: Engine, heard: Heard) -> dict[str, int]:
    """Copy everything into a target that has our tables and no row in them; the rows of each table.

    Both must be at this program's revision. `heard` is told a table's name and its rows so far. Others may go on
    using the source: what they commit after the beginning is left out. Raises DatabaseUnusable where the target is
    not empty, DatabaseProblem where a row cannot be taken over or a count differs; the target stays empty then.
    """
    with writing(target) as new, reading(source) as old:  # what fails is the source's, but for `_into`
        with _into(new):
            _take(new, target)
        copied = {}
        for table in _TABLES:
            bring = _candles if table is candles else _rows
            try:
                copied[table.name] = bring(old, new, table, heard)
            except (DataError, IntegrityError, OverflowError, TypeError, ValueError) as error:
                reason = str(error.orig if isinstance(error, (DataError, IntegrityError)) else error).splitlines()[0]
                raise DatabaseProblem(
                    f"a row of {table.name} cannot be copied into {shown(target.url)} ({reason}); nothing was copied: "
                    "run `db check` on the database that it comes from"
                ) from error
        _count_again(old, new, target)
        for table in _TABLES:
            if (key := _numbered(table)) is not None:
                last = _last_number(old, table, key)
                with _into(new):
                    _go_on_from(new, table, key, last)
    return copied


def _into(target: Connection) -> AbstractContextManager[None]:
    """What fails inside is told of the target: inside `reading` it would be told of the source."""
    return sentences(target.engine)


def _take(conn: Connection, target: Engine) -> None:
    """Have the target to ourselves to the end of the transaction; it must be empty."""
    alone(conn, SCHEMA)
    if conn.dialect.name == "postgresql":
        # `alone` has the server end a transaction that idles, and counting a large source takes longer.
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        names = ", ".join(table.name for table in (*_TABLES, locks))
        conn.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
    for table in _TABLES:
        if conn.execute(select(table).limit(1)).first() is not None:
            raise DatabaseUnusable(
                f"{shown(target.url)} is not empty: its table {table.name} has rows; name a new database"
            )


def _rows(old: Connection, new: Connection, table: Table, heard: Heard) -> int:
    ordered = select(table).order_by(*table.primary_key)
    done = 0
    with old.execute(ordered, execution_options={"stream_results": True, "max_row_buffer": _ROWS}) as result:
        rows = iter(result.mappings())
        while part := [_let_go(table, dict(row)) for row in islice(rows, _ROWS)]:
            with _into(new):
                new.execute(insert(table), part)
            done += len(part)
            heard(table.name, done)
    return done


def _let_go(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row without what a process holds that does not come along."""
    if table is jobs and row["status"] == "leased":
        return row | {"status": "queued", "lease_owner": None, "lease_until": None}
    return row | _LET_GO.get(table.name, {})


def _candles(old: Connection, new: Connection, table: Table, heard: Heard) -> int:
    """Candles as columns, window by window of each series: the fast way of either driver."""
    done = 0
    for series_id, start, end in _windows(old):
        rows = candle_rows.read(old, series_id, start, end)
        for source_id in np.unique(rows["source_id"]).tolist():
            theirs = rows[rows["source_id"] == source_id]
            with _into(new):
                candle_rows.insert(new, series_id, source_id, theirs, fresh=True)
        if len(rows):
            done += len(rows)
            heard(table.name, done)
    return done


def _windows(old: Connection) -> Iterator[tuple[int, int, int]]:
    """Windows that hold every candle of every series, each of so many slots at most: series, start, end (ms UTC)."""
    everything = metadata.tables["series"].c
    for series_id, step in old.execute(select(everything.id, everything.timeframe_ms).order_by(everything.id)).all():
        start = candle_rows.after(old, series_id, -(2**62))
        while start is not None:
            end = start + step * _SLOTS
            yield series_id, start, end
            start = candle_rows.after(old, series_id, end)


def _count_again(old: Connection, new: Connection, target: Engine) -> None:
    for table in _TABLES:
        count = select(func.count()).select_from(table)
        there = old.execute(count).scalar_one()
        with _into(new):
            here = new.execute(count).scalar_one()
        if there != here:
            raise DatabaseProblem(
                f"{here} of {there} rows of {table.name} arrived in {shown(target.url)}; nothing was copied: run "
                "`db check` on the database that they come from"
            )


def _numbered(table: Table) -> str | None:
    """The column that the database counts by itself."""
    [key, *others] = table.primary_key
    counts = not others and not key.foreign_keys and isinstance(key.type, (Integer, BigInteger))
    return key.name if counts and key.autoincrement in {True, "auto"} else None


def _last_number(conn: Connection, table: Table, key: str) -> int:
    """The highest number that was given in a table, also where its row is gone; 0 where none was."""
    highest = conn.execute(select(func.coalesce(func.max(table.c[key]), 0))).scalar_one()
    if conn.dialect.name == "postgresql":
        last = conn.exec_driver_sql(
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(%s, %s)::regclass), 0)", (table.name, key)
        ).scalar_one()
    elif table.dialect_options["sqlite"]["autoincrement"]:
        last = conn.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", (table.name,))
        last = last.scalar_one()
    else:
        last = 0
    return max(int(highest), int(last))


def _go_on_from(conn: Connection, table: Table, key: str, last: int) -> None:
    """Let the next number be the one after `last`: people name jobs by them, and none may be given twice."""
    if not last:
        return
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (table.name, key, last))
    elif table.dialect_options["sqlite"]["autoincrement"]:
        conn.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        conn.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last))
