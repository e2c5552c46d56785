"""The composition root: the only place that puts concrete classes together."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from db import endpoints
from db.engine import open_engine, reading, writing
from db.manager import DatabaseManager
from db.series import source_clock
from fetcher.asking import Asker
from fetcher.audit_cross import sample
from fetcher.clients import client_class
from fetcher.clock import ServerClock
from fetcher.events import Hooks
from fetcher.jobqueue import JobQueue, own_name
from fetcher.line import SourceLine
from fetcher.model import MINUTE
from fetcher.pipeline import CryptoDataFetcher
from fetcher.planning import Planning
from fetcher.recovery import RecoveryManager
from fetcher.resilience.budget import Budget
from fetcher.resilience.gate import Gate, Outlook
from fetcher.resilience.health import Health
from fetcher.router import APIRouter
from fetcher.runbook import RunBook
from fetcher.storage import Storage
from fetcher.validation import DataValidator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from fetcher.clients.base import Endpoint
    from fetcher.clock import Clock
    from fetcher.config import Config, SourceSettings
    from fetcher.model import Series

G = TypeVar("G", bound=Gate)


@dataclass(frozen=True, slots=True)
class App:
    """The program put together for one configuration; `close` ends its connections."""

    config: Config
    clock: Clock
    stop: Event
    hooks: Hooks
    engine: Engine
    manager: DatabaseManager
    router: APIRouter
    lines: tuple[SourceLine, ...]
    planning: Planning
    fetcher: CryptoDataFetcher

    def close(self) -> None:
        """Close every connection to sources and database."""
        for line in self.lines:
            line.client.close()
        self.engine.dispose()


def build(config: Config, clock: Clock) -> App:
    """Put the program together and make its database ready; raises DatabaseProblem where that cannot be."""
    stop, hooks, health, owner = Event(), Hooks(), Health(), own_name()
    engine = open_engine(config.database_url, stop=stop)
    manager = DatabaseManager(engine, config.database_url)
    manager.prepare()
    lines = tuple(_line(name, source, engine, clock, health, owner) for name, source in config.sources.items())
    _ensure_endpoints(engine, lines)
    router = APIRouter({line.source: line for line in lines}, clock, stop, hooks.tell)
    storage = Storage(engine)
    queue = JobQueue(engine, router, clock, owner)
    asker = Asker(router, DataValidator(), storage)
    recovery = RecoveryManager(asker, storage, queue, clock, stop, config.run.workers, hooks.tell)
    planning = Planning(engine, clock, router, hooks.tell)
    book = RunBook(engine, clock, lines, owner)

    def cross_check(some: Sequence[Series]) -> None:
        checked = sample(router, engine, some, clock, clock.now_ms())
        if checked is not None:
            hooks.tell(checked)

    fetcher = CryptoDataFetcher(engine, clock, book, queue, planning, recovery, config.series(), cross_check)
    return App(config, clock, stop, hooks, engine, manager, router, lines, planning, fetcher)


def _line(name: str, source: SourceSettings, engine: Engine, clock: Clock, health: Health, owner: str) -> SourceLine:
    client = client_class(source.client).configured(name, source, clock)
    with reading(engine) as connection:
        known = source_clock(connection, name)
    ahead = 0 if known is None or known.seen_ms is None else known.clock_ms - known.seen_ms
    server = ServerClock(clock, ahead)

    def limits() -> tuple[int, int]:
        able = client.capabilities
        return max(1, able.weight_per_minute * able.budget_ms // MINUTE), able.budget_ms

    budgets = {each.pool: Budget(engine, clock, server, each.pool, limits) for each in client.endpoints}
    gates = open_gates(Gate, client.endpoints, engine, clock, owner)
    return SourceLine(client, gates, budgets, server, health, engine, clock, source.symbols)


def open_gates(
    kind: type[G], ways_in: Iterable[Endpoint], engine: Engine, clock: Clock, owner: str
) -> dict[Endpoint, G]:
    """A gate before each endpoint, all with one look at the database."""
    outlook = Outlook(engine, clock)
    return {each: kind(engine, clock, each.key, each.pool, owner, outlook) for each in ways_in}


def _ensure_endpoints(engine: Engine, lines: tuple[SourceLine, ...]) -> None:
    """Give every endpoint and pool its row, so that everything later only updates."""
    wanted = {key: line.source for line in lines for e in line.client.endpoints for key in (e.key, e.pool)}
    with reading(engine) as connection:
        missing = wanted.keys() - {row.endpoint for row in endpoints.read_all(connection)}
    if missing:
        with writing(engine) as connection:
            for key in sorted(missing):
                endpoints.ensure(connection, key, wanted[key])
