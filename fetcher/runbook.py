"""RunBook: who may run, what each run came to, and what it learnt by the way of endpoints and clocks."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from db import breakers, jobs, series, state
from db.engine import writing
from fetcher.errors import RunLocked
from fetcher.jobqueue import is_dead
from fetcher.model import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from fetcher.clock import Clock
    from fetcher.line import SourceLine
    from fetcher.results import RunResult

RUN_LOCK = "run"
KEPT_JOBS_MS = 7 * DAY  # of jobs that are done: what they did is in coverage
KEPT_RUNS_MS = 90 * DAY
LOCK_SECONDS = 900.0  # a run killed on another host frees the lock after this; one killed on this host at once


class RunBook:
    """The record of runs in the database, and the lock that keeps bare runs and daemons apart."""

    def __init__(self, engine: Engine, clock: Clock, lines: Sequence[SourceLine], owner: str) -> None:
        self._engine = engine
        self._clock = clock
        self._lines = lines
        self._owner = owner

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run lock; raises RunLocked while another living process does."""
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            holder = state.lock_holder(connection, RUN_LOCK)
            if holder is not None and holder.owner != self._owner and is_dead(holder.owner):
                state.lock_release(connection, RUN_LOCK, holder.owner)
            if not state.lock_acquire(connection, RUN_LOCK, self._owner, now, now + int(LOCK_SECONDS * 1000)):
                who = holder.owner if holder else "another process"
                raise RunLocked(f"another run is under way ({who}); this one leaves the work to it")
        try:
            yield
        finally:
            with writing(self._engine) as connection:
                state.lock_release(connection, RUN_LOCK, self._owner)

    def beat(self) -> None:
        """Keep the run lock, where this process holds it."""
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            holder = state.lock_holder(connection, RUN_LOCK)
            if holder is not None and holder.owner == self._owner:
                state.lock_acquire(connection, RUN_LOCK, self._owner, now, now + int(LOCK_SECONDS * 1000))

    def recorded(self, kind: str, do: Callable[[], RunResult]) -> RunResult:
        """Run `do` and write down how it went; a run without an end in the record was killed."""
        with writing(self._engine) as connection:
            run_id = state.run_start(connection, kind, socket.gethostname(), os.getpid(), self._clock.now_ms())
        outcome, exit_code, missing = "failed", 1, None
        try:
            result = do()
            outcome, exit_code, missing = result.outcome.name.lower(), result.exit_code, result.missing
            return result
        finally:
            now = self._clock.now_ms()
            with writing(self._engine) as connection:
                for line in self._lines:
                    for endpoint, tally in line.health.drain().items():
                        breakers.add_outcomes(connection, endpoint, tally)
                    if line.newest_proven_ms is not None:
                        series.set_source_clock(connection, line.source, line.newest_proven_ms, now)
                state.run_finish(connection, run_id, outcome, exit_code, {"missing": missing}, now)
                jobs.prune(connection, now - KEPT_JOBS_MS)
                state.prune_runs(connection, now - KEPT_RUNS_MS)
