"""What a run does about alerts when its work is done: look, judge, write down, send. Nothing of it fails the run."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from db import state
from db.engine import database_file, reading
from db.errors import DatabaseProblem
from fetcher.clients.keys import read_keys
from fetcher.model import SECOND
from fetcher.observe.alerts.book import AlertBook
from fetcher.observe.alerts.disks import disks
from fetcher.observe.alerts.judge import Machine, broken_in_row, judge
from fetcher.observe.alerts.sending import send_all
from fetcher.observe.alerts.telling import Manners
from fetcher.observe.lines import LOG
from fetcher.targets import read_targets
from fetcher.vitals import read_vitals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

    from sqlalchemy import Engine

    from fetcher.clock import Clock
    from fetcher.config import Config
    from fetcher.observe.alerts.telling import Decision


def attend(engine: Engine, config: Config, clock: Clock, stop: Event, known: str | None = None) -> str | None:
    """Tell whoever is configured what is wrong by now, and what is over; raises nothing.

    What is wrong with the database where that keeps it from doing so: told in the log, unless it is `known` already.
    """
    try:
        _attend(engine, config, clock, stop)
    except DatabaseProblem as problem:
        if str(problem) != known:
            LOG.warning("alerts could not be looked after: %s", problem)
        return str(problem)
    except Exception:  # noqa: BLE001 (the edge: a run that has done its work must not fail for this)
        LOG.exception("alerts could not be looked after")
    return None


def is_breaking(engine: Engine, config: Config) -> bool:
    """Whether the latest runs broke off or were killed, as many as are worth an alert; one small look."""
    enough = config.alerts.runs_failed
    try:
        with reading(engine) as connection:
            return broken_in_row(state.recent_runs(connection, 2 * enough + 1)) >= enough
    except DatabaseProblem:  # which the run itself will wait for, or tell
        return False


def _attend(engine: Engine, config: Config, clock: Clock, stop: Event) -> None:
    targets, problems = read_targets(config.alerts)
    for problem in problems:
        LOG.warning("alerts: %s", problem)
    vitals = read_vitals(engine, config, clock.now_ms())
    machine = Machine(socket.gethostname(), disks(database_file(engine)), _missing_keys(config))
    book = AlertBook(engine, clock, targets)
    manners = manners_of(config, machine.host, clock.now_ms(), tells=bool(targets))
    _write_down(book.note(judge(vitals, config.alerts, machine), manners))
    if targets:
        book.deliver(lambda messages: send_all(messages, clock, stop))


def manners_of(config: Config, host: str, now_ms: int, *, tells: bool) -> Manners:
    """How alerts are told, by the configuration and the hour."""
    own = config.alerts
    quiet = own.quiet_hours is not None and own.quiet_hours.cover(now_ms)
    return Manners(host, int(own.repeat * SECOND), int(own.calm * SECOND), quiet=quiet, tells=tells)


def _write_down(decision: Decision) -> None:
    """What is told goes to the log too."""
    for news in decision.news:
        LOG.warning("alert (%s): %s", news.turn.value, news.alert.message)


def _missing_keys(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    wanted = {name for market in config.markets for name in market.sources}
    return tuple(
        f"{name}: {sentence}"
        for name, source in config.sources.items()
        if name in wanted and source.client == "coingecko"
        for sentence in read_keys(source.key_names, environment)[1].values()
    )
