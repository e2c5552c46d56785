"""What fetching commands share: signals, log and progress attached to the program, and what is wrong with sources."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from db import endpoints
from db.engine import reading
from fetcher.cli.endpoints import RESTING, endpoint_states
from fetcher.cli.remaining import remaining_slots
from fetcher.cli.signals import stopping
from fetcher.events import Attempt
from fetcher.observe import logs
from fetcher.observe.progress import PlainLines, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.model import Window
    from fetcher.observe.progress import Display


@contextmanager
def working(call: Invocation, app: App, asked: Mapping[str, Window] | None = None) -> Iterator[None]:
    """Attach signals, log and progress while the block works; `asked` are the series and windows it is about."""
    logs.set_up(call.config, call.clock, call.verbosity)
    app.hooks.add(logs.FactLog())
    progress = _progress(call, app, asked)
    with stopping(app.stop):
        try:
            yield
        finally:
            if progress is not None:
                progress.close()


def _progress(call: Invocation, app: App, asked: Mapping[str, Window] | None) -> Progress | None:
    if call.verbosity < 0:
        return None
    progress = Progress(call.clock, remaining_slots(app.engine, asked), _display(call.clock))
    app.hooks.add(progress)
    return progress


def _display(clock: Clock) -> Display:
    if not sys.stderr.isatty():
        return PlainLines(clock, logs.LOG.info)
    from fetcher.observe.bars import Bars  # noqa: PLC0415 (rich: a tenth of a second, for those who watch)

    return Bars(clock)


_SERVED = {"ok", "CannotServe", "UnknownSymbol"}  # it answered, and well: only the question was wrong


class Troubles:
    """A listener that remembers each source's last failure until it answers again."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        if isinstance(fact, Attempt):
            if fact.outcome in _SERVED:
                self._failed.pop(fact.source, None)
            else:
                self._failed[fact.source] = fact.message

    def sentences(self, app: App) -> dict[str, str]:
        """One sentence for each source that did not serve, by name: what was met, or why it was not even asked."""
        with reading(app.engine) as connection:
            states = endpoint_states(endpoints.read_all(connection), app.config, app.clock.now_ms())
        found: dict[str, str] = {}
        for line in app.lines:
            mine = [state for state in states if state.source == line.source]
            resting = [state for state in mine if state.state == RESTING]
            if mine and len(resting) == len(mine):
                found[line.source] = f"{line.source} is {resting[0].sentence}"
            elif line.source in self._failed:
                found[line.source] = f"{line.source} did not serve: {self._failed[line.source]}"
        return found
