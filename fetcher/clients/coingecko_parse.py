"""Reading CoinGecko's bodies: candles stamped by their end, and the list of coins. Pure functions of the bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from fetcher.clients.base import Market
from fetcher.errors import BadPayload
from fetcher.wire import PAYLOAD_CHARACTERS, UNKNOWN_TIME, WIRE, Spoiled, WirePage, excerpt

_CELLS = tuple[int, float, float, float, float]


class _Coin(msgspec.Struct):
    id: str
    symbol: str


def parse_ohlc(body: bytes, size_ms: int, source: str = "coingecko") -> WirePage:
    """Read an answer of /coins/{id}/ohlc or /ohlc/range whose candles last `size_ms`.

    Stamps are the END of a candle (ms UTC): open time = stamp − size. Prices are in the quote currency; there is no
    volume (the rolling 24 h one of other questions is no candle's). A last stamp beside the grid is the moment of the
    answer: that candle is live and left out.
    """
    rows, spoiled = [], []
    listed = _list(body, source, "candles")
    for cells in listed:
        try:
            stamp, *prices = msgspec.convert(cells, _CELLS)
        except msgspec.ValidationError:
            spoiled.append(_spoil(cells, size_ms))
        else:
            if -(2**62) < stamp < 2**62:
                rows.append((stamp - size_ms, *prices))
            else:
                spoiled.append(_spoil(cells, size_ms))
    if rows and rows[-1][0] % size_ms:
        rows.pop()
    page = np.empty(len(rows), dtype=WIRE)
    for number, name in enumerate(("open_time", "open", "high", "low", "close")):
        page[name] = [row[number] for row in rows]
    for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
        page[name] = np.nan
    page["trades"], page["close_time"] = -1, UNKNOWN_TIME
    return WirePage(page, tuple(spoiled))


def parse_coins(body: bytes, source: str = "coingecko") -> list[Market]:
    """Read an answer of /coins/list: every coin as `TICKER/USD`, by its id; several may share a ticker."""
    try:
        coins = msgspec.json.decode(body, type=list[_Coin])
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no list of coins but {_seen(body)}") from None
    if not coins:
        raise BadPayload(f"{source} sent an empty list of coins")  # believed, it would make every coin unknown
    return [Market(coin.id, f"{coin.symbol.upper()}/USD", trading=True) for coin in coins]


def _list(body: bytes, source: str, what: str) -> list[Any]:
    try:
        return msgspec.json.decode(body, type=list[Any])
    except (ValueError, RecursionError):
        raise BadPayload(f"{source} sent no list of {what} but {_seen(body)}") from None


def _spoil(cells: object, size_ms: int) -> Spoiled:
    first = cells[0] if isinstance(cells, list) and cells else None
    readable = isinstance(first, int) and not isinstance(first, bool) and 0 <= first < 2**62
    raw = json.dumps(cells, separators=(",", ":"))
    return Spoiled(first - size_ms if readable and first is not None else None, "malformed", raw[:PAYLOAD_CHARACTERS])


def _seen(body: bytes) -> str:
    return f"'{excerpt(body, 80)}'" if body else "an empty body"
