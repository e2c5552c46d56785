"""Audits in tests: a world that the program filled, damaged by hand, looked at, and fetched again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from db.engine import open_engine
from fetcher.audit import AuditReport, audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import Window
from tests.integration.world import World, market, open_world, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl

NOW = parse_utc("2024-02-10T00:00:00Z")
FIRST = parse_utc("2024-02-06")
OUTAGE = Window(parse_utc("2024-02-08T02:00"), parse_utc("2024-02-08T03:30"))
MARKETS = (market("BTC/USDT", "1m 1h", "2024-02-06"), market("ETH/USDT", "1d 3d 1w 1M", "2021-01-01"))
DELETE = "DELETE FROM candles WHERE series_id = :series AND open_time = :ms"
COPY = (
    "INSERT INTO candles SELECT series_id, open_time + :by, open, high, low, close, volume, quote_volume, trades, "
    "taker_base, taker_quote, flags, source_id FROM candles WHERE series_id = :series AND open_time = :ms"
)


@contextmanager
def filled_world(folder: Path) -> Iterator[tuple[SandboxControl, Path]]:
    """A sandbox that stands still at NOW, and a copy of the database that the program filled from it."""
    outage = f"{format_utc(OUTAGE.start)}/{format_utc(OUTAGE.end)}"
    with open_world(folder, "--clock", "2024-02-10T00:00:00Z", "--outage", outage, "--weight-limit", "900000") as made:
        made.configure(*MARKETS, weight=900_000)
        made.run(clock=Clock(NOW))
        assert made.run(clock=Clock(NOW)).missing == 0
        yield made.sandbox, made.databases.keep(folder)


def copied(filled: tuple[SandboxControl, Path], folder: Path) -> World:
    """The filled database once more, to be damaged; the sandbox's log starts afresh."""
    sandbox, kept = filled
    made = World(sandbox, folder)
    made.databases.put_back(kept, folder)
    made.configure(*MARKETS, weight=900_000)
    sandbox.clear_log()
    return made


def look(world: World, *, repair: bool = False, deep: bool = False) -> AuditReport:
    """Audit every series of the world."""
    engine = open_engine(world.database_url)
    try:
        with world.app(Clock(NOW)) as app:
            return audit(engine, app.fetcher.sync(), repair=repair, deep=deep)
    finally:
        engine.dispose()


def told(report: AuditReport) -> list[tuple[str, str, Window, int]]:
    """The findings in short: series, kind, window, rows."""
    return [(str(f.series), f.kind, Window(f.start_ms, f.end_ms), f.rows) for f in report.findings]


def asked_again(world: World) -> dict[tuple[str, str], set[int]]:
    """Run once; the slots that the sandbox was then asked for, by symbol and timeframe."""
    world.sandbox.clear_log()
    assert world.run(clock=Clock(NOW)).missing == 0
    found: dict[tuple[str, str], set[int]] = {}
    for each in world.klines():
        assert each.start is not None
        assert each.end is not None
        slots = slots_of([Window(each.start, each.end)], each.timeframe)
        found.setdefault((each.symbol, each.timeframe), set()).update(slots)
    return found


def delete(world: World, symbol: str, timeframe: str, *times: int) -> None:
    """Delete candles by hand."""
    series = world.series(symbol, timeframe).id
    for ms in times:
        assert world.change(DELETE, series=series, ms=ms) == 1


def replace_coverage(world: World, start: int, end: int, rows: int) -> None:
    """Write an interval of stored BTC/USDT 1m coverage past every rule, as another program could."""
    world.change(
        "INSERT INTO coverage (series_id, start_ms, end_ms, state, rows, source_id, route) "
        "VALUES (:series, :start, :end, 'stored', :rows, 1, 'rest')",
        series=world.series("BTC/USDT", "1m").id,
        start=start,
        end=end,
        rows=rows,
    )
