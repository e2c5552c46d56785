"""A candle that is still open is never stored, however wrong our clock and however close the minute's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fetcher.clock import Clock, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import World, market, open_world, same_candles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-03-01T12:00:55Z")
START = "2026-03-01T10:00:00Z"
LONG = 183 * DAY


def assert_closed_and_true(world: World, now_ms: int) -> None:
    """Everything stored was closed at `now_ms` (the exchange's clock) and has its final values."""
    stored = world.rows("BTC/USDT", "1m")
    assert len(stored) == 0 or stored["open_time"][-1] + MINUTE <= now_ms
    through = Window(parse_utc(START), int(stored["open_time"][-1]) + MINUTE) if len(stored) else Window(0, 0)
    true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1m"), through, now_ms + HOUR)
    assert same_candles(stored, true)


@pytest.mark.parametrize("wrong_ms", [-LONG, -10 * MINUTE, 10 * MINUTE, LONG])
def test_local_clock_is_wrong(tmp_path: Path, wrong_ms: int) -> None:
    """With our clock minutes or half a year off, one run is complete up to the exchange's last closed candle."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:05Z") as world:
        world.configure(market("BTC/USDT", "1m", START))
        for _ in range(2):
            assert world.run(clock=Clock(NOW + wrong_ms)).outcome is Outcome.OK
        now = world.sandbox.config()["now_ms"]
        assert_closed_and_true(world, now)
        assert world.rows("BTC/USDT", "1m")["open_time"][-1] == now - now % MINUTE - MINUTE
        assert world.absent("BTC/USDT", "1m") == []


@pytest.mark.parametrize("speed", [1, 20, 60], ids=["our clock is slow", "in step", "our clock is fast"])
@pytest.mark.parametrize("wrong_ms", [-10 * MINUTE, LONG], ids=["behind", "far ahead"])
def test_minute_boundaries(tmp_path: Path, speed: int, wrong_ms: int) -> None:
    """Runs back to back over several minute ends store closed candles only, each with its final values."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:50Z x20") as world:
        world.configure(market("BTC/USDT", "1m", START))
        real, runs = Clock(), 0
        with world.app(Clock(NOW + wrong_ms, speed)) as app:
            while real.elapsed() < 5.0:  # 100 s of the exchange's time
                runs += 1
                app.fetcher.run(50.0)
                assert_closed_and_true(world, world.sandbox.config()["now_ms"])
        minutes = {entry.at_ms // MINUTE for entry in world.klines()}
        assert runs > 5
        assert len(minutes) >= 2 or speed == 1


def test_new_process_at_each_boundary(tmp_path: Path) -> None:
    """Runs that each begin anew, as under cron, bring every minute as soon as it has closed and none before."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:50Z x20") as world:
        world.configure(market("BTC/USDT", "1m", START))
        real, lags = Clock(), []
        while real.elapsed() < 5.0:
            before = world.sandbox.config()["now_ms"]
            world.run(clock=Clock(before - 10 * MINUTE, 20))
            assert_closed_and_true(world, world.sandbox.config()["now_ms"])
            lags.append(before // MINUTE * MINUTE - int(world.rows("BTC/USDT", "1m")["open_time"][-1]))
        assert np.median(lags) <= MINUTE
        assert world.absent("BTC/USDT", "1m") == []


def test_no_clock_at_all(tmp_path: Path) -> None:
    """Without the time endpoint the answers' Date header decides what is closed, and later runs go on."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:55Z", "--fault-path", "/api/v3/time") as world:
        world.sandbox.configure(faults={"status:500": 1.0})
        world.configure(market("BTC/USDT", "1m", START))
        for moment in ("2026-03-01T12:00:55Z", "2026-03-01T12:20:30Z", "2026-03-01T13:20:59Z"):
            world.sandbox.configure(clock=moment)
            assert world.run(clock=Clock(parse_utc(moment) + 10 * MINUTE, 10)).exit_code == 0
            assert_closed_and_true(world, parse_utc(moment))
            last = parse_utc(moment) // MINUTE * MINUTE - MINUTE
            assert world.rows("BTC/USDT", "1m")["open_time"][-1] == last


def test_time_endpoint_is_lost(tmp_path: Path) -> None:
    """A time endpoint that worked and then fails for good does not stop new candles from coming."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:30Z") as world:
        world.configure(market("BTC/USDT", "1m", START))
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        world.sandbox.configure(clock="2026-03-01T13:00:30Z", faults={"status:500": 1.0}, paths=["/api/v3/time"])
        world.run(clock=Clock(NOW + HOUR, 10))
        assert world.rows("BTC/USDT", "1m")["open_time"][-1] == parse_utc("2026-03-01T12:59:00Z")
        assert_closed_and_true(world, parse_utc("2026-03-01T13:00:30Z"))


def test_idle_runs_without_time_endpoint(tmp_path: Path) -> None:
    """A time endpoint that fails all day does not make the source count as down for the candles of an hour."""
    with open_world(tmp_path, "--clock", "2026-03-01T12:00:30Z", "--fault-path", "/api/v3/time") as world:
        world.configure(market("BTC/USDT", "1h", "2026-02-01"))
        world.run(clock=Clock(NOW, 10))
        world.sandbox.configure(faults={"status:500": 1.0})
        for minute in range(5, 70, 5):
            moment = NOW + minute * MINUTE
            world.sandbox.configure(clock=f"2026-03-01T{12 + minute // 60}:{minute % 60:02}:30Z")
            world.run(clock=Clock(moment, 10))
        assert world.rows("BTC/USDT", "1h")["open_time"][-1] == parse_utc("2026-03-01T12:00:00Z")
