"""RecoveryManager: works the queue — claims jobs, and lets fetchers ask and one writer commit."""

from __future__ import annotations

import queue
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from db.errors import DatabaseLost
from fetcher.aftermath import PATIENCE_SECONDS
from fetcher.errors import Stopped
from fetcher.flight import Flight
from fetcher.model import Window
from fetcher.openjobs import OpenJobs
from fetcher.planner import TAIL
from fetcher.steps import CONFIRM, LEARN
from fetcher.writer import Committed, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from db.jobs import Scope
    from fetcher.clock import Clock, Stop
    from fetcher.events import Fact
    from fetcher.jobqueue import JobQueue
    from fetcher.steps import JobSteps, Task
    from fetcher.storage import Storage
    from fetcher.writer import OpenJob

BEAT_SECONDS = 30.0  # how often leases and run lock are renewed
_LOOK_SECONDS = 0.25  # how often a stop is noticed while nothing happens
_LOOK_AT_OTHERS = 1.0  # between looks at what other processes work on
_CLAIM_PAUSE = 0.5  # between looks into an empty queue while other jobs are still open


class _Sighted(Struct, frozen=True):
    series_id: int
    opened: int  # ms UTC


class _Learned(Struct, frozen=True):
    asker: OpenJob


class _TaskFailed(Struct, frozen=True):
    task: Task
    error: Exception


_Happening = Committed | _Sighted | _Learned | _TaskFailed | Exception


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
        self._open = OpenJobs(steps, jobs, clock, tell)
        self._ready: deque[OpenJob] = deque()
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
        self, scope: Scope | None = None, deadline: float | None = None, beat: Callable[[], None] = lambda: None, *,
        to_the_end: bool = False,
    ) -> None:  # fmt: skip
        """Work every job of `scope` that is due, or comes due within PATIENCE_SECONDS, until none is left.

        Jobs whose sources all rest for longer are left alone; those that other processes work on are waited for only
        with `to_the_end`. `beat` is called every now and then.

        Stops early at `deadline` (the clock's elapsed seconds) or when the stop event is set: what is in flight is
        committed, everything else goes back to the queue. Raises what the writer met (a full disk, a lost database).
        """
        self._begin_anew()
        writer = Writer(self._storage, self._clock, self._happened.put)
        writer.start()
        flight = Flight(self._workers, self._stop)
        try:
            while not self._stopping(deadline):
                self._keep_alive(beat)
                if self._ready:  # one at a time: what it asks is on its way before the next is looked at
                    self._schedule(self._open.first(self._ready.popleft()))
                    self._submit(flight, writer)
                    continue
                self._claim(scope)
                self._submit(flight, writer)
                if self._open:
                    self._react(deadline)
                elif not (self._wait_for_due(scope, deadline) or (to_the_end and self._wait_for_others(scope))):
                    break
        finally:
            self._todo.clear()
            flight.land()
            writer.close()
            self._drain()
            self._open.release()
        if broken := writer.error or self._lost:
            raise broken

    def _begin_anew(self) -> None:
        """Forget what an earlier time of work left open, which gave its jobs back or lost the database."""
        self._happened = queue.SimpleQueue()
        self._open = OpenJobs(self._steps, self._jobs, self._clock, self._tell)
        self._ready.clear()
        self._todo.clear()
        self._flying, self._claim_after, self._lost = 0, 0.0, None

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
        """Keep enough jobs open that no fetcher idles: tasks for twice the fetchers, or nothing left to claim.

        Of a series of which nobody knows yet when it was listed a few are enough: more would wait here for nothing.
        """
        while len(self._todo) + self._flying < 2 * self._workers and self._clock.elapsed() >= self._claim_after:
            crowded = self._open.crowded(self._workers)
            claimed = self._jobs.claim(max(1, self._workers // 2), scope, PATIENCE_SECONDS, without=crowded)
            if not claimed:
                self._claim_after = self._clock.elapsed() + _CLAIM_PAUSE
            for row in claimed:
                self._schedule(self._open.begin(row))

    def _schedule(self, tasks: list[Task]) -> None:
        # What was begun is finished first, should the run end soon; and new candles come before history.
        if any(task.kind == CONFIRM or task.job.row.kind == TAIL for task in tasks):
            self._todo.extendleft(reversed(tasks))
        else:
            self._todo.extend(tasks)

    def _submit(self, flight: Flight, writer: Writer) -> None:
        while self._todo and self._flying < 2 * self._workers:
            flight.start(partial(self._fetch_in_room, self._todo.popleft(), writer))
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
            if task.kind == LEARN:
                self._steps.learn(job.series.id, lambda opened: self._happened.put(_Sighted(job.series.id, opened)))
                self._happened.put(_Learned(job))
                return
            page = self._steps.ask(task)
        except Exception as error:  # noqa: BLE001 (the edge that turns any failure into the job's last_error)
            self._happened.put(_TaskFailed(task, error))
            return
        if page.closed_until is not None:
            job.narrow(Window(0, page.closed_until))
        writer.put(job, page)

    def _react(self, deadline: float | None) -> None:
        """Handle what happened next, waiting for it only so long that deadline and stop are still noticed."""
        seconds = _LOOK_SECONDS
        if deadline is not None:
            seconds = max(0.0, min(seconds, self._clock.real_seconds(deadline - self._clock.elapsed())))
        try:
            self._handle(self._happened.get(timeout=seconds))
        except queue.Empty:
            return

    def _drain(self) -> None:
        while True:
            try:
                self._handle(self._happened.get_nowait())
            except queue.Empty:
                return

    def _handle(self, happening: _Happening) -> None:
        match happening:
            case Committed():
                self._handle_commit(happening)
            case _Sighted(series_id, opened):
                self._begin_soon(self._open.sighted(series_id, opened))
            case _Learned(asker):
                self._flying -= 1
                waited = self._open.learned(asker)
                if asker.is_through:
                    self._schedule(self._open.settle(asker, None))
                self._begin_soon(waited)
            case _TaskFailed(task, error):
                self._handle_failure(task, error)
            case _:
                self._stop.set()  # the writer cannot go on: nothing more can be kept

    def _handle_commit(self, committed: Committed) -> None:
        self._flying -= len(committed.pages)
        for job, page in committed.pages:
            job.bring(page)
            self._tell(page.told(job.row.start_ms))
            if job.row.kind == TAIL:
                self._tell(page.tail_read())
        for restated in committed.stored.restated:
            self._tell(restated)
        for job in committed.ended:
            self._schedule(self._open.settle(job, committed.stored.missing.get(job.id)))

    def _handle_failure(self, task: Task, error: Exception) -> None:
        self._flying -= 1
        if isinstance(error, DatabaseLost):  # waited for in vain: no fault of this job
            self._lost = self._lost or error
            self._stop.set()
        if task.kind == LEARN:
            self._open.not_learned(task.job, error)
        elif task.job.settled(error=error):
            self._schedule(self._open.settle(task.job, None))

    def _begin_soon(self, jobs: Iterable[OpenJob]) -> None:
        """Have jobs begin that waited for a listing date, and more of their series be claimed."""
        self._ready.extend(jobs)
        self._claim_after = 0.0

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

    def _wait_for_others(self, scope: Scope | None) -> bool:
        """Wait a moment for what other processes work on; False when they do not."""
        if not self._jobs.others_work(scope):
            return False
        self._clock.wait(self._stop, _LOOK_AT_OTHERS)
        self._claim_after = 0.0
        return True
