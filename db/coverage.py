"""Coverage rows: what is stored or proven absent of each series, as disjoint intervals (arithmetic: db/intervals.py).

All functions run in the caller's transaction; those that write need `writing()`. Times are ms UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy import true as sql_true

from db import candles
from db.intervals import ABSENT, STORED, Interval, splice
from db.schema import coverage, series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Connection

__all__ = ["ABSENT", "STORED", "Interval", "cover", "due_rechecks", "erase", "read", "read_all"]

_c = coverage.c
_NAMES = tuple(Interval.__struct_fields__)
_FIELDS: tuple[ColumnElement[Any], ...] = tuple(_c[_NAMES])


def _at_or_before(ms: str) -> ColumnElement[int]:
    """The start of the last interval that starts at or before the parameter `ms`, else `ms` itself: one index seek.

    Intervals are disjoint, so no earlier one can reach `ms`: the scan may begin there, not at the series' first.
    """
    inner = coverage.alias()
    found = (
        select(func.max(inner.c.start_ms))
        .where(inner.c.series_id == bindparam("series"), inner.c.start_ms < bindparam(ms))
        .scalar_subquery()
    )
    return func.coalesce(found, bindparam(ms))


_TOUCHING = (
    select(*_FIELDS)
    .where(
        _c.series_id == bindparam("series"),
        _c.start_ms >= _at_or_before("start"),
        _c.start_ms <= bindparam("end"),
        _c.end_ms >= bindparam("start"),
    )
    .order_by(_c.start_ms)
)
_DELETE = delete(coverage).where(_c.series_id == bindparam("series"), _c.start_ms == bindparam("start"))
_UPDATE = (
    update(coverage)
    .where(_c.series_id == bindparam("series"), _c.start_ms == bindparam("start"))
    .values({name: bindparam(f"new_{name}") for name in _NAMES if name != "start_ms"})
)


def read(conn: Connection, series_id: int, start: int, end: int) -> list[Interval]:
    """The intervals that overlap or touch `[start, end)`, unclipped, ascending."""
    rows = conn.execute(_TOUCHING, {"series": series_id, "start": start, "end": end})
    return [Interval(*row) for row in rows]


def read_all(conn: Connection) -> dict[int, list[Interval]]:
    """Every interval by series id, ascending; series without coverage are left out."""
    found: dict[int, list[Interval]] = {}
    for series_id, *fields in conn.execute(select(_c.series_id, *_FIELDS).order_by(_c.series_id, _c.start_ms)):
        found.setdefault(series_id, []).append(Interval(*fields))
    return found


def cover(conn: Connection, series_id: int, intervals: Sequence[Interval], slots: Callable[[int, int], int]) -> None:
    """Write intervals over whatever was known of their time; stored neighbours of one source and route merge.

    `slots(start, end)` counts the series' grid. What is cut keeps its count: from the grid where it was dense, else
    from the candles, so store the candles first. ValueError when the intervals overlap one another.
    """
    _splice(conn, series_id, [(each.start_ms, each.end_ms) for each in intervals], intervals, slots)


def erase(conn: Connection, series_id: int, start: int, end: int, slots: Callable[[int, int], int]) -> None:
    """Forget what is known of `[start, end)`: the next plan fetches it again. `slots` as for `cover`."""
    if end > start:
        _splice(conn, series_id, [(start, end)], [], slots)


def due_rechecks(conn: Connection, now_ms: int) -> list[tuple[int, Interval]]:
    """Absent intervals of enabled series whose `recheck_at` has come, with their series id, longest due first."""
    rows = conn.execute(
        select(_c.series_id, *_FIELDS)
        .join(series, series.c.id == _c.series_id)
        .where(_c.state == ABSENT, _c.recheck_at <= now_ms, series.c.enabled == sql_true())
        .order_by(_c.recheck_at, _c.series_id, _c.start_ms)
    )
    return [(series_id, Interval(*fields)) for series_id, *fields in rows]


def _splice(
    conn: Connection,
    series_id: int,
    removed: Sequence[tuple[int, int]],
    added: Sequence[Interval],
    slots: Callable[[int, int], int],
) -> None:
    if not removed:
        return
    old = read(conn, series_id, min(start for start, _ in removed), max(end for _, end in removed))
    changes = splice(old, removed, added, slots, lambda start, end: candles.count(conn, series_id, start, end))
    if changes.deletes:
        conn.execute(_DELETE, [{"series": series_id, "start": start} for start in changes.deletes])
    if changes.updates:
        conn.execute(
            _UPDATE,
            [
                {"series": series_id, "start": each.start_ms}
                | {f"new_{name}": getattr(each, name) for name in _NAMES if name != "start_ms"}
                for each in changes.updates
            ],
        )
    if changes.inserts:
        conn.execute(
            insert(coverage),
            [{"series_id": series_id} | {name: getattr(each, name) for name in _NAMES} for each in changes.inserts],
        )
