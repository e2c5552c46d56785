"""What a source does not know or cannot tell stops nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, MINUTE, Timeframe
from fetcher.outcome import Outcome
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2024-03-10T00:00:30Z")
DAYS = window("2024-03-01", "2024-03-04")


def test_unknown_symbol(tmp_path: Path) -> None:
    """A symbol that the exchange does not list waits with that reason; the others complete."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT NOPE/ZZZ ETH/USDT", "1h", "2024-01-01"))
        result = world.run(clock=Clock(NOW))
        outcomes = {each.series.symbol: each for each in result.series}
        assert outcomes["BTC/USDT"].outcome is outcomes["ETH/USDT"].outcome is Outcome.OK
        assert outcomes["NOPE/ZZZ"].outcome is Outcome.PARTIAL
        assert "Invalid symbol" in str(outcomes["NOPE/ZZZ"].last_error)
        assert result.exit_code == 1
        waiting = world.query("SELECT s.symbol, j.status FROM jobs j JOIN series s ON s.id = j.series_id")
        assert {symbol for symbol, status in waiting if status != "done"} == {"NOPE/ZZZ"}


def test_unknown_symbol_over_a_day(tmp_path: Path) -> None:
    """An unknown symbol of many minutes is not asked for again at every run, nor does it fill the queue."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("NOPE/ZZZ", "1m", "2023-01-01"))
        for minute in range(10):
            world.sandbox.configure(clock=format_utc(NOW + minute * MINUTE))
            assert world.run(clock=Clock(NOW + minute * MINUTE)).exit_code == 1
        assert len(world.klines()) == 1
        assert sum(world.jobs().values()) <= 40  # a year of minutes in jobs of 20,000, and none more for each run


def test_symbol_list_cannot_be_had(tmp_path: Path) -> None:
    """Without the symbol list candles come all the same, by the usual spelling of the symbol."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--fault-path", "/api/v3/exchangeInfo") as world:
        world.sandbox.configure(faults={"status:500": 1.0})
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        for day in range(3):
            now = NOW + day * DAY
            world.sandbox.configure(clock=format_utc(now))
            assert world.run(clock=Clock(now, 10)).outcome is Outcome.OK
        true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1h"), window("2024-03-01", "2024-03-12"), now)
        assert same_candles(world.rows("BTC/USDT", "1h"), true)


def test_neither_time_nor_symbols(tmp_path: Path) -> None:
    """With both extra questions failing, several series still complete in one run."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.sandbox.configure(faults={"status:500": 1.0}, paths=["/api/v3/exchangeInfo", "/api/v3/time"])
        world.configure(market("BTC/USDT ETH/USDT ADA/USDT", "5m 1h", "2024-03-01"))
        assert world.backfill(DAYS, Clock(NOW, 10)).exit_code == 0
        for symbol in ("BTCUSDT", "ETHUSDT", "ADAUSDT"):
            true = GeneratedMarket().oracle(symbol, Timeframe("5m"), DAYS, NOW)
            assert same_candles(world.rows(f"{symbol[:3]}/USDT", "5m"), true)
