"""How a venue sees the market: the truth, its prices a constant few parts in ten thousand off, its volumes a share.

A constant factor keeps what is true of the truth: the order within a candle, and hours that are the sums of minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.model import CANDLE, DAY, Timeframe, Window, empty_rows
from fetcher.sandbox.market import AMOUNTS, PRICES, UNIT, Span, aggregate, as_doubles
from fetcher.sandbox.noise import key_of

if TYPE_CHECKING:
    from fetcher.model import Rows
    from fetcher.sandbox.market import Listing, Market
    from fetcher.sandbox.noise import Whole

_MILLION = 1_000_000
_DAY = Timeframe("1d")
_PART = 16_384


class Pair(Struct, frozen=True):
    """A market as a venue names it (`id`), and the true one behind it: a USD pair is the USDT one seen once more."""

    id: str
    base: str
    quote: str
    truth: Listing

    @property
    def symbol(self) -> str:
        """As the project writes it, like `BTC/USD`."""
        return f"{self.base}/{self.quote}"


def true_listing(market: Market, base: str, quote: str) -> Listing | None:
    """The true market behind a pair; None where there is none."""
    found = market.listing(base + ("USDT" if quote == "USD" else quote))
    return found if found is not None and found.base == base else None


class VenueView:
    """One venue's candles, exact; `share` is the hundredths of the true volume that are traded there."""

    def __init__(self, market: Market, venue: str, share: int) -> None:
        self.market = market
        self.venue = venue
        self.share = share

    def ppm(self, pair: Pair) -> int:
        """How far the venue's prices are off, in millionths: 100 to 500 (1 to 5 basis points), up or down."""
        key = key_of("venue", self.venue, pair.base, pair.quote)
        return (100 + key % 401) * (1 if key >> 32 & 1 else -1)

    def page(self, pair: Pair, timeframe: Timeframe, span: Span, now_ms: int) -> Rows:
        """`Market.page` as the venue has it: dtype TRUTH."""
        return self._seen(pair, self.market.page(pair.truth.symbol, timeframe, span, now_ms))

    def days(self, pair: Pair, count: int, window: Window, now_ms: int) -> Rows:
        """Candles of `count` days, counted from 1970-01-01, whose days open in the window: dtype TRUTH."""
        days = self.market.span(pair.truth.symbol, _DAY, window, now_ms)
        return self._seen(pair, aggregate(days, days["slot"] - days["slot"] % (count * DAY)))

    def closed(self, pair: Pair, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """The venue's candles of the window that are closed at `now_ms`, ascending: dtype TRUTH."""
        symbol = pair.truth.symbol
        grid = self.market.grid(symbol, timeframe)
        low = grid.ceil(max(window.start, self.market.lifetime(symbol, timeframe).start))
        high = grid.ceil(min(window.end, now_ms))
        parts = [self.market.closed(symbol, timeframe, Window(0, 0), now_ms)]
        while low < high:
            part = Window(low, min(high, grid.advance(low, _PART)))
            parts.append(self.market.closed(symbol, timeframe, part, now_ms))
            low = part.end
        return self._seen(pair, np.concatenate(parts))

    def _seen(self, pair: Pair, rows: Rows) -> Rows:
        seen = rows.copy()
        ppm, tick = self.ppm(pair), 10 ** (8 - pair.truth.price_places)
        for name in PRICES:
            moved = rows[name] + rows[name] * ppm // _MILLION
            seen[name] = np.maximum(1, (moved + tick // 2) // tick) * tick
        for name in AMOUNTS:
            _scale(seen[name], self.share, 100)
        for name in ("quote_volume", "taker_quote"):
            _scale(seen[name], _MILLION + ppm, _MILLION)
        seen["trades"] = -(-rows["trades"] * self.share // 100)
        return seen


def _scale(amounts: Rows, times: int, parts: int) -> None:
    """Multiply exact amounts by `times / parts`, below one unit rounded down, in place."""
    whole, rest = np.divmod(amounts["whole"] * times, parts)
    part = (rest * UNIT + amounts["part"] * times) // parts
    amounts["whole"], amounts["part"] = whole + part // UNIT, part % UNIT


def known(rows: Rows, *, volume: bool = True) -> Rows:
    """Rows as a client can store them that learns prices and perhaps base volume, no more: dtype CANDLE."""
    candles = np.zeros(len(rows), dtype=CANDLE) if len(rows) else empty_rows()
    candles["open_time"], candles["trades"] = rows["slot"], -1
    for name in PRICES:
        candles[name] = rows[name] / UNIT
    for name in AMOUNTS:
        candles[name] = np.nan
    if volume:
        candles["volume"] = as_doubles(rows["volume"])
    return candles


def decimal(units: int, places: int = 8) -> str:
    """A price in 1e-8 units as text with so many decimals."""
    return f"{units // UNIT}.{units % UNIT:08d}"[: places - 8 or None]


def amounts(rows: Rows, name: str) -> list[str]:
    """A column of amounts as decimal texts with 8 places."""
    wholes: list[int] = rows[name]["whole"].tolist()
    parts: list[int] = rows[name]["part"].tolist()
    return [f"{whole}.{part:08d}" for whole, part in zip(wholes, parts, strict=True)]


def traded(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which candles have any volume: shape (n,)."""
    has: np.ndarray[tuple[int], np.dtype[np.bool_]] = (rows["volume"]["whole"] > 0) | (rows["volume"]["part"] > 0)
    return has


def seconds(rows: Rows) -> Whole:
    """Open times in s: shape (n,), int64."""
    opened: Whole = rows["slot"] // 1000
    return opened
