"""What is missing, as jobs in the order they should be worked. Pure: values in, values out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.gaps import GapDetector, pages, subtract, union
from fetcher.model import DAY, Window
from fetcher.periods import months
from fetcher.routes import is_worth_a_day, is_worth_a_month

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fetcher.model import Grid, Series
    from fetcher.routes import Offer

JOB_PAGES = 20  # a job is claimed, leased and retried as one: big enough to be cheap, small enough to share

TAIL, GAP, BACKFILL, HEAL, RECHECK = "tail", "gap", "backfill", "heal", "recheck"
PRIORITY = {TAIL: 10, GAP: 20, HEAL: 30, BACKFILL: 40, RECHECK: 50}


class PlannedJob(Struct, frozen=True):
    """One job to queue: a window (ms UTC) of one series that coverage does not explain yet."""

    series_id: int
    kind: str
    window: Window

    @property
    def priority(self) -> int:
        """Smaller is sooner."""
        return PRIORITY[self.kind]


class Known(Struct, frozen=True):
    """What is known of one series: coverage, windows of jobs open or given up, and what waits to be healed."""

    stored: tuple[Window, ...] = ()
    absent: tuple[Window, ...] = ()
    jobs: tuple[Window, ...] = ()
    fallback: tuple[Window, ...] = ()  # what a worse source stands in for, and a better one may have


def plan_series(
    series: Series, closed_until: int, known: Known, *, page_slots: int = 1000, archive: Offer | None = None
) -> list[PlannedJob]:
    """Jobs for every slot of `[first wanted, closed_until)` that is neither covered nor already a job's.

    After everything stored comes the tail; between stored windows are gaps; what lies before the first stored candle,
    or all of a new series but its newest page, is backfill. Newest first within each kind.
    """
    detector = GapDetector(series.grid)
    first = series.first_ms
    if closed_until <= first:
        return []
    wanted = Window(first, closed_until)
    missing = detector.missing(wanted, (*known.stored, *known.absent, *known.jobs))
    covered = (*known.stored, *known.absent)
    oldest = min((w.start for w in covered), default=closed_until)
    newest = max((w.end for w in covered or known.jobs), default=closed_until)
    jobs: list[PlannedJob] = []
    for window in missing:
        if window.start >= newest:
            if not is_silent_tail(window, known.absent):
                jobs += _cut(series, TAIL, window, page_slots, archive)
        elif window.end > oldest:
            jobs += _cut(series, GAP, window, page_slots, archive)
        elif covered or known.jobs:
            jobs += _cut(series, BACKFILL, window, page_slots, archive)
        else:
            head = max(window.start, series.grid.advance(series.grid.ceil(window.end), -page_slots))
            jobs += _cut(series, TAIL, Window(head, window.end), page_slots)
            jobs += _cut(series, BACKFILL, Window(window.start, head), page_slots, archive)
    waiting = [part for window in known.fallback for part in detector.missing(window, known.jobs)]
    for hull in _hulls(waiting, known.jobs, series.grid, page_slots * JOB_PAGES):
        jobs += _cut(series, HEAL, hull, page_slots, archive)
    return sorted(jobs, key=lambda job: (job.priority, -job.window.start))


def plan_range(
    series: Series, asked: Window, closed_until: int, known: Known, *, page_slots: int = 1000,
    archive: Offer | None = None,
) -> list[PlannedJob]:  # fmt: skip
    """Backfill jobs for the slots of `asked` that are closed, listed, and neither covered nor already a job's."""
    grid = series.grid
    start = grid.ceil(max(asked.start, series.listed_ms or 0))
    wanted = Window(start, max(start, min(asked.end, closed_until)))
    missing = GapDetector(grid).missing(wanted, (*known.stored, *known.absent, *known.jobs))
    jobs = [job for window in missing for job in _cut(series, BACKFILL, window, page_slots, archive)]
    return sorted(jobs, key=lambda job: -job.window.start)


def interleave(per_series: Sequence[Sequence[PlannedJob]]) -> list[PlannedJob]:
    """All jobs by priority, taking turns between the series, so that none waits for another's long history."""
    turns = [(job.priority, turn, at, job) for at, jobs in enumerate(per_series) for turn, job in enumerate(jobs)]
    return [job for *_, job in sorted(turns, key=lambda entry: entry[:3])]


def _cut(series: Series, kind: str, window: Window, page_slots: int, archive: Offer | None = None) -> list[PlannedJob]:
    """A window as jobs: of so many pages each, and of one month each where the archive's files are the cheaper way."""
    grid, filed = series.grid, list[Window]()
    if archive is not None:
        wanted = [month for month in months(window) if archive.has(month) and is_worth_a_month(grid, month, archive)]
        filed = [part for month in wanted if (part := GapDetector(grid).trim(window.intersect(month.window)))]
    slots = page_slots * JOB_PAGES
    rests = subtract(window, filed)
    if archive is not None and is_worth_a_day(grid, archive):  # so that no day's file is asked for by two jobs
        rests = [part for rest in rests for part in _by_span(rest, series.timeframe.ms * slots // DAY * DAY or DAY)]
    paged = [part for rest in rests for part in pages(rest, grid, slots)]
    return [PlannedJob(series.id, kind, part) for part in (*filed, *paged) if grid.count(part)]


def _by_span(window: Window, span: int) -> Iterator[Window]:
    """A window cut at the multiples of a span."""
    start = window.start
    while start < window.end:
        end = min((start // span + 1) * span, window.end)
        yield Window(start, end)
        start = end


def _hulls(parts: Sequence[Window], apart_by: Sequence[Window], grid: Grid, slots: int) -> list[Window]:
    """Ascending windows joined over what lies between them, as far as one job reaches and nobody else's lies there.

    Slots that a better source leaves out are many and close together, and one page answers for many of them.
    """
    hulls: list[Window] = []
    for part in parts:
        hull = Window(hulls[-1].start, part.end) if hulls else part
        fits = hulls and grid.count(hull) <= slots and not any(hull.intersect(other) for other in apart_by)
        hulls[-1:] = [hull] if fits else [*hulls[-1:], part]
    return hulls


def is_silent_tail(window: Window, absent: Sequence[Window]) -> bool:
    """Whether a tail is left alone for now: a market proven silent up to here is asked ever more rarely."""
    before = next((w for w in union(absent) if w.end == window.start), None)
    return before is not None and window.span < min(before.span // 4, DAY)
