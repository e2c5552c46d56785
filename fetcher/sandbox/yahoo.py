"""Yahoo Finance as yfinance asks it: the cookie, the crumb and `v8/finance/chart` of crypto tickers.

Source: captured answers and yfinance 1.7.0. Prices are float32, volume is in the quote currency, some intraday rows are
null, and what is not over yet comes as an element at `regularMarketTime`: besides the unfinished candle, or as it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.layout import Layout
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.market import PRICES, UNIT, Span, as_doubles
from fetcher.sandbox.noise import key_of, scramble
from fetcher.sandbox.venue import Refused, VenueExchange, document, number
from fetcher.sandbox.view import Pair, true_listing
from fetcher.sandbox.yahoo_words import BAD_INTERVAL, INTERVALS, REACH_DAYS, TICKERS, failure, meta, span_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows
    from fetcher.sandbox.noise import Whole

CHART = "/yahoo/v8/finance/chart/*"
_COLUMNS = ("open", "high", "low", "close", "volume")
_LONGEST_MINUTES = 8 * DAY
_NULL_ONE_IN = 97
_MANY = 1_000_000
_COOKIE = (
    "A3=d=AQABBSANDBOX&S=AQAAAsandbox; Domain=.yahoo.com; Path=/; Max-Age=31557600; SameSite=None; Secure; HttpOnly"
)


def _take(body: Any) -> list[list[Any]]:
    result = body["chart"]["result"][0]
    quote = result["indicators"]["quote"][0]
    return [list(row) for row in zip(result["timestamp"], *(quote[name] for name in _COLUMNS), strict=True)]


def _put(body: Any, rows: list[list[Any]]) -> Any:
    result = dict(body["chart"]["result"][0])
    if not rows:
        del result["timestamp"]
        return {"chart": {**body["chart"], "result": [{**result, "indicators": {"quote": [{}], "adjclose": [{}]}}]}}
    columns = [list(column) for column in zip(*rows, strict=True)]
    indicators = {"quote": [dict(zip(_COLUMNS, columns[1:], strict=True))]}
    if "adjclose" in result["indicators"]:
        indicators["adjclose"] = [{"adjclose": columns[4]}]
    return {"chart": {**body["chart"], "result": [{**result, "timestamp": columns[0], "indicators": indicators}]}}


class YahooExchange(VenueExchange):
    """Answers as query2.finance.yahoo.com does, whichever of Yahoo's hosts was meant."""

    name = "yahoo"
    share = 100
    layout = Layout(cells=6, unit=1000, numbers_as_text=False, take=_take, put=_put)
    candle_path = CHART

    @staticmethod
    def usual_limit() -> WindowLimit:
        return WindowLimit(360)  # nothing is published; one question of yfinance's is up to nine requests

    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        match path:
            case "" | "/":  # fc.yahoo.com has no page, only the cookie
                return Answer(404, b"<html><body>Not Found</body></html>", {"Set-Cookie": _COOKIE}, HTML)
            case "/v1/test/getcrumb":
                return Answer(200, b"sandbox.crumb", content_type="text/plain;charset=utf-8")
            case "/consent" | "/copyConsent":
                return Answer(200, b"<html><body>Yahoo is part of the Yahoo family of brands</body></html>", {}, HTML)
        match = re.fullmatch(r"/v8/finance/chart/([^/]+)", path)
        if match is None:
            return failure(404, "Not Found", "HTTP 404 Not Found", part="finance")
        pair = self.pair(match[1])
        if pair is None:
            raise Refused(self.complain(404, 0, now_ms))
        return self._chart(pair, query, now_ms)

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        match status:
            case 404:
                return failure(404, "Not Found", "No data found, symbol may be delisted")
            case 418 | 429:
                return Answer(status, b"Too Many Requests\r\n", content_type="text/plain")
            case 451:
                return Answer(451, b"<html><body>Yahoo is not available here</body></html>", content_type=HTML)
        return failure(status, "Internal Server Error" if status == 500 else "Service Unavailable", "")  # noqa: PLR2004 - a status

    def pair(self, market_id: str) -> Pair | None:
        ticker, _, quote = market_id.rpartition("-")
        base = {named: asset for asset, named in TICKERS.items()}.get(ticker, ticker)
        truth = true_listing(self.market, base, quote) if quote == "USD" and TICKERS.get(base, base) == ticker else None
        return Pair(market_id, base, quote, truth) if truth else None

    def oracle(self, market_id: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """As for every venue, without the rows that Yahoo nulls; the only volume it tells is the quote's."""
        rows = super().oracle(market_id, timeframe, window, now_ms)
        pair = self.pair(market_id)
        if pair is not None:
            exact = self.view.closed(pair, timeframe, window, now_ms)
            for name in PRICES:
                rows[name] = np.float32(rows[name])
            rows["volume"], rows["quote_volume"] = np.nan, np.round(as_doubles(exact["quote_volume"]))
        return rows[~_nulls(pair.symbol, timeframe, rows["open_time"])] if pair is not None else rows

    def _chart(self, pair: Pair, query: Mapping[str, str], now_ms: int) -> Answer:
        interval = query.get("interval", "1d")
        if interval not in INTERVALS:
            raise Refused(failure(422, "Unprocessable Entity", BAD_INTERVAL.format(interval)))
        timeframe = Timeframe(INTERVALS[interval])
        now_s = now_ms // 1000
        bad = failure(400, "Bad Request", "Invalid input - period1 or period2")
        first, last = number(query, "period1", bad), number(query, "period2", bad)
        if first is None or last is None:
            first, last = now_s - span_of(query.get("range", "1d")) // 1000, now_s + 1
        if last < first:
            raise Refused(failure(400, "Bad Request", "Invalid input - start date cannot be after end date."))
        _check_reach(timeframe, interval, first, last, now_s)
        told = meta(pair, interval, query.get("range", ""), now_s, int(self._price(pair, now_ms)) / UNIT)
        span = Span(max(0, first * 1000), last * 1000 - 1, _MANY)
        rows = self.view.page(pair, timeframe, span, now_s * 1000)
        body: dict[str, Any] = {"meta": told}
        if not len(rows):
            body["indicators"] = {"quote": [{}], "adjclose": [{}]}
        else:
            body |= _columns(rows, pair, timeframe, now_s, last)
        count = len(body.get("timestamp", ()))
        return document({"chart": {"result": [body], "error": None}}, 200, count, Asked(pair.id, timeframe, span))

    def _price(self, pair: Pair, now_ms: int) -> int:
        newest = self.view.page(pair, Timeframe("1m"), Span(None, now_ms, 1), now_ms)
        return int(newest["close"][0]) if len(newest) else UNIT


def _check_reach(timeframe: Timeframe, interval: str, first: int, last: int, now_s: int) -> None:
    days = REACH_DAYS.get(timeframe.name)
    if days is not None and first < now_s - days * 86_400:
        raise Refused(
            failure(
                422,
                "Unprocessable Entity",
                f"{interval} data not available for startTime={first} and endTime={last}. The requested range must be "
                f"within the last {days} days.",
            )
        )
    if timeframe.ms == MINUTE and (last - first) * 1000 > _LONGEST_MINUTES:
        words = "Only 8 days worth of 1m granularity data are allowed to be fetched per request."
        raise Refused(failure(422, "Unprocessable Entity", f"{interval} data not available. {words}"))


def _nulls(symbol: str, timeframe: Timeframe, opened: Whole) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows come as null: some intraday ones, always the same: shape (n,)."""
    if timeframe.ms >= DAY:
        return np.zeros(len(opened), dtype=np.bool_)
    dice = scramble(opened // MINUTE, key_of("null", symbol, timeframe.name))
    null: np.ndarray[tuple[int], np.dtype[np.bool_]] = dice % np.uint64(_NULL_ONE_IN) == 0
    return null


def _columns(rows: Rows, pair: Pair, timeframe: Timeframe, now_s: int, last: int) -> dict[str, Any]:
    """`timestamp` and `indicators`; what is live goes to the end, at the time of the answer."""
    stamps: list[int] = (rows["slot"] // 1000).tolist()
    columns: dict[str, list[Any]] = {name: (rows[name] / UNIT).astype(np.float32).tolist() for name in PRICES}
    columns["volume"] = np.round(as_doubles(rows["quote_volume"])).astype(np.int64).tolist()
    for n in np.flatnonzero(_nulls(pair.symbol, timeframe, rows["slot"])):
        for name in _COLUMNS:
            columns[name][n] = None
    is_live = timeframe.grid().next(stamps[-1] * 1000) > now_s * 1000
    if is_live and timeframe.ms >= DAY:
        stamps[-1] = now_s
    elif is_live and stamps[-1] < now_s < last:
        price = float(np.float32(int(rows["close"][-1]) / UNIT))
        stamps.append(now_s)
        for name in _COLUMNS:
            columns[name].append(0 if name == "volume" else price)
    indicators: dict[str, Any] = {"quote": [columns]}
    if timeframe.ms >= DAY:
        indicators["adjclose"] = [{"adjclose": columns["close"]}]
    return {"timestamp": stamps, "indicators": indicators}
