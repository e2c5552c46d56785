"""An exchange that does everything wrong at once is survived within four runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.storms import weather
from tests.integration.world import market, open_world, same_candles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")


@pytest.mark.parametrize("seed", [1, 2])
def test_every_fault_together(tmp_path: Path, seed: int) -> None:
    """Each transient fault at 3 %: complete, right, every refused row kept with its reason, nothing falsely absent."""
    weather(tmp_path, seed, days=15)


def test_a_candle_of_one_question_never_stands_in_the_window_of_another(tmp_path: Path) -> None:
    """A window of two questions: the second brings a candle under a time that belongs to the first, which had none."""
    now = parse_utc("2024-03-10T00:00:30Z")
    asked = Window(start := parse_utc("2024-03-09"), start + 1000 * MINUTE)
    with open_world(tmp_path, "--clock", format_utc(now)) as world:
        world.configure(market("BTC/USDT", "1m", "2024-03-09"), workers=1)
        world.sandbox.script("none", 2)  # the listing
        for lie in ("empty", "empty", "outside"):  # the page, then the confirmation, which is two slots longer
            world.sandbox.script(lie)
        world.backfill(asked, Clock(now, 30))
        assert [entry["fault"] for entry in world.sandbox.log(KLINES)][2:5] == ["empty", "empty", "outside"]
        true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1m"), asked, now)
        assert same_candles(world.rows("BTC/USDT", "1m"), true)
        assert world.query("SELECT reason, count(*) FROM quarantine GROUP BY reason") == [("inside_window", 1)]


@pytest.mark.parametrize(
    "lies",
    [
        ["empty"],
        ["empty"] * 3,
        ["empty"] * 12,
        ["short", "empty", "none", "none", "empty", "empty"],
        ["left_out", "short", "short", "empty", "short", "empty"],
    ],
    ids=["once", "three times", "twelve times", "only about the hole", "in every way"],
)
def test_empty_answers_prove_nothing(tmp_path: Path, lies: list[str]) -> None:
    """However often an exchange hides candles, without their neighbours beside them nothing is called absent."""
    now = parse_utc("2024-03-10T00:00:30Z")
    asked = Window(start := parse_utc("2024-03-09"), start + DAY // 2)
    with open_world(tmp_path, "--clock", format_utc(now)) as world:
        world.configure(market("BTC/USDT", "1m", "2024-03-09"))
        world.sandbox.script("none", 2)  # the listing
        for lie in lies:
            world.sandbox.script(lie)
        world.backfill(asked, Clock(now, 30))
        assert world.absent("BTC/USDT", "1m") == []
        later = now + DAY
        world.sandbox.configure(clock=format_utc(later))
        assert world.backfill(asked, Clock(later, 30)).exit_code == 0
        true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1m"), asked, now)
        assert same_candles(world.rows("BTC/USDT", "1m"), true)
