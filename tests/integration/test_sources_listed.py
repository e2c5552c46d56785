"""Markets that begin and end at sources which answer no open question: from their first candle to their last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import parse_utc
from fetcher.model import HOUR, MINUTE, Timeframe
from fetcher.outcome import Outcome
from tests.integration.world_of_sources import market_of, open_sources

if TYPE_CHECKING:
    from pathlib import Path

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20


@pytest.mark.parametrize(
    ("source", "timeframe"), [("okx", "1h"), ("coinbase", "1h"), ("okx", "1m"), ("coinbase", "1d")]
)
def test_a_market_listed_at_noon(tmp_path: Path, source: str, timeframe: str) -> None:
    """Nothing is missing before its first candle, which two answers agree on; nobody is asked about that morning."""
    listed = parse_utc("2026-05-29T12:34")
    with open_sources(tmp_path, "--listed", "NEWUSDT=2026-05-29T12:34") as world:
        world.configure_sources(market_of("NEW/USDT", timeframe, "2026-05-01", source))
        result = world.run(600.0, clock=world.set_clock(NOW, SPEED))
        assert (result.missing <= 8, result.series[0].failed) == (True, 0), "only a quiet newest edge may wait"
        first, learnt = Timeframe(timeframe).grid().floor(listed), world.series("NEW/USDT", timeframe).listed_ms
        assert learnt is not None
        assert first <= learnt <= first + 9 * MINUTE
        assert int(world.rows("NEW/USDT", timeframe)["open_time"][0]) == learnt
        assert world.absent("NEW/USDT", timeframe) == []


@pytest.mark.parametrize("source", ["okx", "coinbase"])
def test_a_market_that_no_longer_trades_is_fetched_to_its_end(tmp_path: Path, source: str) -> None:
    """Gone for half a year: its newest page of days is empty, its history is not."""
    ended = parse_utc("2025-12-15T12:00")
    with open_sources(tmp_path, "--delisted", "OLDUSDT=2025-12-15T12:00") as world:
        world.configure_sources(market_of("OLD/USDT", "1h", "2025-12-01", source))
        assert world.run(600.0, clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
        stored = world.rows("OLD/USDT", "1h")["open_time"]
        assert (int(stored[0]), int(stored[-1])) == (parse_utc("2025-12-01"), ended - HOUR)
        absent = world.absent("OLD/USDT", "1h")
        assert (absent[0].start, absent[-1].end) == (ended, NOW - NOW % HOUR)
        world.sandbox.clear_log()
        assert world.run(600.0, clock=world.set_clock(NOW + HOUR, SPEED)).outcome is Outcome.OK
