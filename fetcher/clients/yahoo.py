"""Yahoo Finance through yfinance: composite prices, a last resort, short intraday history, volume in quote currency.

Facts: yfinance 1.7.0's source and captured answers of 2026; Yahoo documents nothing and publishes no limits.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from fetcher.clients.base import BaseAPIClient, Capabilities, Market, Question, endpoints_of
from fetcher.clients.recording import RecordingSessions
from fetcher.clients.spans import cut, span_of
from fetcher.clients.ways import ways
from fetcher.clients.yahoo_chart import parse_chart
from fetcher.clients.yahoo_errors import classify
from fetcher.clients.yahoo_library import ask_chart
from fetcher.errors import CannotServe
from fetcher.model import DAY, HOUR, MINUTE, SECOND, Timeframe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fetcher.clients.base import CandleRequest, Endpoint
    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.config import YahooSource
    from fetcher.errors import SourceError
    from fetcher.wire import WirePage

HOST = "https://query2.finance.yahoo.com"
REQUESTS_PER_MINUTE = 60
ROWS_PER_REQUEST = 7 * DAY // MINUTE
LONGEST_CONNECT = 5.0  # seconds

# 30m is made of 15m by yfinance, weeks and months have a grid that is not known for crypto: not offered.
_TIMEFRAMES = ("1m", "5m", "15m", "1h", "1d")
# Less an hour: what is just within reach when it is planned must still be when it is asked.
_LOOK_BACK = MappingProxyType(
    {"1m": 30 * DAY - HOUR, "5m": 60 * DAY - HOUR, "15m": 60 * DAY - HOUR, "1h": 730 * DAY - HOUR}
)
_SPANS = MappingProxyType({name: ROWS_PER_REQUEST * Timeframe(name).ms for name in _TIMEFRAMES})
_DOLLARS = frozenset({"USDT", "USDC", "BUSD"})


class YahooFinanceAPIClient(BaseAPIClient):
    """Yahoo Finance, or what speaks its interface at `base_url` (told each request's own host in X-Orig-Host).

    Times out after `timeout` = (connect, read) seconds; `requests_per_minute` is ours, since Yahoo names none.
    """

    route = "rest"

    def __init__(
        self,
        source: str,
        clock: Clock,
        timeout: tuple[float, float] = (5.0, 15.0),
        *,
        base_url: str | None = None,
        proxies: Sequence[str | None] = (None,),
        requests_per_minute: int = REQUESTS_PER_MINUTE,
        symbols: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.source = source
        self.capabilities = Capabilities(
            timeframes=frozenset(_TIMEFRAMES),
            rows_per_request=ROWS_PER_REQUEST,
            candle_cost=1,
            time_cost=0,
            symbols_cost=0,
            weight_per_minute=requests_per_minute,
            look_back=_LOOK_BACK,
            max_span=_SPANS,
            has_volume=False,
            omits_empty=True,
        )
        url = (base_url or HOST).rstrip("/")
        self.endpoints = endpoints_of(source, {url: url}, ways(proxies))
        self._clock = clock
        self._redirected = base_url is not None
        self.timeout = timeout
        self._sessions = RecordingSessions(clock, timeout)
        self._tickers = symbols

    @classmethod
    def configured(cls, source: str, settings: YahooSource, clock: Clock) -> Self:
        """Make the client that a section of `sources:` asks for."""
        return cls(
            source,
            clock,
            (min(settings.timeout, LONGEST_CONNECT), settings.timeout),
            base_url=settings.base_url,
            proxies=settings.proxy,
            requests_per_minute=settings.weight_per_minute,
            symbols=settings.symbols,
        )

    @classmethod
    def offers(cls, settings: YahooSource) -> frozenset[str]:
        """The few that it has for everybody."""
        del settings
        return frozenset(_TIMEFRAMES)

    def resolve(self, symbol: str, markets: Collection[Market] | None = None) -> str:
        """The ticker of a symbol: configured (`UNI7083-USD`), else `BTC-USD` of BTC/USD and its stable coins."""
        del markets  # Yahoo lists none
        base, _, quote = symbol.partition("/")
        return self._tickers.get(symbol) or f"{base}-{'USD' if quote in _DOLLARS else quote}"

    def market_id(self, symbol: str) -> str:
        """The ticker of a symbol."""
        return self.resolve(symbol)

    def used_weight(self, record: HttpRecord) -> int | None:
        """Unknown: Yahoo does not tell."""
        del record
        return None

    def close(self) -> None:
        """Close every connection."""
        self._sessions.close()

    def _candles(self, request: CandleRequest) -> Question[WirePage]:
        name, now = request.timeframe.name, request.now_ms or self._clock.now_ms()
        if name not in self.capabilities.timeframes:
            raise CannotServe(f"{self.source} has no {name} candles, only {', '.join(_TIMEFRAMES)}")
        reach = _LOOK_BACK.get(name)
        if reach is None and request.start is not None and request.end is None:
            # The oldest from `start` on: the whole history is one answer, however far back it is asked for.
            longest = max(_SPANS[name], request.timeframe.grid().next(now) - request.start)
        else:
            longest = _SPANS[name]
        window = span_of(request, now, 0 if reach is None else now - reach, longest, self.source)

        def parse(body: bytes) -> WirePage:
            return cut(parse_chart(body, request.timeframe, self.source), request, window)

        # Yahoo's end includes a row that opens then, which is cut off; a start of 0 is none to yfinance.
        start, end = max(window.start // SECOND, 1), -(-window.end // SECOND)
        return Question(request.market_id, parse, {"start": start, "end": end, "interval": name})

    def _server_time(self) -> Question[int]:
        raise CannotServe(f"{self.source} has no clock to ask")  # time_cost 0: nobody asks

    def _symbols(self) -> Question[list[Market]]:
        raise CannotServe(f"{self.source} lists no symbols")  # symbols_cost 0: nobody asks

    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        """Have yfinance ask for the chart of the ticker `path`."""
        base_url = endpoint.base_url if self._redirected else None
        return ask_chart(self._sessions.mine(endpoint.way.proxy), base_url, path, params, self._clock)

    def _classify(self, record: HttpRecord) -> SourceError | None:
        return classify(record, self._clock.now_ms(), self.source)
