"""Reading CoinGecko's bodies: stamps are ends, there is no volume, one bad cell spoils a row and not its page."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fetcher.clients.base import Market
from fetcher.clients.coingecko_parse import parse_coins, parse_ohlc
from fetcher.errors import BadPayload
from fetcher.model import HOUR, MINUTE
from fetcher.wire import WIRE

if TYPE_CHECKING:
    from pathlib import Path

FOUR_HOURS = 4 * HOUR
STAMP = 1_709_395_200_000


def ohlc(*rows: object) -> bytes:
    """Compact JSON, as on the wire."""
    return json.dumps(rows, separators=(",", ":")).encode()


def test_stamps_are_ends() -> None:
    """The open time lies one candle before; what CoinGecko does not tell is unknown, not zero."""
    rows = parse_ohlc(ohlc([STAMP, 61942, 62211, 61721.5, 61845]), FOUR_HOURS).rows
    assert rows.dtype == WIRE
    assert rows[0].item()[:5] == (STAMP - FOUR_HOURS, 61942.0, 62211.0, 61721.5, 61845.0)
    assert all(np.isnan(rows[name][0]) for name in ("volume", "quote_volume", "taker_base", "taker_quote"))
    assert (rows["trades"][0], rows["close_time"][0]) == (-1, -1)


def test_the_last_stamp_beside_the_grid_is_live() -> None:
    """A candle that ends at the moment of the answer has not closed; an odd one in the middle is left to the judge."""
    odd = STAMP + 7 * MINUTE
    cells = [1.0, 2.0, 1.0, 2.0]
    times = parse_ohlc(ohlc([STAMP, *cells], [odd, *cells]), FOUR_HOURS).rows["open_time"].tolist()
    assert times == [STAMP - FOUR_HOURS]
    times = parse_ohlc(ohlc([odd, *cells], [STAMP + FOUR_HOURS, *cells]), FOUR_HOURS).rows["open_time"].tolist()
    assert times == [odd - FOUR_HOURS, STAMP]


@pytest.mark.parametrize(
    ("cells", "open_time"),
    [
        ([STAMP, None, 2, 1, 2], STAMP - FOUR_HOURS),
        ([STAMP, "1", 2, 1, 2], STAMP - FOUR_HOURS),
        ([STAMP, 1, 2, 1], STAMP - FOUR_HOURS),
        ([STAMP, 1, 2, 1, 2, 3], STAMP - FOUR_HOURS),
        ([None, 1, 2, 1, 2], None),
        ([10**30, 1, 2, 1, 2], None),
        ([True, 1, 2, 1, 2], None),
        ({"a": 1}, None),
    ],
)
def test_a_bad_row_is_spoiled_alone(cells: object, open_time: int | None) -> None:
    """It is kept with its raw text, and its time where that can be read."""
    page = parse_ohlc(ohlc(cells, [STAMP + FOUR_HOURS, 1, 2, 1, 2]), FOUR_HOURS)
    assert page.rows["open_time"].tolist() == [STAMP]
    assert [(row.open_time, row.reason) for row in page.spoiled] == [(open_time, "malformed")]
    assert json.loads(page.spoiled[0].payload) == cells


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"<html>", b"[[1,2", b"[" * 100_000, b'{"prices":[]}'])
def test_no_list_is_a_bad_payload(body: bytes) -> None:
    """In one short printable line, whatever was sent."""
    for parse in (lambda: parse_ohlc(body, FOUR_HOURS, "gecko"), lambda: parse_coins(body, "gecko")):
        with pytest.raises(BadPayload, match=r"^gecko sent") as caught:
            parse()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 200


def test_several_coins_may_share_a_ticker() -> None:
    """Each is listed by its id; an empty list would make every coin unknown and is not believed."""
    listed = parse_coins(b'[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"},{"id":"b2","symbol":"BTC","name":"B"}]')
    assert listed == [Market("bitcoin", "BTC/USD", trading=True), Market("b2", "BTC/USD", trading=True)]
    with pytest.raises(BadPayload):
        parse_coins(b"[]")


@pytest.mark.parametrize("name", ["GET_coins_id_ohlc_200", "GET_coins_id_ohlc_range_200"])
def test_the_recorded_candles_are_read(shared_data: Path, name: str) -> None:
    """Three candles of four hours, on the grid."""
    page = parse_ohlc((shared_data / "responses" / "coingecko" / f"{name}.json").read_bytes(), FOUR_HOURS)
    assert page.rows["open_time"].tolist() == [STAMP + n * FOUR_HOURS for n in (-1, 0, 1)]
    assert page.rows["close"].tolist() == [61845.0, 62139.0, 62068.0]
    assert page.spoiled == ()


def test_the_recorded_lists_are_read(shared_data: Path) -> None:
    """The full list has 12,987 coins and 10,496 tickers as written; usdc has 44 ids, usdt 29, btc 2."""
    folder = shared_data / "responses" / "coingecko"
    assert len(parse_coins((folder / "GET_coins_list_200.json").read_bytes())) == 2
    coins = parse_coins(gzip.decompress((folder / "coins_list_full.json.gz").read_bytes()))
    assert len(coins) == 12_987
    shared = [sum(coin.symbol == f"{ticker}/USD" for coin in coins) for ticker in ("USDC", "USDT", "BTC")]
    assert shared == [44, 29, 2]


@pytest.mark.parametrize("name", ["GET_coins_id_market_chart_200", "GET_ping_200", "GET_simple_price_200"])
def test_other_recorded_answers_are_no_candles(shared_data: Path, name: str) -> None:
    """Prices without a high and a low are never made into candles."""
    with pytest.raises(BadPayload):
        parse_ohlc((shared_data / "responses" / "coingecko" / f"{name}.json").read_bytes(), FOUR_HOURS)
