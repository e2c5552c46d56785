"""`--daemon`: stays, and makes a step at each close, until a signal ends it.

JSON: one object a line for each step that did something: `{"started_ms", "seconds", "rows", "refused", "absent",
"jobs_done", "jobs_put_back", "jobs_given_up", "missing", "error"}`.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING

import typer

from fetcher.app import build
from fetcher.cli.exposure import warn_once
from fetcher.cli.metering import Metering
from fetcher.cli.signals import LEAVE_SECONDS, closing, stopping
from fetcher.cli.telling import watched
from fetcher.config import load
from fetcher.daemon import Daemon
from fetcher.errors import ConfigError
from fetcher.events import STEP
from fetcher.observe import logs
from fetcher.observe.factlog import FactLog
from fetcher.observe.lines import say
from fetcher.outcome import EXIT_OK
from fetcher.wording import counted

if TYPE_CHECKING:
    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.daemon import StepResult
    from fetcher.results import RunResult


def stay(call: Invocation) -> int:
    """Fetch what closes as it closes; returns the exit code of an orderly end."""
    path = call.config_path.absolute()
    app = build(call.config, call.clock, settle=True)
    daemon = Daemon(app, partial(load, path), path)
    metering = None
    try:
        logs.set_up(call.config, call.clock, call.verbosity)
        app.fetcher.hold()  # first: where another daemon is at work, that is why its address is taken
        metering = _metering(app)
        app.hooks.add(FactLog())
        warn_once(call, app.engine)
        daemon.replaced.append(partial(_listen_anew, call))
        daemon.after.append(partial(_tell, call))
        daemon.replaced.append(metering.replaced)
        daemon.after.append(metering.after)
        with stopping(app.stop, hangup=True, within=LEAVE_SECONDS), watched(daemon, call.clock):
            daemon.run()
    finally:
        with closing(call.clock):
            if metering is not None:
                metering.close()
            daemon.app.close()
    return EXIT_OK


def _metering(app: App) -> Metering:
    try:
        return Metering(app)
    except ConfigError:
        app.fetcher.let_go()
        raise


def _listen_anew(call: Invocation, app: App) -> None:
    logs.set_up(app.config, call.clock, call.verbosity)


def _tell(call: Invocation, step: StepResult) -> None:
    """One line of the log, or with --json one object on stdout, for a step that did something.

    The line is the end of the run that the step was; of one that broke off the log has told.
    """
    if not step.worked:
        return
    if call.as_json:
        typer.echo(json.dumps(as_json(step), ensure_ascii=False))
    elif step.result is not None:
        outcome, code = step.result.outcome.name.lower(), step.result.exit_code
        say(
            logging.INFO, "run_ended", "%s", in_words(step), kind=STEP, outcome=outcome, exit_code=code,
            rows=step.tally.rows, missing=step.result.missing, seconds=round(step.seconds, 3),
        )  # fmt: skip


def in_words(step: StepResult) -> str:
    """`3 candles, 3 jobs done in 0.2 s; nothing is missing`."""
    told = step.tally
    counts = (
        (told.rows, "candle", ""),
        (told.refused, "refused row", ""),
        (told.absent, "absence", " proven"),
        (told.done, "job", " done"),
        (told.put_back, "job", " put back"),
        (told.given_up, "job", " given up"),
    )
    parts = [f"{counted(number, what)}{how}" for number, what, how in counts if number] or ["nothing came"]
    return f"{', '.join(parts)} in {step.seconds:.1f} s; {_what_is_left(step.result)}"


def _what_is_left(result: RunResult | None) -> str:
    """Of a market that nobody has reached yet no slot is known, so that none is missing: its job tells of it."""
    if result is not None and not result.is_planned:
        return "nobody knows yet what is missing"
    missing, waiting = (0, 0) if result is None else (result.missing, sum(each.queued for each in result.series))
    if missing:
        return f"{missing:,} missing"
    return f"{counted(waiting, 'job')} waiting" if waiting else "nothing is missing"


def as_json(step: StepResult) -> dict[str, object]:
    """The step as JSON-able values."""
    told = step.tally
    return {
        "started_ms": step.started_ms,
        "seconds": round(step.seconds, 3),
        "rows": told.rows,
        "refused": told.refused,
        "absent": told.absent,
        "jobs_done": told.done,
        "jobs_put_back": told.put_back,
        "jobs_given_up": told.given_up,
        "missing": None if step.result is None else step.result.missing,
        "error": step.error,
    }
