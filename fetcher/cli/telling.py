"""What fetching tells the world about itself: alerts after each run or step, and a sign of life."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from db.errors import DatabaseProblem
from fetcher.errors import RunLocked
from fetcher.observe.alerts.desk import attend, is_breaking
from fetcher.observe.alerts.ping import Pulse
from fetcher.targets import read_ping_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.clock import Clock
    from fetcher.config import Config
    from fetcher.daemon import Daemon, StepResult

LOOK_SECONDS = 30.0  # between two looks of a daemon for what is wrong


@contextmanager
def alive(call: Invocation) -> Iterator[Pulse]:
    """Give a sign of life for the run in the block; one that finds another run at work gives none."""
    pulse = _pulse(call.config, call.clock)
    try:
        yield pulse
    except RunLocked:
        raise
    except BaseException:
        pulse.is_well = False
        pulse.end()
        raise
    pulse.end()


@contextmanager
def attended(call: Invocation, app: App) -> Iterator[None]:
    """Look after alerts once the block's work is done, also where it failed; not where another run is at work.

    Nor where the database is away, which holds the account. Before the work too where runs were killed, since this one
    may be killed as well.
    """
    if is_breaking(app.engine, call.config):
        attend(app.engine, call.config, call.clock, app.stop)
    try:
        yield
    except (RunLocked, DatabaseProblem):
        raise
    except Exception:
        attend(app.engine, call.config, call.clock, app.stop)
        raise
    attend(app.engine, call.config, call.clock, app.stop)


@contextmanager
def watched(daemon: Daemon, clock: Clock) -> Iterator[None]:
    """Look after alerts, and give signs of life, while the daemon works in the block, also where it breaks off."""
    watch = Watch(daemon, clock)
    daemon.after.append(watch)
    daemon.replaced.append(watch.reloaded)
    try:
        yield
    except RunLocked:
        raise
    except Exception:
        watch.broke_off()
        raise


class Watch:
    """Listens to a daemon's steps: looks after alerts now and then, and gives a sign of life once a minute."""

    def __init__(self, daemon: Daemon, clock: Clock) -> None:
        self._daemon = daemon
        self._clock = clock
        self._looked_at = -LOOK_SECONDS
        self._problem: str | None = None
        self._pulse = _pulse(daemon.app.config, clock)

    def __call__(self, step: StepResult) -> None:
        """Hear how a step went."""
        if self._daemon.app.stop.is_leaving:  # somebody waits for the end; what there is to tell the next start tells
            return
        self._pulse.beat(well=step.error is None)
        if self._clock.elapsed() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock.elapsed()
            app = self._daemon.app
            self._problem = attend(app.engine, app.config, self._clock, app.stop, self._problem)

    def broke_off(self) -> None:
        """Say that the daemon ends, and not because it was asked to."""
        self._pulse.is_well = False
        self._pulse.end()

    def reloaded(self, app: App) -> None:
        """Go on by another configuration."""
        self._pulse = _pulse(app.config, self._clock)


def _pulse(config: Config, clock: Clock) -> Pulse:
    url, problem = read_ping_url(config.alerts)
    return Pulse(url, clock, problem)
