"""RecoveryManager: works the queue — claims jobs, lets fetchers ask and one writer commit, retries, gives up."""

from __future__ import annotations

import queue
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.errors import DatabaseLost
from fetcher.aftermath import LATER_SECONDS, PATIENCE_SECONDS, after_failure
from fetcher.errors import Contradicted, Stopped, UnknownSymbol, Unproven
from fetcher.events import JobEnded, PageStored
from fetcher.model import Window
from fetcher.planner import RECHECK, TAIL
from fetcher.steps import CONFIRM, Task
from fetcher.writer import Committed, OpenJob, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from db.jobs import Scope
    from fetcher.clock import Clock, Stop
    from fetcher.events import Fact
    from fetcher.jobqueue import JobQueue
    from fetcher.page import Page
    from fetcher.steps import JobSteps
    from fetcher.storage import Storage

IDLE_ROUNDS = 5  # rounds of confirming that bring nothing; then it is left for later
BEAT_SECONDS = 30.0  # how often leases and run lock are renewed
_LOOK_SECONDS = 1.0  # how often a stop is noticed while nothing happens
_CLAIM_PAUSE = 0.5  # between looks into an empty queue while other jobs are still open


@dataclass(frozen=True, slots=True)
class _Learned:
    job: OpenJob


@dataclass(frozen=True, slots=True)
class _TaskFailed:
    job: OpenJob
    error: Exception


_Happening = Committed | _Learned | _TaskFailed | Exception


class RecoveryManager:
    """Works jobs to their end with `workers` requests in flight and bounded memory; one instance, one caller."""

    def __init__(
        self, steps: JobSteps, storage: Storage, jobs: JobQueue, clock: Clock, stop: Stop, workers: int,
        tell: Callable[[Fact], None],
    ) -> None:  # fmt: skip
        self._storage = storage
        self._jobs = jobs
        self._clock = clock
        self._stop = stop
        self._workers = workers
        self._tell = tell
        self._steps = steps
        self._happened: queue.SimpleQueue[_Happening] = queue.SimpleQueue()
        self._open: dict[int, OpenJob] = {}
        self._todo: deque[Task] = deque()
        self._flying = 0
        self._claim_after = 0.0
        self._beaten = clock.elapsed()
        self._lost: DatabaseLost | None = None

    def leave_at(self, deadline: float | None) -> None:
        """Let no question of this process begin after `deadline` (the clock's elapsed seconds), wherever it is asked.

        None: there is none any more, for what is asked after a run.
        """
        self._stop.at(deadline)

    def work(
        self, scope: Scope | None = None, deadline: float | None = None, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Work every job of `scope` that is due, or comes due within PATIENCE_SECONDS, until none is left.

        Jobs whose sources all rest for longer are left alone. `beat` is called every now and then.

        Stops early at `deadline` (the clock's elapsed seconds) or when the stop event is set: what is in flight is
        committed, everything else goes back to the queue. Raises what the writer met (a full disk, a lost database).
        """
        writer = Writer(self._storage, self._clock, self._happened.put)
        writer.start()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="fetch")
        try:
            while not self._stopping(deadline):
                self._keep_alive(beat)
                self._claim(scope)
                self._submit(pool, writer)
                if self._open:
                    self._react(deadline)
                elif not self._wait_for_due(scope, deadline):
                    break
        finally:
            self._todo.clear()
            pool.shutdown(wait=True, cancel_futures=True)
            writer.close()
            self._drain()
            self._release()
        if broken := writer.error or self._lost:
            raise broken

    def is_stopped_within(self, seconds: float) -> bool:
        """Wait so long between two times of work; True when the program is to end."""
        return self._clock.wait(self._stop, seconds)

    def _stopping(self, deadline: float | None) -> bool:
        if deadline is not None and self._clock.elapsed() >= deadline:
            self._stop.set()
        return self._stop.is_set()

    def _keep_alive(self, beat: Callable[[], None]) -> None:
        if self._clock.elapsed() - self._beaten > BEAT_SECONDS:
            self._beaten = self._clock.elapsed()
            self._jobs.renew_leases()
            self._jobs.take_over_dead()
            beat()

    def _claim(self, scope: Scope | None) -> None:
        """Keep enough jobs open that no fetcher idles: tasks for twice the fetchers, or nothing left to claim."""
        while len(self._todo) + self._flying < 2 * self._workers and self._clock.elapsed() >= self._claim_after:
            claimed = self._jobs.claim(max(1, self._workers // 2), scope, PATIENCE_SECONDS)
            if not claimed:
                self._claim_after = self._clock.elapsed() + _CLAIM_PAUSE
            for row in claimed:
                job = OpenJob(row, self._jobs.series(row.series_id))
                self._open[job.id] = job
                self._begin(job)

    def _begin(self, job: OpenJob) -> None:
        self._schedule(job, self._steps.first(job))

    def _schedule(self, job: OpenJob, tasks: list[Task]) -> None:
        if not tasks:
            self._end(job, "done", None)
            return
        job.confirming = any(task.kind == CONFIRM for task in tasks)
        job.expect(len(tasks))
        if job.confirming:  # before the pages of others: what was begun is finished, should the run end soon
            self._todo.extendleft(reversed(tasks))
        else:
            self._todo.extend(tasks)

    def _submit(self, pool: ThreadPoolExecutor, writer: Writer) -> None:
        while self._todo and self._flying < 2 * self._workers:
            pool.submit(self._fetch_in_room, self._todo.popleft(), writer)
            self._flying += 1

    def _fetch_in_room(self, task: Task, writer: Writer) -> None:
        with self._steps.room(task):
            self._fetch(task, writer)

    def _fetch(self, task: Task, writer: Writer) -> None:
        """One fetcher's task; everything it can meet ends as an event for the coordinator."""
        job = task.job
        try:
            if self._stop.is_set():
                raise Stopped("the run is ending")
            page = self._steps.ask(task)
        except Exception as error:  # noqa: BLE001 (the edge that turns any failure into the job's last_error)
            self._happened.put(_TaskFailed(job, error))
            return
        if page is None:
            self._happened.put(_Learned(job))
            return
        if page.closed_until is not None:
            job.narrow(Window(0, page.closed_until))
        writer.put(job, page)

    def _react(self, deadline: float | None) -> None:
        """Handle what happened, waiting for the first of it only so long that deadline and stop are still noticed."""
        seconds = _LOOK_SECONDS
        if deadline is not None:
            seconds = max(0.0, min(seconds, self._clock.real_seconds(deadline - self._clock.elapsed())))
        try:
            self._handle(self._happened.get(timeout=seconds))
        except queue.Empty:
            return
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._handle(self._happened.get_nowait())
            except queue.Empty:
                return

    def _handle(self, happening: _Happening) -> None:
        match happening:
            case Committed():
                self._flying -= len(happening.pages)
                for job, page in happening.pages:
                    job.bring(page)
                    self._tell(_progress(job, page))
                for restated in happening.stored.restated:
                    self._tell(restated)
                for job in happening.ended:
                    self._settle(job, happening.stored.missing.get(job.id))
            case _Learned(job):
                self._flying -= 1
                job.series = self._jobs.series(job.series.id)
                job.settled()
                self._begin(job)
            case _TaskFailed(job, error):
                self._flying -= 1
                if isinstance(error, DatabaseLost):  # waited for in vain: no fault of this job
                    self._lost = self._lost or error
                    self._stop.set()
                if job.settled(error=error):
                    self._settle(job, None)
            case _:
                self._stop.set()  # the writer cannot go on: nothing more can be kept

    def _settle(self, job: OpenJob, missing: list[Window] | None) -> None:
        """Nothing of a job is in flight any more: end it, confirm its holes, or put it back.

        `missing` is what the commit of its last page found still uncovered; with nothing missing it also ended the job.
        """
        if isinstance(job.error, (Stopped, DatabaseLost)):
            return  # goes back to the queue as it is
        if job.error is not None:
            self._give_back(job, job.error)
        elif missing == [] or (job.row.kind == RECHECK and job.answered):
            self._end(job, "done", None)
        elif job.row.kind == RECHECK:
            self._give_back(job, self._inconclusive(job))
        else:
            holes = self._steps.missing(job) if missing is None else missing
            if not holes:
                self._end(job, "done", None)
            elif job.fruitless_rounds(sum(hole.span for hole in holes)) > IDLE_ROUNDS:
                self._give_back(job, self._inconclusive(job))
            else:
                self._schedule(job, self._steps.confirming(job, holes))

    @staticmethod
    def _inconclusive(job: OpenJob) -> Exception:
        if job.refused is not None:
            return Unproven(f"a candle that came was refused ({job.refused.reason}); see `quarantine`")
        return Contradicted("the answers keep contradicting each other")

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
        self._open.pop(job.id, None)
        self._tell(JobEnded(job.id, job.row.kind, str(job.series), job.row.start_ms, job.row.end_ms, status, error))

    def _release(self) -> None:
        """Give the jobs back that the end of the run found open, with what is known of their holes."""
        for job in self._open.values():
            if job.lacks and job.row.kind != RECHECK:
                self._steps.keep_witnesses(job, self._steps.missing(job), Stopped("the run is ending"))
        self._jobs.release([job.id for job in self._open.values()])
        self._open.clear()

    def _wait_for_due(self, scope: Scope | None, deadline: float | None) -> bool:
        """Wait for the next job that comes due within patience and deadline; False when there is none."""
        if self._jobs.take_over_dead():  # who worked beside us was killed
            self._claim_after = 0.0
            return True
        due = self._jobs.next_due(scope, PATIENCE_SECONDS)
        if due is None:
            return False
        seconds = max(0.0, (due - self._clock.now_ms()) / 1000)
        if seconds > PATIENCE_SECONDS or (deadline is not None and self._clock.elapsed() + seconds >= deadline):
            return False
        self._clock.wait(self._stop, seconds + 0.001)
        self._claim_after = 0.0
        return True


def _progress(job: OpenJob, page: Page) -> PageStored:
    absent = [(part.window.start, part.window.end) for part in page.absent if not part.quiet]
    rows = int((page.batch.rows["open_time"] >= job.row.start_ms).sum())  # those before were known, and looked at again
    return PageStored(str(job.series), page.batch.source, rows, len(page.refused), tuple(absent))
