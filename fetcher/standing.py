"""How each series stands, from coverage and open jobs alone: what is stored, absent, missing and why. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from db import series as series_rows
from db.coverage import ABSENT, STORED
from db.jobs import FAILED
from fetcher.gaps import GapDetector
from fetcher.model import Series, Window
from fetcher.planner import is_silent_tail
from fetcher.results import wanted_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.config import Config


class Standing(Struct, frozen=True):
    """One series; times in ms UTC, everything else in candles or slots.

    Everything is about the wanted range `[from_ms, until_ms)`: `stored` counts its rows, `by_source` the same by who
    served them, `fallback_rows` those of others than the preferred source, `quiet` the slots without a candle at a
    source that leaves out those without trades. `expected` = `stored` + `quiet` + `absent` + `missing`, and `missing` =
    `queued` + `failed` + `unplanned`. `until_ms`, `expected` and `missing` are None as long as no run has learnt what
    there could be (`unfetched`). `newest_ms` is the close of the newest stored candle, `lag_ms` its age. `overdue_ms`
    says for how long the next candle could have been there: 0 before its close, and of a market proven silent.
    """

    series: Series
    from_ms: int
    until_ms: int | None
    stored: int
    by_source: Mapping[str, int]
    expected: int | None
    absent: int
    missing: int | None
    queued: int
    failed: int
    unplanned: int
    newest_ms: int | None
    lag_ms: int | None
    jobs_waiting: int
    jobs_failed: int
    last_error: str | None
    unfetched: bool = False
    fallback_rows: int = 0
    quiet: int = 0
    overdue_ms: int = 0

    @property
    def complete(self) -> float | None:
        """The share of expected slots that are explained, 0 … 1; None while nothing is expected."""
        if self.unfetched:
            return 0.0
        if self.expected is None or self.missing is None:
            return None
        return (self.expected - self.missing) / self.expected if self.expected else None


def standing(
    series: Series, covered: Sequence[Interval], jobs: Iterable[JobRow], sources: Mapping[int, str], now_ms: int
) -> Standing:
    """How a series stands: `covered` are its intervals, `jobs` its open ones, `sources` names by id."""
    wanted, detector, jobs = wanted_window(series), GapDetector(series.grid), list(jobs)
    known = [Window(i.start_ms, i.end_ms) for i in covered]
    lost = [Window(job.start_ms, job.end_ms) for job in jobs if job.status == FAILED]
    waiting = [Window(job.start_ms, job.end_ms) for job in jobs if job.status != FAILED]

    def slots_without(*taken: Sequence[Window]) -> int:
        return sum(series.grid.count(part) for part in detector.missing(wanted, [w for some in taken for w in some]))

    missing, not_waiting = slots_without(known), slots_without(known, waiting)
    unplanned = slots_without(known, waiting, lost)
    by_source: Counter[str] = Counter()
    for interval in covered:
        if interval.state == STORED:
            by_source[sources[interval.source_id]] += _rows_within(wanted, interval, series)
    by_source = +by_source
    new = is_unfetched(series, now_ms)
    newest = max((i.end_ms for i in covered if i.state == STORED), default=None)
    absent = (wanted.intersect(Window(i.start_ms, i.end_ms)) for i in covered if i.state == ABSENT)
    return Standing(
        series=series,
        from_ms=wanted.start,
        until_ms=series.closed_until_ms,
        stored=by_source.total(),
        by_source=dict(by_source),
        expected=None if new else series.grid.count(wanted),
        absent=sum(series.grid.count(window) for window in absent),
        missing=None if new else missing,
        queued=missing - not_waiting,
        failed=not_waiting - unplanned,
        unplanned=unplanned,
        newest_ms=newest,
        lag_ms=None if newest is None else max(0, now_ms - newest),
        jobs_waiting=len(waiting),
        jobs_failed=len(lost),
        last_error=next((job.last_error for job in sorted(jobs, key=_failed_first) if job.last_error), None),
        unfetched=new,
        fallback_rows=by_source.total() - by_source[series.sources[0]],
        quiet=quiet_slots(series, covered),
        overdue_ms=_overdue(series, covered, now_ms),
    )


def configured_series(connection: Connection, config: Config) -> list[Series]:
    """Every configured series as the database knows it, in the file's order; one unknown to it has an id below 0."""
    known = {(row.symbol, row.timeframe): row for row in series_rows.read_series(connection)}
    found = []
    for place, wanted in enumerate(config.series()):
        row = known.get((wanted.symbol, wanted.timeframe.name))
        learnt = (None, None, None) if row is None else (row.anchor_ms, row.listed_ms, row.closed_until_ms)
        series_id = -1 - place if row is None else row.id
        found.append(
            Series(series_id, wanted.symbol, wanted.timeframe, wanted.start_ms, wanted.sources, *learnt)
        )  # fmt: skip
    return found


def starts_later(series: Series, now_ms: int) -> bool:
    """Whether the configuration wants the series from a time that is still to come."""
    return series.wanted_start_ms > now_ms


def is_unfetched(series: Series, now_ms: int) -> bool:
    """Whether no run has come so far as to learn what the series could hold, though it could by now."""
    return series.closed_until_ms is None and not starts_later(series, now_ms)


def quiet_slots(series: Series, covered: Iterable[Interval]) -> int:
    """The slots of the wanted range without a candle, at a source that leaves out those without trades."""
    wanted = wanted_window(series)
    return sum(
        series.grid.count(wanted.intersect(Window(each.start_ms, each.end_ms))) - _rows_within(wanted, each, series)
        for each in covered
        if each.state == STORED
    )


def _overdue(series: Series, covered: Sequence[Interval], now_ms: int) -> int:
    """For how long (ms) the candle after everything covered has been closed, unless its market is proven silent."""
    until = max((i.end_ms for i in covered), default=series.first_ms)
    absent = [Window(i.start_ms, i.end_ms) for i in covered if i.state == ABSENT]
    if until >= now_ms or is_silent_tail(Window(until, series.grid.floor(now_ms)), absent):
        return 0
    return max(0, now_ms - series.grid.next(until))


def _rows_within(wanted: Window, interval: Interval, series: Series) -> int:
    """Rows of an interval inside the wanted range; where it is sparse and cut there, as many as could be."""
    inside = wanted.intersect(Window(interval.start_ms, interval.end_ms))
    return min(interval.rows, series.grid.count(inside))


def _failed_first(job: JobRow) -> bool:
    return job.status != FAILED
