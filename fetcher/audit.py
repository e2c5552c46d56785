"""Audit: proves coverage against the candles themselves, and makes it true again where it is not.

Coverage cuts a series' time into cells (stored, absent, unknown). Counting the rows of every cell, those off the grid
and, where the database knows several sources, those of another one reads each row once, like `GROUP BY series_id`, and
is a proof: open times are unique, so a stored cell with as many rows as slots, all on the grid, lacks none. Only cells
that differ are looked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from db import candles, coverage
from db.engine import reading, writing
from db.locks import alone, series_lock
from db.retrying import retried
from db.series import read_series, source_ids
from fetcher.audit_counts import Counted, chunks, count
from fetcher.audit_deep import disagreements
from fetcher.clock import format_utc
from fetcher.finding import Finding
from fetcher.gaps import GapDetector, subtract, union
from fetcher.jobqueue import as_series
from fetcher.model import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from db.audit_log import Hand
    from db.intervals import Interval
    from fetcher.audit_counts import Asked
    from fetcher.audit_deep import Disagreement
    from fetcher.model import Grid, Series

ROWS_MISSING = "rows_missing"  # covered as stored, but there is no candle
ROWS_UNCOVERED = "rows_uncovered"  # candles that no coverage speaks for
ROWS_OF_OTHERS = "rows_of_others"  # covered as one source's, but the candles are another's
ROWS_IN_ABSENT = "rows_in_absent"  # candles where absence is said to be proven
OFF_GRID_ROWS = "off_grid_rows"  # candles whose open time is no slot of the series
COUNT_WRONG = "count_wrong"  # the candles are there, but coverage counts them wrongly
COVERAGE_OVERLAPS = "coverage_overlaps"  # two intervals speak for the same time
PARENT_DISAGREES = "parent_disagrees"  # the source's own timeframes do not add up

_REPAIRED = {ROWS_MISSING, ROWS_OF_OTHERS, ROWS_IN_ABSENT, COUNT_WRONG, COVERAGE_OVERLAPS}
_EVER = Window(-(2**62), 2**62)
_MOST_NOTED = 100  # findings of a series, in the record of repairs
_CHUNK_SLOTS = 50_000  # open times held in memory at once


class AuditReport(Struct, frozen=True):
    """Everything found, by series and time; what the source itself disagrees about comes last."""

    findings: tuple[Finding, ...]

    @property
    def repaired(self) -> int:
        """How many findings were repaired: the next plan fetches what is gone."""
        return sum(finding.repaired for finding in self.findings)

    @property
    def sound(self) -> bool:
        """Whether coverage can be believed now; a source that disagrees with itself does not speak against it."""
        return all(finding.repaired or finding.kind == PARENT_DISAGREES for finding in self.findings)


def audit(
    engine: Engine, all_series: Sequence[Series], *, repair: bool = False, deep: bool = False, by: Hand | None = None
) -> AuditReport:
    """Compare coverage with the candles; `repair` makes it true again, `deep` also adds children up against parents.

    Deletes no candle: what coverage claims wrongly is taken back, and the next plan fetches just that. One transaction
    for each series repaired, in which it is noted `by` whom. Raises DatabaseProblem where the database cannot be used.
    """
    found: list[Finding] = []
    with reading(engine) as conn:
        known, covered = _as_stored(conn, all_series), coverage.read_all(conn)
        numbers = count(conn, _cells(conn, [(series, covered.get(series.id, ())) for series in known]))
        for series in known:
            found += _examine(conn, series, covered.get(series.id, ()), numbers)
        sums = [_told(each) for each in disagreements(conn, known, covered)] if deep else []
    if repair:
        found = [finding for series in known for finding in _repaired(engine, series, found, by)]
    return AuditReport((*found, *sums))


def _as_stored(conn: Connection, all_series: Sequence[Series]) -> list[Series]:
    """The series as they stand in this transaction: another process may have learnt an anchor meanwhile."""
    rows = {row.id: row for row in read_series(conn)}
    return [as_series(rows[series.id]) for series in all_series if series.id in rows]


@retried
def _repaired(engine: Engine, series: Series, found: Sequence[Finding], by: Hand | None) -> list[Finding]:
    """What was found of one series, repaired where that can be; looked at again first, now that nobody else writes."""
    mine = [finding for finding in found if finding.series.id == series.id]
    if not any(finding.repairable for finding in mine):
        return mine
    with writing(engine) as conn:
        alone(conn, series_lock(series.id))
        [series] = _as_stored(conn, [series])
        grid = series.grid

        def slots(start: int, end: int) -> int:
            return grid.count(Window(start, end))

        intervals = coverage.read(conn, series.id, _EVER.start, _EVER.end)
        mine = _examine(conn, series, intervals, count(conn, _cells(conn, [(series, intervals)])))
        recounted = {each.start_ms: each.rows for each in mine if _only_counted_wrong(each, grid)}
        wrong = [each for each in mine if each.repairable and not _only_counted_wrong(each, grid)]
        for window in union(Window(each.start_ms, each.end_ms) for each in wrong):
            coverage.erase(conn, series.id, window.start, window.end, slots)
        for interval in intervals:
            if interval.start_ms in recounted:
                coverage.cover(conn, series.id, [replace(interval, rows=recounted[interval.start_ms])], slots)
        changed = [f"{each.kind}: {each.message}" for each in mine if each.repairable]
        if by is not None and changed:
            by.note(conn, series=str(series), count=len(changed), findings=changed[:_MOST_NOTED])
    return [replace(finding, repaired=finding.repairable) for finding in mine]


def _only_counted_wrong(finding: Finding, grid: Grid) -> bool:
    """Whether every slot has its candle, so that writing the true count is all there is to repair."""
    return finding.kind == COUNT_WRONG and finding.rows == grid.count(Window(finding.start_ms, finding.end_ms))


def _examine(
    conn: Connection, series: Series, intervals: Sequence[Interval], counted: Mapping[tuple[int, Window], Counted]
) -> list[Finding]:
    """What is wrong with a series, whose cells are counted."""
    found = _overlaps(series, intervals)
    for interval in intervals:
        look = _absent if interval.state == coverage.ABSENT else _stored
        found += look(conn, series, interval, counted[series.id, _window(interval)])
    for window in _unknown(intervals):
        found += _uncovered(conn, series, window, counted[series.id, window].rows)
    return sorted(found, key=lambda finding: finding.start_ms)


def _own(interval: Interval) -> int | None:
    return interval.source_id if interval.state == coverage.STORED else None


def _cells(conn: Connection, covered: Sequence[tuple[Series, Sequence[Interval]]]) -> list[Asked]:
    """Every window to count, with the source that its rows are to be of, where the database knows several."""
    several = len(source_ids(conn)) > 1
    cells: list[Asked] = []
    for series, intervals in covered:
        cells += [(series, _window(each), _own(each) if several else None) for each in intervals]
        cells += [(series, window, None) for window in _unknown(intervals)]
    return cells


def _window(interval: Interval) -> Window:
    return Window(interval.start_ms, interval.end_ms)


def _unknown(intervals: Sequence[Interval]) -> list[Window]:
    """The time that no interval speaks for."""
    return subtract(_EVER, map(_window, intervals))


def _overlaps(series: Series, intervals: Sequence[Interval]) -> list[Finding]:
    """Coverage that contradicts itself, seen without a look at the candles. Pure."""
    twice, reach = [], _EVER.start
    for interval in intervals:
        if interval.start_ms < reach:
            twice.append(Window(interval.start_ms, min(interval.end_ms, reach)))
        reach = max(reach, interval.end_ms)
    return [
        _finding(series, COVERAGE_OVERLAPS, window, series.grid.count(window), "is covered by two intervals at once")
        for window in union(twice)
    ]


def _uncovered(conn: Connection, series: Series, window: Window, rows: int) -> list[Finding]:
    first = candles.after(conn, series.id, window.start) if rows else None
    last = candles.before(conn, series.id, window.end) if rows else None
    if first is None or last is None:
        return []
    text = (
        f"{rows} candles that no coverage speaks for; where they are wanted the next run fetches and proves them, "
        "elsewhere they do no harm"
    )
    return [_finding(series, ROWS_UNCOVERED, Window(first, last + 1), rows, text)]


def _absent(conn: Connection, series: Series, claim: Interval, counted: Counted) -> list[Finding]:
    window = _window(claim)
    if not counted.rows:
        return []
    times = candles.open_times(conn, series.id, window.start, window.end)
    text = "candles where the source was proven to have none; to be asked for again"
    return [
        _finding(series, ROWS_IN_ABSENT, run, series.grid.count(run), text)
        for run in GapDetector(series.grid).runs(np.unique(series.grid.floor_all(times)))
    ]


def _stored(conn: Connection, series: Series, claim: Interval, counted: Counted) -> list[Finding]:
    window, grid = _window(claim), series.grid
    slots = grid.count(window)
    if counted == Counted(claim.rows, 0, 0) and claim.rows <= slots:
        return []
    inside = _look_inside(conn, series, window, claim.source_id)
    found = []
    if inside.strays:
        text = (
            f"{inside.strays} candles off the {series.timeframe} grid, which are no slot's; delete them from `candles`"
        )
        found.append(_finding(series, OFF_GRID_ROWS, window, inside.strays, text))
    for run in inside.others:
        text = "candles of another source than coverage says; to be asked for again"
        found.append(_finding(series, ROWS_OF_OTHERS, run, grid.count(run), text))
    others = sum(grid.count(run) for run in inside.others)
    own = counted.rows - inside.strays - others
    if own <= claim.rows <= min(own + others, slots):  # what it counts is there, whosever it is
        return found
    if claim.rows >= slots and inside.holes:
        return found + [
            _finding(series, ROWS_MISSING, hole, grid.count(hole), "candles that were stored are gone")
            for hole in inside.holes
        ]
    text = f"coverage counts {claim.rows} candles, there are {own}"
    if own > claim.rows or own == slots:
        return [*found, _finding(series, COUNT_WRONG, window, own, text)]
    # A source that omits candles without trades: which slots had one is known to nobody else.
    text += "; which are gone only the source can tell"
    return [*found, _finding(series, ROWS_MISSING, window, claim.rows - own, text)]


class _Inside(Struct, frozen=True):
    """What is in a stored interval: slots without a candle, slots with another source's, and candles off the grid."""

    holes: list[Window]
    others: list[Window]
    strays: int


def _look_inside(conn: Connection, series: Series, window: Window, source_id: int) -> _Inside:
    """Look at each candle of an interval that coverage counts wrongly; bounded in memory."""
    grid, holes, others, strays = series.grid, list[Window](), list[Window](), 0
    parts = chunks(window, grid, _CHUNK_SLOTS)
    counted = count(conn, [(series, part, source_id) for part in parts])
    for chunk in parts:
        if counted[series.id, chunk] == Counted(grid.count(chunk), 0, 0):
            continue
        rows = candles.read(conn, series.id, chunk.start, chunk.end)
        placed = rows[grid.floor_all(rows["open_time"]) == rows["open_time"]]
        strays += len(rows) - len(placed)
        holes += GapDetector(grid).holes(chunk, placed["open_time"])
        others += GapDetector(grid).runs(placed["open_time"][placed["source_id"] != source_id])
    return _Inside(union(holes), union(others), strays)


def _finding(series: Series, kind: str, window: Window, rows: int, text: str) -> Finding:
    where = f"{series} {_shown(window.start)} … {_shown(window.end)}"
    return Finding(series, kind, window.start, window.end, rows, f"{where}: {text}", repairable=kind in _REPAIRED)


def _shown(ms: int) -> str:
    try:
        return format_utc(ms)
    except (ValueError, OverflowError, OSError):  # a candle with a time of no calendar, put there by hand
        return f"{ms} ms"


def _told(each: Disagreement) -> Finding:
    when = (each.open_ms, each.close_ms)
    return Finding(each.parent, PARENT_DISAGREES, *when, each.children, str(each), repairable=False)
