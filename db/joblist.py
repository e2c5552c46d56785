"""The job queue as people see it: counts, lists, retry, cancel. Times are ms UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, select, update

from db.jobrows import DONE, FAILED, QUEUED, JobRow, as_jobs, columns
from db.schema import jobs, series_sources, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_c = jobs.c


def counts(conn: Connection) -> dict[tuple[str, str], int]:
    """How many jobs there are by (status, kind)."""
    rows = conn.execute(select(_c.status, _c.kind, func.count()).group_by(_c.status, _c.kind))
    return {(status, kind): number for status, kind, number in rows}


def counts_by_series(conn: Connection) -> dict[int, dict[str, int]]:
    """How many jobs each series has by status."""
    found: dict[int, dict[str, int]] = {}
    for series_id, status, number in conn.execute(
        select(_c.series_id, _c.status, func.count()).group_by(_c.series_id, _c.status)
    ):
        found.setdefault(series_id, {})[status] = number
    return found


def listing(
    conn: Connection,
    *,
    ids: Sequence[int] | None = None,
    status: str | None = None,
    kind: str | None = None,
    series_id: int | None = None,
    limit: int | None = None,
) -> list[JobRow]:
    """The jobs that pass every filter given, by priority, then id."""
    query = select(*columns()).order_by(_c.priority, _c.id).limit(limit)
    if ids is not None:
        query = query.where(_c.id.in_(ids))
    for column, wanted in ((_c.status, status), (_c.kind, kind), (_c.series_id, series_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    return as_jobs(conn.execute(query))


def count_done(conn: Connection, priorities: Sequence[int], since_ms: int) -> int:
    """How many jobs of these priorities are done, of those ended since `since_ms` that are kept: a look at an index."""
    done = (_c.status == DONE, _c.priority.in_(priorities), _c.updated_ms >= since_ms)
    found: int = conn.execute(select(func.count()).where(*done)).scalar_one()
    return found


def retry(conn: Connection, ids: Sequence[int] | None, now_ms: int) -> list[JobRow]:
    """Queue failed or delayed jobs for now, with their attempts forgotten; None = all such. Those that it was."""
    change = update(jobs).where(or_(_c.status == FAILED, (_c.status == QUEUED) & (_c.not_before > now_ms)))
    if ids is not None:
        change = change.where(_c.id.in_(ids))
    change = change.values(status=QUEUED, not_before=now_ms, attempts=0, updated_ms=now_ms)
    return as_jobs(conn.execute(change.returning(*columns())))


def hasten(conn: Connection, source: str, now_ms: int) -> None:
    """Make due what waits for later, of the series that have a source."""
    theirs = select(series_sources.c.series_id).join(sources).where(sources.c.name == source)
    waits = (_c.status == QUEUED, _c.not_before > now_ms, _c.series_id.in_(theirs))
    conn.execute(update(jobs).where(*waits).values(not_before=now_ms, updated_ms=now_ms))


def cancel(conn: Connection, ids: Sequence[int] | None) -> list[JobRow]:
    """Delete queued jobs; None = all of them. Those that it was: what stays wanted and missing a run plans again."""
    change = delete(jobs).where(_c.status == QUEUED)
    if ids is not None:
        change = change.where(_c.id.in_(ids))
    return as_jobs(conn.execute(change.returning(*columns())))
