"""A source that answers slowly or never, though its time endpoint is quick: others stand in within the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, parse_utc
from fetcher.model import HOUR, MINUTE
from fetcher.resilience import failing
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = parse_utc("2026-06-01T00:00:30Z")
BUDGET = 6.0
TIMEOUT = 0.5  # of a time-out of 10 s, as BUDGET is of 50 s and the patience below of 20 s
PATIENCE = 1.2


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceWorld]:
    """OKX, whose candles never come, before Kraken; every time-out a tenth of what it is."""
    monkeypatch.setattr(failing, "PATIENCE_SECONDS", PATIENCE)
    with open_sources(tmp_path) as opened:
        often = {"kraken": ", weight_per_minute: 600"}
        market = market_of("BTC/USDT", "1h", "2026-05-25", "okx", "kraken")
        opened.configure_sources(market, timeout=f"{TIMEOUT}s", more=often)
        opened.sandbox.configure(hang_seconds=5.0)
        opened.sandbox.script("hang", 100_000, venue="okx")
        yield opened


def run(world: SourceWorld, now_ms: int) -> float:
    """The seconds that a run at a time takes."""
    world.set_clock(now_ms)
    clock = Clock()
    world.run(BUDGET, Clock(now_ms))
    return clock.elapsed()


def asked(world: SourceWorld) -> list[str]:
    """What OKX was asked for since the log was cleared, oldest first."""
    return [entry["path"].rpartition("/")[2] for entry in world.sandbox.log(venue="okx")]


def test_hanging_candles_are_failed_over_within_the_run(world: SourceWorld) -> None:
    """The first run stores what Kraken has, long before its time is up, though OKX tells the time all along."""
    seconds = run(world, NOW)
    assert world.served("BTC/USDT", "1h").keys() == {"kraken"}
    assert len(world.rows("BTC/USDT", "1h")) >= 7 * 24
    assert seconds < BUDGET
    assert 2 <= asked(world).count("history-candles") <= 2 + PATIENCE // TIMEOUT


def test_a_good_time_does_not_close_the_breaker(world: SourceWorld) -> None:
    """Failures of several runs add up, though each begins by asking the time; then OKX is not asked any more."""
    for hours in range(5):
        run(world, NOW + hours * HOUR)
        if world.failures()["okx"][0] == "open":
            break
    world.sandbox.clear_log()
    opened = world.query("SELECT opened_ms FROM endpoint_state WHERE breaker = 'open'")[0][0]
    run(world, opened + MINUTE // 2)
    assert asked(world) == []

    run(world, opened + MINUTE + 1000)
    assert asked(world) == ["history-candles"], "the one probe is for candles, and the time is not asked before"
    assert world.failures()["okx"][0] == "open"


@pytest.mark.parametrize("sources", [("okx",), ("okx", "coinbase", "kraken")])
def test_a_run_ends_with_its_budget(world: SourceWorld, sources: tuple[str, ...]) -> None:
    """Where everything hangs, the time too, what is in flight at the deadline is all that it is late by."""
    world.configure_sources(market_of("BTC/USDT ETH/USDT", "1m 1h", "2026-05-25", *sources), timeout="2s")
    for name in sources:
        world.sandbox.script("hang", 100_000, venue=name, path="*")
    assert run(world, NOW) < BUDGET + 2.0 + 0.5
