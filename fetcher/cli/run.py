"""The bare run: plan + work within run.time_budget; what crontab starts. Then alerts, and a sign of life."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fetcher.cli.summary import put_result
from fetcher.cli.working import Troubles, unusable, working
from fetcher.errors import RunLocked
from fetcher.observe.alerts.desk import attend
from fetcher.observe.alerts.ping import Pulse
from fetcher.observe.alerts.targets import read_ping_url
from fetcher.observe.logs import LOG
from fetcher.outcome import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation


def run(call: Invocation) -> int:
    """Fetch what is new and what is missing; returns the exit code."""
    troubles = Troubles()
    with telling(call) as pulse, call.app() as app:
        app.hooks.add(troubles)
        app.hooks.add(pulse)
        with working(call, app), attended(call, app):
            result = app.fetcher.run(call.config.run.time_budget)
        code = put_result(call, result, troubles.sentences(app, result), unusable=unusable(app))
        pulse.is_well = code != EXIT_BAD_INPUT  # what is still missing the next run fetches; this a person must mend
        return code


@contextmanager
def telling(call: Invocation) -> Iterator[Pulse]:
    """Give a sign of life for the run in the block; one that another run leaves no room for gives none."""
    url, problem = read_ping_url(call.config.alerts)
    if problem is not None:
        LOG.warning("alerts: %s", problem)
    pulse = Pulse(url, call.clock)
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
    """Look after alerts once the block's work is done, also where it failed; not where another run is at work."""
    try:
        yield
    except RunLocked:
        raise
    except Exception:
        attend(app.engine, call.config, call.clock, app.stop)
        raise
    attend(app.engine, call.config, call.clock, app.stop)
