"""Reading Yahoo's chart (v8): columns with holes, the live row, volume in quote currency."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from fetcher.clients.yahoo_errors import chart_error, has_no_such_days
from fetcher.errors import BadPayload
from fetcher.model import SECOND, Timeframe
from fetcher.wire import PAYLOAD_CHARACTERS, UNKNOWN_TIME, WIRE, Spoiled, WirePage, empty_page, excerpt

_PRICES = ("open", "high", "low", "close")
_SAME = {"60m": "1h"}
_LONGEST_SECONDS = 2**40


class _Meta(msgspec.Struct):
    regularMarketTime: int | None = None  # noqa: N815 - Yahoo's name; s UTC
    dataGranularity: str | None = None  # noqa: N815 - Yahoo's name


class _Quote(msgspec.Struct):
    open: list[Any] = []
    high: list[Any] = []
    low: list[Any] = []
    close: list[Any] = []
    volume: list[Any] = []


class _Indicators(msgspec.Struct):
    quote: list[_Quote]


class _Result(msgspec.Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[Any] = []


class _Chart(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    chart: _Chart


def parse_chart(body: bytes, timeframe: Timeframe, source: str = "yahoo") -> WirePage:
    """Read an answer of /v8/finance/chart: stamps are open times in s UTC, prices (float32) in the quote currency.

    Yahoo's volume is in the QUOTE currency and goes there; the base volume is unknown. A row whose prices are all null
    is a hole, no row. A candle that ends after `regularMarketTime`, up to which the answer knows the market, is live
    and left out: the last element as a rule, stamped with that very time.
    """
    if has_no_such_days(chart_error(body)[1]):
        return empty_page()
    try:
        results = msgspec.json.decode(body, type=_Answer).chart.result
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no chart but {_seen(body)}") from None
    if len(results) != 1 or len(results[0].indicators.quote) != 1:
        raise BadPayload(f"{source} sent a chart with {len(results)} results instead of one")
    result = results[0]
    sent = result.meta.dataGranularity
    if sent is not None and result.timestamp and _SAME.get(sent, sent) != timeframe.name:
        raise BadPayload(f"{source} sent {excerpt(sent, 20)} candles, asked for {timeframe}")
    quote = result.indicators.quote[0]
    columns = [getattr(quote, name) for name in (*_PRICES, "volume")]
    if any(len(column) != len(result.timestamp) for column in columns):
        lengths = ", ".join(str(len(column)) for column in columns)
        raise BadPayload(f"{source} sent {len(result.timestamp)} timestamps for columns of {lengths} cells")
    return _page(zip(result.timestamp, *columns, strict=True), result.meta.regularMarketTime, timeframe)


def _page(cells: zip[tuple[Any, ...]], known_until: int | None, timeframe: Timeframe) -> WirePage:
    rows, spoiled = [], []
    last_end = None if known_until is None else known_until * SECOND
    for stamp, *values in cells:
        open_time = stamp * SECOND if type(stamp) is int and abs(stamp) < _LONGEST_SECONDS else None
        if open_time is not None and last_end is not None and open_time + timeframe.ms > last_end:
            continue
        if all(price is None for price in values[:4]):
            continue
        if open_time is None or not _are_numbers(values):
            raw = json.dumps([stamp, *values], separators=(",", ":"))[:PAYLOAD_CHARACTERS]
            spoiled.append(Spoiled(open_time, "malformed", raw))
        else:
            rows.append((open_time, *values))
    page = np.empty(len(rows), dtype=WIRE)
    for number, name in enumerate(("open_time", *_PRICES, "quote_volume")):
        page[name] = [np.nan if row[number] is None else row[number] for row in rows]
    for name in ("volume", "taker_base", "taker_quote"):
        page[name] = np.nan
    page["trades"], page["close_time"] = -1, UNKNOWN_TIME
    return WirePage(page, tuple(spoiled), last_end)


def _are_numbers(values: list[Any]) -> bool:
    *prices, volume = values
    return all(_is_number(price) for price in prices) and (volume is None or _is_number(volume))


def _is_number(cell: object) -> bool:
    return isinstance(cell, float) or (type(cell) is int and abs(cell) < 2**63)


def _seen(body: bytes) -> str:
    return f"'{excerpt(body, 80)}'" if body else "an empty body"
