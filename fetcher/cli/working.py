"""What fetching commands share: signals, log and progress attached to the program, and what is wrong with sources."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from db import endpoints, jobs
from db.engine import reading
from db.errors import DatabaseProblem
from fetcher.cli.exposure import warn_once
from fetcher.cli.remaining import remaining_slots
from fetcher.cli.signals import LEAVE_SECONDS, stopping
from fetcher.endpoints import FAILING, RESTING, endpoint_states
from fetcher.errors import RunLocked
from fetcher.events import Attempt
from fetcher.model import MINUTE
from fetcher.observe import logs
from fetcher.observe.factlog import FactLog
from fetcher.observe.lines import LOG
from fetcher.observe.progress import PlainLines, Progress, duration
from fetcher.outcome import Outcome
from fetcher.owners import own_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.clock import Clock
    from fetcher.config import Config
    from fetcher.events import Fact
    from fetcher.model import Window
    from fetcher.observe.progress import Display
    from fetcher.results import RunResult


_TICK_SECONDS = 0.5


@contextmanager
def working(call: Invocation, app: App, asked: Mapping[str, Window] | None = None) -> Iterator[None]:
    """Attach signals, log and progress while the block works; `asked` are the series and windows it is about."""
    logs.set_up(call.config, call.clock, call.verbosity)
    facts = FactLog()
    app.hooks.add(facts)
    warn_once(call, app.engine)
    progress = _progress(call, app, asked)
    with stopping(app.stop, within=LEAVE_SECONDS), metered(call.config, app), ticking(progress):
        try:
            yield
        finally:
            if progress is not None:
                progress.close()
            facts.close()


@contextmanager
def metered(config: Config, app: App) -> Iterator[None]:
    """Write the metrics' textfile when the block is over, however it ended; where another run is at work that does."""
    path = config.metrics.textfile
    try:
        yield
    except RunLocked:
        path = None
        raise
    finally:
        if path is not None:
            from fetcher.observe.exporter import Textfile  # noqa: PLC0415 (for who has metrics)
            from fetcher.vitals import vitals_or_none  # noqa: PLC0415 (the same)

            read = partial(vitals_or_none, app.engine, config, app.clock.now_ms())
            Textfile(path, read, lambda: config.goals).write()


@contextmanager
def ticking(progress: Progress | None) -> Iterator[None]:
    """Have progress shown while nothing happens: while requests wait for their weight no fact comes for a minute."""
    if progress is None:
        yield
        return
    over = Event()

    def tick() -> None:
        while not over.wait(_TICK_SECONDS):
            progress.tick()

    thread = Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _progress(call: Invocation, app: App, asked: Mapping[str, Window] | None) -> Progress | None:
    if call.verbosity < 0:
        return None
    remaining = remaining_slots(app.engine, asked)
    progress = Progress(call.clock, remaining, display(call.clock), lambda: waiting_words(app), fastest(app))
    app.hooks.add(progress)
    return progress


def display(clock: Clock) -> Display:
    """Who shows progress: bars on a terminal, else lines of the log."""
    if not sys.stderr.isatty():
        return PlainLines(clock, LOG.info)
    from fetcher.observe.bars import Bars  # noqa: PLC0415 (rich: a tenth of a second, for those who watch)

    return Bars(clock)


def fastest(app: App) -> float | None:
    """Candles a second that the weight of the preferred sources allows at most, over minutes; None while unknown."""
    preferred = {series.sources[0] for series in app.config.series()}
    able = [line.client.capabilities for line in app.lines if line.source in preferred]
    total = sum(each.weight_per_minute / max(1, each.candle_cost) * each.rows_per_request / 60 for each in able)
    return total or None


def waiting_words(app: App) -> str | None:
    """`waiting for request weight` where this minute's is used up, with when there is more; None where it is not.

    Where it is the database that does not answer, or another process that works on the jobs: that.
    """
    try:
        with reading(app.engine) as connection:
            rows = {row.endpoint: row for row in endpoints.read_all(connection)}
            at_work = jobs.owners(connection)
    except DatabaseProblem:  # whoever writes will say why, in the end
        return "waiting for the database, which cannot be reached"
    for line in app.lines:
        able = line.client.capabilities
        for key in {each.pool for each in line.client.endpoints}:
            row, now = rows.get(key), line.server.guess_ms()
            if row is None or row.window_ms is None or not row.window_ms <= now < row.window_ms + MINUTE:
                continue
            if row.used + able.candle_cost > able.weight_per_minute:
                left = duration((row.window_ms + MINUTE - now) / 1000)
                limit = f"{row.used:,} of {able.weight_per_minute:,} used this minute"
                return f"waiting for request weight of {line.source} ({limit}, more in {left})"
    if at_work and own_name() not in at_work:
        return "waiting for jobs that another process works on"
    return None


_SERVED = {"ok", "CannotServe", "NotPublished", "UnknownSymbol"}  # it answered, and well: only the question was wrong


class Troubles:
    """A listener that remembers each source's last failure until it answers again."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}
        self._candles: set[str] = set()  # those that failed a question for candles: their time makes that no better

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        if isinstance(fact, Attempt):
            if fact.outcome in _SERVED:
                if fact.asked and (fact.vital or fact.source not in self._candles):
                    self._failed.pop(fact.source, None)
                    self._candles.discard(fact.source)
            else:
                self._candles |= {fact.source} if fact.vital else set()
                self._failed[fact.source] = fact.message

    def sentences(self, app: App, result: RunResult) -> dict[str, str]:
        """One sentence for each source that did not serve, by name: what was met, or why it was not even asked."""
        lacking = {name for each in result.series if each.outcome is not Outcome.OK for name in each.series.sources}
        with reading(app.engine) as connection:
            states = endpoint_states(endpoints.read_all(connection), app.config, app.clock.now_ms())
        found: dict[str, str] = {}
        for line in app.lines:
            mine = [state for state in states if state.source == line.source and not state.is_archive]
            resting = [state for state in mine if state.state == RESTING]
            if line.client.unusable is not None:
                found[line.source] = f"{line.source} did not serve: {line.client.unusable}"
            elif mine and len(resting) == len(mine):
                found[line.source] = f"{line.source} is {resting[0].sentence}"
            elif line.source in self._failed:
                found[line.source] = f"{line.source} did not serve: {self._failed[line.source]}"
            elif line.source in lacking and mine and all(state.state == FAILING for state in mine):
                # its turn did not come: it had no request weight left, for example
                found[line.source] = f"{line.source} is {mine[0].sentence}"
        return found


def unusable(app: App) -> frozenset[str]:
    """The sources that cannot be asked before a person mends something: their key is not there."""
    return frozenset(line.source for line in app.lines if line.client.unusable is not None)
