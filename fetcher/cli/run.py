"""The bare run: plan + work within run.time_budget; what crontab starts. Then it tells what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.cli.hung import GRACE, ending_what_hangs
from fetcher.cli.summary import put_result
from fetcher.cli.telling import alive, attended
from fetcher.cli.working import Troubles, unusable, working
from fetcher.outcome import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from fetcher.cli.invocation import Invocation


def run(call: Invocation) -> int:
    """Fetch what is new and what is missing; returns the exit code."""
    troubles = Troubles()
    with alive(call) as pulse, call.app() as app:
        app.hooks.add(troubles)
        app.hooks.add(pulse)
        budget = call.config.run.time_budget
        with ending_what_hangs(budget + GRACE), working(call, app), attended(call, app):
            result = app.fetcher.run(budget)
        pulse.is_hurried = app.stop.is_leaving
        code = put_result(call, result, troubles.sentences(app, result), unusable=unusable(app))
        pulse.is_well = code != EXIT_BAD_INPUT  # what is still missing the next run fetches; that a person must mend
        return code
