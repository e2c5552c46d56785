"""What the imitated Yahoo says around its candles: errors, a chart's `meta`, intervals and how far back they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.model import DAY
from fetcher.sandbox.venue import document

if TYPE_CHECKING:
    from fetcher.sandbox.answer import Answer
    from fetcher.sandbox.view import Pair

TICKERS = {"UNI": "UNI7083", "APT": "APT21794", "ARB": "ARB11841", "SUI": "SUI20947", "PEPE": "PEPE24478"}
"""Coins whose plain ticker is another coin's: Yahoo adds a number."""

INTERVALS = {
    "1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "60m": "1h", "1h": "1h", "4h": "4h", "1d": "1d", "1wk": "1w",
    "1mo": "1M",
}  # fmt: skip
REACH_DAYS = {"1m": 30, "5m": 60, "15m": 60, "30m": 60, "1h": 730, "4h": 730}
BAD_INTERVAL = (
    "Invalid input - interval={} is not supported. Valid intervals: [1m, 2m, 5m, 15m, 30m, 60m, 90m, 1h, 4h, 1d, 5d, "
    "1wk, 1mo, 3mo]"
)
_RANGES = {
    "1d": 1, "5d": 5, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731, "5y": 1827, "10y": 3653, "max": 36_500,
}  # fmt: skip
_FIRST_TRADE = 1_410_912_000


def failure(status: int, code: str, words: str, part: str = "chart") -> Answer:
    """`{"chart":{"result":null,"error":{…}}}`."""
    return document({part: {"result": None, "error": {"code": code, "description": words}}}, status)


def span_of(name: str) -> int:
    """A `range` in ms."""
    return _RANGES.get(name, 1) * DAY


def meta(pair: Pair, interval: str, asked: str, now_s: int, price: float) -> dict[str, Any]:
    """A chart's `meta`; intraday ones have `tradingPeriods`."""
    midnight = now_s - now_s % 86_400
    regular = {"timezone": "UTC", "start": midnight, "end": midnight + 86_340, "gmtoffset": 0}
    told: dict[str, Any] = {
        "currency": "USD", "symbol": pair.id, "exchangeName": "CCC", "fullExchangeName": "CCC",
        "instrumentType": "CRYPTOCURRENCY", "firstTradeDate": _FIRST_TRADE, "regularMarketTime": now_s,
        "hasPrePostMarketData": False, "gmtoffset": 0, "timezone": "UTC", "exchangeTimezoneName": "UTC",
        "regularMarketPrice": price, "longName": f"{pair.base} USD", "shortName": f"{pair.base} USD",
        "chartPreviousClose": price, "priceHint": 2,
        "currentTradingPeriod": {
            "pre": {**regular, "end": midnight}, "regular": regular,
            "post": {**regular, "start": midnight + 86_340, "end": midnight + 86_340},
        },
        "dataGranularity": interval, "range": asked, "validRanges": [*_RANGES, "ytd"],
    }  # fmt: skip
    if interval.endswith(("m", "h")):
        told |= {"previousClose": price, "scale": 3, "tradingPeriods": [[regular]]}
    return told
