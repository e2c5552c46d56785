"""Which stored candles lie beside a hole, of its source where it has some: these must come back when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import candles, coverage
from fetcher.model import Window

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from db.candles import Times
    from fetcher.model import Series


def open_times(connection: Connection, series_id: int, window: Window, source_id: int) -> Times:
    """Open times of a source's candles inside a window: int64 ms UTC, ascending."""
    rows = candles.read(connection, series_id, window.start, window.end)
    times: Times = rows["open_time"][rows["source_id"] == source_id]
    return times


def nearest(
    connection: Connection, series: Series, hole: Window, source_id: int, slots: int
) -> tuple[int | None, int | None]:
    """The candles next to a hole, before and after it: those of a source, else anybody's; open times in ms UTC.

    Within `slots` slots the candles themselves are looked through, beyond that coverage.
    """
    grid = series.grid
    start, end = grid.advance(grid.floor(hole.start), -slots), grid.advance(grid.ceil(hole.end), slots)
    before = open_times(connection, series.id, Window(start, hole.start), source_id)
    after_it = open_times(connection, series.id, Window(hole.end, end), source_id)
    left = int(before[-1]) if len(before) else _before(connection, series.id, hole.start, source_id)
    right = int(after_it[0]) if len(after_it) else after(connection, series.id, hole.end, source_id)
    return (
        candles.before(connection, series.id, hole.start) if left is None else left,
        candles.after(connection, series.id, hole.end) if right is None else right,
    )


def after(connection: Connection, series_id: int, ms: int, source_id: int) -> int | None:
    """The first candle of a source at or after a moment, as coverage has it."""
    for each in coverage.read(connection, series_id, ms, 2**62):
        if each.source_id == source_id and each.rows and each.end_ms > ms:
            found = candles.after(connection, series_id, max(ms, each.start_ms))
            if found is not None and found < each.end_ms:
                return found
    return None


def _before(connection: Connection, series_id: int, ms: int, source_id: int) -> int | None:
    for each in reversed(coverage.read(connection, series_id, 0, ms)):
        if each.source_id == source_id and each.rows and each.start_ms < ms:
            found = candles.before(connection, series_id, min(ms, each.end_ms))
            if found is not None and found >= each.start_ms:
                return found
    return None
