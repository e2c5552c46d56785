"""A better source that cannot serve a market, or no longer so far back: what others gave stays, and nobody nags it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from db.engine import writing
from fetcher.clients import ccxt_exchange
from fetcher.clock import parse_utc
from fetcher.healing import forget_unserved
from fetcher.model import DAY, HOUR, MINUTE
from fetcher.outcome import Outcome
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """A sandbox whose venues are all well."""
    with open_sources(tmp_path) as opened:
        yield opened


def test_a_better_source_that_does_not_list_the_market_is_asked_once_a_day(world: SourceWorld) -> None:
    """The fallback's candles stay; the next runs leave the better source alone until `sources reset`."""
    unknown = {"binance": ", symbols: {BTC/USDT: NOSUCHMARKET}"}
    world.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx"), more=unknown)
    world.compared(NOW)
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    stored = world.rows("BTC/USDT", "1h")
    assert world.served("BTC/USDT", "1h") == {"okx": len(stored)}

    assert world.run(clock=world.set_clock(NOW + MINUTE, SPEED)).outcome is Outcome.OK
    assert world.jobs().keys() == {"done"}
    world.sandbox.clear_log()
    assert world.run(clock=world.set_clock(NOW + 2 * MINUTE, SPEED)).outcome is Outcome.OK
    assert world.klines() == []

    with world.app() as app, writing(app.engine) as connection:
        forget_unserved(connection, "binance")
    assert world.run(clock=world.set_clock(NOW + 3 * MINUTE, SPEED)).outcome is Outcome.OK
    assert len(world.klines()) > 0
    assert world.served("BTC/USDT", "1h") == {"okx": len(stored)}


def test_without_a_list_only_markets_with_known_ids_are_asked_for(
    world: SourceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange without a rule for its ids: what is configured is served, the rest by others; it has not failed."""
    monkeypatch.setattr(ccxt_exchange, "guess_market_id", lambda *_: None)
    known = {"okx": ", symbols: {BTC/USDT: BTC-USDT}"}
    world.configure_sources(market_of("BTC/USDT ETH/USDT", "1h", "2026-05-20", "okx", "binance"), more=known)
    world.compared(NOW)
    world.sandbox.script("status:500", 100, path="*/public/instruments", venue="okx")
    world.run(clock=world.set_clock(NOW, SPEED))
    assert world.served("BTC/USDT", "1h").keys() == {"okx"}
    assert world.served("ETH/USDT", "1h").keys() == {"binance"}
    assert world.failures()["okx"] == ("closed", 0)


def test_healing_ends_where_the_better_source_no_longer_reaches(world: SourceWorld) -> None:
    """Kraken serves its newest 720: these it heals, the older ones stay Binance's, and no job is left over."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-30", "kraken", "binance"))
    world.compared(NOW)
    world.down("kraken")
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    assert world.served("BTC/USDT", "1m").keys() == {"binance"}

    world.down()
    for minutes in (5, 6):
        world.sandbox.clear_log()
        assert world.run(clock=world.set_clock(NOW + minutes * MINUTE, SPEED)).outcome is Outcome.OK
    asked = world.sandbox.log("/kraken/0/public/OHLC")
    assert len(asked) <= 2, "what is beyond its reach is not asked for at each run"
    healed = world.rows_of("BTC/USDT", "1m", "kraken")
    assert 600 < len(healed) <= 721
    assert int(healed["open_time"][0]) >= NOW - 12 * HOUR
    assert world.jobs().keys() == {"done"}


def test_rows_that_are_there_already_are_no_progress(tmp_path: Path) -> None:
    """OKX's page of two candles that it always sends broken holds those between: it is asked ever more rarely."""
    broken = [parse_utc("2026-05-28T07:00Z"), parse_utc("2026-05-28T12:00Z")]
    data = tmp_path / "data"
    data.mkdir()
    with gzip.open(data / "BTCUSDT-1h.csv.gz", "wt", encoding="ascii") as recording:
        recording.write(
            "open_time_ms,open,high,low,close,volume,close_time_ms,quote_volume,trades,taker_base,taker_quote\n"
        )
        for time in range(parse_utc("2026-05-25"), NOW + 2 * DAY, HOUR):
            high = 90 if time in broken else 110
            recording.write(f"{time},100,{high},95,100,5,{time + HOUR - 1},500,7,2,200\n")
    with open_sources(tmp_path, "--data", str(data)) as world:
        world.configure_sources(market_of("BTC/USDT", "1h", "2026-05-25", "okx"))
        attempts = []
        for hours in (0, 1, 2, 3):
            assert world.run(60.0, clock=world.set_clock(NOW + hours * HOUR, 4)).missing == 2
            [(count,)] = world.query("SELECT attempts FROM jobs WHERE start_ms = :start", start=broken[0])
            attempts.append(count)
        assert attempts[-1] > attempts[1] > 0
        assert attempts == sorted(attempts)
