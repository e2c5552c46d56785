"""What `doctor` looks at, each as one check with its sentence."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import breakers, state
from db.engine import database_file, reading, writing
from fetcher.cli.live_gate import LiveGate
from fetcher.cli.show import utc
from fetcher.errors import SourceError
from fetcher.jobqueue import is_dead, own_name
from fetcher.line import SourceLine
from fetcher.observe.progress import duration
from fetcher.runbook import RUN_LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from fetcher.app import App
    from fetcher.clients.base import Endpoint, Market

LEAST_FREE_BYTES = 500_000_000
CLOCK_WRONG_MS = 1_000  # worth telling; it harms nothing, since the source's clock decides
_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: whether it is well, and in words."""

    name: str
    ok: bool
    message: str


def database_checks(app: App) -> Iterator[Check]:
    """Is the database sound, at this version's schema, and can it be written."""
    problems = app.manager.check()
    shown = app.engine.url.render_as_string(hide_password=True)
    yield Check("database", ok=not problems, message="; ".join(problems) or f"{shown} is sound and up to date")
    with writing(app.engine):  # raises DatabaseProblem where it cannot be written
        yield Check("writing", ok=True, message="the database can be written")


def disk_check(engine: Engine) -> Check:
    """Is there room to grow."""
    file = database_file(engine)
    if file is None:
        return Check("disk", ok=True, message="the database is on a server")
    free = shutil.disk_usage(_folder(file)).free
    return Check("disk", ok=free >= LEAST_FREE_BYTES, message=f"{free / _GIGABYTE:,.1f} GB free in {_folder(file)}")


def lock_check(app: App) -> Check:
    """Who holds the run lock; nothing is wrong with anybody who does."""
    with reading(app.engine) as connection:
        holder = state.lock_holder(connection, RUN_LOCK)
    if holder is None:
        return Check("run lock", ok=True, message="no run is under way")
    if is_dead(holder.owner):
        message = f"held by a run that died ({holder.owner}); the next run takes it over"
    else:
        message = f"a run is under way ({holder.owner}), until {utc(holder.until_ms)} at most"
    return Check("run lock", ok=True, message=message)


def program_checks(app: App) -> Iterator[Check]:
    """Is each endpoint reachable, is our clock right, and does each source list what is wanted of it."""
    for line in app.lines:
        for endpoint in line.client.endpoints:
            yield _endpoint_check(app, line, endpoint)
        yield _markets_check(app, line)
        with writing(app.engine) as connection:
            for key, tally in line.health.drain().items():
                breakers.add_outcomes(connection, key, tally)


def _endpoint_check(app: App, line: SourceLine, endpoint: Endpoint) -> Check:
    """One time request on the budget of every other request, asked though runs may leave the endpoint alone."""
    only, [gate] = _live(app, line, [endpoint])
    able = line.client.capabilities
    try:
        answer = app.router.ask(only, able.time_cost, "time", line.client.server_time, tries=1)
    except SourceError as error:
        rests = f"; {gate.rests}" if gate.rests else ""
        return Check(endpoint.key, ok=False, message=f"{str(error).removeprefix(endpoint.key).lstrip()}{rests}")
    latency = answer.record.seconds
    ours = app.clock.now_ms() - round((app.clock.elapsed() - answer.record.sent_at - latency / 2) * 1000)
    used = line.client.used_weight(answer.record)
    budget = f", {used:,} of {able.weight_per_minute:,} weight used this minute" if used is not None else ""
    message = f"answers in {latency * 1000:.0f} ms{budget}; {_clock_words(ours - answer.value)}"
    if gate.rests:
        message += f"; {gate.rests} (`sources reset` ends that)"
    return Check(endpoint.key, ok=True, message=message)


def _live(app: App, line: SourceLine, ways_in: Sequence[Endpoint]) -> tuple[SourceLine, list[LiveGate]]:
    """The same source with these ways in, asked even where runs would not."""
    gates = {each: LiveGate(app.engine, app.clock, each.key, each.pool, own_name()) for each in ways_in}
    live = SourceLine(line.client, gates, line.budget, line.server, line.health, app.engine, app.clock, {})
    return live, list(gates.values())


def _clock_words(ahead_ms: int) -> str:
    if abs(ahead_ms) < CLOCK_WRONG_MS:
        return "our clock agrees with its"
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return f"our clock is {duration(abs(ahead_ms) / 1000)} {direction} its (harmless: the source's decides)"


def _markets_check(app: App, line: SourceLine) -> Check:
    name, wanted = f"{line.source} markets", _symbols(app, line.source)
    able = line.client.capabilities
    if not able.symbols_cost:
        return Check(name, ok=True, message="it has no list of markets")
    try:
        live, _ = _live(app, line, line.client.endpoints)
        listed = app.router.ask(live, able.symbols_cost, "symbols", line.client.symbols, tries=1).value
    except SourceError as error:
        return Check(name, ok=False, message=f"its list cannot be had: {error}")
    missing = [symbol for symbol, market_id in wanted.items() if not _known(symbol, market_id, listed)]
    if missing:
        return Check(name, ok=False, message=f"it does not list {', '.join(missing)}")
    still = [symbol for symbol, market_id in wanted.items() if not _known(symbol, market_id, listed, trading=True)]
    closed = f"; no longer traded: {', '.join(still)}" if still else ""
    return Check(name, ok=True, message=f"it lists all {len(wanted)} that are wanted of it{closed}")


def _symbols(app: App, source: str) -> dict[str, str | None]:
    """Symbols wanted of a source, with the source's own name where the configuration gives one."""
    own = app.config.sources[source].symbols
    return {w.symbol: own.get(w.symbol) for w in app.config.series() if source in w.sources}


def _known(symbol: str, market_id: str | None, listed: list[Market], *, trading: bool = False) -> bool:
    same = [market for market in listed if (market.symbol == symbol if market_id is None else market.id == market_id)]
    return any(market.trading or not trading for market in same)


def _folder(file: Path) -> Path:
    return file.resolve().parent
