"""The bare run: plan + work within run.time_budget; what crontab starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.cli.hung import GRACE, ending_what_hangs
from fetcher.cli.summary import put_result
from fetcher.cli.working import Troubles, unusable, working

if TYPE_CHECKING:
    from fetcher.cli.invocation import Invocation


def run(call: Invocation) -> int:
    """Fetch what is new and what is missing; returns the exit code."""
    troubles = Troubles()
    with call.app() as app:
        app.hooks.add(troubles)
        budget = call.config.run.time_budget
        with ending_what_hangs(budget + GRACE), working(call, app):
            result = app.fetcher.run(budget)
        return put_result(call, result, troubles.sentences(app, result), unusable=unusable(app))
