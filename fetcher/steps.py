"""What a job asks, step by step: the missing pages, then once more whoever lacked candles."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.errors import CannotServe, RateLimited, SourceDown, Stopped, UnknownSymbol
from fetcher.gaps import pages
from fetcher.lacking import Lack, by_witness, merged, with_neighbours
from fetcher.model import Window
from fetcher.planner import HEAL, RECHECK, TAIL
from fetcher.routes import cheapest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fetcher.archive import ArchiveReader
    from fetcher.asking import Asker
    from fetcher.clock import Clock
    from fetcher.jobqueue import JobQueue
    from fetcher.page import Page
    from fetcher.periods import Period
    from fetcher.storage import Storage
    from fetcher.writer import OpenJob

LEARN, PAGE, FILE, CONFIRM = "learn", "page", "file", "confirm"
KNOWN_SLOTS = 3  # before a tail, that are looked at again


class Task(Struct, frozen=True):
    """One question of a job: a page of one window, what a file has of some, or whether `source` lacks some.

    Or when its market was listed: of no window.

    Of a page `source` is the worst that may be asked (None: whoever can be reached), or the one that is to heal.
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
        """What a job needs first: the pages that are missing, or a second look."""
        job.narrow(self._jobs.wanted(job.series))
        if job.row.kind == RECHECK:
            return self._asked_again(job)
        missing, now = self.missing(job), self._clock.now_ms()
        job.begin(missing)
        if missing and self._archive.offer(job.series) is not None:
            job.spent |= self._storage.spent_files(job.series, now)
        if job.row.kind == HEAL:
            return self._pages_of(job, [(window, self._healer(job, window)) for window in missing])
        if missing:
            job.recalled = self._storage.lacks(job.series, job.window, now)  # what a run was told already is confirmed
        return self.confirming(job, missing)

    def confirming(self, job: OpenJob, holes: list[Window]) -> list[Task]:
        """Ask for what is still missing those sources whose pages lacked it; a page of what nobody was asked for."""
        parts = by_witness(holes, [*job.lacks, *job.recalled], job.series.sources)
        tasks = self._pages_of(job, [(window, self._healer(job, window)) for window, source in parts if source is None])
        lacked: dict[str, list[Window]] = {}
        for window, source in parts:
            if source is not None:
                lacked.setdefault(source, []).append(window)
        for source, windows in lacked.items():
            groups = self._asker.questions(job.series, windows, source)
            tasks += [Task(job, CONFIRM, group, source) for group in groups]
        return tasks

    def room(self, task: Task) -> AbstractContextManager[object]:
        """What is to be held while a task is asked and its page handed over: there is room for so many files only."""
        return nullcontext() if task.period is None else self._archive.room

    def learn(self, series_id: int, sighted: Callable[[int], None]) -> None:
        """Learn when a market was listed, where that can be known; `sighted` is told what a first answer says of it.

        Raises whatever the asking met.
        """
        self._jobs.learn_listing(series_id, partial(self._asker.listing, sighted=sighted))

    def ask(self, task: Task) -> Page:
        """Do a task that brings something to store. Raises whatever the asking met."""
        job, series = task.job, task.job.series
        if task.period is not None:
            job.spent.add(task.period)
            return self._archive.page(series, task.period, task.windows)
        try:
            return self._page(task) if task.kind == PAGE else self._proof(task)
        except UnknownSymbol:
            if job.heals is not None and task.source is not None:
                self._jobs.note_unserved(series, task.source)
            raise

    def _page(self, task: Task) -> Page:
        job, series, window = task.job, task.job.series, task.windows[0]
        if job.heals is not None:
            page = self._asker.page(series, window, only=task.source)
        else:
            above = None if task.source is None else series.sources.index(task.source) + 1
            page = self._asker.page(series, self._with_known(job, window), above)
        job.lacks.append(Lack(page.asked or window, page.batch.source))
        return page

    def _with_known(self, job: OpenJob, window: Window) -> Window:
        """The window of a tail's first page with a few slots before it, as far as these cost no further request.

        What an exchange restates of its newest closed candles comes with the next ones.
        """
        grid = job.series.grid
        room = self._jobs.page_slots(job.series) - grid.count(window)
        if job.row.kind != TAIL or window.start > job.row.start_ms or room <= 0:
            return window
        return Window(max(job.series.first_ms, grid.advance(window.start, -min(KNOWN_SLOTS, room))), window.end)

    def _proof(self, task: Task) -> Page:
        series, windows = task.job.series, task.windows
        answers = self._storage.answers(series, Window(windows[0].start, windows[-1].end)) if len(windows) == 1 else 0
        if task.job.row.kind != RECHECK:
            return self._asker.absence(series, windows, max(1, answers), only=task.source)
        # what a worse source has is no answer to whether the better one has it now
        above = None if task.source is None else series.sources.index(task.source) + 1
        return self._asker.absence(series, windows, answers, above=above)

    def missing(self, job: OpenJob) -> list[Window]:
        """What coverage does not explain of a job's window; of one that heals, what better sources are to be asked for.

        What these no longer reach back to stays as it is.
        """
        if job.row.kind == HEAL:
            job.heals = self._jobs.healers(job.series)
        return self._storage.missing(job.series, job.window, job.heals, self._clock.now_ms())

    def _asked_again(self, job: OpenJob) -> list[Task]:
        """The absences of a job that are due, in pieces; what nobody reaches back to is not asked about again."""
        series, tasks = job.series, list[Task]()
        for window, source in self._storage.due_absences(series, job.window, self._clock.now_ms()):
            if not self._jobs.reaches(series, with_neighbours([window], series.grid).start, source):
                self._storage.ask_no_more(series, window)
                continue
            groups = self._asker.questions(series, [window], source or series.sources[0])
            tasks += [Task(job, CONFIRM, group, source) for group in groups]
        return tasks

    @staticmethod
    def _healer(job: OpenJob, window: Window) -> str | None:
        """Who is to heal a window: the best that reaches it. None for a job that does not heal."""
        return next((each.source for each in job.heals or () if each.oldest_ms <= window.start), None)

    def keep_witnesses(self, job: OpenJob, missing: list[Window], error: Exception) -> bool:
        """Before a job goes back: keep in the database who lacked what, where a later attempt could ask others.

        Whether it now waits for a source of which others are no substitute. A source that cannot tell is no witness.
        """
        series, now = job.series, self._clock.now_ms()
        if not missing:
            return False
        if isinstance(error, CannotServe):
            self._storage.forget_lacks(series, job.window, now)
            return False
        if not isinstance(error, (SourceDown, RateLimited, Stopped)):
            return False
        asked = [lack for lack in job.lacks if any(lack.window.intersect(hole) for hole in missing)]
        lacks = merged(asked, job.window, job.recalled)
        if lacks:
            self._storage.remember_lacks(series, lacks, now)
        known = [*lacks, *self._storage.lacks(series, job.window, now)]
        return any(source is not None for _, source in by_witness(missing, known, series.sources))

    def _pages_of(self, job: OpenJob, parts: Sequence[tuple[Window, str | None]]) -> list[Task]:
        """The files and pages of missing windows, each with the worst source that may be asked for it.

        Holes that whoever is asked leaves by the dozen are fetched as they are confirmed: many with one question.
        """
        grid, best = job.series.grid, self._jobs.best(job.series)
        offer = self._archive.offer(job.series, job.spent)
        tasks: list[Task] = []
        for worst, some in groupby(parts, key=itemgetter(1)):
            holes = [window for window, _ in some]
            asked = worst or best
            if offer is not None and asked == best:
                mix = cheapest(holes, grid, offer)
                tasks += [Task(job, FILE, windows, worst, period) for period, windows in mix.files]
                holes = list(mix.pages)
            slots = self._jobs.page_slots(job.series, worst if job.heals is not None else None)
            groups = [(hole,) for hole in holes] if asked is None else self._asker.together(job.series, holes, asked)
            for group in groups:
                hull = Window(group[0].start, group[-1].end)
                tasks += [Task(job, PAGE, (page,), worst) for page in pages(hull, grid, slots)]
        return tasks
