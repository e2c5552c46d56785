"""The daemon: plan + work again and again, when candles close, jobs come due and rests end. One time is one `step`."""

from __future__ import annotations

from contextlib import suppress
from random import random
from typing import TYPE_CHECKING

from msgspec import Struct

from db.errors import DatabaseProblem
from fetcher.clock import format_utc
from fetcher.errors import FetcherError
from fetcher.events import JobEnded, PageStored
from fetcher.observe import service
from fetcher.observe.lines import LOG
from fetcher.reloading import WatchedFile, changes, rebuilt
from fetcher.wording import counted, timeless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fetcher.app import App
    from fetcher.config import Config
    from fetcher.events import Fact
    from fetcher.results import RunResult

LOOK_SECONDS = 60.0  # a step is made, and ends, at least so often: for leases, the run lock, the configuration
SHORTEST_STEP = 2.0  # seconds on the wall that a step may last although another close is nearer
LEAST_PAUSE = 1.0  # seconds between two steps, whatever seems due
GLANCE_SECONDS = 2.0  # on the wall, between looks at the file, the clock and the watchdog while nothing is due
TROUBLE_SECONDS = 5.0  # until the next try after a step failed; doubled each time up to LOOK_SECONDS
CLOCK_SET_MS = 2_000  # a wall clock that moved by more than that against the elapsed seconds was set, or we slept


class Tally(Struct):
    """What happened in a step: candles received, refused and proven absent windows, and jobs by how they ended."""

    rows: int = 0
    refused: int = 0
    absent: int = 0
    done: int = 0
    put_back: int = 0
    given_up: int = 0

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        match fact:
            case PageStored():
                self.rows += fact.rows
                self.refused += fact.refused
                self.absent += len(fact.absent)
            case JobEnded(status="done"):
                self.done += 1
            case JobEnded(status="failed"):
                self.given_up += 1
            case JobEnded():
                self.put_back += 1


class StepResult(Struct, frozen=True):
    """How a step went: begun at `started_ms` (ms UTC), so many `seconds` long; `worked`: there was something to do.

    `result` is how every series stands; None where `error`, one sentence, kept the step from its end.
    """

    started_ms: int
    seconds: float
    worked: bool
    tally: Tally
    result: RunResult | None = None
    error: str | None = None

    def __str__(self) -> str:
        """How everything stands, in a few words."""
        if self.result is None or self.error is not None:
            return f"failed: {self.error}"
        missing = counted(self.result.missing, "candle") if self.result.is_planned else "nobody knows yet what is"
        return f"{len(self.result.series)} series, {missing} missing"


class Daemon:
    """Keeps a program's series complete for as long as it is let; holds the run lock all the time.

    `after` is called with each step's result, `replaced` with the program that took the old one's place after the
    configuration changed. `load` reads the configuration from `path` anew.
    """

    def __init__(self, app: App, load: Callable[[], Config], path: Path) -> None:
        self.app = app
        self.after: list[Callable[[StepResult], None]] = []
        self.replaced: list[Callable[[App], None]] = []
        self._clock = app.clock
        self._load = load
        self._file = WatchedFile(path, app.clock)
        self._origin_ms = app.clock.origin_ms()
        self._set_by_ms = 0  # what the database was not told of yet
        self._troubles: set[str] = set()
        self._failures = 0
        self._tally = Tally()
        app.hooks.add(self._hear)

    def run(self) -> None:
        """Step and wait until the program is to end; raises RunLocked where another one holds the run lock."""
        self.app.fetcher.hold()
        service.ready("begins")
        try:
            while not self.app.stop.is_leaving:
                self._look_around()
                result = self.step()
                service.status(str(result))
                for listener in self.after:
                    listener(result)
                self._wait(self._pause(result))
        finally:
            service.stopping()
            with suppress(DatabaseProblem):  # who comes next sees that the holder is dead
                self.app.fetcher.let_go()

    def step(self) -> StepResult:
        """Plan and work once, until the next close at the latest; what fails is told, and tried again by the next."""
        began, started_ms = self._clock.elapsed(), self._clock.now_ms()
        self._tally = Tally()
        service.alive()
        result, worked, error = None, True, None
        try:
            self.app.fetcher.hold()
            result, worked = self.app.fetcher.step(began + self._length())
            self.app.settling.keep()
        except (FetcherError, DatabaseProblem, OSError) as trouble:
            error = str(trouble)
        self._note(error)
        return StepResult(started_ms, self._clock.elapsed() - began, worked, self._tally, result, error)

    def reload(self) -> bool:
        """Read the configuration anew, and go on by it; whether it was taken. A bad one is refused with a sentence."""
        service.reloading()
        self._file.take()
        try:
            config = self._load()
            told = changes(self.app.config, config)
            self.app = rebuilt(self.app, config)  # even where nothing changed: files with keys are read anew as well
        except (FetcherError, DatabaseProblem) as refusal:
            LOG.error("the configuration is not taken, the one before stays: %s", refusal)
            return False
        else:
            LOG.info("the configuration was read anew: %s", "; ".join(told) or "nothing changed")
            for listener in self.replaced:
                listener(self.app)
            return True
        finally:
            service.ready("goes on")

    def _hear(self, fact: Fact) -> None:
        self._tally(fact)
        self.app.settling(fact)

    def _look_around(self) -> None:
        """See what happened to us meanwhile: a clock that was set, a configuration that changed."""
        origin = self._clock.origin_ms()
        by_ms, self._origin_ms = origin - self._origin_ms, origin
        if abs(by_ms) > CLOCK_SET_MS:
            LOG.warning("the clock was set by %+.0f s, or the machine slept: it is %s", by_ms / 1000, self._now())
            self._set_by_ms += by_ms
        if self._set_by_ms:
            with suppress(DatabaseProblem):  # which the step tells; the next look tries again
                self.app.fetcher.clock_was_set(self._set_by_ms)
                self._set_by_ms = 0
        if self.app.stop.resume() or self._file.has_changed():
            self.reload()

    def _now(self) -> str:
        return format_utc(self._clock.now_ms() // 1000 * 1000)

    def _length(self) -> float:
        return max(self._clock.stretched(SHORTEST_STEP), min(LOOK_SECONDS, self._until_close()))

    def _until_close(self) -> float:
        """Seconds until a step is to ask for what closes next; at random a little later, as others do."""
        return self.app.fetcher.seconds_to_close() + random() * self.app.config.daemon.jitter + 0.001

    def _pause(self, result: StepResult) -> float:
        if result.error is not None:
            return min(LOOK_SECONDS, TROUBLE_SECONDS * 2.0 ** min(self._failures - 1, 10))
        try:
            wait = min(self.app.fetcher.seconds_to_due(), self._until_close())
        except (FetcherError, DatabaseProblem) as trouble:
            self._note(str(trouble))
            return TROUBLE_SECONDS
        return min(LOOK_SECONDS, max(LEAST_PAUSE, wait))

    def _wait(self, seconds: float) -> None:
        """Wait, unless there is something to look at before."""
        until = self._clock.elapsed() + seconds
        while (left := until - self._clock.elapsed()) > 0:
            service.alive()
            if self._clock.wait(self.app.stop, min(left, self._clock.stretched(GLANCE_SECONDS))):
                return
            if abs(self._clock.origin_ms() - self._origin_ms) > CLOCK_SET_MS or self._file.has_changed():
                return

    def _note(self, error: str | None) -> None:
        """Tell each trouble once, and that it is over."""
        if error is None:
            if self._failures:
                LOG.warning("it goes on after %d steps that failed", self._failures)
            self._troubles.clear()
            self._failures = 0
            return
        self._failures += 1
        if timeless(error) not in self._troubles:
            LOG.error("%s; it is tried again until it succeeds", error)
            self._troubles.add(timeless(error))
