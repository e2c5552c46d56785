"""Jobs as values: what is queued, how it is read back, and which jobs a scope means. Times are ms UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from db.schema import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Row

QUEUED = "queued"
LEASED = "leased"
DONE = "done"
FAILED = "failed"

_c = jobs.c


class NewJob(Struct, frozen=True):
    """A window `[start_ms, end_ms)` of a series to fetch; smaller priority = sooner."""

    series_id: int
    kind: str
    start_ms: int
    end_ms: int
    priority: int
    not_before: int = 0


class JobRow(Struct, frozen=True):
    """A job as stored. `kind`: tail, gap, backfill, heal, recheck; `status`: queued, leased, done, failed."""

    id: int
    series_id: int
    kind: str
    start_ms: int
    end_ms: int
    priority: int
    status: str
    attempts: int
    not_before: int
    lease_owner: str | None
    lease_until: int | None
    last_error: str | None
    created_ms: int
    updated_ms: int


class Scope(Struct, frozen=True):
    """The jobs that concern these series and overlap `[start, end)`; None = any."""

    series_ids: frozenset[int] | None = None
    start: int | None = None
    end: int | None = None


def columns() -> tuple[ColumnElement[Any], ...]:
    """The columns of a JobRow, in its order."""
    return tuple(_c[tuple(JobRow.__struct_fields__)])


def within(scope: Scope | None) -> list[ColumnElement[bool]]:
    """The conditions that keep the jobs of a scope."""
    if scope is None:
        return []
    conditions: list[ColumnElement[bool]] = []
    if scope.series_ids is not None:
        conditions.append(_c.series_id.in_(sorted(scope.series_ids)))
    if scope.start is not None:
        conditions.append(_c.end_ms > scope.start)
    if scope.end is not None:
        conditions.append(_c.start_ms < scope.end)
    return conditions


def as_jobs(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[JobRow]:
    """Rows of `columns()` as values."""
    return [JobRow(*row) for row in rows]
