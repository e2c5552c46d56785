"""OKX's public REST interface: candles newest first between exclusive bounds, at most 300 of them.

Source: okx.com/docs-v5 (market data, error codes) and ccxt 4.5.90 `okx.py`. `candles` reaches back 1440 bars,
`history-candles` to the listing, closed ones only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.model import Timeframe
from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.layout import Layout
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.market import Span
from fetcher.sandbox.venue import Refused, VenueExchange, document, number
from fetcher.sandbox.view import Pair, amounts, decimal, true_listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows

CANDLES = "/okx/api/v5/market/candles"
MAX_ROWS = 300
_DEFAULT_ROWS = 100
_RECENT = 1440
_UTC_BARS = ("6h", "12h", "1d", "1w", "1M")  # without "utc" these open at midnight in Hong Kong
_BARS = {
    **{name: name for name in ("1m", "3m", "5m", "15m", "30m")},
    **{f"{hours}H": f"{hours}h" for hours in (1, 2, 4)},
    **{f"{name[:-1]}{name[-1].upper()}utc": name for name in _UTC_BARS},
}
_BUSY = ("50001", "Service temporarily unavailable. Please try again later")
_WORDS = {
    429: ("50011", "Too Many Requests"),
    418: ("50011", "Too Many Requests"),
    503: _BUSY,
    451: ("50119", "Service unavailable in your region"),
}


def _take(body: Any) -> list[list[Any]]:
    return [list(row) for row in body["data"]]


def _put(body: Any, rows: list[list[Any]]) -> Any:
    return {**body, "data": rows}


class OkxExchange(VenueExchange):
    """Answers as www.okx.com does; candles without trades are flat rows, `confirm` 0 marks the live one."""

    name = "okx"
    share = 40
    layout = Layout(cells=9, times_as_text=True, newest_first=True, take=_take, put=_put)
    candle_path = "/okx/api/v5/market/*candles"

    @staticmethod
    def usual_limit() -> WindowLimit:
        return WindowLimit(40, 2_000)  # 40 candles requests in 2 s; what is limited to 20 weighs double

    def weigh(self, path: str) -> int:
        return 1 if path == CANDLES.removeprefix("/okx") else 2

    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        match path:
            case "/api/v5/market/candles":
                return self._candles(query, now_ms, recent=True)
            case "/api/v5/market/history-candles":
                return self._candles(query, now_ms, recent=False)
            case "/api/v5/public/instruments":
                return self._instruments(query)
            case "/api/v5/public/time":
                return _ok([{"ts": str(now_ms)}])
        return Answer(404, b"<html><body>404 page not found</body></html>", content_type=HTML)

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        code, words = _WORDS.get(status, ("50026", "System error. Try again later"))
        return _error(code, words, status)

    def pair(self, market_id: str) -> Pair | None:
        base, _, quote = market_id.partition("-")
        truth = None if quote == "USD" else true_listing(self.market, base, quote)
        return Pair(market_id, base, quote, truth) if truth else None

    def _instruments(self, query: Mapping[str, str]) -> Answer:
        if "instType" not in query:
            raise Refused(_error("50014", "Parameter instType cannot be empty.", 400))
        if query["instType"] != "SPOT":
            return _ok([])
        wanted = query.get("instId")
        names = [f"{listing.base}-{listing.quote}" for listing in self.market.symbols()]
        pairs = [pair for name in names if wanted in {None, name} and (pair := self.pair(name))]
        if not pairs:
            raise Refused(_unknown())
        return _ok([_described(pair) for pair in pairs])

    def _candles(self, query: Mapping[str, str], now_ms: int, *, recent: bool) -> Answer:
        if "instId" not in query:
            raise Refused(_error("50014", "Parameter instId cannot be empty.", 400))
        pair = self.pair(query["instId"])
        if pair is None:
            raise Refused(_unknown())
        bar = query.get("bar", "1m")
        if bar not in _BARS:
            raise Refused(_error("51000", "Parameter bar error"))
        timeframe = Timeframe(_BARS[bar])
        limit = min(number(query, "limit", _error("51000", "Parameter limit error")) or _DEFAULT_ROWS, MAX_ROWS)
        after = number(query, "after", _error("51000", "Parameter after error"))
        before = number(query, "before", _error("51000", "Parameter before error"))
        rows = self.view.page(pair, timeframe, Span(None, None if after is None else after - 1, limit), now_ms)
        if before is not None:
            rows = rows[rows["slot"] > before]
        grid = self.market.grid(pair.truth.symbol, timeframe)
        if recent:
            rows = rows[rows["slot"] >= grid.advance(grid.floor(now_ms), 1 - _RECENT)]
        else:
            rows = rows[rows["slot"] < grid.floor(now_ms)]
        start, end = (None if before is None else before + 1), (None if after is None else after - 1)
        lines = _lines(rows, pair.truth.price_places, grid.floor(now_ms))
        return document(
            {"code": "0", "msg": "", "data": lines[::-1]}, rows=len(rows),
            asked=Asked(pair.id, timeframe, Span(start, end, limit)),
        )  # fmt: skip


def _lines(rows: Rows, places: int, live: int) -> list[list[str]]:
    base, quote = amounts(rows, "volume"), amounts(rows, "quote_volume")
    return [
        [
            str(opened),
            *(decimal(int(rows[name][n]), places) for name in ("open", "high", "low", "close")),
            base[n], quote[n], quote[n], "0" if opened == live else "1",
        ]
        for n, opened in enumerate(rows["slot"].tolist())
    ]  # fmt: skip


def _described(pair: Pair) -> dict[str, object]:
    return {
        "alias": "", "auctionEndTime": "", "baseCcy": pair.base, "category": "1", "ctMult": "", "ctType": "",
        "ctVal": "", "ctValCcy": "", "expTime": "", "instFamily": "", "instId": pair.id, "instType": "SPOT",
        "lever": "", "listTime": str(pair.truth.listed_ms), "lotSz": "0.00000001", "maxIcebergSz": "9999999999",
        "maxLmtAmt": "20000000", "maxLmtSz": "9999999999", "maxMktAmt": "1000000", "maxMktSz": "1000000",
        "maxStopSz": "1000000", "maxTriggerSz": "9999999999", "maxTwapSz": "9999999999", "minSz": "0.00001",
        "optType": "", "quoteCcy": pair.quote, "ruleType": "normal", "settleCcy": "",
        "state": "live" if pair.truth.trading else "suspend", "stk": "",
        "tickSz": decimal(10 ** (8 - pair.truth.price_places), pair.truth.price_places), "uly": "",
    }  # fmt: skip


def _ok(found: list[Any]) -> Answer:
    return document({"code": "0", "data": found, "msg": ""})


def _unknown() -> Answer:
    return _error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


def _error(code: str, words: str, status: int = 200) -> Answer:
    return document({"code": code, "data": [], "msg": words}, status)
