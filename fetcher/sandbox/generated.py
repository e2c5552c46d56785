"""A market that never existed: any symbol, any date since 2017-08-17, every minute computed from its own address.

Minutes are the truth; every coarser candle is the exact sum of the minutes that exist.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct, field

from fetcher.model import DAY, HOUR, MINUTE, TIMEFRAMES, Grid, Timeframe, Window
from fetcher.sandbox import symbols
from fetcher.sandbox.market import AMOUNTS, TRUTH, UNIT, Listing, Market, aggregate, join, no_rows
from fetcher.sandbox.noise import HEIGHT, key_of, scramble, wander
from fetcher.sandbox.noise import field as bits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows
    from fetcher.sandbox.noise import Whole

FIRST_DAY = 1_502_928_000_000  # 2017-08-17, when the exchange that is imitated opened
_FAR = 1 << 50
# (octave in minutes as a power of two, swing in thousandths of the price); together below 1000, so prices stay positive
_WAVES = ((20, 400), (17, 200), (14, 80), (11, 30), (8, 10), (5, 4), (2, 2), (0, 1))
_QUIET_BLOCK = 64  # one block of minutes in four holds one run without trades, short enough to look back over
_LONGEST_QUIET = 8
_HOURS_PER_BLOCK = 1_024
_MINUTE, _HOUR = Timeframe("1m"), Timeframe("1h")


class Shifted(Struct, frozen=True):
    """Minutes whose shown times are `offset_ms` late, as on 2018-02-09 after a restart (14,789 ms)."""

    window: Window
    offset_ms: int


class History(Struct, frozen=True):
    """What happened in a generated market; times in ms UTC."""

    seed: int = 0
    outages: tuple[Window, ...] = ()
    off_grid: tuple[Shifted, ...] = ()
    listed: Mapping[str, int] = field(default_factory=dict)
    delisted: Mapping[str, int] = field(default_factory=dict)


class GeneratedMarket(Market):
    """Deterministic candles for any upper-case symbol that ends in a known quote currency."""

    def __init__(self, history: History | None = None) -> None:
        super().__init__()
        self.history = history or History()
        self._hours = lru_cache(maxsize=256)(self._hours_of_block)

    def rewrite(self, history: History) -> None:
        """Let another history have happened; restated candles stay restated."""
        self.history = history
        self._hours.cache_clear()

    def symbols(self) -> tuple[Listing, ...]:
        names = dict.fromkeys((*symbols.WELL_KNOWN, *self.history.listed, *self.history.delisted))
        return tuple(listing for name in names if (listing := self.listing(name)))

    def listing(self, symbol: str) -> Listing | None:
        pair = symbols.split(symbol)
        if pair is None or not re.fullmatch(r"[A-Z0-9]{2,30}", symbol):
            return None
        base, quote = pair
        scale = symbols.scale(base, quote)
        listed = self.history.listed.get(symbol, FIRST_DAY)
        return Listing(
            symbol, base, quote, listed - listed % MINUTE, scale.price_places, scale.lot_places,
            trading=symbol not in self.history.delisted,
        )  # fmt: skip

    def _alive(self, symbol: str) -> Window:
        listed = self.history.listed.get(symbol, FIRST_DAY)
        return Window(listed - listed % MINUTE, max(listed, self.history.delisted.get(symbol, _FAR)))

    def grid(self, symbol: str, timeframe: Timeframe) -> Grid:
        first = self._alive(symbol).start
        return timeframe.grid(first - first % DAY)

    def lifetime(self, symbol: str, timeframe: Timeframe) -> Window:
        alive = self._alive(symbol)
        # the calendar ends in the year 9999, far before _FAR does
        last = alive.end if alive.end == _FAR else self.grid(symbol, timeframe).ceil(alive.end)
        return Window(self.grid(symbol, timeframe).floor(alive.start), last)

    def child(self, symbol: str, timeframe: Timeframe) -> Timeframe | None:
        if timeframe == _MINUTE:
            return None
        return _HOUR if TIMEFRAMES.index(timeframe.name) > TIMEFRAMES.index("1h") else _MINUTE

    def finished(self, symbol: str, timeframe: Timeframe, window: Window) -> Rows:
        if timeframe == _MINUTE:
            rows = self._minutes(symbol, window)
            for stretch in self.history.off_grid:  # back on the grid: no two candles are ever live at once
                last = (rows["slot"] < stretch.window.end) & (rows["slot"] + MINUTE >= stretch.window.end)
                rows["end"][last] -= rows["shift"][last]
            return rows
        grid = self.grid(symbol, timeframe)
        window = Window(grid.ceil(window.start), grid.ceil(window.end))
        if self.child(symbol, timeframe) == _MINUTE:
            children = self._minutes(symbol, window)
        else:
            span = _HOURS_PER_BLOCK * HOUR
            blocks = range(window.start // span, -(-window.end // span))
            children = join([self._hours(symbol, block) for block in blocks])
            children = children[(children["slot"] >= window.start) & (children["slot"] < window.end)]
        rows = aggregate(children, grid.floor_all(children["slot"]))
        gone = self.history.delisted.get(symbol)
        if gone is not None and len(rows) and grid.next(int(rows["slot"][-1])) >= gone:
            rows["end"][-1] = grid.next(int(rows["slot"][-1])) - 1  # a delisting ends a series, it cuts no candle
        return rows

    def _hours_of_block(self, symbol: str, block: int) -> Rows:
        start = block * _HOURS_PER_BLOCK * HOUR
        minutes = self._minutes(symbol, Window(start, start + _HOURS_PER_BLOCK * HOUR))
        return aggregate(minutes, minutes["slot"] - minutes["slot"] % HOUR)

    def _minutes(self, symbol: str, window: Window) -> Rows:
        window = window.intersect(self._alive(symbol))
        first, last = -(-window.start // MINUTE), -(-window.end // MINUTE)
        if first >= last:
            return no_rows()
        rows = self._invent(symbol, np.arange(first, last, dtype=np.int64))
        kept = np.ones(len(rows), dtype=np.bool_)
        for halt in self.history.outages:
            starts = rows["slot"]
            kept &= (starts < halt.start) | (starts + MINUTE > halt.end)
            cut = (starts < halt.start) & (starts + MINUTE > halt.start) & (starts + MINUTE <= halt.end)
            rows["end"][cut] = halt.start - 1
        for stretch in self.history.off_grid:
            rows["shift"][(rows["slot"] >= stretch.window.start) & (rows["slot"] < stretch.window.end)] = (
                stretch.offset_ms
            )
        return rows if kept.all() else rows[kept]

    def _invent(self, symbol: str, minutes: Whole) -> Rows:
        """Every minute of an unbroken stretch, as if no halt had ever been."""
        base, quote = symbols.split(symbol) or (symbol, "")
        scale = symbols.scale(base, quote)
        key = key_of(self.history.seed, symbol)
        reach = np.arange(minutes[0] - _LONGEST_QUIET - 1, minutes[-1] + 1, dtype=np.int64)
        swing = np.zeros(len(reach), dtype=np.int64)
        for octave, thousandths in _WAVES:
            swing += wander(reach, octave, key + octave) * thousandths
        prices = scale.price + scale.price * swing // (HEIGHT * 1000)
        traded = reach[_LONGEST_QUIET:].copy()  # of each minute and the one before it: the last minute with trades
        run = scramble(traded // _QUIET_BLOCK, key + 100)
        begins = 1 + bits_of(run, 8, 5)
        into = traded % _QUIET_BLOCK - begins
        quiet = (bits_of(run, 0, 2) == 0) & (into >= 0) & (into < 1 + bits_of(run, 16, 3))
        traded[quiet] -= into[quiet] + 1
        closes = prices[traded - reach[0]]
        opens, closes, quiet = closes[:-1], closes[1:], quiet[1:]

        bits = scramble(minutes, key + 200)
        lots = (scale.lots * (1 + bits_of(bits, 0, 16)) // HEIGHT + 1) << bits_of(bits, 16, 2)
        lots[quiet] = 0
        taken = lots * bits_of(bits, 18, 8) >> 8
        wicks = scale.price * np.stack([bits_of(bits, 26, 8), bits_of(bits, 34, 8)]) >> 17
        wicks[:, quiet] = 0
        high = np.maximum(opens, closes) + wicks[0]
        low = np.maximum(1, np.minimum(opens, closes) - wicks[1])
        mean = (opens + high + low + closes) // 4

        rows = np.zeros(len(minutes), dtype=TRUTH)
        rows["slot"] = minutes * MINUTE
        rows["end"] = rows["slot"] + (MINUTE - 1)
        tick, lot = 10 ** (8 - scale.price_places), 10 ** (8 - scale.lot_places)
        rows["open"], rows["high"], rows["low"], rows["close"] = opens * tick, high * tick, low * tick, closes * tick
        rows["trades"] = np.where(quiet, 0, 1 + bits_of(bits, 42, 9))
        worth = 10 ** (8 - scale.price_places - scale.lot_places)  # of one lot at one tick, so turnover is exact too
        for name, units in zip(
            AMOUNTS, (lots * lot, lots * mean * worth, taken * lot, taken * mean * worth), strict=True
        ):
            rows[name]["whole"], rows[name]["part"] = units // UNIT, units % UNIT
        return rows
