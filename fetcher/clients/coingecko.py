"""CoinGecko through pycoingecko: a price index and a last resort, with few timeframes, a short history and no volume.

Facts: docs.coingecko.com (coins-id-ohlc, coins-id-ohlc-range, errors and rate limits), pycoingecko 3.2.0's source.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from requests import RequestException

from fetcher.clients.base import Answer, BaseAPIClient, Capabilities, Market, Question, endpoints_of
from fetcher.clients.coingecko_coins import coin_id, in_parts
from fetcher.clients.coingecko_errors import classify
from fetcher.clients.coingecko_parse import parse_coins, parse_ohlc
from fetcher.clients.http import HttpRecord
from fetcher.clients.keys import read_keys
from fetcher.clients.recording import RecordingSessions
from fetcher.clients.spans import cut, span_of
from fetcher.clients.ways import ways
from fetcher.clock import ServerClock, parse_utc
from fetcher.errors import AuthenticationFailed, CannotServe, RetryableError, SourceError
from fetcher.model import DAY, HOUR, MINUTE, SECOND
from fetcher.wire import WirePage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fetcher.clients.base import CandleRequest, Endpoint
    from fetcher.clock import Clock
    from fetcher.config import CoinGeckoSource
    from fetcher.model import Window

HOSTS = {
    "keyless": "https://api.coingecko.com/api/v3",
    "demo": "https://api.coingecko.com/api/v3",
    "pro": "https://pro-api.coingecko.com/api/v3",
}
CALLS_PER_MINUTE = {"keyless": 5, "demo": 30, "pro": 250}  # what each plan is sure to get; the docs name more
KEY_HEADERS = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
LONGEST_CONNECT = 5.0  # seconds

_HALF_HOUR, _FOUR_HOURS = 30 * MINUTE, 4 * HOUR
# The candle's size follows from `days`: 1 → 30 min, 2 … 30 → 4 h, more → 4 days, which is no timeframe of ours. The
# oldest candle of an answer may have begun before its span, so that one candle less is reached than `days` says.
_DAYS = MappingProxyType({"30m": (1,), "4h": (7, 14, 30)})
_LOOK_BACK = MappingProxyType({"30m": DAY - _HALF_HOUR, "4h": 30 * DAY - _FOUR_HOURS})
_PAID_INTERVALS = MappingProxyType({"1h": "hourly", "1d": "daily"})
_PAID_SPANS = MappingProxyType({"1h": 31 * DAY - HOUR, "1d": 180 * DAY - DAY})  # with one candle for the end stamps
_PAID_SINCE = parse_utc("2018-02-09")


@dataclass(frozen=True, slots=True)
class Access:
    """A plan (`keyless`, `demo`, `pro`) and its keys by the name of their variable or file; they show nowhere.

    `missing` tells of variables that hold no key, why not.
    """

    plan: str = "keyless"
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: Mapping[str, str] = field(default_factory=dict)


KEYLESS = Access()


class CoinGeckoAPIClient(BaseAPIClient):
    """CoinGecko by the plan of `access`, or what speaks its interface at `base_url`.

    A market id is a coin's id, for another quote than USD followed by it: `bitcoin`, `ethereum/btc`. The key travels in
    a header, never in an address. `calls_per_minute` is what each key may spend, or without keys each of `proxies`
    (None: without one). Times out after `timeout` = (connect, read) seconds.
    """

    route = "rest"
    # Answers come from a cache of up to 15 minutes, though their Date is now: what they show is as of then.
    answer_age_ms = 15 * MINUTE

    def __init__(
        self,
        source: str,
        clock: Clock,
        timeout: tuple[float, float] = (5.0, 15.0),
        *,
        access: Access = KEYLESS,
        base_url: str | None = None,
        proxies: Sequence[str | None] = (None,),
        calls_per_minute: int | None = None,
        symbols: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        paid = access.plan == "pro"
        url = (base_url or HOSTS[access.plan]).rstrip("/")
        self.source = source
        self.capabilities = Capabilities(
            timeframes=_timeframes(access.plan),
            rows_per_request=max(_PAID_SPANS["1h"] // HOUR if paid else 0, _LOOK_BACK["4h"] // _FOUR_HOURS),
            candle_cost=1,
            time_cost=0,
            symbols_cost=1,
            weight_per_minute=calls_per_minute or CALLS_PER_MINUTE[access.plan],
            look_back=_LOOK_BACK,
            since=dict.fromkeys(_PAID_INTERVALS, _PAID_SINCE) if paid else {},
            max_span=MappingProxyType(dict(_LOOK_BACK) | (dict(_PAID_SPANS) if paid else {})),
            has_volume=False,
        )
        self.endpoints = endpoints_of(source, {url: url}, ways(proxies, (*access.keys, *access.missing)))
        self.unusable = next(iter(access.missing.values()), None) if not access.keys else None
        self._clock = clock
        self.timeout = timeout
        self._sessions = RecordingSessions(clock, timeout)
        self._headers = {env: {KEY_HEADERS[access.plan]: key} for env, key in access.keys.items()}
        self._configured_ids = symbols
        self._missing = access.missing

    @classmethod
    def configured(cls, source: str, settings: CoinGeckoSource, clock: Clock) -> Self:
        """Make the client that a section of `sources:` asks for, also where a key is not there: others may serve."""
        keys, missing = read_keys(settings.key_names)
        return cls(
            source,
            clock,
            (min(settings.timeout, LONGEST_CONNECT), settings.timeout),
            access=Access(settings.plan, keys, missing),
            base_url=settings.base_url,
            proxies=settings.proxy,
            calls_per_minute=settings.weight_per_minute,
            symbols=settings.symbols,
        )

    @classmethod
    def offers(cls, settings: CoinGeckoSource) -> frozenset[str]:
        """The timeframes of the plan."""
        return _timeframes(settings.plan)

    def resolve(self, symbol: str, markets: Collection[Market] | None) -> str:
        """The market id of a symbol; UnknownSymbol with the candidates where its ticker means several coins."""
        return coin_id(self.source, symbol, self._configured_ids, markets)

    def resolve_configured(self, symbol: str, configured: str) -> str:
        """The market id of a configured coin id: the quote currency belongs to it."""
        del configured
        return self.resolve(symbol, None)

    def market_id(self, symbol: str) -> str:
        """The market id while the list of coins cannot be had; CannotServe where only the list could tell."""
        return self.resolve(symbol, None)

    def candles(self, endpoint: Endpoint, request: CandleRequest) -> Answer[WirePage]:
        """A page of candles; those that were not closed yet when a cached answer may have been made are left out."""
        answer = super().candles(endpoint, request)
        dated = ServerClock.dated_ms(answer.record.headers.get("Date"))
        if dated is None:
            return answer
        rows = answer.value.rows
        closed = rows["open_time"] + request.timeframe.ms <= dated - self.answer_age_ms
        return Answer(WirePage(rows[closed], answer.value.spoiled), answer.record)

    def used_weight(self, record: HttpRecord) -> int | None:
        """Unknown: CoinGecko documents no header that tells."""
        del record
        return None

    def close(self) -> None:
        """Close every connection."""
        self._sessions.close()

    def _candles(self, request: CandleRequest) -> Question[WirePage]:
        name, now = request.timeframe.name, request.now_ms or self._clock.now_ms()
        if name not in self.capabilities.timeframes:
            raise CannotServe(f"{self.source} has no {name} candles, only {', '.join(self.capabilities.timeframes)}")
        reach = self.capabilities.look_back.get(name)
        oldest = _PAID_SINCE if reach is None else now - reach
        window = span_of(request, now, oldest, self.capabilities.max_span[name], self.source)

        def parse(body: bytes) -> WirePage:
            return cut(parse_ohlc(body, request.timeframe.ms, self.source), request, window)

        coin, currency = in_parts(request.market_id)
        asked: dict[str, str | int] = {"id": quote(coin, safe=""), "vs_currency": currency}
        if reach is None:
            asked["from_timestamp"] = window.start // SECOND
            asked["to_timestamp"] = (window.end + request.timeframe.ms) // SECOND  # whether it includes it or not
            asked["interval"] = _PAID_INTERVALS[name]
            return Question("get_coin_ohlc_by_id_range", parse, asked)
        return Question("get_coin_ohlc_by_id", parse, asked | {"days": _days(name, window, now)})

    def _server_time(self) -> Question[int]:
        raise CannotServe(f"{self.source} has no clock to ask")  # time_cost 0: nobody asks

    def _symbols(self) -> Question[list[Market]]:
        return Question("get_coins_list", partial(parse_coins, source=self.source))

    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        """Have pycoingecko's method `path` ask, and take what our session recorded of it."""
        if (endpoint.way.key_env or "") in self._missing:
            raise AuthenticationFailed(self._missing[endpoint.way.key_env or ""])
        from pycoingecko import CoinGeckoAPI

        session = self._sessions.mine(endpoint.way.proxy)
        session.headers.update(self._headers.get(endpoint.way.key_env or "", {}))  # replaces the key of another call
        session.clear()
        library = CoinGeckoAPI(retries=0)
        library.session = session  # its own would sleep through a Retry-After and put the key in the address
        library.api_base_url = f"{endpoint.base_url}/"
        with suppress(ValueError, RecursionError, RequestException):  # what it makes of errors, garbage and failures
            getattr(library, path)(**params)
        outcome = session.last()
        if isinstance(outcome, HttpRecord):
            return outcome
        raise outcome if isinstance(outcome, SourceError) else RetryableError(f"{self.source} was not asked")

    def _classify(self, record: HttpRecord) -> SourceError | None:
        return classify(record, self._clock.now_ms(), self.source)


def _timeframes(plan: str) -> frozenset[str]:
    return frozenset(_LOOK_BACK) | frozenset(_PAID_INTERVALS if plan == "pro" else ())


def _days(name: str, window: Window, now: int) -> int:
    """The smallest number of days back from now whose answer surely holds the whole first candle of the window."""
    step = _HALF_HOUR if name == "30m" else _FOUR_HOURS
    return next((days for days in _DAYS[name] if window.start >= now - days * DAY + step), _DAYS[name][-1])
