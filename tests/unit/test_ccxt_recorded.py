"""Recorded answers of Kraken and Bitstamp, read by the real ccxt without a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fetcher.clients.ccxt_library import Reading, make_exchange
from fetcher.clients.ccxt_page import read_page
from fetcher.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.wire import WirePage


def read(exchange_id: str, rows: list[Any], body: object) -> WirePage:
    """The page that the exchange's rows make."""
    exchange = make_exchange(exchange_id, Clock(), None)
    pairs = [(raw, exchange.parse_ohlcv(raw, {"type": "spot", "spot": True})) for raw in rows]
    return read_page(Reading(rows=pairs), json.dumps(body).encode(), exchange_id)


@pytest.mark.parametrize("number", ["01", "02"])
def test_kraken_sends_720_hours_without_a_gap(shared_data: Path, number: str) -> None:
    """Its first and last rows, to the cell."""
    body = json.loads((shared_data / f"responses/kraken/0_public_OHLC-{number}.json").read_text())["body"]
    page = read("kraken", body["result"]["XXBTZUSD"], body)
    assert (len(page.rows), page.spoiled) == (720, ())
    assert set(np.diff(page.rows["open_time"])) == {3_600_000}
    first = page.rows[0]
    assert [first[name] for name in ("open_time", "open", "high", "low", "close", "volume")] == [
        1_604_599_200_000, 15050.0, 15100.0, 14874.9, 14954.7, 616.14350768,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "rows", "last", "empty"),
    [
        ("01", 10, 1_577_836_740_000, 0),
        ("02", 1000, 1_577_836_740_000, 13),
        ("03", 1000, 1_577_750_400_000, 0),
        ("04", 999, 1_577_836_800_000, 0),
    ],
)
def test_bitstamp_sends_the_last_rows_and_empty_minutes_too(
    shared_data: Path, number: str, rows: int, last: int, empty: int
) -> None:
    """Of a window of a year the newest rows come, candles without trades among them."""
    body = json.loads((shared_data / f"responses/bitstamp/api_v2_ohlc_btcusd-{number}.json").read_text())["body"]
    page = read("bitstamp", body["data"]["ohlc"], body)
    assert (len(page.rows), page.spoiled) == (rows, ())
    assert page.rows["open_time"][-1] == last
    assert (page.rows["volume"] == 0).sum() == empty
