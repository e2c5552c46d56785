"""The truth a sandbox exchange serves: candles in exact integers, as they stand at one moment, in no wire format yet.

A market knows its finished candles; this module adds what every market shares: the live candle, paging, restating one
candle, and the oracle that tests compare a database with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.errors import ConfigError
from fetcher.model import CANDLE, CUT_SHORT, DAY, OFF_GRID, Window, empty_rows

if TYPE_CHECKING:
    from fetcher.model import Grid, Rows, Slots, Timeframe

UNIT = 10**8  # prices and amounts are counted in 1e-8, the exchange's finest decimal
AMOUNTS = ("volume", "quote_volume", "taker_base", "taker_quote")
PRICES = ("open", "high", "low", "close")
_AMOUNT = np.dtype([("whole", "i8"), ("part", "i8")])  # a month's quote volume in 1e-8 units overflows one int64
TRUTH = np.dtype(
    [
        ("slot", "i8"), ("shift", "i8"), ("end", "i8"), ("open", "i8"), ("high", "i8"), ("low", "i8"), ("close", "i8"),
        ("volume", _AMOUNT), ("quote_volume", _AMOUNT), ("trades", "i8"), ("taker_base", _AMOUNT),
        ("taker_quote", _AMOUNT),
    ]
)  # fmt: skip
"""One true candle: its slot, the shift of its shown times (ms), its last ms before the shift, and exact values."""

_EXACT = 2**53  # below it an integer is a double, so that one division is the correctly rounded decimal
_WIDEST_CHUNK = 16_384


class Listing(Struct, frozen=True):
    """One symbol of a market; `listed_ms` in ms UTC, prices with `price_places` decimals, amounts with `lot_places`."""

    symbol: str
    base: str
    quote: str
    listed_ms: int
    price_places: int = 8
    lot_places: int = 8
    trading: bool = True


class Span(Struct, frozen=True):
    """Open times asked for, both inclusive in ms UTC, None where open; at most `limit` rows.

    With a start the oldest rows from it, without one the newest up to the end.
    """

    start: int | None
    end: int | None
    limit: int


def no_rows() -> Rows:
    """No candles: shape (0,), dtype TRUTH."""
    return np.empty(0, dtype=TRUTH)


def join(parts: list[Rows]) -> Rows:
    """The parts one after another: dtype TRUTH."""
    return np.concatenate(parts) if parts else no_rows()


def regular_ends(timeframe: Timeframe, grid: Grid, slots: Slots) -> Slots:
    """The last ms of each slot when no halt cuts it short: shape (n,), int64."""
    return grid.floor_all(slots + (31 * DAY if timeframe.name == "1M" else timeframe.ms)) - 1


def aggregate(children: Rows, slots: Slots) -> Rows:
    """The exact coarser candles of ascending children whose parents open at `slots`, both of shape (n,).

    The end is the last child's, so that a parent whose last children a halt removed is cut short like them.
    """
    if not len(children):
        return no_rows()
    first = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    last = np.append(first[1:], len(children)) - 1
    rows = np.zeros(len(first), dtype=TRUTH)
    rows["slot"], rows["end"] = slots[first], children["end"][last]
    rows["open"], rows["close"] = children["open"][first], children["close"][last]
    rows["high"] = np.maximum.reduceat(children["high"], first)
    rows["low"] = np.minimum.reduceat(children["low"], first)
    rows["trades"] = np.add.reduceat(children["trades"], first)
    for name in AMOUNTS:
        part = np.add.reduceat(children[name]["part"], first)
        rows[name]["whole"] = np.add.reduceat(children[name]["whole"], first) + part // UNIT
        rows[name]["part"] = part % UNIT
    return rows


def partial(final: Rows, elapsed: int, span: int, end: int) -> Rows:
    """A candle as it looked `elapsed` of `span` ms after its open: less volume, unless it has none at all."""
    row = final.copy()
    value = {name: int(final[name][0]) for name in (*PRICES, "trades")}
    body = (max(value["open"], value["close"]), min(value["open"], value["close"]))
    close = value["open"] + (value["close"] - value["open"]) * elapsed // span
    row["close"], row["end"], row["trades"] = close, end, value["trades"] * elapsed // span
    row["high"] = max(value["open"], close) + (value["high"] - body[0]) * elapsed // span
    row["low"] = min(value["open"], close) - (body[1] - value["low"]) * elapsed // span
    for name in AMOUNTS:
        units = (int(final[name]["whole"][0]) * UNIT + int(final[name]["part"][0])) * elapsed // span
        row[name]["whole"], row[name]["part"] = divmod(units, UNIT)
    return row


class Market(ABC):
    """Symbols and their candles, exact, as of any moment; subclasses know the finished candles."""

    def __init__(self) -> None:
        self._restated: dict[tuple[str, str], dict[int, int]] = {}
        self._restated_at: dict[tuple[str, str], dict[int, int]] = {}

    @abstractmethod
    def symbols(self) -> tuple[Listing, ...]:
        """What the exchange's symbol list names."""

    @abstractmethod
    def listing(self, symbol: str) -> Listing | None:
        """One symbol, named in the list or served without; None when the exchange does not know it."""

    @abstractmethod
    def grid(self, symbol: str, timeframe: Timeframe) -> Grid:
        """The grid of this series' slots."""

    @abstractmethod
    def lifetime(self, symbol: str, timeframe: Timeframe) -> Window:
        """From the first slot to the end of the last that can ever hold a candle; empty where nothing is served."""

    @abstractmethod
    def finished(self, symbol: str, timeframe: Timeframe, window: Window) -> Rows:
        """The final candles of the slots in the window, whether their time has come or not: dtype TRUTH."""

    @abstractmethod
    def child(self, symbol: str, timeframe: Timeframe) -> Timeframe | None:
        """The timeframe these candles are added up from; None where they are the finest truth themselves."""

    def span(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """The candles of the slots in the window as they stand at `now_ms`, the live one last: dtype TRUTH."""
        grid = self.grid(symbol, timeframe)
        window = window.intersect(self.lifetime(symbol, timeframe))
        newest = grid.floor(now_ms)
        before = grid.advance(newest, -1)  # may be live as well where times are shifted
        head = window.intersect(Window(min(window.start, before), before)) if before > window.start else None
        parts = [self.finished(symbol, timeframe, head)] if head else []
        parts += [
            self._as_of(symbol, timeframe, slot, now_ms)
            for slot in (before, newest)
            if window.start <= slot < window.end
        ]
        return self._overlay(symbol, timeframe, join(parts))

    def _as_of(self, symbol: str, timeframe: Timeframe, slot: int, now_ms: int) -> Rows:
        grid = self.grid(symbol, timeframe)
        child, end = self.child(symbol, timeframe), grid.next(slot)
        if child is not None and now_ms < end:
            children = self.span(symbol, child, Window(slot, now_ms + 1), now_ms)
            row = aggregate(children, np.full(len(children), slot, dtype=np.int64))
            row["end"] = end - 1
            return row
        row = self.finished(symbol, timeframe, Window(slot, end))
        if not len(row) or child is not None:
            return row
        elapsed, lasts = now_ms - slot - int(row["shift"][0]), int(row["end"][0]) + 1 - slot
        if elapsed < 0:
            return no_rows()
        return row if elapsed >= lasts else partial(row, elapsed, lasts, end - 1)

    def page(self, symbol: str, timeframe: Timeframe, asked: Span, now_ms: int) -> Rows:
        """The rows an exchange answers with, ascending by open time, none of them after `now_ms`: dtype TRUTH."""
        grid = self.grid(symbol, timeframe)
        life = self.lifetime(symbol, timeframe)
        low = max(life.start, grid.floor(asked.start)) if asked.start is not None else life.start
        high = min(life.end, grid.next(now_ms if asked.end is None else min(asked.end, now_ms)))
        forward, wanted, chunk = asked.start is not None, asked.limit, asked.limit + 2
        parts: list[Rows] = []
        while wanted > 0 and low < high:
            if forward:
                window = Window(low, min(high, grid.advance(low, chunk)))
                low = window.end
            else:
                window = Window(max(low, grid.advance(grid.floor(high - 1), 1 - chunk)), high)
                high = window.start
            rows = self.span(symbol, timeframe, window, now_ms)
            shown = rows["slot"] + rows["shift"]
            rows = rows[(shown >= (asked.start or 0)) & (shown <= (now_ms if asked.end is None else asked.end))]
            rows = rows[:wanted] if forward else rows[max(0, len(rows) - wanted) :]
            parts.append(rows)
            wanted -= len(rows)
            chunk = min(2 * chunk, _WIDEST_CHUNK)  # a long halt is crossed in few steps
        return join(parts if forward else parts[::-1])

    def restate(self, symbol: str, timeframe: Timeframe, slot: int, close: int, now_ms: int) -> None:
        """Let the exchange serve another close (1e-8 units) for one closed candle; ConfigError when there is none."""
        if self.listing(symbol) is None or not len(self.closed(symbol, timeframe, Window(slot, slot + 1), now_ms)):
            raise ConfigError(f"{symbol} {timeframe} has no closed candle at {slot} to restate; name its open time")
        self._restated.setdefault((symbol, timeframe.name), {})[slot] = close
        self._restated_at.setdefault((symbol, timeframe.name), {})[slot] = now_ms

    def restated_at(self, symbol: str, timeframe: Timeframe, window: Window) -> int:
        """When a candle of the window was last restated, in ms UTC; 0 where none ever was."""
        moments = self._restated_at.get((symbol, timeframe.name), {})
        return max((ms for slot, ms in moments.items() if window.start <= slot < window.end), default=0)

    def _overlay(self, symbol: str, timeframe: Timeframe, rows: Rows) -> Rows:
        restated = self._restated.get((symbol, timeframe.name))
        if not restated or not len(rows):
            return rows
        rows = rows.copy()
        for slot, close in tuple(restated.items()):  # another may be restated while an archive file is being made
            at = rows["slot"] == slot
            rows["close"][at] = close
            rows["high"][at] = np.maximum(rows["high"][at], close)
            rows["low"][at] = np.minimum(rows["low"][at], close)
        return rows

    def closed(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """The candles of the slots in the window that nothing can change any more at `now_ms`: dtype TRUTH."""
        grid = self.grid(symbol, timeframe)
        rows = self.span(symbol, timeframe, window, now_ms)
        while len(rows) and now_ms < max(
            grid.next(int(rows["slot"][-1])), int(rows["end"][-1]) + int(rows["shift"][-1]) + 1
        ):
            rows = rows[:-1]
        return rows

    def oracle(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """What a complete and right database holds: the candles of the window closed at `now_ms`, dtype CANDLE.

        `open_time` is the slot; shifted candles carry OFF_GRID, those a halt ended CUT_SHORT.
        """
        grid = self.grid(symbol, timeframe)
        low = grid.ceil(max(window.start, self.lifetime(symbol, timeframe).start))
        high = grid.ceil(min(window.end, now_ms))
        parts = [empty_rows()]
        while low < high:
            part = Window(low, min(high, grid.advance(low, _WIDEST_CHUNK)))
            parts.append(_as_candles(self.closed(symbol, timeframe, part, now_ms), timeframe, grid))
            low = part.end
        return np.concatenate(parts)


def _as_candles(rows: Rows, timeframe: Timeframe, grid: Grid) -> Rows:
    candles = np.zeros(len(rows), dtype=CANDLE)
    candles["open_time"], candles["trades"] = rows["slot"], rows["trades"]
    for name in PRICES:
        candles[name] = rows[name] / UNIT
    for name in AMOUNTS:
        candles[name] = as_doubles(rows[name])
    cut = rows["end"] < regular_ends(timeframe, grid, rows["slot"])
    candles["flags"] = np.where(rows["shift"] != 0, OFF_GRID, np.where(cut, CUT_SHORT, 0))
    return candles


def as_doubles(amounts: Rows) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Exact amounts as the doubles nearest to them: shape (n,)."""
    whole, part = amounts["whole"], amounts["part"]
    doubles: np.ndarray[tuple[int], np.dtype[np.float64]] = (whole * UNIT + part) / UNIT
    for n in np.flatnonzero(whole >= _EXACT // UNIT):
        doubles[n] = float(f"{whole[n]}.{part[n]:08d}")
    return doubles
