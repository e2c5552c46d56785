"""RunBook: who may run, what each run came to, and what it learnt by the way of endpoints and clocks."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from db import breakers, health, series, state
from db.engine import writing
from db.retrying import retried
from fetcher.errors import RunLocked
from fetcher.events import RunBegan, RunEnded, SeriesLeft
from fetcher.owners import is_dead, is_of_this_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from db.breakers import Tally
    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.line import SourceLine
    from fetcher.resilience.health import HourOf
    from fetcher.results import RunResult

RUN_LOCK = "run"
LOCK_SECONDS = 900.0  # a run killed on another host frees the lock after this; one killed on this host at once
SUSPENDED_SECONDS = 86_400.0  # for which one that lives on this host keeps it beyond; longer it hangs


class RunBook:
    """The record of runs in the database, and the lock that keeps bare runs and daemons apart."""

    def __init__(
        self, engine: Engine, clock: Clock, lines: Sequence[SourceLine], owner: str, tell: Callable[[Fact], None],
        tidy: Callable[[], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._clock = clock
        self._lines = lines
        self._owner = owner
        self._tell = tell
        self._tidy = tidy

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run lock; raises RunLocked while another living process does."""
        self.take_lock()
        try:
            yield
        finally:
            self.give_lock_back()

    @retried
    def take_lock(self) -> None:
        """Take the run lock, or keep it for longer; raises RunLocked while another living process holds it."""
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            holder = state.lock_holder(connection, RUN_LOCK)
            others = holder is not None and holder.owner != self._owner
            if holder is not None and others and is_dead(holder.owner):
                state.lock_release(connection, RUN_LOCK, holder.owner)
                others = False
            # One that lives on this host keeps it past its time: it was suspended, or the clock was set.
            lives = holder is not None and others and is_of_this_host(holder.owner)
            until = holder.until_ms + int(SUSPENDED_SECONDS * 1000) if holder is not None and lives else 0
            mine = now + int(LOCK_SECONDS * 1000)
            if now < until or not state.lock_acquire(connection, RUN_LOCK, self._owner, now, mine):
                who = holder.owner if holder else "another process"
                raise RunLocked(f"another run is under way ({who}); this one leaves the work to it")

    @retried
    def give_lock_back(self) -> None:
        """Let others run."""
        with writing(self._engine) as connection:
            state.lock_release(connection, RUN_LOCK, self._owner)

    @retried
    def beat(self) -> None:
        """Keep the run lock, where this process holds it, and write down how endpoints did."""
        self.flush_when_due()
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            holder = state.lock_holder(connection, RUN_LOCK)
            if holder is not None and holder.owner == self._owner:
                state.lock_acquire(connection, RUN_LOCK, self._owner, now, now + int(LOCK_SECONDS * 1000))

    def recorded(self, kind: str, do: Callable[[], RunResult]) -> RunResult:
        """Run `do` and write down how it went; a run without an end in the record was killed.

        Then, once a day, what nothing depends on any more is pruned.
        """
        log_id, began = secrets.token_hex(3), self._clock.elapsed()
        run_id = self._started(kind, log_id)
        self._tell(RunBegan(log_id, kind))
        ended = RunEnded(kind, "failed", 1, None, 0.0, ())
        try:
            result = do()
            ended = _told(kind, result)
        finally:
            self.flush()
            self._finished(run_id, ended.outcome, ended.exit_code, ended.missing)
            self._tell(replace(ended, seconds=self._clock.elapsed() - began))
        self._tidy()
        return result

    @retried
    def _started(self, kind: str, log_id: str) -> int:
        with writing(self._engine) as connection:
            now = self._clock.now_ms()
            return state.run_start(connection, kind, socket.gethostname(), os.getpid(), now, log_id)

    @retried
    def _finished(self, run_id: int, outcome: str, exit_code: int, missing: int | None) -> None:
        with writing(self._engine) as connection:
            now = self._clock.now_ms()
            state.run_finish(connection, run_id, outcome, exit_code, {"missing": missing}, now)

    def flush_when_due(self) -> None:
        """`flush`, but at most every half minute: costs nothing in between, so that it may be called all the time."""
        if any(line.health.due(self._clock) for line in self._lines):
            self.flush()

    def flush(self) -> None:
        """Write down how endpoints did and how far clocks are proven, so far."""
        write_health(self._engine, self._clock, self._lines)


def _told(kind: str, result: RunResult) -> RunEnded:
    left = [SeriesLeft(str(e.series), e.missing, e.queued, e.failed, e.last_error) for e in result.series]
    return RunEnded(kind, result.outcome.name.lower(), result.exit_code, result.missing, 0.0, tuple(left))


def write_health(engine: Engine, clock: Clock, lines: Sequence[SourceLine]) -> None:
    """Write down what these lines tallied of their endpoints and proved of their sources' clocks; clear old hours."""
    now = clock.now_ms()
    tallies = {hour: tally for line in lines for hour, tally in line.health.drain(clock).items()}
    proven = {line.source: line.newest_proven_ms for line in lines}
    if tallies or any(proven.values()):
        _write_health(engine, tallies, proven, now)


@retried
def _write_health(
    engine: Engine, tallies: Mapping[HourOf, Tally], proven: Mapping[str, int | None], now: int
) -> None:  # fmt: skip
    with writing(engine) as connection:
        # By name: two processes that lock rows in different orders wait for each other.
        for hour, tally in sorted(tallies.items(), key=lambda each: (each[0].endpoint, each[0].hour_ms)):
            breakers.add_outcomes(connection, hour.endpoint, tally)
            health.add(connection, hour.endpoint, hour.hour_ms, tally)
        health.prune(connection, now)
        for source, clock_ms in sorted(proven.items()):
            if clock_ms is not None:
                series.set_source_clock(connection, source, clock_ms, now)
