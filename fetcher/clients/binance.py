"""Binance spot over REST: raw klines with all fields, the server's clock, the symbol list.

Facts: github binance/binance-spot-api-docs rest-api.md and errors.md, as of 2026-07.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np

from fetcher.clients.base import BaseAPIClient, Capabilities, Market, Question, endpoints_of
from fetcher.clients.binance_errors import classify
from fetcher.clients.http import HttpSession
from fetcher.clients.ways import ways
from fetcher.errors import BadPayload
from fetcher.model import DAY, TIMEFRAMES
from fetcher.wire import PAYLOAD_CHARACTERS, WIRE, Spoiled, WirePage, excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fetcher.clients.base import CandleRequest, Endpoint
    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.config import BinanceSource
    from fetcher.errors import SourceError
    from fetcher.model import Rows

ROWS_PER_REQUEST = 1000
WEIGHT_PER_MINUTE = 6000
LONGEST_CONNECT = 5.0  # seconds; a host that does not take up by then is down

_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote",
)  # fmt: skip
_VOLUMES = ("volume", "quote_volume", "taker_base", "taker_quote")
_Cells = tuple[int, float, float, float, float, float, int, float, int, float, float]
_PAGE = msgspec.json.Decoder(
    list[tuple[int, float, float, float, float, float, int, float, int, float, float, float]], strict=False
)
_PACKED = np.dtype([(name, WIRE[name]) for name in _COLUMNS] + [("ignored", "f8")])
_pack = struct.Struct("=qdddddqdqddd").pack
_MARKET_START, _MARKET_END = 14_000 * DAY, 48_000 * DAY  # 2008 … 2101: a server's time in ms, not in s or µs


class _Time(msgspec.Struct):
    serverTime: int  # noqa: N815 - the exchange's name


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815 - the exchange's name
    quoteAsset: str  # noqa: N815 - the exchange's name


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


def parse_candles(body: bytes, source: str = "binance") -> WirePage:
    """Read an answer of /api/v3/klines; BadPayload when it is no list, a Spoiled for each row that cannot be read.

    Columns as the exchange gives them: times in ms UTC, prices and quote volumes in quote, the rest in base currency.
    """
    try:
        # Packing each row costs a third of np.array(list of tuples): 0.1 of 0.3 ms a page.
        packed = np.frombuffer(b"".join(starmap(_pack, _PAGE.decode(body))), dtype=_PACKED)
    except (ValueError, RecursionError, struct.error):
        return _parse_loosely(body, source)
    return _parse_loosely(body, source) if _has_unknown(packed) else WirePage(_in_our_order(packed))


def parse_time(body: bytes, source: str = "binance") -> int:
    """Read an answer of /api/v3/time: ms UTC."""
    try:
        moment = msgspec.json.decode(body, type=_Time).serverTime
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no server time but {_seen(body)}") from None
    if not _MARKET_START <= moment < _MARKET_END:
        raise BadPayload(f"{source} sent a server time that is not in milliseconds: {excerpt(str(moment), 40)}")
    return moment


def parse_symbols(body: bytes, source: str = "binance") -> list[Market]:
    """Read an answer of /api/v3/exchangeInfo: every market, halted ones too; an empty list is BadPayload."""
    try:
        listed = msgspec.json.decode(body, type=_ExchangeInfo).symbols
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no symbol list but {_seen(body)}") from None
    if not listed:
        raise BadPayload(f"{source} sent an empty symbol list")  # believed, it would make every market unknown
    return [Market(each.symbol, f"{each.baseAsset}/{each.quoteAsset}", each.status == "TRADING") for each in listed]


class BinanceAPIClient(BaseAPIClient):
    """Binance spot, or anything that speaks its REST interface at one of `base_urls` (mirror, proxy, sandbox).

    Times out after `timeout` = (connect, read) seconds; `weight_per_minute` is what one address may spend, and each of
    `proxies` (None: without one) is an address.
    """

    route = "rest"

    def __init__(
        self,
        source: str,
        base_urls: Sequence[str],
        clock: Clock,
        timeout: tuple[float, float] = (5.0, 15.0),
        proxies: Sequence[str | None] = (None,),
        weight_per_minute: int = WEIGHT_PER_MINUTE,
    ) -> None:
        self.source = source
        self.capabilities = Capabilities(
            timeframes=frozenset(TIMEFRAMES),
            rows_per_request=ROWS_PER_REQUEST,
            candle_cost=2,
            time_cost=1,
            symbols_cost=20,
            weight_per_minute=weight_per_minute,
            answers_open=True,
        )
        # Limits are per asking address: every mirror draws on the same budget.
        self.endpoints = endpoints_of(source, {url.rstrip("/"): url.rstrip("/") for url in base_urls}, ways(proxies))
        self._clock = clock
        self.timeout = timeout
        self._http = HttpSession(clock, timeout)

    @classmethod
    def configured(cls, source: str, settings: BinanceSource, clock: Clock) -> Self:
        """Make the client that a section of `sources:` asks for."""
        timeout = (min(settings.timeout, LONGEST_CONNECT), settings.timeout)
        return cls(source, settings.base_urls, clock, timeout, settings.proxy, settings.weight_per_minute)

    @classmethod
    def offers(cls, settings: BinanceSource) -> frozenset[str]:
        """All that there are."""
        del settings
        return frozenset(TIMEFRAMES)

    def used_weight(self, record: HttpRecord) -> int | None:
        """The weight used up by this machine's address in the server's current minute."""
        text = record.headers.get("x-mbx-used-weight-1m") or record.headers.get("x-mbx-used-weight") or ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004 - digits

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _candles(self, request: CandleRequest) -> Question[WirePage]:
        params: dict[str, str | int] = {"symbol": request.market_id, "interval": request.timeframe.name}
        if request.start is not None:
            params["startTime"] = request.start
        if request.end is not None:
            params["endTime"] = request.end - 1  # the exchange's bounds include both ends
        params["limit"] = min(request.limit or ROWS_PER_REQUEST, ROWS_PER_REQUEST)
        return Question("/api/v3/klines", partial(parse_candles, source=self.source), params)

    def _server_time(self) -> Question[int]:
        return Question("/api/v3/time", partial(parse_time, source=self.source))

    def _symbols(self) -> Question[list[Market]]:
        return Question(
            "/api/v3/exchangeInfo", partial(parse_symbols, source=self.source), {"showPermissionSets": "false"}
        )

    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        return self._http.get(endpoint.base_url, path, params, endpoint.way.proxy)

    def _classify(self, record: HttpRecord) -> SourceError | None:
        return classify(record, self._clock.now_ms(), self.source)


def _in_our_order(packed: Rows) -> Rows:
    rows = np.empty(len(packed), dtype=WIRE)
    for name in _COLUMNS:
        rows[name] = packed[name]
    return rows


def _has_unknown(rows: Rows) -> bool:
    # NaN and -1 mean "the source does not tell" further on; Binance tells all, so that here they are bad cells.
    return bool((rows["trades"] < 0).any() or any(np.isnan(rows[name]).any() for name in _VOLUMES))


def _parse_loosely(body: bytes, source: str) -> WirePage:
    try:
        listed = json.loads(body)  # reads NaN where the strict decoder gives up on the whole page
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no candles but {_seen(body)}") from None
    if not isinstance(listed, list):
        raise BadPayload(f"{source} sent no list of candles but {_seen(body)}")
    good, spoiled = [], []
    for cells in listed:
        row = _read_row(cells)
        if row is None:
            spoiled.append(_spoil(cells))
        else:
            good.append(row)
    return WirePage(_in_our_order(np.array(good, dtype=_PACKED[list(_COLUMNS)])), tuple(spoiled))


def _read_row(cells: object) -> _Cells | None:
    if not isinstance(cells, list) or len(cells) < len(_COLUMNS):
        return None
    try:
        row = msgspec.convert(cells[: len(_COLUMNS)], _Cells, strict=False)
        _pack(*row, 0.0)
    except (ValueError, struct.error):
        return None
    volumes = (row[5], row[7], row[9], row[10])
    return None if row[8] < 0 or any(volume != volume for volume in volumes) else row  # noqa: PLR0124 - NaN


def _spoil(cells: object) -> Spoiled:
    first = cells[0] if isinstance(cells, list) and cells else None
    readable = type(first) is int and 0 <= first < 2**63
    raw = json.dumps(cells, separators=(",", ":"))
    return Spoiled(first if readable else None, "malformed", raw[:PAYLOAD_CHARACTERS])


def _seen(body: bytes) -> str:
    return f"'{excerpt(body, 80)}'" if body else "an empty body"
