"""The composition root: the only place that puts concrete classes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from db import endpoints
from db.engine import open_engine, reading, writing
from db.manager import DatabaseManager
from db.series import source_clock
from fetcher.archive import Archive, ArchiveReader
from fetcher.asking import Asker
from fetcher.audit_cross import sample
from fetcher.clients import client_class
from fetcher.clients.binance_archive import BinanceArchiveClient
from fetcher.clock import ServerClock, Stop
from fetcher.events import Hooks
from fetcher.housekeeping import Housekeeping
from fetcher.jobqueue import JobQueue
from fetcher.line import SourceLine
from fetcher.masking import hide
from fetcher.memory import keep_flat
from fetcher.model import MINUTE
from fetcher.owners import own_name
from fetcher.pipeline import CryptoDataFetcher
from fetcher.planning import Planning
from fetcher.recovery import RecoveryManager
from fetcher.rereading import Rereader
from fetcher.resilience.budget import Budget, Unlimited
from fetcher.resilience.gate import Gate, Outlook
from fetcher.resilience.health import Health
from fetcher.router import APIRouter
from fetcher.runbook import RunBook
from fetcher.secrecy import secrets_of
from fetcher.settling import Settling
from fetcher.steps import JobSteps
from fetcher.storage import Storage
from fetcher.validation import DataValidator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Engine

    from fetcher.clients.base import BaseAPIClient, Endpoint
    from fetcher.clock import Clock
    from fetcher.config import Config, SourceSettings
    from fetcher.model import Series

G = TypeVar("G", bound=Gate)


class App(Struct, frozen=True):
    """The program put together for one configuration; `close` ends its connections."""

    config: Config
    clock: Clock
    stop: Stop
    hooks: Hooks
    engine: Engine
    manager: DatabaseManager
    router: APIRouter
    lines: tuple[SourceLine, ...]
    planning: Planning
    archive: ArchiveReader
    settling: Settling
    fetcher: CryptoDataFetcher

    def close(self) -> None:
        """Close every connection to sources and database."""
        for line in self.lines:
            line.close()
        self.archive.close()
        self.engine.dispose()


def build(
    config: Config, clock: Clock, *, instead_of: App | None = None, settle: bool = False
) -> App:  # fmt: skip
    """Put the program together and make its database ready; raises DatabaseProblem where that cannot be.

    `instead_of` is one that it is to take the place of: they share the word to stop, and who listens. With `settle`
    candles are asked for only when their sources should have them, as somebody does who waits for closes.
    """
    keep_flat()
    hide(secrets_of(config))
    stop, hooks = (Stop(clock), Hooks()) if instead_of is None else (instead_of.stop, instead_of.hooks)
    health, owner = Health(), own_name()
    engine = open_engine(config.database_url, stop=stop)
    manager = DatabaseManager(engine, config.database_url)
    manager.prepare()
    places = _Places(engine, clock, health, owner)
    lines = tuple(_line(name, source, places) for name, source in config.sources.items())
    archives = {line.source: made for line in lines if (made := _archive(line, config.sources[line.source], places))}
    _ensure_endpoints(engine, (*lines, *(made.line for made in archives.values())))
    router = APIRouter({line.source: line for line in lines}, clock, stop, hooks.tell)
    storage, validator = Storage(engine), DataValidator()
    queue = JobQueue(engine, router, clock, owner)
    archive = ArchiveReader(archives, router, validator)
    asker = Asker(router, validator, storage)
    steps = JobSteps(asker, archive, storage, queue, clock)
    recovery = RecoveryManager(steps, storage, queue, clock, stop, config.run.workers, hooks.tell)
    settling = Settling(engine, clock, config.daemon.settle if settle else None)
    planning = Planning(engine, clock, router, archive, hooks.tell, settling.ms)
    book = RunBook(engine, clock, lines, owner, hooks.tell, Housekeeping(engine, clock, config.keep, hooks.tell).tidy)
    rereader = Rereader(engine, asker, storage, router, clock, hooks.tell)

    def check(some: Sequence[Series], known: Collection[int], seconds: float) -> None:
        until = clock.elapsed() + seconds
        rereader.reread(some, until)
        seconds = until - clock.elapsed()
        checked = sample(router, engine, [each for each in some if each.id in known], clock, clock.now_ms(), seconds)
        if checked is not None:
            hooks.tell(checked)

    fetcher = CryptoDataFetcher(engine, clock, book, queue, planning, recovery, config.series(), check)
    return App(config, clock, stop, hooks, engine, manager, router, lines, planning, archive, settling, fetcher)


class _Places(Struct, frozen=True):
    """What every line of this process shares."""

    engine: Engine
    clock: Clock
    health: Health
    owner: str


def _line(name: str, source: SourceSettings, places: _Places) -> SourceLine:
    client = client_class(source.client).configured(name, source, places.clock)
    with reading(places.engine) as connection:
        known = source_clock(connection, name)
    ahead = 0 if known is None or known.seen_ms is None else known.clock_ms - known.seen_ms
    server = ServerClock(places.clock, ahead)
    return _opened(client, server, _budgets(client, server, places), source.symbols, places)


def _archive(line: SourceLine, source: SourceSettings, places: _Places) -> Archive | None:
    """The archive beside a source's API, by the same clock; None where it has none, or it is switched off."""
    if source.client != "binance" or source.archive_url is None:
        return None
    client = BinanceArchiveClient.configured(line.source, source, places.clock)
    purses = {endpoint.pool: Unlimited() for endpoint in client.endpoints}
    return Archive(client, _opened(client, line.server, purses, source.symbols, places))


def _budgets(client: BaseAPIClient, server: ServerClock, places: _Places) -> dict[str, Budget]:
    def limits() -> tuple[int, int]:
        able = client.capabilities
        return max(1, able.weight_per_minute * able.budget_ms // MINUTE), able.budget_ms

    return {e.pool: Budget(places.engine, server, e.pool, limits) for e in client.endpoints}


def _opened(
    client: BaseAPIClient, server: ServerClock, purses: Mapping[str, Budget | Unlimited],
    symbols: Mapping[str, str], places: _Places,
) -> SourceLine:  # fmt: skip
    gates = open_gates(Gate, client, client.endpoints, places.engine, places.clock, places.owner)
    return SourceLine(client, gates, purses, server, places.health, places.engine, places.clock, symbols)


def open_gates(
    kind: type[G], client: BaseAPIClient, ways_in: Iterable[Endpoint], engine: Engine, clock: Clock, owner: str
) -> dict[Endpoint, G]:
    """A gate before each of these endpoints of a client, all with one look at the database."""
    outlook, longest = Outlook(engine, clock), client.longest_request
    return {each: kind(engine, clock, each.key, each.pool, owner, longest, outlook) for each in ways_in}


def _ensure_endpoints(engine: Engine, lines: tuple[SourceLine, ...]) -> None:
    """Give every endpoint and pool its row, so that everything later only updates."""
    wanted = {key: line.source for line in lines for e in line.client.endpoints for key in (e.key, e.pool)}
    with reading(engine) as connection:
        missing = wanted.keys() - {row.endpoint for row in endpoints.read_all(connection)}
    if missing:
        with writing(engine) as connection:
            for key in sorted(missing):
                endpoints.ensure(connection, key, wanted[key])
