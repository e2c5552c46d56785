"""CryptoDataFetcher: one run = plan + work, recorded, under the run lock where it must be alone."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from db import series as series_rows
from db.engine import reading, writing
from db.jobs import Scope
from db.retrying import retried
from db.series import WantedSeries as WantedRow
from fetcher.aftermath import PATIENCE_SECONDS
from fetcher.errors import Stopped
from fetcher.events import STEP
from fetcher.jobqueue import as_series
from fetcher.results import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

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

PLANNING_SECONDS, WORKING_SECONDS = 2.0, 0.5  # on the wall, that a step has for each at least: else it comes to nothing
LOOK_SECONDS = 1.0  # between looks of a worker that stays into an empty queue
CHECK_SECONDS = 10.0  # of its budget that a run must have left to look at candles again that it has


class CryptoDataFetcher:
    """Keeps the configured series complete; every way to fetch ends in one of its methods."""

    def __init__(
        self, engine: Engine, clock: Clock, book: RunBook, queue: JobQueue, planning: Planning,
        recovery: RecoveryManager, wanted: Sequence[WantedSeries],
        check: Callable[[Sequence[Series], Collection[int], float], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._clock = clock
        self._book = book
        self._queue = queue
        self._planning = planning
        self._recovery = recovery
        self._wanted = wanted
        self._ours: Sequence[Series] = ()
        self._check = check

    def run(self, time_budget: float) -> RunResult:
        """One bare run within `time_budget` seconds; raises RunLocked while another one is under way."""
        deadline = self._clock.elapsed() + time_budget
        self._recovery.leave_at(deadline)
        try:
            with self._book.alone():
                return self._book.recorded("run", lambda: self._plan_and_work(self.sync(), deadline))
        finally:
            self._recovery.leave_at(None)

    def hold(self) -> None:
        """Take the run lock for more than one run, or keep it; raises RunLocked while another process has it."""
        self._book.take_lock()

    def let_go(self) -> None:
        """Give the run lock back."""
        self._book.give_lock_back()

    def step(self, deadline: float) -> tuple[RunResult, bool]:
        """Plan, and work what is due until `deadline` (the clock's elapsed seconds): the result, and whether any was.

        For whoever holds the run lock. A step is recorded as a run where there is work.
        """
        self._recovery.leave_at(max(deadline, self._in_real(PLANNING_SECONDS)))
        try:
            all_series = self.sync()
            scope = Scope(frozenset(series.id for series in all_series))
            self._queue.begin()
            is_planned = False
            with suppress(Stopped):
                self._planning.prepare(self._current(all_series))
                self._planning.queue_missing(self._current(all_series))
                is_planned = True
            due = self._queue.next_due(scope, PATIENCE_SECONDS)
            if due is not None and due <= self._clock.now_ms():
                deadline = max(deadline, self._in_real(WORKING_SECONDS))
                self._recovery.leave_at(deadline)

                def work() -> RunResult:
                    return replace(self._plan_and_work(all_series, deadline, planned=True), is_planned=is_planned)

                return self._book.recorded(STEP, work), True
            self._book.flush_when_due()
            whole = [(series, None) for series in self._current(all_series)]
            return read_result(self._engine, whole, is_planned=is_planned), False
        finally:
            self._recovery.leave_at(None)

    def _in_real(self, seconds: float) -> float:
        return self._clock.elapsed() + self._clock.stretched(seconds)

    def seconds_to_close(self) -> float:
        """Until the next candle of the series should be there; infinite before the first step."""
        return self._planning.seconds_to_close(self._current(self._ours))

    def seconds_to_due(self) -> float:
        """Until a job is due or a rest ends: negative where one is due, infinite where none is to come."""
        scope = Scope(frozenset(series.id for series in self._ours))
        found = (self._queue.next_due(scope, PATIENCE_SECONDS), self._planning.next_rest_ends())
        return min(((ms - self._clock.now_ms()) / 1000 for ms in found if ms is not None), default=math.inf)

    def clock_was_set(self, by_ms: int) -> None:
        """Take in that our wall clock was set by so much, or that the machine slept for so long."""
        self._queue.clock_was_set(by_ms)

    def backfill(self, asked: Sequence[tuple[Series, Window]]) -> RunResult:
        """Fetch what is missing of these windows, to the end, beside whatever else runs: also what that works on."""
        return self._book.recorded("backfill", lambda: self._backfill(asked))

    def work_queue(self, *, stay: bool) -> RunResult:
        """Work what waits in the queue and plan nothing, beside whatever else runs; with `stay` until it is stopped.

        Jobs of series none of whose sources is configured here are left to those who can: an attempt would only put
        them off.
        """
        return self._book.recorded("worker", lambda: self._work_queue(stay=stay))

    @retried
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
        self._ours = all_series
        return all_series

    def _plan_and_work(self, all_series: Sequence[Series], deadline: float, *, planned: bool = False) -> RunResult:
        def plan() -> Planned:
            return self._planning.queue_missing(self._current(all_series))

        scope = Scope(frozenset(series.id for series in all_series))
        is_planned = self._work(plan, scope, all_series, deadline, planned=planned)
        late = self._clock.elapsed() >= deadline
        left = deadline - self._clock.elapsed()
        if left > CHECK_SECONDS:
            self._check(self._fetched(all_series), {s.id for s in all_series if s.closed_until_ms is not None}, left)
        whole = [(series, None) for series in all_series]
        return read_result(self._engine, whole, timed_out=late, is_planned=is_planned)

    def _fetched(self, all_series: Sequence[Series]) -> list[Series]:
        """Those of which anything is closed, as they stand after the work."""
        with reading(self._engine) as connection:
            now = {row.id: row for row in series_rows.read_series(connection)}
        return [as_series(now[s.id]) for s in all_series if now[s.id].closed_until_ms is not None]

    def _backfill(self, asked: Sequence[tuple[Series, Window]]) -> RunResult:
        all_series = [series for series, _ in asked]
        windows = [window for _, window in asked]

        def plan() -> Planned:
            return self._planning.queue_ranges(list(zip(self._current(all_series), windows, strict=True)))

        start, end = min(w.start for w in windows), max(w.end for w in windows)
        scope = Scope(frozenset(series.id for series in all_series), start, end)
        return read_result(self._engine, asked, is_planned=self._work(plan, scope, all_series, None))

    def _work_queue(self, *, stay: bool) -> RunResult:
        ours = {source for wanted in self._wanted for source in wanted.sources}
        while True:
            all_series = [series for series in self._enabled() if ours & set(series.sources)]
            self._queue.know(all_series)
            self._queue.begin()
            scope = Scope(frozenset(series.id for series in all_series))
            self._recovery.work(scope, None, self._book.beat)
            if not stay or self._recovery.is_stopped_within(LOOK_SECONDS):
                return read_result(self._engine, [(series, None) for series in all_series])

    @retried
    def _enabled(self) -> list[Series]:
        with reading(self._engine) as connection:
            return [as_series(row) for row in series_rows.read_series(connection, enabled_only=True)]

    def _work(
        self, plan: Callable[[], Planned], scope: Scope, all_series: Sequence[Series], deadline: float | None, *,
        planned: bool = False,
    ) -> bool:  # fmt: skip
        """Plan, unless that is done, and work; whether it came so far before it was to leave.

        Again where a grid was learnt on the way, which moves what is wanted, and where a bare run has seen another
        candle close: it would end with that missing.
        """
        self._queue.begin()
        is_planned = planned
        try:
            while True:
                before = self._current(all_series)
                closed = None
                if not planned:
                    self._planning.prepare(before)
                    plan()
                    is_planned = True
                    closed = None if deadline is None else self._closed(all_series)
                planned = False
                self._recovery.work(scope, deadline, self._book.beat, to_the_end=deadline is None)
                learnt = any(old.lacks_grid and not new.lacks_grid for old, new in self._pairs(before))
                if not learnt and (closed is None or self._closed(all_series) == closed):
                    break
            self._planning.settle_clocks(self._current(all_series))
        except Stopped:
            pass  # what is queued waits for the next run
        return is_planned

    @retried
    def _closed(self, all_series: Sequence[Series]) -> dict[int, int | None]:
        """Up to where each series is closed by now, ms UTC."""
        with reading(self._engine) as connection:
            now = {row.id: row.closed_until_ms for row in series_rows.read_series(connection)}
        return {series.id: now[series.id] for series in all_series}

    def _current(self, all_series: Sequence[Series]) -> list[Series]:
        return [self._queue.series(series.id) for series in all_series]

    def _pairs(self, before: Sequence[Series]) -> Iterable[tuple[Series, Series]]:
        return zip(before, self._current(before), strict=True)


def _same(rows: Sequence[series_rows.SeriesRow], wanted: Sequence[WantedRow]) -> bool:
    """Whether the database's series are the wanted ones already, so that an idle run writes nothing for it."""
    there = {(r.symbol, r.timeframe, r.wanted_start_ms, r.sources) for r in rows if r.enabled}
    return there == {(w.symbol, w.timeframe, w.start_ms, w.sources) for w in wanted}
