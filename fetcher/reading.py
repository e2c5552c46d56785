"""Stored candles read part by part, as they are, added up to coarser ones, or with their empty slots filled.

Changes nothing, and needs no right to. Holds one part in memory, however long the range.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from db import candles, coverage
from db import series as series_rows
from db.coverage import ABSENT
from db.engine import open_reader
from db.errors import unreadable_row
from db.manager import DatabaseManager
from fetcher.gaps import GapDetector, pages, union
from fetcher.jobqueue import as_series
from fetcher.model import Window
from fetcher.resampling import MIXED, fill, resample, spoiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from db.intervals import Interval
    from fetcher.model import Rows, Series, Slots
    from fetcher.ranges import Asked
    from fetcher.resampling import Marks

_ROWS_AT_ONCE = 32_768  # 3 MB


class Part(Struct, frozen=True):
    """Candles of a window, ascending: `rows` of shape (n,), dtype candles.STORED_DTYPE or the columns asked for.

    `filled` (n,) marks those made up, `made_of` (n,) counts the stored ones that each was added up from.
    """

    window: Window
    rows: Rows
    filled: Marks
    made_of: Slots


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """A database to read from, closed at the end, never created nor upgraded; DatabaseProblem where it cannot be."""
    engine = open_reader(url)
    try:
        DatabaseManager(engine, url).demand()
        yield engine
    finally:
        engine.dispose()


def stored_series(conn: Connection) -> list[Series]:
    """Every series that the database knows, those no longer configured too."""
    return [as_series(row) for row in series_rows.read_series(conn)]


def source_names(conn: Connection) -> dict[int, str]:
    """The sources by the ids in rows, and what stands for several."""
    return {number: name for name, number in series_rows.source_ids(conn).items()} | {MIXED: "mixed"}


class CandleReader:
    """Reads what was asked, in one transaction of the caller's.

    `missing` are the windows of the series' own slots, neither stored nor proven empty, as far as `parts` has come.
    """

    def __init__(self, conn: Connection, asked: Asked, columns: Sequence[str] | None = None) -> None:
        self.asked = asked
        self.missing: list[Window] = []
        self._conn = conn
        self._columns = columns  # of STORED_DTYPE, `open_time` first; None: all

    def parts(self) -> Iterator[Part]:
        """The candles, ascending, some 33,000 stored ones at a time."""
        asked = self.asked
        last = self._last_before() if asked.fill else None
        for window in pages(asked.window, asked.grid, max(1, _ROWS_AT_ONCE // asked.candles_each)):
            rows = self._read(window)
            holes = self._holes(window, rows)
            self.missing = union([*self.missing, *holes])
            made_of = np.ones(len(rows), dtype=np.int64)
            if asked.is_resampled:
                rows, made_of = resample(rows, asked.grid, window, holes)
                holes = spoiled(asked.grid, holes)
            filled = np.zeros(len(rows), dtype=np.bool_)
            if asked.fill:
                done = fill(rows, asked.grid, window, holes, last)
                rows, filled, last = done.rows, done.filled, done.last
                counted = np.zeros(len(rows), dtype=np.int64)
                counted[~filled] = made_of
                made_of = counted
            yield Part(window, rows, filled, made_of)

    def _read(self, window: Window) -> Rows:
        try:
            return candles.read(self._conn, self.asked.series.id, window.start, window.end, self._columns)
        except (OverflowError, ValueError) as error:  # ValueError: SQLite keeps any text in any column
            raise unreadable_row(error) from error

    def _holes(self, window: Window, rows: Rows) -> list[Window]:
        """The slots of a window that are neither in `rows` nor proven to be empty."""
        series = self.asked.series
        if len(rows) == series.grid.count(window):
            return []
        covered = coverage.read(self._conn, series.id, window.start, window.end)
        empty = [Window(each.start_ms, each.end_ms) for each in covered if _may_lack(each, series)]
        empty.append(Window(min(window.start, series.listed_ms or 0), series.listed_ms or 0))
        detector = GapDetector(series.grid)
        return [part for hole in detector.holes(window, rows["open_time"]) for part in detector.missing(hole, empty)]

    def _last_before(self) -> Rows | None:
        """The last candle before the range, where nothing between is missing."""
        found = candles.before(self._conn, self.asked.series.id, self.asked.window.start)
        if found is None:
            return None
        row = self._read(Window(found, found + 1))
        return None if self._holes(Window(found, self.asked.window.start), row) else row


def _may_lack(interval: Interval, series: Series) -> bool:
    """Whether slots of an interval can be empty. Where every slot was stored, one that is gone was taken away."""
    slots = series.grid.count(Window(interval.start_ms, interval.end_ms))
    return interval.state == ABSENT or interval.rows < slots
