"""What is known of single exchanges and not, or wrongly, declared by ccxt 4.5.90."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.model import TIMEFRAMES, Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORWARD = frozenset({"binance", "binanceus", "bitfinex"})
"""They serve the oldest rows from `since` on and the newest before `until`, however far (startTime; sort=1).

Everywhere else only a closed window of at most one page says what it seems to say: OKX and Coinbase take nothing else,
Bitstamp gives the last rows of a longer one (recorded, 2019-01-01 … 2019-12-31 with limit=1000)."""

SENDS_EMPTY = frozenset({"binance", "binanceus", "bitstamp", "kraken"})
"""They send candles without trades, flat with volume 0: Bitstamp and Binance as recorded, Kraken in its documentation's
example. Every other one is taken to leave them out: that costs a count more, the contrary would invent gaps."""

IGNORE_UNTIL = frozenset({
    "bequant", "bitbank", "bithumb", "bitopro", "bitso", "bitteam", "bittrade", "btcmarkets", "btcturk", "fmfwio",
    "foxbit", "gemini", "hitbtc", "kraken", "kucoin", "lbank", "luno", "mercado", "ndax", "onetrading", "p2b", "phemex",
    "upbit", "weex", "whitebit",
})  # fmt: skip
"""Their fetch_ohlcv makes nothing of `until`, some not even of `since` (seen in the requests that ccxt makes): they
send candles that were not asked for, and `until` itself would be a parameter that they may refuse."""

_NEWEST_ONLY = {"kraken": 720}  # docs.kraken.com: "OHLC data returned is limited to the most recent 720 candles"
_ROWS = {"kraken": 720, "mexc": 500}  # mexc declares 1000, "in practice it's 500" (ccxt's own comment)
_ROWS_UNDECLARED = 100
_WEEKS_FROM_MONDAY = frozenset({"binance", "binanceus", "bybit", "bybiteu", "bybitid", "myokx", "okx", "okxus"})
"""Weeks from Monday and months by UTC. Kraken's and Gate's weeks start on Thursday, HTX counts days in UTC+8; those not
named are not known, and a week of other days is another candle."""
_ANCHORED_LIKE_BINANCE = frozenset({"binance", "binanceus"})  # `3d`: another venue's three days are others
_OTHER_DAYS = {"htx": {"1d"}, "bithumb": {"1d"}}  # UTC+8, UTC+9

_KRAKEN_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_KRAKEN_FIRST = frozenset({"XBT", "ETH", "LTC", "XRP", "XMR", "ETC", "ZEC", "XLM", "REP", "MLN"})
_FIAT = frozenset({"USD", "EUR", "GBP", "JPY", "CAD"})
_JOINED = {
    **dict.fromkeys(("okx", "okxus", "myokx", "coinbase", "coinbaseexchange", "kucoin"), "-"),
    **dict.fromkeys(("gate", "gateeu"), "_"),
    **dict.fromkeys(("binance", "binanceus", "bybit", "bybiteu", "bitget", "mexc"), ""),
}


def timeframes(exchange_id: str, declared: Iterable[str]) -> frozenset[str]:
    """Those of the exchange's timeframes that have the same grid as ours."""
    names = set(TIMEFRAMES) & set(declared) - _OTHER_DAYS.get(exchange_id, set())
    if exchange_id not in _WEEKS_FROM_MONDAY:
        names -= {"1w", "1M"}
    if exchange_id not in _ANCHORED_LIKE_BINANCE:
        names.discard("3d")
    return frozenset(names)


def rows_a_request(exchange_id: str, features: Mapping[str, Any]) -> int:
    """How many candles one request brings at most."""
    declared = ((features.get("spot") or {}).get("fetchOHLCV") or {}).get("limit")
    return _ROWS.get(exchange_id) or declared or _ROWS_UNDECLARED


def look_back(exchange_id: str, names: Iterable[str]) -> dict[str, int]:
    """How far back the exchange serves each timeframe, in ms; empty where to the listing."""
    rows = _NEWEST_ONLY.get(exchange_id)
    return {} if rows is None else {name: rows * Timeframe(name).ms for name in names}


def guess_market_id(exchange_id: str, symbol: str) -> str | None:
    """The exchange's own id of a symbol by its usual rule; None where it has none that is known."""
    base, _, quote = symbol.partition("/")
    if exchange_id == "kraken":
        base, quote = _KRAKEN_NAMES.get(base, base), _KRAKEN_NAMES.get(quote, quote)
        if base in _KRAKEN_FIRST and quote in _FIAT | {"XBT", "ETH"}:
            return f"X{base}{'Z' if quote in _FIAT else 'X'}{quote}"
        return base + quote
    if exchange_id in {"bitstamp", "htx"}:
        return (base + quote).lower()
    joint = _JOINED.get(exchange_id)
    return None if joint is None else f"{base}{joint}{quote}"
