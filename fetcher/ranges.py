"""What somebody asks to read: a stored series, its window, and the candle length to add it up to. Pure.

What cannot be asked is a ConfigError that says what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.clock import format_utc
from fetcher.errors import ConfigError
from fetcher.gaps import fits
from fetcher.model import DAY, TIMEFRAMES, Timeframe, Window
from fetcher.wording import few

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.model import Grid, Series


class Asked(Struct, frozen=True):
    """Candles of a series at `timeframe`, in a window of whole slots of its `grid`; `fill`: the empty ones too."""

    series: Series
    window: Window
    timeframe: Timeframe
    grid: Grid
    fill: bool = False

    @property
    def is_resampled(self) -> bool:
        """Whether the candles are to be added up."""
        return self.timeframe != self.series.timeframe

    @property
    def candles_each(self) -> int:
        """How many stored candles one of these is made of, about."""
        return max(1, self.timeframe.ms // self.series.timeframe.ms)

    def __str__(self) -> str:
        return f"{self.series.symbol} {self.timeframe}"


def stored(all_series: Sequence[Series], symbol: str, timeframe: str) -> Series:
    """The series of that name."""
    wanted = str(symbol).strip().upper(), _timeframe("timeframe", timeframe)
    found = [each for each in all_series if (each.symbol, each.timeframe) == wanted]
    if not found:
        names = [str(each) for each in all_series]
        there = f"there are {few(names)}" if names else "it holds no series yet"
        raise ConfigError(f"the database has no series {wanted[0]} {wanted[1]}; {there}")
    return found[0]


def asked(
    all_series: Sequence[Series],
    series: Series,
    start: int | None,
    end: int | None,
    now: int,
    *,
    resample: str | None = None,
    fill: bool = False,
) -> Asked:
    """The question for a series in `[start, end)`, ms UTC; None: from its first slot, to its last proven close.

    `now` bounds an end that lies ahead. What a coarser candle holds only a part of at either end is left out.
    """
    if series.closed_until_ms is None or series.lacks_grid:
        raise ConfigError(f"nothing is known yet of {series}: no run has fetched any of it")
    timeframe = series.timeframe if resample is None else _timeframe("resample", resample)
    grid = series.grid if timeframe == series.timeframe else _coarser(all_series, series, timeframe)
    first, last = start, series.closed_until_ms if end is None else min(end, now)
    if first is None:
        first = series.first_ms
        if series.listed_ms is not None and series.listed_ms >= series.wanted_start_ms:
            first = grid.floor(first)  # before the listing nothing is missing
    window = Window(first := grid.ceil(first), max(first, grid.floor(last)))
    if not window:
        raise ConfigError(_nothing(series, timeframe, start, end, now))
    return Asked(series, window, timeframe, grid, fill)


def _nothing(series: Series, timeframe: Timeframe, start: int | None, end: int | None, now: int) -> str:
    """Why a range is empty."""
    closed = series.closed_until_ms or 0
    if start is not None and start >= now:
        return f"nothing of {series} can have closed since {format_utc(start)}: it is {format_utc(now)}"
    first, last = start if start is not None else series.first_ms, end if end is not None else closed
    return f"no {timeframe} candle of {series} begins and ends between {format_utc(first)} and {format_utc(last)}"


def _timeframe(option: str, name: str) -> Timeframe:
    if name not in TIMEFRAMES:
        raise ConfigError(f"{option} {name!r} is none; one of {' '.join(TIMEFRAMES)}")
    return Timeframe(name)


def _coarser(all_series: Sequence[Series], series: Series, timeframe: Timeframe) -> Grid:
    """The grid of a coarser timeframe of the same market."""
    grid = timeframe.grid(_anchor(all_series, series, timeframe))
    if timeframe.ms <= series.timeframe.ms or not fits(series.grid, grid):
        raise ConfigError(f"{series.timeframe} candles cannot be added up to {timeframe} ones")
    return grid


def _anchor(all_series: Sequence[Series], series: Series, timeframe: Timeframe) -> int | None:
    """Where a grid begins that begins with the market: as its own series has learnt, else the day it was listed."""
    if not timeframe.anchored_by_series:
        return None
    own = [s.anchor_ms for s in all_series if (s.symbol, s.timeframe) == (series.symbol, timeframe) and s.anchor_ms]
    if own:
        return own[0]
    if series.listed_ms is None or series.listed_ms <= 0:
        raise ConfigError(
            f"{timeframe} candles of {series.symbol} are counted from its first day, which is not known; configure its "
            f"{timeframe} series"
        )
    return series.listed_ms - series.listed_ms % DAY
