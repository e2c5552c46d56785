"""Coinbase Exchange's public REST interface: candles newest first, at most 300, none for a time without trades.

Source: docs.cdp.coinbase.com/exchange (products, candles, rate limits) and ccxt 4.5.90 `coinbaseexchange.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fetcher.clock import format_utc, parse_utc
from fetcher.model import Timeframe
from fetcher.sandbox.answer import Answer, Asked
from fetcher.sandbox.layout import Layout
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.market import UNIT, Span
from fetcher.sandbox.venue import Refused, VenueExchange, document
from fetcher.sandbox.view import Pair, decimal, known, seconds, traded, true_listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows, Window

CANDLES = "/coinbase/products/*/candles"
MAX_ROWS = 300
_GRANULARITIES = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}
_WORDS = {
    404: "NotFound", 418: "Public rate limit exceeded", 429: "Public rate limit exceeded", 451: "Unavailable",
    503: "Service unavailable",
}  # fmt: skip


class CoinbaseExchange(VenueExchange):
    """Answers as api.exchange.coinbase.com does; both bounds of a window are inclusive."""

    name = "coinbase"
    share = 25
    layout = Layout(cells=6, open=3, high=2, low=1, unit=1000, numbers_as_text=False, newest_first=True)
    candle_path = CANDLES

    @staticmethod
    def usual_limit() -> WindowLimit:
        return WindowLimit(15, 1_000)  # 10 a second, up to 15 in bursts

    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        if path == "/time":
            return document({"iso": format_utc(now_ms), "epoch": now_ms / 1000})
        if path == "/products":
            return document([_described(pair) for pair in self._pairs()])
        if path == "/currencies":
            assets = {asset for pair in self._pairs() for asset in (pair.base, pair.quote)}
            return document([_currency(asset) for asset in sorted(assets)])
        match = re.fullmatch(r"/products/([^/]+)(/candles)?", path)
        pair = self.pair(match[1]) if match else None
        if match is None or pair is None:
            return self.complain(404, 0, now_ms)
        return self._candles(pair, query, now_ms) if match[2] else document(_described(pair))

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        return _error(status, _WORDS.get(status, "Internal server error"))

    def pair(self, market_id: str) -> Pair | None:
        base, _, quote = market_id.partition("-")
        truth = true_listing(self.market, base, quote)
        return Pair(market_id, base, quote, truth) if truth else None

    def oracle(self, market_id: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        rows = super().oracle(market_id, timeframe, window, now_ms)
        return rows[rows["volume"] > 0]

    def _pairs(self) -> list[Pair]:
        names = [
            f"{listing.base}-{quote}"
            for listing in self.market.symbols()
            for quote in ((listing.quote, "USD") if listing.quote == "USDT" else (listing.quote,))
        ]
        return [pair for name in names if (pair := self.pair(name))]

    def _candles(self, pair: Pair, query: Mapping[str, str], now_ms: int) -> Answer:
        granularity = query.get("granularity", "60")
        if granularity not in _GRANULARITIES:
            raise Refused(_error(400, "Unsupported granularity"))
        timeframe = Timeframe(_GRANULARITIES[granularity])
        start, end = _moment(query, "start"), _moment(query, "end")
        if start is None or end is None:  # one bound alone is ignored
            end = now_ms
            start = end - MAX_ROWS * timeframe.ms + 1
        elif (end - start) / timeframe.ms > MAX_ROWS:
            words = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
            raise Refused(_error(400, words))
        rows = self.view.page(pair, timeframe, Span(start, end, MAX_ROWS + 1), now_ms)[-MAX_ROWS:]
        rows = rows[traded(rows)]
        lines = _lines(rows)[::-1]
        return document(lines, rows=len(lines), asked=Asked(pair.id, timeframe, Span(start, end, MAX_ROWS)))


def _moment(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return round(float(text) * 1000) if re.fullmatch(r"\d+(\.\d+)?", text) else parse_utc(text)
    except ValueError:
        raise Refused(_error(400, f"{name} is not a valid date")) from None


def _lines(rows: Rows) -> list[list[float]]:
    volumes = known(rows)["volume"].tolist()
    columns = [(rows[name] / UNIT).tolist() for name in ("low", "high", "open", "close")]
    return [list(row) for row in zip(seconds(rows).tolist(), *columns, volumes, strict=True)]


def _described(pair: Pair) -> dict[str, object]:
    tick = decimal(10 ** (8 - pair.truth.price_places), pair.truth.price_places)
    return {
        "id": pair.id, "base_currency": pair.base, "quote_currency": pair.quote, "quote_increment": tick,
        "base_increment": "0.00000001", "display_name": f"{pair.base}-{pair.quote}", "min_market_funds": "1",
        "margin_enabled": False, "post_only": False, "limit_only": False, "cancel_only": False,
        "status": "online" if pair.truth.trading else "delisted", "status_message": "",
        "trading_disabled": not pair.truth.trading, "fx_stablecoin": False, "max_slippage_percentage": "0.02000000",
        "auction_mode": False, "high_bid_limit_percentage": "",
    }  # fmt: skip


def _currency(asset: str) -> dict[str, object]:
    return {
        "id": asset, "name": asset, "min_size": "0.00000001", "status": "online", "message": "",
        "max_precision": "0.00000001", "convertible_to": [], "details": {"type": "crypto"},
        "default_network": "", "supported_networks": [],
    }  # fmt: skip


def _error(status: int, words: str) -> Answer:
    return document({"message": words}, status)
