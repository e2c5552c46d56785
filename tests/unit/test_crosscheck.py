"""Comparing two sources: each kind of disagreement is named as what it is, and real markets raise no alarm."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fetcher.clock import parse_utc
from fetcher.crosscheck import (
    ENOUGH,
    FACTOR,
    FROZEN,
    INDEX,
    INVERTED,
    PRICE,
    SHIFTED,
    STALE,
    VENUE,
    VOLUME_UNIT,
    compare,
)
from fetcher.model import CANDLE, CUT_SHORT, DAY, HOUR, MINUTE, TIMEFRAMES, Timeframe

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.model import Rows

START = parse_utc("2026-03-02")
PRICES = ("open", "high", "low", "close")
COLUMNS = ("open_time", *PRICES, "volume", "", "quote_volume", "trades", "taker_base", "taker_quote")


def walk(count: int = 300, timeframe: str = "1h", start: float = 60_000.0, swing: float = 0.004, seed: int = 1) -> Rows:
    """A market that wanders: dtype CANDLE, volumes of base and quote that fit its prices."""
    dice = np.random.default_rng(seed)
    rows = np.zeros(count, dtype=CANDLE)
    grid = Timeframe(timeframe).grid()
    rows["open_time"] = [grid.advance(grid.floor(START), n) for n in range(count)]
    path = start * np.exp(np.cumsum(dice.normal(0, swing, count + 1)))
    rows["open"], rows["close"] = path[:-1], path[1:]
    rows["high"] = np.maximum(rows["open"], rows["close"]) * (1 + swing * dice.random(count) / 2)
    rows["low"] = np.minimum(rows["open"], rows["close"]) * (1 - swing * dice.random(count) / 2)
    rows["volume"] = dice.lognormal(3, 1, count)
    rows["quote_volume"] = rows["volume"] * (rows["open"] + rows["close"]) / 2
    return rows


def scaled(rows: Rows, factor: float) -> Rows:
    """The rows with their prices times a factor."""
    rows = rows.copy()
    for name in PRICES:
        rows[name] *= factor
    return rows


def elsewhere(rows: Rows, points: float = 4.0, constant: float = 5e-4, seed: int = 2) -> Rows:
    """The rows as another venue has them: a constant and some random basis points off, a part of the volume."""
    dice = np.random.default_rng(seed)
    rows = scaled(rows, float(np.exp(constant)))
    for name in ("open", "close"):
        rows[name] *= np.exp(dice.normal(0, points * 1e-4, len(rows)))
    rows["high"] = np.maximum.reduce([rows["high"], rows["open"], rows["close"]])
    rows["low"] = np.minimum.reduce([rows["low"], rows["open"], rows["close"]])
    rows["volume"] *= 0.1 * dice.lognormal(0, 1, len(rows))
    rows["quote_volume"], rows["trades"] = np.nan, -1
    return rows


def said(ours: Rows, theirs: Rows, timeframe: str = "1h", kinds: tuple[str, str] = (VENUE, VENUE)) -> list[str]:
    """The kinds of disagreement found, in order."""
    return [each.kind for each in compare(ours, theirs, Timeframe(timeframe), *kinds)]


def recorded(path: Path) -> Rows:
    """A recorded series: dtype CANDLE, without its last row, which may have been open."""
    with gzip.open(path, "rt", encoding="ascii") as text:
        cells = list(zip(*list(csv.reader(text))[1:-1], strict=True))
    rows = np.zeros(len(cells[0]), dtype=CANDLE)
    for name, column in zip(COLUMNS, cells, strict=True):
        if name:
            rows[name] = np.array([cell or ("-1" if name == "trades" else "nan") for cell in column]).astype(
                CANDLE[name]
            )
    return rows


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("kinds", [(VENUE, VENUE), (VENUE, INDEX), (INDEX, VENUE)])
def test_two_sources_of_one_market_agree(timeframe: str, kinds: tuple[str, str]) -> None:
    """A few basis points and another volume are no disagreement, at any timeframe."""
    ours = walk(timeframe=timeframe)
    assert said(ours, elsewhere(ours), timeframe, kinds) == []
    assert said(elsewhere(ours), ours, timeframe, kinds) == []


@pytest.mark.parametrize(
    ("file", "timeframe", "around"),
    [
        ("ALICEUSDT-5m", "5m", "2021-03-15T06:00"),
        ("BTCUSDT-1h", "1h", "2018-02-08"),
        ("BTCUSDT-1h", "1h", "2020-03-12"),
        ("BTCUSDT-4h", "4h", "2020-03-12"),
        ("ETHUSDT-1h", "1h", "2021-05-19"),
        ("BTCUSDT-1m", "1m", "2021-04-18"),
        ("SLPUSDT-1m", "1m", "2021-04-30T12:00"),
    ],
)
def test_real_listings_halts_and_crashes_raise_no_alarm(
    shared_data: Path, file: str, timeframe: str, around: str
) -> None:
    """Recorded candles agree with the same ones as another venue or an index would have them."""
    rows, step = recorded(shared_data / "binance" / f"{file}.csv.gz"), Timeframe(timeframe).ms
    place = int(np.searchsorted(rows["open_time"], parse_utc(around)))
    for first in range(max(0, place - 500), place + 500, 250):
        ours = rows[first : first + 500]
        assert ours["open_time"][-1] - ours["open_time"][0] < 1000 * step
        assert said(ours, elsewhere(ours), timeframe) == []
        assert said(ours, elsewhere(ours, 12, 2e-3), timeframe, (VENUE, INDEX)) == []


def test_real_daily_candles_of_two_venues(shared_data: Path) -> None:
    """Bitstamp's dollars and Binance's USDT agree within what an index may differ, but for October 2018's discount."""
    answer = json.loads((shared_data / "responses/bitstamp/api_v2_ohlc_btcusd-03.json").read_text(encoding="utf-8"))
    body = answer["body"]
    listed = (json.loads(body) if isinstance(body, str) else body)["data"]["ohlc"]
    theirs = np.zeros(len(listed), dtype=CANDLE)
    theirs["open_time"] = sorted(int(each["timestamp"]) * 1000 for each in listed)
    for name in (*PRICES, "volume"):
        theirs[name] = [float(each[name]) for each in sorted(listed, key=lambda each: int(each["timestamp"]))]
    theirs["quote_volume"] = np.nan
    ours = recorded(shared_data / "binance/BTCUSDT-1d.csv.gz")
    alarms = {}
    years = (
        ("2017", "2017-08-17", "2018-01-01"),
        ("2018", "2018-01-01", "2018-10-01"),
        ("discount", "2018-10-01", "2018-12-01"),
        ("2019", "2019-01-01", "2020-01-01"),
    )
    for year, first, last in years:
        window = (parse_utc(first), parse_utc(last))
        mine, other = (
            rows[(rows["open_time"] >= window[0]) & (rows["open_time"] < window[1])] for rows in (ours, theirs)
        )
        alarms[year] = said(mine, other, "1d", (VENUE, INDEX))
    assert alarms == {"2017": [], "2018": [], "discount": [PRICE], "2019": []}


@pytest.mark.parametrize("factor", [1000, 0.001, 1e8, 1e-8, 100, 0.01])
def test_another_unit_of_price(factor: float) -> None:
    """Prices a power of ten apart are another unit, with that factor; nothing else is said."""
    ours = walk()
    [found] = compare(ours, scaled(elsewhere(ours), factor), Timeframe("1h"), VENUE, VENUE)
    assert found.kind == FACTOR
    assert found.worst == pytest.approx(factor, rel=0.01)
    assert (found.start_ms, found.end_ms, found.rows) == (START, START + 300 * HOUR, 300)


def test_another_unit_for_some_candles_only() -> None:
    """A unit that changes within a page is found where it changes."""
    ours = walk()
    theirs = np.concatenate([elsewhere(ours)[:250], scaled(elsewhere(ours)[250:], 1000)])
    [found] = compare(ours, theirs, Timeframe("1h"), VENUE, VENUE)
    assert (found.kind, found.start_ms, found.rows) == (FACTOR, START + 250 * HOUR, 50)


@pytest.mark.parametrize("start", [60_000.0, 100.0, 0.01, 3.0])
def test_a_pair_the_other_way_round(start: float) -> None:
    """1/price is told from a factor even where the price is near a power of ten."""
    ours = walk(start=start)
    theirs = elsewhere(ours)
    turned = theirs.copy()
    for name, source in (("open", "open"), ("close", "close"), ("high", "low"), ("low", "high")):
        turned[name] = 1 / theirs[source]
    assert said(ours, turned) == [INVERTED]


@pytest.mark.parametrize("hours", [1, -1, 2, 8, -5, 9])
@pytest.mark.parametrize("timeframe", ["30m", "1h"])
def test_candles_of_another_time_zone(hours: int, timeframe: str) -> None:
    """The same candles some hours later or earlier are shifted, by exactly that."""
    ours = walk(timeframe=timeframe)
    theirs = elsewhere(ours)
    theirs["open_time"] += hours * HOUR
    [found] = compare(ours, theirs, Timeframe(timeframe), VENUE, VENUE, newest=False)
    assert (found.kind, found.worst, found.rows) == (SHIFTED, hours * HOUR, 300)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("step", [1, -1])
def test_candles_stamped_with_their_close(timeframe: str, step: int) -> None:
    """One candle late or early is seen at every timeframe, months included."""
    ours, grid = walk(timeframe=timeframe), Timeframe(timeframe).grid()
    theirs = elsewhere(ours)
    theirs["open_time"] = [grid.advance(int(time), step) for time in theirs["open_time"]]
    [found] = compare(ours, theirs, Timeframe(timeframe), VENUE, VENUE, newest=False)
    assert (found.kind, found.worst) == (SHIFTED, step * Timeframe(timeframe).ms)


def test_daylight_saving_that_begins_within_a_page() -> None:
    """Only the candles after the change are shifted."""
    ours = walk(count=480)
    theirs = elsewhere(ours)
    theirs["open_time"][240:] += HOUR
    [found] = compare(ours, theirs, Timeframe("1h"), VENUE, VENUE, newest=False)
    assert (found.kind, found.worst) == (SHIFTED, HOUR)
    assert abs(found.start_ms - (START + 241 * HOUR)) <= 48 * HOUR


def test_a_shift_and_another_unit_at_once() -> None:
    """What is shifted is compared where it fits: the factor is told too."""
    ours = walk()
    theirs = scaled(elsewhere(ours), 100)
    theirs["open_time"] += HOUR
    found = compare(ours, theirs, Timeframe("1h"), VENUE, VENUE, newest=False)
    assert [each.kind for each in found] == [SHIFTED, FACTOR]


def stand_still(rows: Rows, first: int, last: int, volume: float = np.nan) -> Rows:
    """The rows with one candle repeated in `[first, last)`."""
    rows = rows.copy()
    for name in PRICES:
        rows[name][first:last] = rows["close"][first]
    rows["volume"][first:last] = volume
    return rows


def test_a_price_that_stands_still() -> None:
    """One constant candle while the other moves is frozen, on whichever side; at the newest end it is stale."""
    ours = walk()
    assert said(ours, stand_still(elsewhere(ours), 100, 140)) == [FROZEN]
    assert said(stand_still(ours, 100, 140), elsewhere(ours)) == [FROZEN]
    [found] = compare(ours, stand_still(elsewhere(ours), 290, 300), Timeframe("1h"), VENUE, INDEX)
    assert (found.kind, found.rows, found.start_ms) == (STALE, 10, START + 290 * HOUR)
    old = compare(ours, stand_still(elsewhere(ours), 290, 300), Timeframe("1h"), VENUE, INDEX, newest=False)
    assert [each.kind for each in old] == [FROZEN]
    assert said(ours, stand_still(elsewhere(ours), 0, 300)) == [STALE]


def test_no_trades_are_no_frozen_price() -> None:
    """A thin market says itself that nothing was traded; for a hundred candles while the other trades it is strange."""
    ours = walk(count=500)
    assert said(ours, stand_still(elsewhere(ours), 100, 130, 0.0)) == []
    assert said(ours, stand_still(elsewhere(ours), 100, 300, 0.0)) == [FROZEN]


def test_newest_candles_that_do_not_come() -> None:
    """A source that stopped is stale; one that lags by a candle or lacks old ones is not."""
    ours = walk()
    theirs = elsewhere(ours)
    [found] = compare(ours, theirs[:270], Timeframe("1h"), VENUE, VENUE)
    assert (found.kind, found.start_ms, found.rows) == (STALE, START + 270 * HOUR, 30)
    assert said(ours, theirs[:0]) == [STALE]
    assert said(ours, theirs[:298]) == []
    assert said(ours, np.delete(theirs, slice(50, 120))) == []
    assert compare(ours, theirs[:270], Timeframe("1h"), VENUE, VENUE, newest=False) == []


@pytest.mark.parametrize("column", ["open", "close"])
def test_prices_beyond_tolerance(column: str) -> None:
    """A few candles 6 % off are told with where and how much."""
    ours = walk()
    theirs = elsewhere(ours)
    theirs[column][50:53] *= 1.06
    theirs["high"] = np.maximum.reduce([theirs["high"], theirs["open"], theirs["close"]])
    [found] = compare(ours, theirs, Timeframe("1h"), VENUE, VENUE)
    assert (found.kind, found.rows, found.start_ms) == (PRICE, 3, START + 50 * HOUR)
    assert found.worst == pytest.approx(0.06, abs=0.003)


def test_an_index_may_differ_by_more_than_a_venue() -> None:
    """Half a per cent all the time is too much between venues, and nothing for an index in dollars."""
    ours = walk()
    assert said(ours, elsewhere(ours, constant=0.006)) == [PRICE]
    assert said(ours, elsewhere(ours, constant=0.006), kinds=(VENUE, INDEX)) == []
    assert said(ours, elsewhere(ours, constant=0.03), kinds=(VENUE, INDEX)) == [PRICE]
    assert said(walk(timeframe="1m"), elsewhere(walk(timeframe="1m"), constant=0.006), "1m") == []


def test_a_candle_that_a_halt_cut_short_is_not_compared() -> None:
    """Its close is of another moment than the other venue's."""
    ours = walk()
    ours["close"][100] *= 0.9
    ours["low"][100] = ours["close"][100]
    assert said(ours, elsewhere(walk())) == [PRICE]
    ours["flags"][100] = CUT_SHORT
    assert said(ours, elsewhere(walk())) == []


@pytest.mark.parametrize("start", [60_000.0, 2e-5])
def test_volumes_in_quote_currency(start: float) -> None:
    """Base and quote swapped are seen from a source's own volumes, and between venues where the price is telling."""
    ours = walk(start=start)
    swapped = ours.copy()
    swapped["volume"], swapped["quote_volume"] = ours["quote_volume"], ours["volume"]
    assert said(ours, swapped) == said(swapped, elsewhere(ours)) == [VOLUME_UNIT]
    only_one = elsewhere(ours)
    only_one["volume"] *= only_one["close"]
    assert said(ours, only_one) == [VOLUME_UNIT]
    assert said(ours, only_one, kinds=(VENUE, INDEX)) == []
    satoshi = elsewhere(ours)
    satoshi["volume"] *= 1e8
    assert said(ours, satoshi) == [VOLUME_UNIT]


def test_markets_of_different_size_have_different_volumes() -> None:
    """A venue with a thousandth of the volume, and one with a thousand times as much, are both well."""
    ours = walk(start=150.0)
    for share in (1e-3, 1e-2, 1e2, 1e3):
        theirs = elsewhere(ours)
        theirs["volume"] = ours["volume"] * share
        assert said(ours, theirs) == []


def test_too_few_candles_say_nothing() -> None:
    """Below ENOUGH in common even prices a thousand times apart are not judged; nor is nothing at all."""
    ours = walk(count=ENOUGH - 1)
    assert said(ours, scaled(ours, 1000)) == []
    assert said(ours[:0], ours[:0]) == said(ours[:0], ours) == []
    assert said(walk(count=ENOUGH), scaled(walk(count=ENOUGH), 1000)) == [FACTOR]


def test_a_minute_is_a_minute() -> None:
    """The end of a finding is the close of its last candle."""
    ours = walk(timeframe="1m")
    [found] = compare(ours, scaled(ours, 1000), Timeframe("1m"), VENUE, VENUE)
    assert found.end_ms == START + 300 * MINUTE < START + DAY
