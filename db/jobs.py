"""The job queue: adding, claiming under a lease, and ending jobs.

Counting, listing and the user's commands live in db/joblist.py and are offered here too.

All functions run in the caller's transaction; those that write need `writing()`. Times are ms UTC. An owner is any
text that names one living process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from sqlalchemy import and_, delete, func, insert, or_, select, update

from db.joblist import cancel, count_done, counts, counts_by_series, hasten, listing, retry
from db.jobrows import DONE, FAILED, LEASED, QUEUED, JobRow, NewJob, Scope, as_jobs, columns, within
from db.schema import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "DONE",
    "FAILED",
    "LEASED",
    "QUEUED",
    "JobRow",
    "NewJob",
    "Scope",
    "add",
    "cancel",
    "claim",
    "count_done",
    "count_stuck",
    "counts",
    "counts_by_series",
    "drop_before",
    "extend",
    "fail",
    "finish",
    "hasten",
    "listing",
    "move",
    "next_due",
    "open_windows",
    "owners",
    "release",
    "renew",
    "requeue",
    "resize",
    "retry",
    "take_over",
    "unstick",
]

_c = jobs.c
_NO_LEASE: dict[str, None] = {"lease_owner": None, "lease_until": None}


def add(conn: Connection, new: Sequence[NewJob], now_ms: int) -> list[int]:
    """Queue jobs; their ids, in the order given."""
    if not new:
        return []
    rows = [
        {
            "series_id": job.series_id,
            "kind": job.kind,
            "start_ms": job.start_ms,
            "end_ms": job.end_ms,
            "priority": job.priority,
            "not_before": job.not_before,
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        for job in new
    ]
    return list(conn.scalars(insert(jobs).returning(_c.id, sort_by_parameter_order=True), rows))


def claim(
    conn: Connection, owner: str, now_ms: int, lease_until: int, limit: int, only: Scope | None = None
) -> list[JobRow]:
    """Lease up to `limit` jobs that are due, or whose lease has run out, soonest priority first, then oldest.

    A re-claimed job may be half done: work only its window − coverage.
    """
    # Two queries, so that each walks an index in order and stops at the limit, however long the queue is.
    found: list[JobRow] = []
    for due in (
        and_(_c.status == QUEUED, _c.not_before <= now_ms),
        and_(_c.status == LEASED, _c.lease_until < now_ms, _c.lease_owner != owner),  # one's own is being worked
    ):
        rows = conn.execute(
            select(*columns())
            .where(due, *within(only))
            .order_by(_c.priority, _c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found += as_jobs(rows)
    chosen = sorted(found, key=lambda job: (job.priority, job.id))[:limit]
    if not chosen:
        return []
    lease = {"status": LEASED, "lease_owner": owner, "lease_until": lease_until, "updated_ms": now_ms}
    conn.execute(update(jobs).where(_c.id.in_([job.id for job in chosen])).values(lease))
    return [
        replace(job, status=LEASED, lease_owner=owner, lease_until=lease_until, updated_ms=now_ms) for job in chosen
    ]


def renew(conn: Connection, owner: str, until: int) -> int:
    """Move the end of all this owner's leases to `until`; how many."""
    # The owner's other threads end jobs meanwhile: rows that they hold are passed over, lest each waits for the other.
    mine = select(_c.id).where(_c.status == LEASED, _c.lease_owner == owner).with_for_update(skip_locked=True)
    return conn.execute(update(jobs).where(_c.id.in_(mine)).values(lease_until=until)).rowcount


def finish(conn: Connection, job_id: int, now_ms: int) -> None:
    """Mark a job done: its whole window is covered."""
    ended = {"status": DONE, "last_error": None, "updated_ms": now_ms, **_NO_LEASE}
    conn.execute(update(jobs).where(_c.id == job_id).values(ended))


def requeue(
    conn: Connection, job_id: int, not_before: int, error: str | None, now_ms: int, *, attempts: int | None = None,
    owner: str | None = None,
) -> None:  # fmt: skip
    """Put a job back to be tried again at `not_before`, with so many attempts counted (None: as many as before).

    A job that is done meanwhile stays done; one that somebody else than `owner` leases meanwhile stays leased.
    """
    again: dict[str, object] = {
        "status": QUEUED,
        "not_before": not_before,
        "last_error": error,
        "updated_ms": now_ms,
        **_NO_LEASE,
    }
    if attempts is not None:
        again["attempts"] = attempts
    conn.execute(update(jobs).where(_c.id == job_id, _c.status != DONE, *_not_of_others(owner)).values(again))


def fail(conn: Connection, job_id: int, error: str, now_ms: int, *, owner: str | None = None) -> None:
    """Give a job up for people to see; counts as an attempt. Otherwise as `requeue`."""
    given_up = {"status": FAILED, "last_error": error, "updated_ms": now_ms, **_NO_LEASE}
    conn.execute(
        update(jobs)
        .where(_c.id == job_id, _c.status != DONE, *_not_of_others(owner))
        .values(given_up | {"attempts": _c.attempts + 1})
    )


def _not_of_others(owner: str | None) -> list[ColumnElement[bool]]:
    """Whether a job may be given back: its lease may have run out, and another be at work on it."""
    return [] if owner is None else [or_(_c.status != LEASED, _c.lease_owner == owner)]


def release(conn: Connection, job_ids: Sequence[int], owner: str | None = None) -> int:
    """Put leased jobs (of `owner`) back into the queue without an attempt (the program is leaving); how many."""
    leased = (_c.id.in_(job_ids), _c.status == LEASED, *_not_of_others(owner))
    return conn.execute(update(jobs).where(*leased).values({"status": QUEUED, **_NO_LEASE})).rowcount


def take_over(conn: Connection, dead: Sequence[str]) -> int:
    """Put the leased jobs of owners that are dead back into the queue; how many."""
    theirs = select(_c.id).where(_c.status == LEASED, _c.lease_owner.in_(dead)).with_for_update(skip_locked=True)
    return conn.execute(update(jobs).where(_c.id.in_(theirs)).values({"status": QUEUED, **_NO_LEASE})).rowcount


def owners(conn: Connection, only: Scope | None = None) -> list[str]:
    """Everyone who holds a lease of a scope's jobs, dead or alive."""
    held = select(_c.lease_owner).where(_c.status == LEASED, *within(only)).distinct()
    return [owner for owner in conn.scalars(held) if owner]


def resize(conn: Connection, job_id: int, start: int, end: int) -> None:
    """Give a job that is not done another window; an empty one is refused by the table (IntegrityError)."""
    conn.execute(update(jobs).where(_c.id == job_id, _c.status != DONE).values(start_ms=start, end_ms=end))


def extend(conn: Connection, job_id: int, end: int) -> bool:
    """Let a queued job reach further; False where somebody works on it by now, with the window that it had."""
    return conn.execute(update(jobs).where(_c.id == job_id, _c.status == QUEUED).values(end_ms=end)).rowcount > 0


def count_stuck(conn: Connection, now_ms: int, longest_wait_ms: int, given_up_ms: int) -> int:
    """How many jobs `unstick` would free."""
    found: int = conn.execute(select(func.count()).where(_stuck(now_ms, longest_wait_ms, given_up_ms))).scalar_one()
    return found


def unstick(conn: Connection, now_ms: int, longest_wait_ms: int, given_up_ms: int) -> int:
    """Make due what waits longer than anything may, or was given up that long ago; how many.

    A job given up gets one attempt, after which it is given up again.
    """
    freed = update(jobs).where(_stuck(now_ms, longest_wait_ms, given_up_ms))
    return conn.execute(freed.values(status=QUEUED, not_before=now_ms, updated_ms=now_ms)).rowcount


def _stuck(now_ms: int, longest_wait_ms: int, given_up_ms: int) -> ColumnElement[bool]:
    return or_(
        and_(_c.status == QUEUED, _c.not_before > now_ms + longest_wait_ms),
        and_(_c.status == FAILED, _c.updated_ms < now_ms - given_up_ms),
    )


def move(conn: Connection, now_ms: int, by_ms: int) -> int:
    """Move what waits for a time after `now_ms` by so much: the clock that it was written by was set; how many."""
    waiting = update(jobs).where(_c.status == QUEUED, _c.not_before > now_ms)
    return conn.execute(waiting.values(not_before=_c.not_before + by_ms)).rowcount


def drop_before(conn: Connection, series_id: int, ms: int) -> None:
    """Take the time before `ms` (a listing) out of a series' queued and failed jobs, deleting those wholly before."""
    waiting = (_c.series_id == series_id, _c.status.in_((QUEUED, FAILED)))
    conn.execute(delete(jobs).where(*waiting, _c.end_ms <= ms))
    conn.execute(update(jobs).where(*waiting, _c.start_ms < ms).values(start_ms=ms))


def open_windows(conn: Connection, series_id: int | None = None) -> list[JobRow]:
    """Jobs queued, leased or failed: what the planner must not plan again. By series, then start."""
    conditions: list[ColumnElement[bool]] = [_c.status.in_((QUEUED, LEASED, FAILED))]
    if series_id is not None:
        conditions.append(_c.series_id == series_id)
    rows = conn.execute(select(*columns()).where(*conditions).order_by(_c.series_id, _c.start_ms, _c.id))
    return as_jobs(rows)


def next_due(conn: Connection, scope: Scope | None = None) -> int | None:
    """When the next job can be claimed (may be past): a queued one's time or a lease's end; None without any."""
    due = func.min(func.coalesce(_c.lease_until, _c.not_before))
    waiting = or_(_c.status == QUEUED, _c.status == LEASED)
    found: int | None = conn.execute(select(due).where(waiting, *within(scope))).scalar_one()
    return found
