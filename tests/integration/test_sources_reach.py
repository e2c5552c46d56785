"""Where a source's history begins: what lies before it is not asked for, again and again least of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.clock import format_utc, parse_utc
from fetcher.model import HOUR, Timeframe, Window
from fetcher.outcome import Outcome
from tests.integration.world import same_candles, window
from tests.integration.world_of_sources import CLIENTS, market_of, open_sources, oracle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20


def test_an_absence_beyond_the_look_back_is_left_as_it_is(tmp_path: Path) -> None:
    """Kraken serves its newest 12 hours of minutes: later nobody can say more, and the job of asking again is done."""
    halt = window("2026-05-31T13:00", "2026-05-31T13:30")
    with open_sources(tmp_path) as world:
        world.sandbox.configure(venues={"kraken": {"outages": [f"{format_utc(halt.start)}/{format_utc(halt.end)}"]}})
        world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T12:10:00Z", "kraken"))
        assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
        assert world.absent("BTC/USDT", "1m") == [halt]
        later = NOW + 8 * HOUR
        for _ in range(2):
            assert world.run(clock=world.set_clock(later, SPEED)).outcome is Outcome.OK
        assert world.query("SELECT recheck_at FROM coverage WHERE state = 'absent'") == [(None,)]
        assert world.query("SELECT status FROM jobs WHERE kind = 'recheck'") == [("done",)]


def test_an_absence_within_another_sources_reach_is_asked_of_that(tmp_path: Path) -> None:
    """Kraken, preferred, no longer reaches back to it; Binance, whose absence it is, does and answers."""
    halt = window("2026-05-31T02:00", "2026-05-31T02:30")
    with open_sources(tmp_path, "--outage", f"{format_utc(halt.start)}/{format_utc(halt.end)}") as world:
        world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T00:00:00Z", "kraken", "binance"))
        world.compared(NOW)
        world.run(clock=world.set_clock(NOW, SPEED))
        assert world.absent("BTC/USDT", "1m") == [halt]
        world.sandbox.configure(outages=[])
        world.compared(NOW + 2 * HOUR)
        assert world.run(clock=world.set_clock(NOW + 2 * HOUR, SPEED)).outcome is Outcome.OK
        assert world.absent("BTC/USDT", "1m") == []


def test_a_page_across_the_beginning_of_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CoinGecko's paid days begin on 2018-02-09: the page that holds that day is asked for from there on."""
    monkeypatch.setenv("PRO_KEY", "secret")
    monkeypatch.setitem(
        CLIENTS, "coingecko", "client: coingecko, plan: pro, api_key_env: PRO_KEY, symbols: {BTC/USDT: bitcoin}"
    )
    since = parse_utc("2018-02-09")
    with open_sources(tmp_path) as world:
        world.configure_sources(market_of("BTC/USDT", "1d", "2018-01-01", "coingecko"))
        asked = window("2018-01-01", "2018-06-01")
        world.backfill(asked, world.set_clock(NOW, SPEED))
        true = oracle("coingecko", "BTC", Timeframe("1d"), Window(since, asked.end), NOW)
        stored = world.rows("BTC/USDT", "1d")
        assert same_candles(stored[stored["open_time"] < asked.end], true)
