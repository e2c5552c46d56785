"""CryptoDataFetcher: one run = plan + work, recorded, under the run lock where it must be alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import series as series_rows
from db.engine import reading, writing
from db.jobs import Scope
from db.retrying import retried
from db.series import WantedSeries as WantedRow
from fetcher.errors import Stopped
from fetcher.jobqueue import as_series
from fetcher.results import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Engine

    from fetcher.clock import Clock
    from fetcher.config import WantedSeries
    from fetcher.events import Planned
    from fetcher.jobqueue import JobQueue
    from fetcher.model import Series, Window
    from fetcher.planning import Planning
    from fetcher.recovery import RecoveryManager
    from fetcher.results import RunResult
    from fetcher.runbook import RunBook

LOOK_SECONDS = 1.0  # between looks of a worker that stays into an empty queue
CROSS_CHECK_SECONDS = 10.0  # of its budget that a run must have left to compare a few candles with another source


class CryptoDataFetcher:
    """Keeps the configured series complete; every way to fetch ends in one of its methods."""

    def __init__(
        self, engine: Engine, clock: Clock, book: RunBook, queue: JobQueue, planning: Planning,
        recovery: RecoveryManager, wanted: Sequence[WantedSeries],
        cross_check: Callable[[Sequence[Series], float], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._clock = clock
        self._book = book
        self._queue = queue
        self._planning = planning
        self._recovery = recovery
        self._wanted = wanted
        self._cross_check = cross_check

    def run(self, time_budget: float) -> RunResult:
        """One bare run within `time_budget` seconds; raises RunLocked while another one is under way."""
        deadline = self._clock.elapsed() + time_budget
        self._recovery.leave_at(deadline)
        try:
            with self._book.alone():
                return self._book.recorded("run", lambda: self._plan_and_work(deadline))
        finally:
            self._recovery.leave_at(None)

    def backfill(self, asked: Sequence[tuple[Series, Window]]) -> RunResult:
        """Fetch what is missing of these windows, to the end, beside whatever else runs."""
        return self._book.recorded("backfill", lambda: self._backfill(asked))

    @retried
    def work_queue(self, *, stay: bool) -> RunResult:
        """Work what waits in the queue and plan nothing, beside whatever else runs; with `stay` until it is stopped.

        Jobs of series none of whose sources is configured here are left to those who can: an attempt would only put
        them off.
        """
        return self._book.recorded("worker", lambda: self._work_queue(stay=stay))

    def sync(self) -> list[Series]:
        """Make the database's series those of the configuration, and return them in its order."""
        wanted = [WantedRow(w.symbol, w.timeframe.name, w.timeframe.ms, w.start_ms, w.sources) for w in self._wanted]
        with reading(self._engine) as connection:
            rows = series_rows.read_series(connection)
        if not _same(rows, wanted):
            with writing(self._engine) as connection:
                rows = series_rows.sync_series(connection, wanted, self._clock.now_ms())
        place = {(w.symbol, w.timeframe): number for number, w in enumerate(wanted)}
        ours = sorted((row for row in rows if row.enabled), key=lambda row: place[row.symbol, row.timeframe])
        all_series = [as_series(row) for row in ours]
        self._queue.know(all_series)
        return all_series

    def _plan_and_work(self, deadline: float) -> RunResult:
        all_series = self.sync()

        def plan() -> Planned:
            return self._planning.queue_missing(self._current(all_series))

        self._work(plan, Scope(frozenset(series.id for series in all_series)), all_series, deadline)
        late = self._clock.elapsed() >= deadline
        left = deadline - self._clock.elapsed()
        if left > CROSS_CHECK_SECONDS:
            self._cross_check([series for series in all_series if series.closed_until_ms is not None], left)
        return read_result(self._engine, [(series, None) for series in all_series], timed_out=late)

    def _backfill(self, asked: Sequence[tuple[Series, Window]]) -> RunResult:
        all_series = [series for series, _ in asked]
        windows = [window for _, window in asked]

        def plan() -> Planned:
            return self._planning.queue_ranges(list(zip(self._current(all_series), windows, strict=True)))

        start, end = min(w.start for w in windows), max(w.end for w in windows)
        self._work(plan, Scope(frozenset(series.id for series in all_series), start, end), all_series, None)
        return read_result(self._engine, asked)

    def _work_queue(self, *, stay: bool) -> RunResult:
        ours = {source for wanted in self._wanted for source in wanted.sources}
        while True:
            with reading(self._engine) as connection:
                known = [as_series(row) for row in series_rows.read_series(connection, enabled_only=True)]
            all_series = [series for series in known if ours & set(series.sources)]
            self._queue.know(all_series)
            self._queue.begin()
            scope = Scope(frozenset(series.id for series in all_series))
            self._recovery.work(scope, None, self._book.beat)
            if not stay or self._recovery.is_stopped_within(LOOK_SECONDS):
                return read_result(self._engine, [(series, None) for series in all_series])

    def _work(
        self, plan: Callable[[], Planned], scope: Scope, all_series: Sequence[Series], deadline: float | None
    ) -> None:
        """Plan and work; once more where a grid was learnt on the way, since it moves what is wanted."""
        self._queue.begin()
        try:
            while True:
                before = self._current(all_series)
                self._planning.prepare(before)
                plan()
                self._recovery.work(scope, deadline, self._book.beat)
                if not any(old.lacks_grid and not new.lacks_grid for old, new in self._pairs(before)):
                    break
            self._planning.settle_clocks(self._current(all_series))
        except Stopped:
            return  # asked to leave while planning: what is queued waits for the next run

    def _current(self, all_series: Sequence[Series]) -> list[Series]:
        return [self._queue.series(series.id) for series in all_series]

    def _pairs(self, before: Sequence[Series]) -> Iterable[tuple[Series, Series]]:
        return zip(before, self._current(before), strict=True)


def _same(rows: Sequence[series_rows.SeriesRow], wanted: Sequence[WantedRow]) -> bool:
    """Whether the database's series are the wanted ones already, so that an idle run writes nothing for it."""
    there = {(r.symbol, r.timeframe, r.wanted_start_ms, r.sources) for r in rows if r.enabled}
    return there == {(w.symbol, w.timeframe, w.start_ms, w.sources) for w in wanted}
