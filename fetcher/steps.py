"""What a job asks, step by step: a listing date, the missing pages, then once more whoever lacked candles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from fetcher.errors import CannotServe, RateLimited, SourceDown, Stopped
from fetcher.gaps import pages
from fetcher.lacking import Lack, by_witness
from fetcher.model import Window
from fetcher.planner import HEAL, RECHECK
from fetcher.routes import cheapest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.archive import ArchiveReader
    from fetcher.asking import Asker
    from fetcher.clock import Clock
    from fetcher.jobqueue import JobQueue
    from fetcher.periods import Period
    from fetcher.storage import Page, Storage
    from fetcher.writer import OpenJob

LEARN, PAGE, FILE, CONFIRM = "learn", "page", "file", "confirm"


@dataclass(frozen=True, slots=True)
class Task:
    """One question of a job: a page of one window, what a file has of some, or whether `source` lacks some.

    Of a page `source` is the worst that may be asked; None: whoever can be reached.
    """

    job: OpenJob
    kind: str
    windows: tuple[Window, ...]
    source: str | None = None
    period: Period | None = None


class JobSteps:
    """Decides what a job asks next and asks it; what it must know of a job stands in the job or in the database."""

    def __init__(self, asker: Asker, archive: ArchiveReader, storage: Storage, jobs: JobQueue, clock: Clock) -> None:
        self._asker = asker
        self._archive = archive
        self._storage = storage
        self._jobs = jobs
        self._clock = clock

    def first(self, job: OpenJob) -> list[Task]:
        """What a job needs first: its market's listing date, the pages that are missing, or a second look."""
        if job.series.listed_ms is None and not job.goes_on_unlisted:
            return [Task(job, LEARN, (job.window,))]
        job.narrow(self._jobs.wanted(job.series))
        if job.row.kind == RECHECK:
            return [Task(job, CONFIRM, (job.window,))] if job.window else []
        if job.row.kind == HEAL:
            job.heals = self._jobs.best_rank(job.series)
        missing, now = self.missing(job), self._clock.now_ms()
        job.begin(missing)
        if missing and self._archive.offer(job.series) is not None:
            job.spent |= self._storage.spent_files(job.series, now)
        lacks = self._storage.lacks(job.series, now) if missing else []
        return self._pages_of(job, by_witness(missing, lacks, job.series.sources))

    def confirming(self, job: OpenJob, holes: list[Window]) -> list[Task]:
        """Ask for what is still missing those sources whose pages lacked it; a page of what nobody was asked for."""
        parts = by_witness(holes, job.lacks, job.series.sources)
        tasks = self._pages_of(job, [part for part in parts if part[1] is None])
        lacked: dict[str, list[Window]] = {}
        for window, source in parts:
            if source is not None:
                lacked.setdefault(source, []).append(window)
        for source, windows in lacked.items():
            groups = self._asker.questions(job.series, windows, source)
            tasks += [Task(job, CONFIRM, group, source) for group in groups]
        return tasks

    def ask(self, task: Task) -> Page | None:
        """Do a task; None where it brings nothing to store. Raises whatever the asking met."""
        job, series = task.job, task.job.series
        if task.kind == LEARN:
            job.goes_on_unlisted = not self._jobs.learn_listing(series.id, self._asker.listing)
            return None
        if task.period is not None:
            job.spent.add(task.period)
            return self._archive.page(series, task.period, task.windows)
        above = None if job.heals is None else job.heals + 1
        if task.kind == PAGE:
            if task.source is not None:
                above = min(series.sources.index(task.source) + 1, len(series.sources) if above is None else above)
            page = self._asker.page(series, task.windows[0], above)
            job.lacks.append(Lack(page.asked or task.windows[0], page.batch.source))
            return page
        if job.row.kind == RECHECK:  # what a worse source has is no answer to whether the better one has it now
            rank = self._storage.absent_rank(series, task.windows[0])
            above = None if rank is None else rank + 1
            return self._asker.absence(
                series, task.windows, self._storage.answers(series, task.windows[0]), above=above
            )
        if len(task.windows) > 1:
            return self._asker.absence(series, task.windows, 1, only=task.source)
        hole = self._storage.absent_around(series, task.windows[0], task.source)
        return self._asker.absence(series, [hole], max(1, self._storage.answers(series, hole)), only=task.source)

    def missing(self, job: OpenJob) -> list[Window]:
        """What coverage does not explain of a job's window; of one that heals, what worse sources stand for.

        What the better source no longer reaches back to stays as it is.
        """
        if job.heals is not None:
            job.narrow(self._jobs.reach(job.series))
        return self._storage.missing(job.series, job.window, job.heals, self._clock.now_ms())

    def keep_witnesses(self, job: OpenJob, missing: list[Window], error: Exception) -> bool:
        """Before a job goes back: keep in the database who lacked what, where a later attempt could ask others.

        Whether it now waits for a source of which others are no substitute. A source that cannot tell is no witness.
        """
        series, now = job.series, self._clock.now_ms()
        if len(series.sources) == 1 or not missing:
            return False
        if isinstance(error, CannotServe):
            self._storage.forget_lacks(series, job.window, now)
            return False
        if not isinstance(error, (SourceDown, RateLimited, Stopped)):
            return False
        parts = by_witness(missing, job.lacks, series.sources)
        lacks = [Lack(window, source) for window, source in parts if source is not None]
        if lacks:
            self._storage.remember_lacks(series, lacks, now)
        known = [*lacks, *self._storage.lacks(series, now)]
        return any(source is not None for _, source in by_witness(missing, known, series.sources))

    def _pages_of(self, job: OpenJob, parts: Sequence[tuple[Window, str | None]]) -> list[Task]:
        """The files and pages of missing windows, each with the worst source that may be asked for it.

        Holes that whoever is asked leaves by the dozen are fetched as they are confirmed: many with one question.
        """
        slots, grid, best = self._jobs.page_slots(job.series), job.series.grid, self._jobs.best(job.series)
        offer = self._archive.offer(job.series, job.spent)
        tasks: list[Task] = []
        for worst, some in groupby(parts, key=itemgetter(1)):
            holes = [window for window, _ in some]
            asked = worst or best
            if offer is not None and asked == best:
                mix = cheapest(holes, grid, offer)
                tasks += [Task(job, FILE, windows, worst, period) for period, windows in mix.files]
                holes = list(mix.pages)
            groups = [(hole,) for hole in holes] if asked is None else self._asker.questions(job.series, holes, asked)
            for group in groups:
                hull = Window(group[0].start, group[-1].end)
                tasks += [Task(job, PAGE, (page,), worst) for page in pages(hull, grid, slots)]
        return tasks
