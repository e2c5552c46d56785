"""What a run leaves behind: per series what is still missing and why, and the worst of it as exit code."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from db import coverage, jobs
from db import series as series_rows
from db.engine import reading
from db.retrying import retried
from fetcher.gaps import GapDetector
from fetcher.jobqueue import as_series
from fetcher.model import Window
from fetcher.outcome import EXIT_CODES, Outcome
from fetcher.planner import is_silent_tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.model import Series


class SeriesResult(Struct, frozen=True):
    """One series: slots of its range neither stored nor proven absent, and its jobs that wait or were given up."""

    series: Series
    missing: int
    queued: int
    failed: int
    last_error: str | None

    @property
    def outcome(self) -> Outcome:
        """OK only when nothing is missing."""
        if self.failed:
            return Outcome.FAILED
        return Outcome.PARTIAL if self.missing or self.queued else Outcome.OK


class RunResult(Struct, frozen=True):
    """How a run ended; `outcome` is the worst of its series'.

    `is_planned`: whether it came so far as to know what is missing; else nothing is said by its series.
    """

    series: tuple[SeriesResult, ...]
    timed_out: bool = False
    is_planned: bool = True

    @property
    def outcome(self) -> Outcome:
        """The worst of the series' outcomes."""
        worst = Outcome.OK if self.is_planned else Outcome.PARTIAL
        for result in self.series:
            worst = worst.worsened(result.outcome)
        return worst

    @property
    def missing(self) -> int:
        """Slots still missing in all series together."""
        return sum(result.missing for result in self.series)

    @property
    def exit_code(self) -> int:
        """0 when nothing is missing, else 1."""
        return EXIT_CODES[self.outcome]


def wanted_window(series: Series) -> Window:
    """The range that a series is to hold: from the later of start and listing to its last proven close."""
    return Window(series.first_ms, max(series.first_ms, series.closed_until_ms or 0))


@retried
def read_result(
    engine: Engine, chosen: Iterable[tuple[Series, Window | None]], *, timed_out: bool = False, is_planned: bool = True
) -> RunResult:
    """What is missing of the chosen series now: in their whole wanted range, or in the window given with each."""
    with reading(engine) as connection:
        rows = {row.id: as_series(row) for row in series_rows.read_series(connection)}
        covered = coverage.read_all(connection)
        open_jobs: defaultdict[int, list[JobRow]] = defaultdict(list)
        for job in jobs.open_windows(connection):
            open_jobs[job.series_id].append(job)
    return RunResult(
        tuple(
            _result(rows[series.id], within, covered.get(series.id, ()), open_jobs[series.id])
            for series, within in chosen
        ),
        timed_out,
        is_planned,
    )


def _result(series: Series, within: Window | None, covered: Sequence[Interval], mine: Sequence[JobRow]) -> SeriesResult:
    wanted = wanted_window(series)
    if within is not None:
        start = series.grid.ceil(max(within.start, series.listed_ms or 0))
        wanted = Window(start, max(start, min(within.end, series.closed_until_ms or start)))
        mine = [job for job in mine if job.start_ms < within.end and job.end_ms > within.start]
    known = [Window(i.start_ms, i.end_ms) for i in covered]
    absent = [Window(i.start_ms, i.end_ms) for i in covered if i.state == coverage.ABSENT]
    gaps = GapDetector(series.grid).missing(wanted, known)
    missing = sum(series.grid.count(gap) for gap in gaps if not is_silent_tail(gap, absent))
    failed = [job for job in mine if job.status == jobs.FAILED]
    error = next((job.last_error for job in (*failed, *mine) if job.last_error), None)
    return SeriesResult(series, missing, len(mine) - len(failed), len(failed), error)
