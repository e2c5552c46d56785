"""Kraken's public REST interface: AssetPairs, Assets, Time and OHLC, of which only the newest 720 rows exist.

Source: docs.kraken.com (market data), ccxt 4.5.90 `kraken.py` and captured OHLC answers; errors come with HTTP 200.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.layout import Layout
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.market import Span
from fetcher.sandbox.venue import Refused, VenueExchange, document, number
from fetcher.sandbox.view import Pair, amounts, decimal, known, seconds, traded, true_listing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fetcher.model import Rows
    from fetcher.sandbox.limits import Refusal

OHLC = "/kraken/0/public/OHLC"
REACH = 720
_LEGACY = {
    "BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "XLM": "XXLM", "ETC": "XETC", "DOGE": "XXDG",
    "USD": "ZUSD", "EUR": "ZEUR",
}  # fmt: skip
_FIRST_QUOTES = ("ZUSD", "ZEUR", "XXBT", "XETH")  # a pair of two old assets is named by their long codes
_INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d"}
_LONG = {10_080: 7, 21_600: 15}  # in days, counted from 1970-01-01: Kraken's weeks open on Thursdays


def _take(body: Any) -> list[list[Any]]:
    return [list(row) for name, rows in body["result"].items() if name != "last" for row in rows]


def _put(body: Any, rows: list[list[Any]]) -> Any:
    names = {name: found if name == "last" else rows for name, found in body["result"].items()}
    return {**body, "result": names}


class KrakenExchange(VenueExchange):
    """Answers as api.kraken.com does; candles without trades are flat rows, the last row is live."""

    name = "kraken"
    share = 8
    layout = Layout(cells=8, volume=6, unit=1000, take=_take, put=_put)
    candle_path = OHLC

    @staticmethod
    def usual_limit() -> WindowLimit:
        # "about one a second" for public calls; what bursts it forgives is not published
        return WindowLimit(60, MINUTE)

    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        match path:
            case "/0/public/OHLC":
                return self._ohlc(query, now_ms)
            case "/0/public/AssetPairs":
                return self._asset_pairs(query)
            case "/0/public/Assets":
                assets = {asset for pair in self._pairs.values() for asset in (pair.base, pair.quote)}
                return _result({_code(asset): _asset(asset) for asset in sorted(assets)})
            case "/0/public/Time":
                moment = datetime.fromtimestamp(now_ms // 1000, UTC)
                return _result({"unixtime": now_ms // 1000, "rfc1123": f"{moment:%a, %d %b %y %H:%M:%S} +0000"})
            case "/0/public/SystemStatus":
                moment = datetime.fromtimestamp(now_ms // 1000, UTC)
                return _result({"status": "online", "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}"})
        return _error("EGeneral:Unknown method")

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        if status == 451:  # noqa: PLR2004 - a status
            return Answer(451, b"<html><body>Unavailable For Legal Reasons</body></html>", content_type=HTML)
        words = {429: "EAPI:Rate limit exceeded", 418: "EAPI:Rate limit exceeded", 503: "EService:Unavailable"}
        return _error(words.get(status, "EGeneral:Internal error"), status)

    def too_many(self, refusal: Refusal, now_ms: int) -> Answer:
        return _error("EAPI:Rate limit exceeded")

    def pair(self, market_id: str) -> Pair | None:
        return self._named.get(market_id)

    def forget_pages(self) -> None:
        for name in ("_pairs", "_named"):
            self.__dict__.pop(name, None)

    @cached_property
    def _pairs(self) -> dict[str, Pair]:
        found = {}
        for listing in self.market.symbols():
            for quote in (listing.quote, *(["USD"] if listing.quote == "USDT" else [])):
                truth = true_listing(self.market, listing.base, quote)
                if truth is not None:
                    name = _pair_id(listing.base, quote)
                    found[name] = Pair(name, listing.base, quote, truth)
        return found

    @cached_property
    def _named(self) -> dict[str, Pair]:
        named = dict(self._pairs)
        for pair in self._pairs.values():
            named[_alt(pair.base) + _alt(pair.quote)] = named[f"{_alt(pair.base)}/{_alt(pair.quote)}"] = pair
        return named

    def _known(self, name: str) -> Pair:
        pair = self.pair(name)
        if pair is None:
            raise Refused(_error("EQuery:Unknown asset pair"))
        return pair

    def _asset_pairs(self, query: Mapping[str, str]) -> Answer:
        chosen = [self._known(name) for name in query["pair"].split(",")] if "pair" in query else self._pairs.values()
        return _result({pair.id: _described(pair) for pair in chosen})

    def _ohlc(self, query: Mapping[str, str], now_ms: int) -> Answer:
        bad = _error("EGeneral:Invalid arguments")
        if "pair" not in query:
            raise Refused(bad)
        pair = self._known(query["pair"])
        interval, since = number(query, "interval", bad) or 1, number(query, "since", bad)
        asked = None
        if interval in _INTERVALS:
            timeframe = Timeframe(_INTERVALS[interval])
            rows = self.view.page(pair, timeframe, Span(None, None, REACH), now_ms)
            # the window as an inclusive one: `since` itself is never among the rows
            asked = Asked(pair.id, timeframe, Span(None if since is None else since * 1000 + 1, None, REACH))
        elif interval in _LONG:
            days = Window(max(0, now_ms - REACH * _LONG[interval] * DAY), now_ms + 1)
            rows = self.view.days(pair, _LONG[interval], days, now_ms)[-REACH:]
        else:
            raise Refused(bad)
        last = int(seconds(rows)[-2]) if len(rows) > 1 else since or 0  # the newest that is committed
        if since is not None:
            rows = rows[seconds(rows) > since]
        return document(
            {"error": [], "result": {pair.id: _lines(rows, pair.truth.price_places), "last": last}},
            rows=len(rows), asked=asked,
        )  # fmt: skip


def _lines(rows: Rows, places: int) -> list[list[object]]:
    candles, quote = known(rows), rows["quote_volume"]["whole"] + rows["quote_volume"]["part"] / 1e8
    volumes, has = amounts(rows, "volume"), traded(rows)
    lines: list[list[object]] = []
    for n, opened in enumerate(seconds(rows).tolist()):
        mean = f"{float(quote[n]) / float(candles['volume'][n]):.{places}f}" if has[n] else "0.0"
        prices = [decimal(int(rows[name][n]), places) for name in ("open", "high", "low", "close")]
        lines.append([opened, *prices, mean, volumes[n], int(rows["trades"][n])])
    return lines


def _code(asset: str) -> str:
    return _LEGACY.get(asset, asset)


def _alt(asset: str) -> str:
    return _LEGACY[asset][1:] if asset in _LEGACY else asset


def _pair_id(base: str, quote: str) -> str:
    if base != "DOGE" and base in _LEGACY and _code(quote) in _FIRST_QUOTES:
        return _code(base) + _code(quote)
    return _alt(base) + _alt(quote)


def _asset(asset: str) -> dict[str, object]:
    return {"aclass": "currency", "altname": _alt(asset), "decimals": 10, "display_decimals": 5, "status": "enabled"}


def _described(pair: Pair) -> dict[str, object]:
    return {
        "altname": _alt(pair.base) + _alt(pair.quote), "wsname": f"{_alt(pair.base)}/{_alt(pair.quote)}",
        "aclass_base": "currency", "base": _code(pair.base), "aclass_quote": "currency", "quote": _code(pair.quote),
        "lot": "unit", "cost_decimals": 5, "pair_decimals": pair.truth.price_places, "lot_decimals": 8,
        "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": "0.0001", "costmin": "0.5",
        "tick_size": decimal(10 ** (8 - pair.truth.price_places)),
        "status": "online" if pair.truth.trading else "cancel_only",
    }  # fmt: skip


def _result(found: object) -> Answer:
    return document({"error": [], "result": found})


def _error(words: str, status: int = 200) -> Answer:
    return document({"error": [words]}, status)
