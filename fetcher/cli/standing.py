"""How each series stands, from coverage and open jobs alone: what is stored, absent, missing and why. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.coverage import ABSENT, STORED
from db.jobs import FAILED
from fetcher.cli.unfetched import is_unfetched
from fetcher.gaps import GapDetector
from fetcher.model import Window
from fetcher.results import wanted_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.model import Series


@dataclass(frozen=True, slots=True)
class Standing:
    """One series; times in ms UTC, everything else in candles or slots.

    Everything is about the wanted range `[from_ms, until_ms)`: `stored` counts its rows, `by_source` the same by who
    served them, `fallback_rows` those of others than the preferred source, `quiet` the slots without a candle at a
    source that leaves out those without trades. `expected` = `stored` + `quiet` + `absent` + `missing`, and `missing` =
    `queued` + `failed` + `unplanned`. `until_ms`, `expected` and `missing` are None as long as no run has learnt what
    there could be (`unfetched`). `newest_ms` is the close of the newest stored candle, `lag_ms` its age.
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
    )


def quiet_slots(series: Series, covered: Iterable[Interval]) -> int:
    """The slots of the wanted range without a candle, at a source that leaves out those without trades."""
    wanted = wanted_window(series)
    return sum(
        series.grid.count(wanted.intersect(Window(each.start_ms, each.end_ms))) - _rows_within(wanted, each, series)
        for each in covered
        if each.state == STORED
    )


def _rows_within(wanted: Window, interval: Interval, series: Series) -> int:
    """Rows of an interval inside the wanted range; where it is sparse and cut there, as many as could be."""
    inside = wanted.intersect(Window(interval.start_ms, interval.end_ms))
    return min(interval.rows, series.grid.count(inside))


def _failed_first(job: JobRow) -> bool:
    return job.status != FAILED
