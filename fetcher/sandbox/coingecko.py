"""CoinGecko's API v3: ping, coins/list, ohlc, ohlc/range (paid) and market_chart, a price index without volume.

Source: docs.coingecko.com and captured answers. Candles carry their CLOSE time. Answers are cached for 15 minutes, so
that the newest is up to that old. The last row is live, stamped with the moment the answer was made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.coingecko_coins import asset_of, coin_id, coins
from fetcher.sandbox.layout import Layout
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.market import PRICES, UNIT, Span
from fetcher.sandbox.noise import field, scramble
from fetcher.sandbox.venue import Refused, VenueExchange, document, number
from fetcher.sandbox.view import Pair, known, true_listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows

OHLC = "/coingecko/api/v3/coins/*/ohlc*"
PER_MINUTE = {"keyless": 10, "demo": 30, "pro": 250}
WRONG_KEY = "wrong-key"
"""The one key that is refused; any other is good."""
_DAYS = {"1": 1, "7": 7, "14": 14, "30": 30, "90": 90, "180": 180, "365": 365}
_REACH = 365 * DAY
_CACHED, _CACHED_AT = 15 * MINUTE, 5 * MINUTE  # not on the candles' own quarter hours
_LONGEST = {"hourly": ("1h", 31 * DAY), "daily": ("1d", 180 * DAY)}
_FIRST = 1_518_134_400_000  # 2018-02-09, where ohlc/range begins
_MANY = 100_000
_TOO_MANY = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API "
    "plans for higher rate limits."
)
_DEMO, _PRO = "x-cg-demo-api-key", "x-cg-pro-api-key"


class CoinGeckoExchange(VenueExchange):
    """Answers as api.coingecko.com does; the plan is told by the key's header."""

    name = "coingecko"
    share = 100
    layout = Layout(cells=5, volume=None, numbers_as_text=False)
    candle_path = OHLC

    @staticmethod
    def usual_limit() -> WindowLimit:
        return WindowLimit(PER_MINUTE["demo"])

    def limit_of(self, headers: Mapping[str, str]) -> WindowLimit:
        if not self.limit_was_told:
            self.limit.allowed = PER_MINUTE[_plan(headers)]
        return self.limit

    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        if WRONG_KEY in {headers.get(_DEMO), headers.get(_PRO)}:
            raise Refused(_status(401, 10002, "API Key Missing. Please make sure you're using the right API key."))
        if path == "/api/v3/ping":
            return document({"gecko_says": "(V3) To the Moon!"})
        if path == "/api/v3/coins/list":
            return document(coins(sorted({listing.base for listing in self.market.symbols()})))
        match = re.fullmatch(r"/api/v3/coins/([^/]+)/(ohlc|ohlc/range|market_chart)", path)
        if match is None:
            return document({"error": "Incorrect path. Please check https://www.coingecko.com/api/"}, 404)
        pair = self.pair(match[1])
        if pair is None:
            raise Refused(document({"error": "coin not found"}, 404))
        if query.get("vs_currency") != "usd":
            raise Refused(document({"error": "invalid vs_currency"}, 400))
        now = (now_ms - _CACHED_AT) // _CACHED * _CACHED + _CACHED_AT
        match match[2]:
            case "ohlc":
                return self._ohlc(pair, query, now, paid=_plan(headers) == "pro")
            case "ohlc/range":
                if _plan(headers) != "pro":
                    raise Refused(_status(401, 10005, "This request is limited to PRO API subscribers."))
                return self._range(pair, query, now)
        return self._chart(pair, query, now)

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        match status:
            case 429 | 418:
                told = _status(status, 429, _TOO_MANY)
                rest = {"Retry-After": str(retry_after)} if retry_after else {}
                return Answer(status, told.body, rest)
            case 451:
                return Answer(451, b"<html><body>Access denied, error code 1009</body></html>", content_type=HTML)
            case 404:
                return document({"error": "coin not found"}, 404)
        return _status(status, status, "Internal Server Error" if status == 500 else "Service Unavailable")  # noqa: PLR2004 - a status

    def pair(self, market_id: str) -> Pair | None:
        asset = asset_of(market_id)
        truth = true_listing(self.market, asset, "USD") if coin_id(asset) == market_id else None
        return Pair(market_id, asset, "USD", truth) if truth else None

    def oracle(self, market_id: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        rows = super().oracle(market_id, timeframe, window, now_ms)
        rows["volume"] = np.nan
        return rows

    def _ohlc(self, pair: Pair, query: Mapping[str, str], now: int, *, paid: bool) -> Answer:
        text = query.get("days", "")
        if text == "max" and not paid:
            raise Refused(_too_long_ago())
        if text not in _DAYS:
            raise Refused(document({"error": "Invalid days parameter"}, 400))
        days = _DAYS[text]
        start = now - days * DAY
        if days > 30:  # noqa: PLR2004 - beyond, candles of four days: no timeframe of ours
            rows = self.view.days(pair, 4, Window(start - start % (4 * DAY), now + 1), now)
            return self._candles(rows, 4 * DAY, now, None)
        timeframe = Timeframe("30m" if days == 1 else "4h")
        rows = self.view.page(pair, timeframe, Span(start - timeframe.ms + 1, now, _MANY), now)
        return self._candles(rows, timeframe.ms, now, Asked(pair.id, timeframe, Span(start, now, len(rows))))

    def _range(self, pair: Pair, query: Mapping[str, str], now: int) -> Answer:
        bad = document({"error": "invalid from, to or interval"}, 400)
        start, end = number(query, "from", bad), number(query, "to", bad)
        interval = query.get("interval", "")
        if start is None or end is None or interval not in _LONGEST:
            raise Refused(bad)
        name, longest = _LONGEST[interval]
        if (end - start) * 1000 > longest:
            raise Refused(document({"error": f"at most {longest // DAY} days of {interval} candles a call"}, 400))
        timeframe = Timeframe(name)
        span = Span(max(_FIRST, start * 1000) - timeframe.ms, min(end * 1000 - timeframe.ms, now), _MANY)
        rows = self.view.page(pair, timeframe, span, now)
        return self._candles(rows, timeframe.ms, now, Asked(pair.id, timeframe, span))

    def _candles(self, rows: Rows, step: int, now: int, asked: Asked | None) -> Answer:
        stamps = np.minimum(rows["slot"] + step, now).tolist()
        columns = [(rows[name] / UNIT).tolist() for name in PRICES]
        lines = [list(row) for row in zip(stamps, *columns, strict=True)]
        return document(lines, rows=len(lines), asked=asked)

    def _chart(self, pair: Pair, query: Mapping[str, str], now: int) -> Answer:
        days = number(query, "days", document({"error": "Invalid days parameter"}, 400))
        if days is None:
            raise Refused(document({"error": "Missing parameter days"}, 400))
        if days * DAY > _REACH:
            raise Refused(_too_long_ago())
        daily = days > 90 or query.get("interval") == "daily"  # noqa: PLR2004 - days
        name = "1d" if daily else "5m" if days == 1 else "1h"
        rows = self.view.page(pair, Timeframe(name), Span(now - days * DAY, now, _MANY), now)
        late = field(scramble(rows["slot"] // MINUTE, 7), 0, 16) * (0 if daily else 1)  # points lie off the grid
        times = [*(rows["slot"] + np.minimum(late, now - rows["slot"])).tolist(), now]
        prices = [*(rows["open"] / UNIT).tolist(), int(rows["close"][-1]) / UNIT]
        hours = self.view.page(pair, Timeframe("1h"), Span(times[0] - DAY - HOUR, now, _MANY), now)
        turnover = np.concatenate([[0], np.cumsum(known(hours)["volume"] * (hours["close"] / UNIT))])
        opened = hours["slot"]
        volumes = [float(np.diff(turnover[np.searchsorted(opened, (time - DAY, time))])[0]) for time in times]
        return document(
            {
                "prices": [list(point) for point in zip(times, prices, strict=True)],
                "market_caps": [[time, price * 19_000_000] for time, price in zip(times, prices, strict=True)],
                "total_volumes": [list(point) for point in zip(times, volumes, strict=True)],
            }
        )


def _plan(headers: Mapping[str, str]) -> str:
    return "pro" if headers.get(_PRO) else "demo" if headers.get(_DEMO) else "keyless"


def _status(status: int, code: int, words: str) -> Answer:
    return document({"status": {"error_code": code, "error_message": words}}, status)


def _too_long_ago() -> Answer:
    words = (
        "Your request exceeds the allowed time range. Public API users are limited to querying historical data within "
        "the past 365 days. Upgrade to a paid plan to enjoy full historical data access."
    )
    return document({"error": {"status": {"error_code": 10012, "error_message": words}}}, 401)
