"""Planning: reads coverage and queue, lets the planner decide, and queues the jobs."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, TypedDict

from msgspec.structs import replace

from db import coverage, jobs
from db import series as series_rows
from db.engine import reading, writing
from db.jobs import NewJob
from db.locks import PLAN, alone
from db.retrying import retried
from fetcher.aftermath import LATER_SECONDS
from fetcher.events import Planned
from fetcher.healing import healers, unhealed
from fetcher.model import DAY, Window
from fetcher.planner import HEAL, JOB_PAGES, RECHECK, TAIL, Known, PlannedJob, interleave, plan_range, plan_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.archive import ArchiveReader
    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.model import Series
    from fetcher.router import APIRouter
    from fetcher.routes import Offer


class _Sizes(TypedDict):
    """What jobs are cut by."""

    page_slots: int
    archive: Offer | None


LONGEST_WAIT_MS = 3 * DAY + DAY  # no rest lasts longer: what waits beyond was written by a clock that was ahead
GIVEN_UP_MS = 7 * DAY  # after which a job that was given up is tried once more


class Planning:
    """Turns what the configuration wants, less what the database can explain, into queued jobs."""

    def __init__(
        self, engine: Engine, clock: Clock, router: APIRouter, archive: ArchiveReader, tell: Callable[[Fact], None],
        settle_ms: Callable[[str], int] = lambda _source: 0,
    ) -> None:  # fmt: skip
        self._tell = tell
        self._archive = archive
        self._engine = engine
        self._clock = clock
        self._router = router
        self._settle_ms = settle_ms  # how long after its close a source is given before it is asked for a candle

    def prepare(self, all_series: Sequence[Series]) -> None:
        """Ask the sources together what planning would ask them one after the other; raises Stopped."""
        self._router.prepare(all_series)

    def queue_missing(self, all_series: Sequence[Series]) -> Planned:
        """Queue a job for everything that coverage and open jobs leave unexplained, and for absences due again."""
        closed = {series.id: self.closed_until(series) for series in all_series}

        def plan(connection: Connection, open_jobs: Sequence[JobRow]) -> list[PlannedJob]:
            covered = coverage.read_all(connection)
            known = _known(covered, open_jobs)
            ids, now = series_rows.source_ids(connection), self._clock.now_ms()
            for s in all_series:
                fallback = self._fallback(connection, s, covered.get(s.id, ()), ids, now)
                known[s.id] = replace(known[s.id], fallback=fallback)
            missing = [plan_series(s, closed[s.id], known[s.id], **self._sizes(s)) for s in all_series]
            due = coverage.due_rechecks(connection, now)
            return [*interleave(missing), *_rechecks(due, open_jobs, all_series)]

        return self._queue(plan, all_series)

    def queue_ranges(self, asked: Sequence[tuple[Series, Window]]) -> Planned:
        """Queue backfill jobs for what coverage and open jobs leave unexplained of these windows."""
        closed = {series.id: self.closed_until(series) for series, _ in asked}

        def plan(connection: Connection, open_jobs: Sequence[JobRow]) -> list[PlannedJob]:
            return interleave(self._ranges(connection, asked, closed, open_jobs))

        return self._queue(plan, list({series.id: series for series, _ in asked}.values()))

    def ranges(self, asked: Sequence[tuple[Series, Window]]) -> list[list[PlannedJob]]:
        """What these windows lack, as jobs per entry, newest first; changes nothing."""
        closed = {series.id: self.closed_until(series) for series, _ in asked}
        with reading(self._engine) as connection:
            return self._ranges(connection, asked, closed, ())

    def _ranges(
        self, connection: Connection, asked: Sequence[tuple[Series, Window]], closed: Mapping[int, int],
        open_jobs: Sequence[JobRow],
    ) -> list[list[PlannedJob]]:  # fmt: skip
        known = _known(coverage.read_all(connection), open_jobs)
        return [plan_range(s, window, closed[s.id], known[s.id], **self._sizes(s)) for s, window in asked]

    def _sizes(self, series: Series) -> _Sizes:
        return {"page_slots": self._router.page_slots(series), "archive": self._archive.offer(series)}

    @retried
    def settle_clocks(self, all_series: Sequence[Series]) -> None:
        """After the work: where no time endpoint told, take what the answers proved, up to what was planned for."""
        told = {s.id: self._router.newest_proven(s) for s in all_series if self._router.server_now_if_known(s) is None}
        closed = {
            s.id: min(s.grid.floor(ms), self.closed_until(s))
            for s in all_series
            if (ms := told.get(s.id)) is not None and not s.lacks_grid
        }
        if closed:
            with writing(self._engine) as connection:
                alone(connection, PLAN)
                series_rows.set_closed_until(connection, closed)

    def closed_until(self, series: Series) -> int:
        """Up to where candles are closed: by the source's clock, else by ours and the difference last seen: to plan by.

        What a page's own answer does not prove closed is left to later runs, so that planning too much loses nothing.
        """
        now = self._router.server_now(series)
        if now is not None:
            return series.grid.floor(now - self._settle_of(series))
        guess = self._router.guess_now(series) - self._settle_of(series)
        return max(series.closed_until_ms or 0, series.grid.floor(guess))

    def next_rest_ends(self) -> int | None:
        """When the first source that rests may be asked again, ms UTC; None where none rests."""
        return self._router.next_rest_ends()

    def seconds_to_close(self, all_series: Iterable[Series]) -> float:
        """Until the first candle that is not planned yet should be there; infinite where none is known to come."""
        return min((self._to_close(s) / 1000 for s in all_series if not s.lacks_grid), default=math.inf)

    def _to_close(self, series: Series) -> int:
        settled = self._router.guess_now(series) - self._settle_of(series)
        return series.grid.next(series.grid.floor(settled)) - settled

    def _settle_of(self, series: Series) -> int:
        source = self._router.best(series)
        return 0 if source is None else self._settle_ms(source)

    def _proven_until(self, series: Series) -> int | None:
        now = self._router.server_now(series)
        return series.closed_until_ms if now is None else series.grid.floor(now - self._settle_of(series))

    @retried
    def _queue(
        self, plan: Callable[[Connection, Sequence[JobRow]], list[PlannedJob]], all_series: Sequence[Series]
    ) -> Planned:
        """Write a plan down, made anew where it is written: another process may have planned the same meanwhile."""
        # A grid that starts at the listing is not known before that is: floored by another, a live candle looks closed.
        settled = [series for series in all_series if not series.lacks_grid]
        proven = {series.id: self._proven_until(series) for series in settled}
        closed = {s.id: ms for s in settled if (ms := proven[s.id]) is not None and ms > (s.closed_until_ms or 0)}
        now = self._clock.now_ms()
        with reading(self._engine) as connection:
            planned = plan(connection, jobs.open_windows(connection))
            stuck = jobs.count_stuck(connection, now, LONGEST_WAIT_MS, GIVEN_UP_MS)
            healing = any(job.kind == HEAL and job.status == jobs.QUEUED for job in jobs.open_windows(connection))
        if planned or closed or stuck or healing:
            with writing(self._engine) as connection:
                alone(connection, PLAN)
                jobs.unstick(connection, now, LONGEST_WAIT_MS, GIVEN_UP_MS)
                self._free_heals(connection, all_series, now)
                open_jobs = jobs.open_windows(connection)
                planned = plan(connection, open_jobs)
                self._add(connection, planned, open_jobs, {series.id: series for series in all_series}, now)
                series_rows.set_closed_until(connection, closed)
        grids = {series.id: series.grid for series in all_series}
        made = Planned(len(planned), sum(grids[job.series_id].count(job.window) for job in planned))
        self._tell(made)
        return made

    def _free_heals(self, connection: Connection, all_series: Sequence[Series], now: int) -> None:
        """Make due what waits to be healed by sources that rested and may be asked again.

        Only that was put back without an attempt being counted: what a source refuses will not change sooner.
        """
        by_id = {series.id: series for series in all_series}
        waiting = [
            job
            for job in jobs.listing(connection, status=jobs.QUEUED, kind=HEAL)
            if job.not_before > now and not job.attempts and job.series_id in by_id
        ]
        resting = self._router.resting(0.0) if waiting else set()
        able = [job.id for job in waiting if self._healer(connection, by_id[job.series_id], job, now) not in resting]
        jobs.retry(connection, able, now)

    def _healer(self, connection: Connection, series: Series, job: JobRow, now: int) -> str | None:
        found = healers(connection, series, self._router.offers(series), now)
        return next((each.source for each in found if each.oldest_ms < job.end_ms), None)

    def _add(
        self, connection: Connection, planned: Iterable[PlannedJob], open_jobs: Iterable[JobRow],
        all_series: Mapping[int, Series], now: int,
    ) -> None:  # fmt: skip
        """Queue the jobs; a tail that goes on where a waiting one ends makes that longer, and due if it soon was.

        So does what is to be healed, else an hour's outage under cron were healed by sixty requests for a minute each.
        """
        waiting = {
            (job.series_id, job.kind, job.end_ms): job
            for job in open_jobs
            if job.kind in {TAIL, HEAL} and job.status == jobs.QUEUED
        }
        new: list[NewJob] = []
        for job in planned:
            earlier = waiting.get((job.series_id, job.kind, job.window.start))
            if (
                earlier is not None
                and self._fits_one_job(all_series[job.series_id], earlier, job.window.end)
                and jobs.extend(connection, earlier.id, job.window.end)
            ):
                soon = earlier.not_before <= now + int(LATER_SECONDS * 1000)  # a rest of its source is not cut short
                if soon and job.kind == TAIL:
                    jobs.retry(connection, [earlier.id], now)
            else:
                new.append(NewJob(job.series_id, job.kind, job.window.start, job.window.end, job.priority))
        jobs.add(connection, new, now)

    def _fallback(
        self, connection: Connection, series: Series, covered: Sequence[Interval], ids: Mapping[str, int], now: int
    ) -> tuple[Window, ...]:
        """What sources stand for that a better one may heal now."""
        ranks = {ids[name]: rank for rank, name in enumerate(series.sources) if name in ids}
        worst = max((ranks.get(each.source_id, len(series.sources)) for each in covered), default=0)
        if not worst:  # and no source need be looked up, which may load a library
            return ()
        able = healers(connection, series, self._router.offers(series, above=worst), now)
        return tuple(window for window, _ in unhealed(covered, ranks, able, now))

    def _fits_one_job(self, series: Series, job: JobRow, end_ms: int) -> bool:
        return series.grid.count(Window(job.start_ms, end_ms)) <= self._router.page_slots(series) * JOB_PAGES


def _rechecks(
    due: Iterable[tuple[int, Interval]], open_jobs: Iterable[JobRow], all_series: Iterable[Series]
) -> list[PlannedJob]:
    """Jobs for the absences that are due to be asked again and are not being asked already."""
    ours = {series.id for series in all_series}
    asked = {(job.series_id, job.start_ms) for job in open_jobs if job.kind == RECHECK}
    return [
        PlannedJob(series_id, RECHECK, Window(interval.start_ms, interval.end_ms))
        for series_id, interval in due
        if series_id in ours and (series_id, interval.start_ms) not in asked
    ]


def _known(covered: Mapping[int, Sequence[Interval]], open_jobs: Iterable[JobRow]) -> defaultdict[int, Known]:
    """Coverage and open jobs as the planner wants them, by series id."""
    windows: defaultdict[int, list[Window]] = defaultdict(list)
    for job in open_jobs:
        windows[job.series_id].append(Window(job.start_ms, job.end_ms))
    found: defaultdict[int, Known] = defaultdict(Known)
    for series_id in {*covered, *windows}:
        parts = covered.get(series_id, ())
        found[series_id] = Known(
            tuple(Window(i.start_ms, i.end_ms) for i in parts if i.state == coverage.STORED),
            tuple(Window(i.start_ms, i.end_ms) for i in parts if i.state == coverage.ABSENT),
            tuple(windows[series_id]),
        )
    return found
