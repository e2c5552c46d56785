"""Any spot exchange that ccxt speaks to: its candles, clock and markets, with windows planned by us.

Facts: ccxt 4.5.90's sources, docs.kraken.com (OHLC: newest 720), recorded answers of kraken and bitstamp. Volume is in
base currency; ccxt passes on neither quote volume nor trades.
"""

from __future__ import annotations

import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self

from fetcher.clients.base import BaseAPIClient, Capabilities, Market, Question, endpoints_of
from fetcher.clients.ccxt_errors import classify
from fetcher.clients.ccxt_library import Library, check_exchange, make_exchange
from fetcher.clients.ccxt_page import check_grid, cut, misses, read_markets, read_page, read_time
from fetcher.clients.ccxt_venues import (
    FORWARD,
    IGNORE_UNTIL,
    SENDS_EMPTY,
    guess_market_id,
    look_back,
    rows_a_request,
    timeframes,
)
from fetcher.clients.recording import RecordingSessions
from fetcher.clients.ways import ways
from fetcher.clock import format_utc
from fetcher.errors import CannotServe, ConfigError, SourceError, UnknownSymbol
from fetcher.model import MINUTE, Timeframe, Window
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fetcher.clients.base import CandleRequest, Endpoint
    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.config import CcxtSource
    from fetcher.wire import WirePage

LONGEST_CONNECT = 5.0  # seconds; a host that does not take up by then is down
NEIGHBOURS = 2  # a proof of absence asks one candle more on either side than a page has


class CcxtAPIClient(BaseAPIClient):
    """One exchange by its ccxt id; each thread has a ccxt object of its own, since theirs may not be shared.

    `timeout` is (connect, read) in seconds; `weight_per_minute` counts requests, by default as ccxt's rateLimit has it.
    """

    route = "rest"

    def __init__(
        self,
        source: str,
        exchange: str,
        clock: Clock,
        timeout: tuple[float, float] = (5.0, 15.0),
        proxies: Sequence[str | None] = (None,),
        base_url: str | None = None,
        weight_per_minute: int | None = None,
    ) -> None:
        check_exchange(exchange)
        self.source = source
        where = f" {base_url}" if base_url else ""
        self.endpoints = endpoints_of(source, {f"ccxt:{exchange}{where}": base_url or ""}, ways(proxies))
        self._exchange_id = exchange
        self._clock = clock
        self._base_url = base_url
        self._weight_per_minute = weight_per_minute
        self.timeout = timeout
        self._sessions = RecordingSessions(clock, timeout)
        self._local = threading.local()

    @classmethod
    def configured(cls, source: str, settings: CcxtSource, clock: Clock) -> Self:
        """Make the client that a section of `sources:` asks for; ConfigError when ccxt knows no such exchange."""
        timeout = (min(settings.timeout, LONGEST_CONNECT), settings.timeout)
        return cls(
            source, settings.exchange, clock, timeout, settings.proxy, settings.base_url, settings.weight_per_minute
        )

    @cached_property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # known only once ccxt is imported
        """What ccxt says that the exchange can do, less what is known to be otherwise."""
        exchange = make_exchange(self._exchange_id, self._clock, None)
        if not exchange.has.get("spot") or exchange.has.get("fetchOHLCV") is not True:
            raise ConfigError(
                f"{self.source}: ccxt has no spot candles of {self._exchange_id}; leave it out of `sources`"
            )
        names = timeframes(self._exchange_id, exchange.timeframes)
        rows = rows_a_request(self._exchange_id, exchange.features)
        return Capabilities(
            timeframes=names,
            rows_per_request=rows - NEIGHBOURS,
            candle_cost=1,
            time_cost=1 if exchange.has.get("fetchTime") is True else 0,
            symbols_cost=3,  # two or three requests with some, one with most
            # Half of what ccxt's rateLimit allows, in spans of two seconds: exchanges count by the second, and sliding.
            weight_per_minute=self._weight_per_minute or max(30, int(MINUTE / exchange.rateLimit / 2)),
            budget_ms=2_000,
            look_back=look_back(self._exchange_id, names),
            max_span={name: rows * Timeframe(name).ms for name in names},
            omits_empty=self._exchange_id not in SENDS_EMPTY,
            answers_open=self._exchange_id in FORWARD,
        )

    def resolve(self, symbol: str, markets: Collection[Market] | None) -> str:
        """The exchange's id of a symbol, listed or by its usual rule.

        Without a rule, UnknownSymbol where the list lacks it and CannotServe while that (None) cannot be had.
        """
        listed = next((market.id for market in markets or () if market.symbol == symbol), None)
        known = listed or guess_market_id(self._exchange_id, symbol)
        if known is not None:
            return known
        setting = f"set sources.{self.source}.symbols: {{{symbol}: <id>}}"
        if markets is not None:
            raise UnknownSymbol(f"{self.source} does not list {symbol}; if it has another name there, {setting}")
        raise CannotServe(f"{self.source} has no list of markets now, without which {symbol} has no id; {setting}")

    def market_id(self, symbol: str) -> str:
        """The exchange's id while its list of markets cannot be had."""
        return self.resolve(symbol, None)

    def used_weight(self, record: HttpRecord) -> int | None:  # noqa: ARG002 - no header that all exchanges share
        """Unknown: the exchanges tell it each in its own way, most not at all."""
        return None

    def close(self) -> None:
        """Close every connection."""
        self._sessions.close()

    def _candles(self, request: CandleRequest) -> Question[WirePage]:
        asked = self._window(request)
        forward = self._exchange_id in FORWARD
        params: dict[str, str | int] = {"market": request.market_id, "timeframe": request.timeframe.name}
        if request.start is not None or not forward:
            params["since"] = asked.start
        if self._exchange_id not in IGNORE_UNTIL and (request.end is not None or not forward):
            params["until"] = asked.end - 1  # most bounds include both ends; to the others 1 ms makes no difference
        rows = self._rows_a_request
        params["limit"] = min(request.limit or rows, rows) if forward else max(1, request.timeframe.grid().count(asked))
        return Question("candles", partial(self._page, request, asked), params)

    def _server_time(self) -> Question[int]:
        return Question("time", lambda body: read_time(self._library().reading, body, self.source))

    def _symbols(self) -> Question[list[Market]]:
        return Question("markets", lambda body: read_markets(self._library().reading, body, self.source))

    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        library = self._library()
        outcome = library.ask(path, params, self._sessions.mine(endpoint.way.proxy))
        if outcome is None:
            said = excerpt(library.reading.failure or "no reason given", 100)
            raise CannotServe(f"{self.source}: ccxt would not ask {self._exchange_id} for {path}: {said}")
        if isinstance(outcome, SourceError):
            raise outcome
        return outcome

    def _classify(self, record: HttpRecord) -> SourceError | None:
        return classify(record, self._clock.now_ms(), self.source, self._library().reading.hint)

    def _library(self) -> Library:
        library: Library | None = getattr(self._local, "library", None)
        if library is None:
            library = Library(self._exchange_id, self._clock, self._base_url)
            self._local.library = library
        return library

    @property
    def _rows_a_request(self) -> int:
        return self.capabilities.rows_per_request + NEIGHBOURS

    def _window(self, request: CandleRequest) -> Window:
        """The window to ask for; an open side is closed by as many candles as one request can bring."""
        grid, rows = request.timeframe.grid(), self._rows_a_request
        now = request.now_ms or self._clock.now_ms()
        oldest = self._oldest(request.timeframe, now)
        start, end = request.start, request.end
        if start is None:
            end = grid.next(now) if end is None else end
            start = max(grid.advance(grid.ceil(end), -rows), min(oldest, end))
        elif end is None:
            end = grid.advance(grid.ceil(start), rows)
        if oldest and (start < oldest or end <= oldest):
            count = self.capabilities.look_back[request.timeframe.name] // request.timeframe.ms
            raise CannotServe(f"{self.source} reaches back only {count} candles of {request.timeframe}")
        window = Window(start, max(start, end))
        if self._exchange_id not in FORWARD and grid.count(window) > rows:
            raise CannotServe(f"{self.source} serves only {rows} candles of {request.timeframe} per request")
        return window

    def _oldest(self, timeframe: Timeframe, now: int) -> int:
        """The oldest open time (ms UTC) that the exchange serves at a moment of its clock; 0 where it serves all."""
        span = self.capabilities.look_back.get(timeframe.name)
        if span is None:
            return 0
        grid = timeframe.grid()
        return grid.advance(grid.floor(now), 1 - span // timeframe.ms)

    def _page(self, request: CandleRequest, asked: Window, body: bytes) -> WirePage:
        page = read_page(self._library().reading, body, self.source)
        check_grid(page, request.timeframe, self.source)
        if self._exchange_id not in IGNORE_UNTIL:
            page = cut(page, request, None)
        elif misses(page, asked, self._rows_a_request, dense=self._exchange_id in SENDS_EMPTY):
            raise CannotServe(
                f"{self.source} sent its {len(page)} newest {request.timeframe} candles, not those asked for"
            )
        else:
            page = cut(page, request, asked)
        is_open = request.start is None or (request.end is None and asked.end <= self._clock.now_ms())
        if is_open and len(page) == 0 and self._exchange_id not in FORWARD:
            raise CannotServe(  # "none" would say more than was looked at
                f"{self.source} has no {request.timeframe} candle from {format_utc(asked.start)} to "
                f"{format_utc(asked.end)}, and cannot be asked for the nearest one"
            )
        return page
