"""Records that nothing depends on any more, deleted a few at a time. Times are ms UTC.

Each function deletes at most `limit` rows of those that may go, and says how many: fewer than `limit` when these were
the last. All run in the caller's transaction, which is to be `writing()`, and short: others wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, or_, select

from db.jobrows import DONE
from db.schema import archive_files, audit_log, cache, candles, jobs, locks, quarantine, revisions, runs, series

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_q = quarantine.c


def old_jobs(conn: Connection, before_ms: int, limit: int) -> int:
    """Jobs done before then: coverage, not the queue, is the record of what was done."""
    return _oldest(conn, jobs, and_(jobs.c.status == DONE, jobs.c.updated_ms < before_ms), limit)


def old_runs(conn: Connection, before_ms: int, limit: int) -> int:
    """The record of runs begun before then."""
    return _oldest(conn, runs, runs.c.started_ms < before_ms, limit)


def old_deeds(conn: Connection, before_ms: int, limit: int) -> int:
    """What was changed by hand before then."""
    return _oldest(conn, audit_log, audit_log.c.at_ms < before_ms, limit)


def old_revisions(conn: Connection, before_ms: int, limit: int) -> int:
    """Values replaced before then."""
    return _oldest(conn, revisions, revisions.c.replaced_ms < before_ms, limit)


def surplus_revisions(conn: Connection, kept: int, before_ms: int, limit: int) -> int:
    """The oldest beyond `kept` rows, none replaced since `before_ms`."""
    surplus = _count(conn, revisions) - kept
    return _oldest(conn, revisions, revisions.c.replaced_ms < before_ms, min(limit, surplus))


def old_refusals(conn: Connection, before_ms: int, off_grid: int, limit: int) -> int:
    """Quarantined rows that did not come again since then; what is asked for in vain comes again and again.

    None that is the raw form of a candle stored at its slot under the flag `off_grid`.
    """
    return _oldest(conn, quarantine, and_(_q.last_seen_ms < before_ms, not_(_is_raw_form(off_grid))), limit)


def surplus_refusals(conn: Connection, kept: int, before_ms: int, off_grid: int, limit: int) -> int:
    """The oldest beyond `kept` rows: released ones, and others that did not come again since `before_ms`."""
    surplus = _count(conn, quarantine) - kept
    may_go = or_(_q.released_ms.is_not(None), _q.last_seen_ms < before_ms)
    return _oldest(conn, quarantine, and_(may_go, not_(_is_raw_form(off_grid))), min(limit, surplus))


def old_texts(conn: Connection, before_ms: int) -> int:
    """Cached texts fetched before then; one that somebody needs is fetched anew."""
    return conn.execute(delete(cache).where(cache.c.fetched_ms < before_ms)).rowcount


def old_locks(conn: Connection, before_ms: int) -> int:
    """Locks that ran out before then: whoever held them is gone."""
    return conn.execute(delete(locks).where(locks.c.until_ms < before_ms)).rowcount


def old_files(conn: Connection, read: str, before_ms: int) -> int:
    """What was noted before then of archive files that brought nothing; `read` is the state of those that did."""
    spent = and_(archive_files.c.state != read, archive_files.c.checked_ms < before_ms)
    return conn.execute(delete(archive_files).where(spent)).rowcount


def _is_raw_form(off_grid: int) -> ColumnElement[bool]:
    """Whether a quarantined row is what a candle between the slots looked like: evidence for what is stored."""
    c = candles.c
    return and_(
        _q.reason == "off_grid",
        exists().where(
            series.c.id == _q.series_id,
            c.series_id == _q.series_id,
            c.open_time <= _q.open_time,
            c.open_time > _q.open_time - series.c.timeframe_ms,
            c.flags.bitwise_and(off_grid) != 0,
        ),
    )


def _count(conn: Connection, table: Table) -> int:
    found: int = conn.execute(select(func.count()).select_from(table)).scalar_one()
    return found


def _oldest(conn: Connection, table: Table, which: ColumnElement[bool], limit: int) -> int:
    if limit <= 0:
        return 0
    # Rows that another process is deleting are passed over, lest each waits for the other.
    ids = select(table.c.id).where(which).order_by(table.c.id).limit(limit).with_for_update(skip_locked=True, of=table)
    return conn.execute(delete(table).where(table.c.id.in_(ids))).rowcount
