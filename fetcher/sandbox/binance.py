"""Binance's spot wire format over any market: `/api/v3` ping, time, exchangeInfo and klines with their errors.

Source: binance-spot-api-docs `rest-api.md` and `errors.md`; the clamp of `limit` is from captured answers.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from fetcher.model import TIMEFRAMES, Timeframe
from fetcher.sandbox import render
from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.binance_symbols import exchange_info
from fetcher.sandbox.layout import BINANCE_ROWS
from fetcher.sandbox.market import Span
from fetcher.sandbox.refusals import BadRequest, complain, rate_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.sandbox.limits import WeightLimit
    from fetcher.sandbox.market import Market

KLINES = "/api/v3/klines"
WEIGHTS = {"/api/v3/ping": 1, "/api/v3/time": 1, "/api/v3/exchangeInfo": 20, KLINES: 2}
MAX_ROWS = 1_000
_DEFAULT_ROWS = 500
_MICROS_FROM = 10**14  # a time this large is in µs: as ms it would be the year 5138
_KLINES_PARAMETERS = {"symbol", "interval", "startTime", "endTime", "timeZone", "limit"}
_SYMBOL = re.compile(r"[\w\-.]{1,50}")
_SYMBOL_RANGE = r"^[\w\-._&&[^a-z]]{1,50}$"


class BinanceExchange:
    """Answers as api.binance.com does; pages that can never change are kept rendered, the latest used `kept_pages`."""

    candle_path: str = KLINES
    layout = BINANCE_ROWS
    complain = staticmethod(complain)

    def __init__(self, market: Market, limit: WeightLimit, kept_pages: int = 512) -> None:
        self.market = market
        self.limit = limit
        self._kept_pages = kept_pages
        self._pages: OrderedDict[tuple[object, ...], tuple[bytes, int]] = OrderedDict()
        self._routes: dict[str, Callable[[Mapping[str, str], Mapping[str, str], int], Answer]] = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            KLINES: self._klines,
        }

    @property
    def used_weight(self) -> int:
        return self.limit.used

    def forget_pages(self) -> None:
        """Render everything anew: the market or the clock was changed."""
        self._pages.clear()

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        route = self._routes.get(path)
        if route is None:
            return Answer(404, b"<html><body><h2>404 Not found</h2></body></html>", content_type=HTML)
        refusal = self.limit.admit(WEIGHTS[path], now_ms)
        weight = {"x-mbx-used-weight": str(self.limit.used), "x-mbx-used-weight-1m": str(self.limit.used)}
        if refusal is not None:
            return rate_limited(refusal, weight, self.limit.per_minute)
        try:
            given = route(query, headers, now_ms)
        except BadRequest as error:
            return Answer(400, error.body, weight)
        return Answer(given.status, given.body, weight, rows=given.rows, asked=given.asked)

    def _ping(self, query: Mapping[str, str], _headers: Mapping[str, str], _now_ms: int) -> Answer:
        _no_parameters(query)
        return Answer(200, b"{}")

    def _time(self, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        _no_parameters(query)
        return Answer(200, b'{"serverTime":%d}' % (now_ms * 1000 if _wants_micros(headers) else now_ms))

    def _exchange_info(self, query: Mapping[str, str], _headers: Mapping[str, str], now_ms: int) -> Answer:
        document = exchange_info(self.market, query, self.limit.per_minute, now_ms)
        return Answer(200, json.dumps(document, separators=(",", ":")).encode())

    def _klines(self, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        asked = _read_klines(self.market, query)
        micros = _wants_micros(headers)
        kept = self._pages.get(key := (asked, micros))
        if kept is not None:
            self._pages.move_to_end(key)
            return Answer(200, kept[0], rows=kept[1], asked=asked)
        rows = self.market.page(asked.symbol, asked.timeframe, asked.span, now_ms)
        body = render.klines(rows, micros=micros)
        if self._is_settled(asked, len(rows), int(rows["slot"][-1]) if len(rows) else 0, now_ms):
            self._pages[key] = (body, len(rows))
            while len(self._pages) > self._kept_pages:
                self._pages.popitem(last=False)
        return Answer(200, body, rows=len(rows), asked=asked)

    def _is_settled(self, asked: Asked, rows: int, last_slot: int, now_ms: int) -> bool:
        """Whether the same question can only ever get the same answer."""
        settled = self.market.grid(asked.symbol, asked.timeframe).floor(now_ms - asked.timeframe.ms)
        if asked.span.end is not None and asked.span.end < settled:
            return True
        return asked.span.start is not None and rows == asked.span.limit and last_slot < settled


def _wants_micros(headers: Mapping[str, str]) -> bool:
    return headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"


def _no_parameters(query: Mapping[str, str]) -> None:
    if query:
        raise BadRequest(-1101, f"Too many parameters; expected '0' and received '{len(query)}'.")


def _read_klines(market: Market, query: Mapping[str, str]) -> Asked:
    unread = len(query.keys() - _KLINES_PARAMETERS)
    symbol, interval = read_symbol(query.get("symbol", "")), query.get("interval", "")
    if not interval:
        raise BadRequest.missing("interval")
    limit = _number(query, "limit")
    if limit == 0:
        raise BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
    start, end = _number(query, "startTime"), _number(query, "endTime")
    if unread:
        count = len(query)
        raise BadRequest(
            -1104, f"Not all sent parameters were read; read '{count - unread}' parameter(s) but was sent '{count}'."
        )
    if not re.fullmatch(r"[+-]?0{1,2}(:00)?", query.get("timeZone", "0")):
        raise BadRequest(-1130, "The sandbox cuts candles at UTC only: leave timeZone out.")
    if interval not in TIMEFRAMES:
        raise BadRequest(-1120, "Invalid interval.")
    if market.listing(symbol) is None:
        raise BadRequest(-1121, "Invalid symbol.")
    if start is not None and start >= _MICROS_FROM:
        start = -(-start // 1000)
    if end is not None and end >= _MICROS_FROM:
        end //= 1000
    return Asked(symbol, Timeframe(interval), Span(start, end, min(limit or _DEFAULT_ROWS, MAX_ROWS)))


def read_symbol(text: str) -> str:
    """The `symbol` parameter, refused as the exchange refuses it."""
    if not text:
        raise BadRequest.missing("symbol")
    if not _SYMBOL.fullmatch(text) or re.search("[a-z]", text):
        raise BadRequest.illegal("symbol", _SYMBOL_RANGE)
    return text


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        raise BadRequest.illegal(name, "^[0-9]{1,20}$")
    return int(text)
