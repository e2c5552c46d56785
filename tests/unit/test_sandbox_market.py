"""The generated market: exact sums, halts, shifted minutes, listings, the live candle, paging."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import CUT_SHORT, DAY, HOUR, MINUTE, OFF_GRID, TIMEFRAMES, Timeframe, Window
from fetcher.sandbox import render
from fetcher.sandbox.generated import FIRST_DAY, GeneratedMarket, History, Shifted
from fetcher.sandbox.market import Span

NOW = parse_utc("2024-06-01T00:00:00")
DAY_1 = parse_utc("2024-03-05")
HALT = Window(parse_utc("2024-03-05T04:10"), parse_utc("2024-03-05T06:30"))
M1, H1 = Timeframe("1m"), Timeframe("1h")


def wire(market: GeneratedMarket, timeframe: str, span: Span, now_ms: int = NOW, symbol: str = "BTCUSDT") -> list[Any]:
    """A page as a client decodes it."""
    page: list[Any] = json.loads(render.klines(market.page(symbol, Timeframe(timeframe), span, now_ms)))
    return page


def minutes(market: GeneratedMarket, start: int, end: int, symbol: str = "BTCUSDT") -> list[Any]:
    """Every 1m row with start <= open time < end, page after page."""
    rows: list[Any] = []
    while page := wire(market, "1m", Span(start, end - 1, 1000), symbol=symbol):
        rows += page
        start = page[-1][0] + 1
    return rows


def add_up(rows: list[Any], opened: int) -> list[Any]:
    """One coarser candle from 1m wire rows, in decimals."""

    def total(column: int) -> Decimal:
        return sum((Decimal(row[column]) for row in rows), Decimal(0))

    return [
        opened, Decimal(rows[0][1]), max(Decimal(r[2]) for r in rows), min(Decimal(r[3]) for r in rows),
        Decimal(rows[-1][4]), total(5), rows[-1][6], total(7), sum(r[8] for r in rows), total(9), total(10),
    ]  # fmt: skip


def exact(row: list[Any]) -> list[Any]:
    """A wire row with its texts as decimals, the ignored cell left away."""
    return [Decimal(cell) if isinstance(cell, str) else cell for cell in row[:11]]


@pytest.mark.parametrize("name", [name for name in TIMEFRAMES if name not in {"1m", "1w", "1M"}])
def test_every_coarser_candle_is_the_exact_sum_of_its_minutes_across_a_halt(name: str) -> None:
    """Decimal for decimal, and cut short where the halt took its last minutes."""
    market = GeneratedMarket(History(outages=(HALT,)))
    timeframe = Timeframe(name)
    grid = market.grid("BTCUSDT", timeframe)
    start = grid.floor(DAY_1)
    end = grid.ceil(DAY_1 + DAY)
    groups: dict[int, list[Any]] = {}
    for row in minutes(market, start, end):
        groups.setdefault(grid.floor(row[0]), []).append(row)
    expected = [add_up(rows, opened) for opened, rows in groups.items()]
    assert [exact(row) for row in wire(market, name, Span(start, end - 1, 1000))] == expected


@pytest.mark.parametrize("name", ["1w", "1M"])
def test_weeks_and_months_are_the_exact_sum_of_their_days(name: str) -> None:
    """The days are proven against the minutes; weeks open on Mondays, months on the first."""
    market = GeneratedMarket()
    grid = Timeframe(name).grid()
    start = grid.floor(DAY_1)
    days = wire(market, "1d", Span(start, grid.next(start) - 1, 1000))
    assert exact(wire(market, name, Span(start, start, 1))[0]) == add_up(days, start)


@given(
    first=st.integers(0, 3_000_000),
    count=st.integers(1, 400),
    cut=st.tuples(st.integers(0, 399), st.integers(0, 399)),
    symbol=st.sampled_from(["BTCUSDT", "SHIBUSDT", "XYZEUR"]),
)
@settings(max_examples=40, deadline=None)
def test_any_part_of_a_stretch_is_what_the_whole_stretch_says(
    first: int, count: int, cut: tuple[int, int], symbol: str
) -> None:
    """Each minute depends on its address alone, not on where a page begins."""
    market = GeneratedMarket(History(seed=5))
    start = FIRST_DAY + first * MINUTE
    low, high = sorted(min(c, count) for c in cut)
    whole = market.finished(symbol, M1, Window(start, start + count * MINUTE))
    part = market.finished(symbol, M1, Window(start + low * MINUTE, start + high * MINUTE))
    assert part.tobytes() == whole[low:high].tobytes()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SHIBUSDT", "ETHBTC", "WHATEVERTRY"])
def test_prices_and_volumes_are_plausible(symbol: str) -> None:
    """High and low enclose the rest, prices are positive, the taker's part is a part, opens follow closes."""
    rows = GeneratedMarket().finished(symbol, M1, Window(DAY_1, DAY_1 + 3 * DAY))
    assert len(rows) == 3 * 1440
    assert (rows["low"] > 0).all()
    assert (rows["high"] >= np.maximum(rows["open"], rows["close"])).all()
    assert (rows["low"] <= np.minimum(rows["open"], rows["close"])).all()
    assert (rows["open"][1:] == rows["close"][:-1]).all()
    for part, all_of_it in (("taker_base", "volume"), ("taker_quote", "quote_volume")):
        assert (rows[part]["whole"] <= rows[all_of_it]["whole"]).all()
    assert (rows["volume"]["whole"] >= 0).all()


def test_minutes_without_trades_are_flat_at_the_previous_close() -> None:
    """They happen, with count 0, as on the real exchange."""
    rows = GeneratedMarket().finished("BTCUSDT", M1, Window(DAY_1, DAY_1 + DAY))
    quiet = rows["trades"] == 0
    assert 5 < quiet.sum() < 144
    assert (rows["volume"]["whole"][quiet] + rows["volume"]["part"][quiet] == 0).all()
    assert (rows["high"][quiet] == rows["low"][quiet]).all()
    before = np.roll(quiet, -1)[:-1]
    assert (rows["close"][:-1][before] == rows["open"][1:][quiet[1:]]).all()
    assert (rows["volume"]["whole"][~quiet] + rows["volume"]["part"][~quiet] > 0).all()


def test_a_seed_makes_another_market_and_the_same_seed_the_same() -> None:
    """Determinism is what makes the generated market an oracle."""
    window = Window(DAY_1, DAY_1 + HOUR)
    one, again, other = (
        GeneratedMarket(History(seed=seed)).finished("BTCUSDT", M1, window).tobytes() for seed in (1, 1, 2)
    )
    assert one == again != other


def test_a_halt_removes_its_minutes_and_cuts_short_what_it_interrupts() -> None:
    """04:10 to 06:30: hour 4 ends at 04:09:59.999, hour 5 is missing, hour 6 is complete in its form."""
    market = GeneratedMarket(History(outages=(HALT,)))
    rows = wire(market, "1h", Span(DAY_1 + 3 * HOUR, None, 4))
    assert [(row[0] - DAY_1) / HOUR for row in rows] == [3, 4, 6, 7]
    assert [row[6] - row[0] + 1 for row in rows] == [HOUR, 10 * MINUTE, HOUR, HOUR]
    opened = {row[0] for row in minutes(market, DAY_1, DAY_1 + DAY)}
    assert {DAY_1 + n * MINUTE for n in range(1440)} - opened == set(range(HALT.start, HALT.end, MINUTE))
    flags = market.oracle("BTCUSDT", H1, Window(DAY_1, DAY_1 + DAY), NOW)["flags"]
    assert [int(flag) for flag in flags[3:6]] == [0, CUT_SHORT, 0]


def test_a_halt_within_a_minute_cuts_that_minute() -> None:
    """A minute partly inside stays, its close time the last ms before the halt; where trading resumes it is regular."""
    halt = Window(parse_utc("2024-03-05T04:00:14.815"), parse_utc("2024-03-05T04:02:30"))
    rows = wire(GeneratedMarket(History(outages=(halt,))), "1m", Span(DAY_1 + 4 * HOUR, None, 2))
    assert [(row[0], row[6]) for row in rows] == [
        (DAY_1 + 4 * HOUR, halt.start - 1),
        (DAY_1 + 4 * HOUR + 2 * MINUTE, DAY_1 + 4 * HOUR + 3 * MINUTE - 1),
    ]


def test_shifted_minutes_keep_their_slot_and_show_late_times() -> None:
    """As after the restart of February 2018; coarser candles stay on the grid, the oracle flags the minutes."""
    stretch = Window(DAY_1 + HOUR, DAY_1 + 2 * HOUR)
    market = GeneratedMarket(History(off_grid=(Shifted(stretch, 14_789),)))
    rows = wire(market, "1m", Span(stretch.start - MINUTE, stretch.end, 1000))
    assert rows[-2][6] == stretch.end - 1
    assert [row[0] % MINUTE for row in rows] == [0, *[14_789] * 60, 0]
    assert rows[1][6] == stretch.start + MINUTE + 14_789 - 1
    assert wire(market, "1h", Span(stretch.start, None, 1))[0][0] == stretch.start
    truth = market.oracle("BTCUSDT", M1, stretch, NOW)
    assert list(truth["open_time"]) == list(range(stretch.start, stretch.end, MINUTE))
    assert set(truth["flags"]) == {OFF_GRID}


def test_nothing_exists_before_the_listing_or_after_the_delisting() -> None:
    """The first rows are the listing's, 3d candles start on that day, a delisting cuts no candle short."""
    listed, gone = parse_utc("2024-02-01T12:00"), parse_utc("2024-02-20T09:30")
    market = GeneratedMarket(History(listed={"NEWUSDT": listed}, delisted={"NEWUSDT": gone}))
    assert wire(market, "1m", Span(0, None, 1), symbol="NEWUSDT")[0][0] == listed
    assert wire(market, "1m", Span(0, listed - 1, 10), symbol="NEWUSDT") == []
    assert wire(market, "1m", Span(None, None, 1), symbol="NEWUSDT")[0][0] == gone - MINUTE
    assert wire(market, "1m", Span(gone, None, 10), symbol="NEWUSDT") == []
    last = wire(market, "1d", Span(None, None, 1), symbol="NEWUSDT")[0]
    assert (last[0], last[6]) == (parse_utc("2024-02-20"), parse_utc("2024-02-21") - 1)
    threes = wire(market, "3d", Span(0, None, 10), symbol="NEWUSDT")
    assert [row[0] for row in threes] == [parse_utc("2024-02-01") + n * 3 * DAY for n in range(7)]
    assert wire(market, "1w", Span(0, None, 1), symbol="NEWUSDT")[0][0] == parse_utc("2024-01-29")
    listing = market.listing("NEWUSDT")
    assert listing is not None
    assert not listing.trading


@pytest.mark.parametrize("name", TIMEFRAMES)
def test_the_live_candle_is_provably_unfinished(name: str) -> None:
    """It ends in the future, trades less than it will have, comes last, and the oracle leaves it out."""
    market = GeneratedMarket()
    now = parse_utc("2024-03-14T15:19:42.250")
    live = wire(market, name, Span(None, None, 2), now)[-1]
    grid = market.grid("BTCUSDT", Timeframe(name))
    assert live[0] == grid.floor(now)
    assert live[6] == grid.next(now) - 1 > now
    final = wire(market, name, Span(live[0], live[0], 1))[0]
    assert 0 < Decimal(live[5]) < Decimal(final[5])
    assert Decimal(live[3]) <= min(Decimal(live[1]), Decimal(live[4])) <= Decimal(live[2])
    assert int(market.oracle("BTCUSDT", Timeframe(name), Window(NOW - 200 * DAY, NOW), now)["open_time"][-1]) < live[0]


@given(second=st.integers(0, 7199), name=st.sampled_from(["1m", "3m", "1h"]))
@settings(max_examples=40, deadline=None)
def test_rows_the_oracle_calls_closed_never_change_again(second: int, name: str) -> None:
    """Whatever the moment: closed rows of a page equal the same rows served much later, shifted minutes included."""
    stretch = Window(DAY_1 + HOUR, DAY_1 + HOUR + 30 * MINUTE)
    market = GeneratedMarket(History(off_grid=(Shifted(stretch, 14_789),), outages=(HALT,)))
    now = DAY_1 + HOUR + second * 1000
    page = wire(market, name, Span(DAY_1, None, 1000), now)
    later = {row[0]: row for row in wire(market, name, Span(DAY_1, None, 1000))}
    closed = market.oracle("BTCUSDT", Timeframe(name), Window(DAY_1, NOW), now)
    assert all(row[0] <= now for row in page)
    assert len(closed) >= len(page) - 1
    for row, truth in zip(page, closed, strict=False):
        assert row == later[row[0]]
        assert row[6] < now
        assert float(row[4]) == truth["close"]


def test_page_bounds_compare_open_times_and_are_inclusive() -> None:
    """A start rounds up, an end rounds down, equal bounds give one candle, an inverted window none."""
    market = GeneratedMarket()

    def hours(span: Span) -> list[float]:
        return [(row[0] - DAY_1) / HOUR for row in wire(market, "1h", span)]

    assert hours(Span(DAY_1, DAY_1 + 3 * HOUR, 500)) == [0, 1, 2, 3]
    assert hours(Span(DAY_1 + 1, DAY_1 + 3 * HOUR - 1, 500)) == [1, 2]
    assert hours(Span(DAY_1, DAY_1, 500)) == [0]
    assert hours(Span(DAY_1 + HOUR, DAY_1, 500)) == []
    assert hours(Span(DAY_1, None, 3)) == [0, 1, 2]
    assert hours(Span(None, DAY_1, 3)) == [-2, -1, 0]
    assert hours(Span(DAY_1, DAY_1 + 9 * HOUR, 3)) == [0, 1, 2]
    assert hours(Span(NOW + 1, None, 3)) == []


def test_a_page_crosses_a_long_halt_in_both_directions() -> None:
    """Missing minutes do not count towards the limit."""
    halt = Window(DAY_1, DAY_1 + 60 * DAY)
    market = GeneratedMarket(History(outages=(halt,)))
    edges = [halt.start - 2 * MINUTE, halt.start - MINUTE, halt.end, halt.end + MINUTE]
    assert [row[0] for row in wire(market, "1m", Span(edges[0], None, 4))] == edges
    assert [row[0] for row in wire(market, "1m", Span(None, edges[-1], 4))] == edges


def test_a_restated_candle_is_served_with_its_new_close_alone() -> None:
    """The venue may restate a closed candle; an open or missing one cannot be."""
    market = GeneratedMarket()
    before = wire(market, "1h", Span(DAY_1, DAY_1 + 2 * HOUR, 3))
    market.restate("BTCUSDT", H1, DAY_1 + HOUR, 10**13, NOW)
    after = wire(market, "1h", Span(DAY_1, DAY_1 + 2 * HOUR, 3))
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1][2] == after[1][4] == "100000.00000000"
    assert market.oracle("BTCUSDT", H1, Window(DAY_1 + HOUR, DAY_1 + 2 * HOUR), NOW)["close"][0] == 100_000
    with pytest.raises(ConfigError, match="no closed candle"):
        market.restate("BTCUSDT", H1, NOW, 10**13, NOW + 1)


def test_only_upper_case_symbols_with_a_known_quote_are_served() -> None:
    """NOSUCH is unknown; anything that looks like a pair exists."""
    market = GeneratedMarket()
    assert market.listing("NOSUCH") is None
    assert market.listing("USDT") is None
    assert market.listing("btcusdt") is None
    listing = market.listing("ANYTHINGUSDT")
    assert listing is not None
    assert (listing.base, listing.quote) == ("ANYTHING", "USDT")
    assert len(market.symbols()) >= 30
