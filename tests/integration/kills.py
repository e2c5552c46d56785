"""A backfill that is killed at seeded moments until it is done, and what has to hold after each kill."""

from __future__ import annotations

from http import HTTPStatus
from random import Random
from threading import Event
from typing import TYPE_CHECKING

from fetcher.clock import Clock, parse_utc
from fetcher.model import MINUTE, Timeframe, Window
from fetcher.periods import DAILY, MONTHLY, Period
from fetcher.sandbox.generated import GeneratedMarket, History
from tests.integration.world import World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

SYMBOLS = ("BTC/USDT", "ETH/USDT", "ADA/USDT")
MIXED = ("--archive-fault", "missing=ETHUSDT-*", "--archive-fault", "missing=ADAUSDT-1m-2024-0?.zip")
"""BTC comes by monthly files, ADA by daily ones, ETH by pages of the API."""
OUTAGE = "2024-02-03T02:00/2024-02-03T04:30"
HALTED = 150  # minutes of it
PATIENCE = 60.0
NEIGHBOURS = 2  # stored candles that a question about a hole asks for again, on purpose


def survive(folder: Path, seed: int, kills: int, days: int, most_seconds: float) -> None:
    """Kill a backfill `kills` times within `most_seconds` of its first request; then one clean run makes all right.

    Its candles come from the archive and the API mixed.
    """
    asked = Window(start := parse_utc("2024-02-01"), start + days * 1440 * MINUTE)
    rng = Random(seed)
    with open_world(folder, "--latency", "20ms", "--outage", OUTAGE, *MIXED) as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2024-02-01"), workers=2, archive=f"'{world.sandbox.url}'")
        killed = 0
        for _ in range(kills):
            killed += kill_once(world, asked, rng.uniform(0.0, most_seconds))
        assert killed >= kills // 2, "most backfills ended before they were killed; make them longer"
        before = covered(world)
        world.sandbox.clear_log()
        assert world.child(asked).wait(PATIENCE) == 0
        assert_not_asked_again(world, before)
        assert_right(world, asked)


def kill_once(world: World, asked: Window, seconds: float) -> bool:
    """Start a backfill and kill -9 it some time after its first request; whether it still ran."""
    before = covered(world)
    world.sandbox.clear_log()
    child, real, never = world.child(asked), Clock(), Event()
    while not world.sandbox.log() and child.poll() is None and real.elapsed() < PATIENCE:
        real.wait(never, 0.01)
    real.wait(never, seconds)
    ran = child.poll() is None
    child.kill()
    child.wait()
    assert_sound(world)
    assert_not_asked_again(world, before)
    return ran


def covered(world: World) -> dict[str, list[Window]]:
    """The stored windows of each symbol, as committed."""
    if not world.databases.exists(world.folder):
        return {}
    known = {name for (name,) in world.query("SELECT symbol FROM series")}
    return {
        symbol: [Window(i.start_ms, i.end_ms) for i in world.coverage(symbol, "1m") if i.state == "stored"]
        for symbol in SYMBOLS
        if symbol in known
    }


def assert_sound(world: World) -> None:
    """Coverage and candles were committed together: every stored interval holds just its candles."""
    for symbol, windows in covered(world).items():
        times = world.rows(symbol, "1m")["open_time"]
        grid = Timeframe("1m").grid()
        for each in windows:
            inside = times[(times >= each.start) & (times < each.end)]
            assert inside.tolist() == grid.slots(each).tolist()
        assert len(times) == sum(grid.count(each) for each in windows)


def assert_not_asked_again(world: World, before: dict[str, list[Window]]) -> None:
    """No page was asked for that had been committed before: at most the neighbours of a hole."""
    grid = Timeframe("1m").grid()
    for entry in world.klines():
        if entry.start is None or entry.end is None or entry.limit == 1:
            continue  # a listing, or the nearest candle beside a hole
        page = Window(entry.start, entry.end)
        stored = before.get(next(name for name in SYMBOLS if name.replace("/", "") == entry.symbol), [])
        assert sum(grid.count(page.intersect(each)) for each in stored) <= NEIGHBOURS

    for name, status in downloads(world):
        symbol = next(symbol for symbol in SYMBOLS if name.startswith(symbol.replace("/", "")))
        [start, end] = window_of(name)
        kept = sum(grid.count(Window(start, end).intersect(each)) for each in before.get(symbol, []))
        assert status != HTTPStatus.OK or kept < grid.count(Window(start, end)) - HALTED, name


def downloads(world: World) -> list[tuple[str, int]]:
    """The zips that were asked for since the log was cleared, and how that was answered."""
    entries = world.sandbox.log(venue="archive")
    return [(e["path"].rpartition("/")[2], e["status"]) for e in entries if e["path"].endswith(".zip")]


def window_of(name: str) -> tuple[int, int]:
    """The month or day that a zip is about."""
    date = name.removesuffix(".zip").partition("-1m-")[2]
    kind = MONTHLY if len(date) == len("2024-02") else DAILY
    month = Period(parse_utc(date if kind == DAILY else f"{date}-01"), kind).window
    return month.start, month.end


def assert_right(world: World, asked: Window) -> None:
    """The table equals the oracle, the outage alone is absent, and no job is left behind."""
    halt = window(*OUTAGE.split("/"))
    truth = GeneratedMarket(History(outages=(halt,)))
    for symbol in SYMBOLS:
        true = truth.oracle(symbol.replace("/", ""), Timeframe("1m"), asked, asked.end + MINUTE)
        assert same_candles(world.rows(symbol, "1m"), true)
        assert world.absent(symbol, "1m") == [halt]
    assert world.jobs().keys() == {"done"}
    assert world.query("SELECT series_id, open_time FROM candles GROUP BY 1, 2 HAVING count(*) > 1") == []
