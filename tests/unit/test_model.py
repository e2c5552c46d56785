"""Grids agree with themselves and with the calendar; windows and series say what they hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import CANDLE, DAY, HOUR, MINUTE, TIMEFRAMES, FixedGrid, Grid, Series, Timeframe, Window, empty_rows

FIRST, LAST = -5 * 365 * DAY, 130 * 365 * DAY  # 1965 … 2100
MOMENTS = st.integers(FIRST, LAST)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """The grid of any timeframe, with any day as anchor."""
    return Timeframe(draw(st.sampled_from(TIMEFRAMES))).grid(draw(st.integers(0, 20_000)) * DAY)


def ms(year: int, month: int = 1, day: int = 1) -> int:
    """Midnight UTC of a date, ms."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


@given(grids(), MOMENTS)
def test_every_moment_lies_in_one_slot(grid: Grid, moment: int) -> None:
    """Floor ≤ moment < next, both are slots, nothing lies between, and ceil is the one of them at or after."""
    floor, following = grid.floor(moment), grid.next(moment)
    assert floor <= moment < following
    assert grid.floor(floor) == floor == grid.ceil(floor)
    assert grid.floor(following) == following
    assert grid.slots(Window(floor, following)).tolist() == [floor]
    assert grid.ceil(moment) == (moment if moment == floor else following)
    assert grid.next(floor) == following


@given(grids(), MOMENTS, st.integers(-400, 400))
def test_advance_steps_over_slots(grid: Grid, moment: int, steps: int) -> None:
    """N steps on and n back is where it began, and n steps pass n slots."""
    start = grid.floor(moment)
    end = grid.advance(start, steps)
    assert grid.advance(end, -steps) == start
    assert grid.count(Window(min(start, end), max(start, end))) == abs(steps)
    assert grid.advance(start, 1) == grid.next(start)


@given(grids(), MOMENTS, st.integers(0, 300), st.integers(0, 40 * DAY), st.integers(0, 40 * DAY))
def test_slots_are_what_count_counts(grid: Grid, moment: int, steps: int, before: int, after: int) -> None:
    """Slots of any window: ascending, each its own floor, as many as counted, none left out at either end."""
    first = grid.floor(moment)
    window = Window(first - before % MINUTE, grid.advance(first, steps) + after % MINUTE)
    slots = grid.slots(window)
    assert slots.dtype == np.int64
    assert len(slots) == grid.count(window)
    assert (grid.floor_all(slots) == slots).all()
    assert (np.diff(slots) > 0).all()
    if len(slots):
        assert window.start <= slots[0] < slots[-1] + 1 <= window.end
        assert grid.advance(int(slots[0]), -1) < window.start
        assert grid.next(int(slots[-1])) >= window.end
        assert slots.tolist() == [grid.advance(int(slots[0]), n) for n in range(len(slots))]


@given(grids(), st.lists(MOMENTS, max_size=20))
def test_floor_all_is_floor_of_each(grid: Grid, moments: list[int]) -> None:
    """The vectorised floor agrees with the plain one, before 1970 too."""
    assert grid.floor_all(np.array(moments, dtype=np.int64)).tolist() == [grid.floor(moment) for moment in moments]


@given(grids(), MOMENTS, MOMENTS)
def test_counts_add_up(grid: Grid, one: int, other: int) -> None:
    """A window cut anywhere holds as many slots as its two parts; an empty window holds none."""
    start, end = sorted((one, other))
    end = min(end, start + 300 * DAY)
    middle = (start + end) // 2
    assert grid.count(Window(start, middle)) + grid.count(Window(middle, end)) == grid.count(Window(start, end))
    assert grid.count(Window(start, start)) == len(grid.slots(Window(start, start))) == 0


@given(st.integers(1966, 2098), st.integers(1, 12))
def test_months_are_the_calendars(year: int, month: int) -> None:
    """Month slots are first days at midnight, whatever the length of the month."""
    grid = Timeframe("1M").grid()
    following = ms(year + month // 12, month % 12 + 1)
    assert grid.floor(following - 1) == ms(year, month)
    assert grid.next(ms(year, month)) == following
    assert grid.advance(ms(year, month), 12) == ms(year + 1, month)


def test_leap_years_are_kept() -> None:
    """February has 29 days in 2024 and 2000, and 28 in 2023 and 2100."""
    days, months = Timeframe("1d").grid(), Timeframe("1M").grid()
    for year, length in ((2024, 29), (2000, 29), (2023, 28), (2100, 28)):
        february = ms(year, 2)
        assert days.count(Window(february, months.next(february))) == length
    assert months.floor(ms(2024, 2, 29) + HOUR) == ms(2024, 2)
    assert days.count(Window(ms(2024), ms(2025))) == 366


@given(MOMENTS)
def test_weeks_begin_on_monday(moment: int) -> None:
    """As the exchange's 1w candles do, whatever anchor is given."""
    floor = Timeframe("1w").grid(3 * DAY).floor(moment)
    assert (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=floor)).weekday() == 0


def test_only_three_days_know_an_anchor() -> None:
    """3d begins at the series' own first candle (BTCUSDT: 2017-08-17); every other grid is the same for all."""
    listed = ms(2017, 8, 17)
    assert Timeframe("3d").grid(listed).ceil(ms(2018)) == listed + 46 * 3 * DAY
    assert [name for name in TIMEFRAMES if Timeframe(name).grid(listed + HOUR) != Timeframe(name).grid()] == ["3d"]
    assert [name for name in TIMEFRAMES if Timeframe(name).anchored_by_series] == ["3d"]


def test_timeframes_are_named_and_sized() -> None:
    """Names are the exchange's, sizes ascend with them, and an unknown one is refused with the list of known ones."""
    assert " ".join(TIMEFRAMES) == "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
    sizes = [Timeframe(name).ms for name in TIMEFRAMES]
    assert sizes == sorted(sizes)
    assert 12 * Timeframe("1M").ms == 365.2425 * DAY
    assert str(Timeframe("4h")) == "4h"
    for name in ("", "7m", "1H", "1y", "60"):
        with pytest.raises(ValueError, match="unknown timeframe") as refusal:
            Timeframe(name)
        assert "1h" in str(refusal.value)


@given(MOMENTS, MOMENTS, MOMENTS, MOMENTS)
def test_an_intersection_is_what_both_hold(a: int, b: int, c: int, d: int) -> None:
    """A moment is in the common part exactly when it is in both windows; without one it is empty, never an error."""
    one, other = Window(*sorted((a, b))), Window(*sorted((c, d)))
    common = one.intersect(other)
    for moment in (a, b, c, d, a - 1, b + 1):
        inside = all(each.start <= moment < each.end for each in (one, other))
        assert inside == (common.start <= moment < common.end)
    assert bool(common) == (common.span > 0)


def test_a_window_cannot_end_before_it_starts() -> None:
    """An inverted window is a bug of the caller, told at once; an empty one is false."""
    with pytest.raises(ValueError, match="end before it starts"):
        Window(5, 4)
    assert not Window(5, 5)
    assert Window(5, 7).span == 2


def test_a_series_begins_at_start_or_listing() -> None:
    """The first slot wanted is the later of both, rounded up to the series' own grid."""
    half_past = ms(2024) + HOUR // 2
    series = Series(1, "BTC/USDT", Timeframe("1h"), half_past, ("binance",))
    assert series.first_ms == ms(2024) + HOUR
    assert Series(1, "X/Y", Timeframe("1h"), half_past, (), listed_ms=ms(2025)).first_ms == ms(2025)
    anchored = Series(1, "X/Y", Timeframe("3d"), ms(2024), (), anchor_ms=ms(2017, 8, 17), listed_ms=ms(2017, 8, 17))
    assert anchored.grid == FixedGrid(3 * DAY, ms(2017, 8, 17))
    assert 0 <= anchored.first_ms - ms(2024) < 3 * DAY
    assert str(series) == "BTC/USDT 1h"


def test_no_rows_are_rows() -> None:
    """An empty page has the columns of a full one."""
    assert (empty_rows().shape, empty_rows().dtype) == ((0,), CANDLE)
