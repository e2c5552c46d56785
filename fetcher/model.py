"""The values that travel: timeframes and their grids, windows, series, and candles as columns.

Times are ms UTC in `int`; windows are half-open `[start, end)`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol, TypeAlias

import numpy as np
from msgspec import Struct

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LAST_MS = 7_258_118_400_000  # 2200-01-01: what lies beyond means that; grids of months end with the calendar, in 9999
_FIRST_MONDAY = 4 * DAY  # 1970-01-05, the first Monday of the epoch

Slots: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
Rows: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.void]]"


class Window(Struct, frozen=True, order=True):
    """A half-open span of time `[start, end)` in ms UTC; empty where start == end."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a window cannot end before it starts: {self.start} … {self.end}")

    def __bool__(self) -> bool:
        return self.end > self.start

    @property
    def span(self) -> int:
        """Length in ms."""
        return self.end - self.start

    def intersect(self, other: Window) -> Window:
        """The common part; an empty window where there is none."""
        start = max(self.start, other.start)
        return Window(start, max(start, min(self.end, other.end)))


class Grid(Protocol):
    """The open times a series can have: every candle sits on one slot."""

    def slots(self, window: Window) -> Slots:
        """Every slot inside the window: shape (n,), int64, ms UTC, ascending."""

    def floor(self, ms: int) -> int:
        """The slot that holds `ms`."""

    def next(self, ms: int) -> int:
        """The first slot after the one that holds `ms`: the close of that candle."""

    def ceil(self, ms: int) -> int:
        """The first slot at or after `ms`."""

    def count(self, window: Window) -> int:
        """How many slots lie inside the window."""

    def floor_all(self, times: Slots) -> Slots:
        """`floor` of each time: shape (n,), int64."""

    def advance(self, slot: int, steps: int) -> int:
        """The slot `steps` after (before, when negative) the given one."""


class FixedGrid(Struct, frozen=True):
    """Slots every `step` ms from `anchor`."""

    step: int
    anchor: int = 0

    def slots(self, window: Window) -> Slots:
        return np.arange(self.ceil(window.start), max(window.end, self.ceil(window.start)), self.step, dtype=np.int64)

    def floor(self, ms: int) -> int:
        return ms - (ms - self.anchor) % self.step

    def next(self, ms: int) -> int:
        return self.floor(ms) + self.step

    def ceil(self, ms: int) -> int:
        return ms + (self.anchor - ms) % self.step

    def count(self, window: Window) -> int:
        return max(0, -(-(window.end - self.ceil(window.start)) // self.step))

    def floor_all(self, times: Slots) -> Slots:
        return times - (times - self.anchor) % self.step

    def advance(self, slot: int, steps: int) -> int:
        return slot + steps * self.step


def _month_number(ms: int) -> int:
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return moment.year * 12 + moment.month - 1


def _month_start(number: int) -> int:
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


class MonthGrid(Struct, frozen=True):
    """Slots at the first instant of each calendar month, UTC."""

    def slots(self, window: Window) -> Slots:
        first = _month_number(self.ceil(window.start))
        return np.array([_month_start(first + n) for n in range(self.count(window))], dtype=np.int64)

    def floor(self, ms: int) -> int:
        return _month_start(_month_number(ms))

    def next(self, ms: int) -> int:
        return _month_start(_month_number(ms) + 1)

    def ceil(self, ms: int) -> int:
        return ms if self.floor(ms) == ms else self.next(ms)

    def count(self, window: Window) -> int:
        return max(0, _month_number(self.ceil(window.end)) - _month_number(self.ceil(window.start)))

    def floor_all(self, times: Slots) -> Slots:
        months = times.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)

    def advance(self, slot: int, steps: int) -> int:
        return _month_start(_month_number(slot) + steps)


_FIXED_MS = {
    "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": HOUR, "2h": 2 * HOUR, "4h": 4 * HOUR, "6h": 6 * HOUR, "8h": 8 * HOUR, "12h": 12 * HOUR,
    "1d": DAY, "3d": 3 * DAY, "1w": 7 * DAY,
}  # fmt: skip
TIMEFRAMES = (*_FIXED_MS, "1M")


class Timeframe(Struct, frozen=True):
    """One of the exchange's candle intervals, by its name (`1m` … `1M`); ValueError for any other name."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in TIMEFRAMES:
            raise ValueError(f"unknown timeframe {self.name!r}; one of {' '.join(TIMEFRAMES)}")

    def __str__(self) -> str:
        return self.name

    @property
    def ms(self) -> int:
        """Length of a candle in ms; for `1M`, which has no fixed one, the mean month of 30.436875 days."""
        return _FIXED_MS.get(self.name, 2_629_746_000)

    @property
    def anchored_by_series(self) -> bool:
        """Whether the grid starts at the series' own first candle (Binance's `3d`) rather than at a common epoch."""
        return self.name == "3d"

    def grid(self, anchor: int | None = None) -> Grid:
        """The grid of open times; `anchor` (ms UTC, any slot of it) matters for `3d` alone."""
        if self.name == "1M":
            return MonthGrid()
        if self.name == "1w":
            return FixedGrid(self.ms, _FIRST_MONDAY)
        return FixedGrid(self.ms, (anchor or 0) if self.anchored_by_series else 0)


class Series(Struct, frozen=True):
    """One market at one timeframe as the database knows it; `symbol` is written `BTC/USDT`."""

    id: int
    symbol: str
    timeframe: Timeframe
    wanted_start_ms: int
    sources: tuple[str, ...]
    anchor_ms: int | None = None
    listed_ms: int | None = None
    closed_until_ms: int | None = None

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe}"

    @property
    def lacks_grid(self) -> bool:
        """Whether its slots cannot be told yet: a grid that starts at its first candle, which is not known."""
        return self.timeframe.anchored_by_series and self.anchor_ms is None

    @property
    def grid(self) -> Grid:
        """The grid of this series' open times."""
        return self.timeframe.grid(self.anchor_ms)

    @property
    def first_ms(self) -> int:
        """The first slot that can be wanted: the configured start or the listing, whichever is later."""
        return self.grid.ceil(max(self.wanted_start_ms, self.listed_ms or 0))


ANOMALY = 1  # an implausible price move: kept, since listings and crashes are real
OFF_GRID = 2  # stored at its slot, though the source opened it off the grid
CUT_SHORT = 4  # closed early by a halt of the exchange
PROVISIONAL = 8  # not confirmed yet

FLAG_NAMES = {ANOMALY: "anomaly", OFF_GRID: "off_grid", CUT_SHORT: "cut_short", PROVISIONAL: "provisional"}

VALUE_COLUMNS = (
    "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_base", "taker_quote",
)  # fmt: skip
CANDLE = np.dtype(
    [
        ("open_time", "i8"), ("open", "f8"), ("high", "f8"), ("low", "f8"), ("close", "f8"), ("volume", "f8"),
        ("quote_volume", "f8"), ("trades", "i8"), ("taker_base", "f8"), ("taker_quote", "f8"), ("flags", "i2"),
    ]
)  # fmt: skip
UNKNOWN_COUNT = -1


def empty_rows() -> Rows:
    """No candles: shape (0,), dtype CANDLE."""
    return np.empty(0, dtype=CANDLE)


class CandleBatch(Struct, frozen=True):
    """Candles of one series from one source by one route, as columns.

    `rows` has shape (n,), dtype CANDLE, ascending and unique by open_time (ms UTC). Prices are in the quote currency;
    volume and taker_base in base, quote_volume and taker_quote in quote currency. NaN and trades −1 mean unknown.
    """

    series: Series
    source: str
    route: str
    rows: Rows
