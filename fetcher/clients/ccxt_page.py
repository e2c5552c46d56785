"""From ccxt's reading of an answer to a page of candles; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from fetcher.clients.base import Market
from fetcher.errors import BadPayload, CannotServe
from fetcher.model import DAY, UNKNOWN_COUNT
from fetcher.wire import PAYLOAD_CHARACTERS, UNKNOWN_TIME, WIRE, Spoiled, WirePage, excerpt

if TYPE_CHECKING:
    from fetcher.clients.base import CandleRequest
    from fetcher.clients.ccxt_library import Reading
    from fetcher.model import Timeframe, Window

_MARKET_START, _MARKET_END = 14_000 * DAY, 48_000 * DAY  # 2008 … 2101: a server's time in ms, not in s or µs
_LATEST = 2**53
_COLUMNS = ("open", "high", "low", "close", "volume")


def read_page(reading: Reading, body: bytes, source: str) -> WirePage:
    """Every row of an answer, ascending: volume in base currency, quote volume and the rest unknown.

    BadPayload when it holds no candles where ccxt looks for them, unless it is plainly an empty list.
    """
    pairs = reading.rows
    if pairs is None and not reading.failure and isinstance(reading.value, list):
        pairs = [(cells, cells if isinstance(cells, list) else None) for cells in reading.value]
    if pairs is None or reading.failure or (not pairs and not _is_empty_list(body)):
        raise BadPayload(f"{source} sent no candles but {_seen(body)}")
    good, spoiled = [], []
    for raw, cells in pairs:
        row = _row(cells)
        if row is None:
            spoiled.append(_spoil(raw, cells))
        else:
            good.append(row)
    if spoiled and not good and all(each.open_time is None for each in spoiled):
        raise BadPayload(f"{source} sent no candles but {_seen(body)}")
    rows = np.empty(len(good), dtype=WIRE)
    for name in ("quote_volume", "taker_base", "taker_quote"):
        rows[name] = np.nan
    rows["trades"], rows["close_time"] = UNKNOWN_COUNT, UNKNOWN_TIME
    if good:
        rows["open_time"] = [row[0] for row in good]
        for place, name in enumerate(_COLUMNS, 1):
            rows[name] = [row[place] for row in good]
    return WirePage(rows[np.argsort(rows["open_time"], kind="stable")], tuple(spoiled))


def check_grid(page: WirePage, timeframe: Timeframe, source: str) -> None:
    """CannotServe when no row opens where ours do: days in another time zone are other candles, not misplaced ones."""
    times = page.rows["open_time"]
    if len(times) and not timeframe.anchored_by_series and not (timeframe.grid().floor_all(times) == times).any():
        raise CannotServe(f"{source} opens its {timeframe} candles at other times than midnight UTC and its parts")


def cut(page: WirePage, request: CandleRequest, window: Window | None) -> WirePage:
    """The rows that were asked for, where the source sends others beside them: inside `window`, at most `limit`.

    With `limit` the newest count where the request's start is open, else the oldest.
    """
    rows = page.rows
    if window is not None:
        rows = rows[(rows["open_time"] >= window.start) & (rows["open_time"] < window.end)]
    if request.limit is not None and len(rows) > request.limit:
        rows = rows[-request.limit :] if request.start is None else rows[: request.limit]
    return WirePage(rows, page.spoiled)


def misses(page: WirePage, window: Window, rows_a_request: int, *, dense: bool) -> bool:
    """Whether an answer without an end of ours says nothing of `window`: rows too new fill it up.

    `dense`: the source sends every slot, so that an answer with room left in it begins where its candles do.
    """
    times = page.rows["open_time"]
    if len(times) == 0 or times[0] <= window.start:
        return False
    return len(times) >= rows_a_request or (not dense and not (times < window.end).any())


def read_time(reading: Reading, body: bytes, source: str) -> int:
    """The exchange's clock, ms UTC."""
    moment = reading.value
    if reading.failure or isinstance(moment, bool) or not isinstance(moment, int | float):
        raise BadPayload(f"{source} sent no server time but {_seen(body)}")
    if not _MARKET_START <= moment < _MARKET_END:
        raise BadPayload(f"{source} sent a server time that is not in milliseconds: {excerpt(str(moment), 40)}")
    return int(moment)


def read_markets(reading: Reading, body: bytes, source: str) -> list[Market]:
    """Every spot market, halted ones too; an empty list is BadPayload: believed, it would make every market unknown."""
    listed = reading.value if isinstance(reading.value, list) and not reading.failure else []
    markets = [
        Market(each["id"], each["symbol"], each.get("active") is not False)
        for each in listed
        if isinstance(each, dict) and each.get("spot") and isinstance(each.get("id"), str) and each.get("symbol")
    ]
    if not markets:
        raise BadPayload(f"{source} sent no list of markets but {_seen(body)}")
    return markets


def _row(cells: list[Any] | None) -> tuple[int, float, float, float, float, float] | None:
    opened = _open_time(cells)
    if cells is None or opened is None or len(cells) <= len(_COLUMNS):
        return None
    try:
        values = [float(cell) for cell in cells[1 : len(_COLUMNS) + 1]]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if any(np.isnan(values)) else (opened, *values)  # type: ignore[return-value]  # five of them


def _open_time(cells: list[Any] | None) -> int | None:
    if not cells or isinstance(cells[0], bool) or not isinstance(cells[0], int | float):
        return None
    return int(cells[0]) if 0 <= cells[0] < _LATEST else None


def _spoil(raw: object, cells: list[Any] | None) -> Spoiled:
    text = excerpt(json.dumps(raw, default=str), PAYLOAD_CHARACTERS)
    return Spoiled(_open_time(cells), "not a candle of time, open, high, low, close and volume", text)


def _is_empty_list(body: bytes) -> bool:
    """Whether a JSON answer holds an empty list and none with rows in it; lists of errors do not count."""
    try:
        lists = _lists(json.loads(body))
    except (ValueError, RecursionError):
        return False
    return any(not each for each in lists) and not any(isinstance(item, list | dict) for each in lists for item in each)


def _lists(document: object) -> list[list[object]]:
    if isinstance(document, list):
        return [document]
    if isinstance(document, dict):
        named = [value for name, value in document.items() if not name.lower().startswith("error")]
        return [each for value in named for each in _lists(value)]
    return []


def _seen(body: bytes) -> str:
    return f"{len(body)} bytes: {excerpt(body, 60)}" if body else "an empty body"
