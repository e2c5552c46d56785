"""The jobs that this process has claimed and not ended: what each asks next, and how it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.errors import DatabaseLost
from fetcher.aftermath import LATER_SECONDS, after_failure
from fetcher.errors import Contradicted, Stopped, UnknownSymbol, Unproven
from fetcher.events import JobEnded
from fetcher.model import Window
from fetcher.planner import RECHECK, TAIL
from fetcher.steps import CONFIRM, LEARN, Task
from fetcher.unlisted import Unlisted
from fetcher.writer import OpenJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from db.jobs import JobRow
    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.jobqueue import JobQueue
    from fetcher.steps import JobSteps

IDLE_ROUNDS = 5  # rounds of confirming that bring nothing; then it is left for later


class OpenJobs:
    """Jobs from their claim to their end; one thread's. What they ask next is given back, for others to ask."""

    def __init__(self, steps: JobSteps, jobs: JobQueue, clock: Clock, tell: Callable[[Fact], None]) -> None:
        self._steps = steps
        self._jobs = jobs
        self._clock = clock
        self._tell = tell
        self._open: dict[int, OpenJob] = {}
        self._unlisted = Unlisted()

    def __bool__(self) -> bool:
        """Whether any is open."""
        return bool(self._open)

    def crowded(self, most: int) -> frozenset[int]:
        """The ids of series of which so many jobs wait until it is known when their market was listed."""
        return self._unlisted.crowded(most)

    def begin(self, row: JobRow) -> list[Task]:
        """Open a job that was claimed: what it asks first, or when its market was listed."""
        job = self._open[row.id] = OpenJob(row, self._jobs.series(row.series_id))
        if job.series.listed_ms is not None:
            return self.first(job)
        if self._unlisted.add(job):
            job.is_learning = True
            return [Task(job, LEARN, ())]
        return self.first(job) if job in self._unlisted.ahead(job.series.id) else []

    def first(self, job: OpenJob) -> list[Task]:
        """What a job asks first."""
        return self._awaited(job, self._steps.first(job))

    def sighted(self, series_id: int, opened: int) -> list[OpenJob]:
        """A first answer names a market's first candle, at `opened` (ms UTC): the jobs that may go on with `first`."""
        self._unlisted.sighted(series_id, opened)
        return self._unlisted.ahead(series_id)

    def learned(self, asker: OpenJob) -> list[OpenJob]:
        """All is known of a listing that can be known now: the jobs that waited, and may go on with `first`.

        The one that asked is to be settled where it `is_through`.
        """
        asker.is_learning = False
        return self._unlisted.take(self._jobs.series(asker.series.id))

    def not_learned(self, asker: OpenJob, error: Exception) -> None:
        """The question when a market was listed met an error: so does the job that asked it, and who waits for it."""
        asker.is_learning = False
        asker.settled(0, error)
        for job in [*([asker] if asker.is_through else []), *self._unlisted.take(self._jobs.series(asker.series.id))]:
            job.settled(0, error)
            self.settle(job, None)

    def settle(self, job: OpenJob, missing: list[Window] | None) -> list[Task]:
        """Nothing of a job is in flight any more: end it, confirm its holes, or put it back.

        `missing` is what the commit of its last page found still uncovered; with nothing missing it also ended the job.
        """
        if job.is_learning:
            job.is_through = True
            return []
        if isinstance(job.error, (Stopped, DatabaseLost)):
            return []  # goes back to the queue as it is
        if job.error is not None:
            self._give_back(job, job.error)
        elif missing == []:
            self._jobs.ended(job.id)
            self._left(job, "done", None)
        elif job.row.kind == RECHECK and job.answered:
            self._end(job, "done", None)
        elif job.row.kind == RECHECK:
            self._give_back(job, _inconclusive(job))
        else:
            holes = self._steps.missing(job) if missing is None else missing
            if not holes:
                self._end(job, "done", None)
            elif job.fruitless_rounds(sum(hole.span for hole in holes)) > IDLE_ROUNDS:
                self._give_back(job, _inconclusive(job))
            else:
                return self._awaited(job, self._steps.confirming(job, holes))
        return []

    def release(self) -> None:
        """Give the jobs back that the end of the run found open, with what is known of their holes."""
        left, self._open = list(self._open.values()), {}
        for job in left:
            if job.lacks and job.row.kind != RECHECK:
                self._steps.keep_witnesses(job, self._steps.missing(job), Stopped("the run is ending"))
        self._jobs.release([job.id for job in left])

    def _awaited(self, job: OpenJob, tasks: list[Task]) -> list[Task]:
        """The tasks, whose pages the job awaits from now on; without any it is done."""
        if tasks:
            job.confirming = any(task.kind == CONFIRM for task in tasks)
            job.expect(len(tasks))
        elif job.is_learning:
            job.is_through = True
        else:
            self._end(job, "done", None)
        return tasks

    def _give_back(self, job: OpenJob, error: Exception) -> None:
        """Let a job go with what is left of it: what it brought is covered, and must not be hidden by it."""
        if job.heals is not None and isinstance(error, UnknownSymbol):  # there is nothing better than what is there
            self._end(job, "done", str(error))
            return
        missing = [] if job.row.kind == RECHECK else self._steps.missing(job)
        progressed = job.answered if job.row.kind == RECHECK else job.has_progressed(missing)
        attempts = 1 if progressed else job.row.attempts + 1
        alone = len(job.series.sources) == 1
        end = after_failure(error, attempts, self._clock.now_ms(), alone=alone)
        if job.heals is not None and not missing:
            self._end(job, "done", None)
            return
        if missing:
            self._jobs.resize(job.id, Window(missing[0].start, missing[-1].end))
        not_before = end.not_before
        if self._steps.keep_witnesses(job, missing, error) and job.row.kind == TAIL:
            # what closes meanwhile is added to this job, and others may serve that while its source rests
            not_before = min(not_before, self._clock.now_ms() + int(LATER_SECONDS * 1000))
        counted = 0 if job.heals is not None and end.attempts is None else end.attempts  # due when that rest is lifted
        self._end(job, end.status, end.message, not_before=not_before, attempts=counted)

    def _end(
        self, job: OpenJob, status: str, error: str | None, *, not_before: int = 0, attempts: int | None = None
    ) -> None:
        self._jobs.end(job.id, status, error, not_before=not_before, attempts=attempts)
        self._left(job, status, error)

    def _left(self, job: OpenJob, status: str, error: str | None) -> None:
        self._open.pop(job.id, None)
        self._tell(JobEnded(job.id, job.row.kind, str(job.series), job.row.start_ms, job.row.end_ms, status, error))


def _inconclusive(job: OpenJob) -> Exception:
    if job.refused is not None:
        return Unproven(f"a candle that came was refused ({job.refused.reason}); see `quarantine`")
    return Contradicted("the answers keep contradicting each other")
