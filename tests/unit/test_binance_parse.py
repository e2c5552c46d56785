"""Reading Binance's bodies: every field as sent, one bad cell spoils a row and not its page."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from fetcher.clients.base import Market
from fetcher.clients.binance import parse_candles, parse_symbols, parse_time
from fetcher.errors import BadPayload
from fetcher.wire import WIRE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = 1_591_478_520_000
ORDER = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote",
)  # fmt: skip


def kline(step: int = 0) -> list[object]:
    """One row as the exchange writes it (a captured one, moved by `step` minutes)."""
    moved = step * 60_000
    return [
        START + moved, "0.02501300", "0.02501800", "0.02500000", "0.02500100", "22.19000000", START + moved + 59_999,
        "0.55490906", 40, "10.92900000", "0.27336462", "0",
    ]  # fmt: skip


def body(rows: object) -> bytes:
    """Compact JSON, as on the wire."""
    return json.dumps(rows, separators=(",", ":")).encode()


def test_every_field_is_read_as_sent() -> None:
    """Each of the eleven cells lands in its column, bit for bit what Python reads from the text."""
    page = parse_candles(body([kline(0), kline(1)]))
    assert page.rows.dtype == WIRE
    assert page.spoiled == ()
    for row, sent in zip(page.rows, (kline(0), kline(1)), strict=True):
        assert [row[name] for name in ORDER] == [float(str(cell)) for cell in sent[:11]]


def test_an_empty_list_is_an_empty_page() -> None:
    """`[]` is an answer, and proves nothing."""
    assert len(parse_candles(b"[]")) == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b" ",
        b"null",
        b"{}",
        b'{"code":0,"msg":"ok"}',
        b'"klines"',
        b"<!DOCTYPE html><html><body>Sorry</body></html>",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        body([kline()])[:-40],
        body([kline()])[:-1],
        b"\xff\xfe\x00",
        b'[["\xff"]]',
        b"[1" + b"0" * 5_000 + b"]",
    ],
    ids=lambda sent: repr(sent[:12]),
)
def test_a_body_that_is_no_list_of_candles_is_refused_whole(sent: bytes) -> None:
    """HTML, cut or empty bodies and other JSON are one error that shows how the body begins."""
    with pytest.raises(BadPayload, match=r"^binance sent no (list of )?candles but (an empty body|'.{1,80}')$"):
        parse_candles(sent)


def test_what_a_stranger_sent_is_shown_harmlessly() -> None:
    """Control, bidi and escape characters of a body are written out, and the source is named as configured."""
    with pytest.raises(BadPayload) as caught:
        parse_candles("\x1b[31mred\r\n\u202etfel".encode(), source="mirror")
    assert str(caught.value) == r"mirror sent no candles but '\x1b[31mred\r\n\u202etfel'"


@pytest.mark.parametrize(
    "cell",
    [None, "", "word", " 1", "1_0", True, [], {}, {"a": [1]}, "0x10", 10**400],
    ids=lambda cell: repr(cell)[:10],
)
@pytest.mark.parametrize("position", range(11), ids=ORDER.__getitem__)
def test_one_bad_cell_spoils_its_row_alone(position: int, cell: object) -> None:
    """A cell that is no number costs its row, which is kept as text; the rest of the page is read."""
    bad = kline(1)
    bad[position] = cell
    page = parse_candles(body([kline(0), bad, kline(2)]))
    assert page.rows["open_time"].tolist() == [START, START + 120_000]
    (spoiled,) = page.spoiled
    assert (spoiled.reason, json.loads(spoiled.payload) if position or cell != 10**400 else bad) == ("malformed", bad)
    assert spoiled.open_time == (START + 60_000 if position else None)


@pytest.mark.parametrize(
    "row", [None, 5, "row", {}, [], [START], kline()[:10]], ids=["null", "number", "word", "object", "0", "1", "10"]
)
def test_a_row_that_is_no_full_row_is_spoiled(row: object) -> None:
    """Something else than a row, or one of fewer than eleven cells, is not guessed at."""
    page = parse_candles(body([row, kline(1)]))
    assert (len(page.rows), len(page.spoiled)) == (1, 1)


@pytest.mark.parametrize("row", [kline()[:11], [*kline(), "new"], [*kline()[:11], None]], ids=["11", "13", "ignored"])
def test_cells_beyond_the_eleventh_do_not_matter(row: list[object]) -> None:
    """The exchange marks the twelfth as unused; more may come."""
    page = parse_candles(body([row, kline(1)]))
    assert (len(page.rows), len(page.spoiled)) == (2, 0)


def test_prices_that_are_no_number_are_left_to_the_validator() -> None:
    """NaN and infinity are read as such, written as strings or as bare words."""
    rows = [kline(0), kline(1), kline(2)]
    rows[1][2], rows[2][3] = "NaN", "-Infinity"
    quoted = parse_candles(body(rows)).rows
    bare = parse_candles(body(rows).replace(b'"NaN"', b"NaN").replace(b'"-Infinity"', b"-Infinity")).rows
    for page in (quoted, bare):
        assert math.isnan(page["high"][1])
        assert page["low"][2] == -math.inf


@pytest.mark.parametrize(("position", "cell"), [(5, "NaN"), (7, "nan"), (8, -1), (9, "NaN"), (10, "NaN")])
def test_our_marks_for_unknown_cannot_come_from_the_wire(position: int, cell: object) -> None:
    """Binance tells every volume and count: one that reads as our "unknown" is a bad cell."""
    bad = kline(1)
    bad[position] = cell
    page = parse_candles(body([kline(0), bad]))
    assert (page.rows["open_time"].tolist(), len(page.spoiled)) == ([START], 1)


@pytest.mark.parametrize("position", [0, 6, 8])
def test_a_whole_number_beyond_64_bits_spoils_its_row(position: int) -> None:
    """What no column can hold is malformed, not an error of ours."""
    bad = kline(1)
    bad[position] = 2**63
    page = parse_candles(body([kline(0), bad]))
    assert (len(page.rows), len(page.spoiled)) == (1, 1)


def test_a_spoiled_row_is_kept_in_bounded_size() -> None:
    """A megabyte in one cell does not reach the database."""
    (spoiled,) = parse_candles(body([[START, "x" * 10**6]])).spoiled
    assert len(spoiled.payload) == 1000
    assert spoiled.open_time == START


def test_the_server_time_is_read() -> None:
    """Milliseconds UTC, as the documentation's example has it."""
    assert parse_time(b'{"serverTime":1499827319559}') == 1_499_827_319_559


@pytest.mark.parametrize(
    "sent",
    [b"", b"{}", b"[]", b'{"serverTime":"soon"}', b'{"serverTime":1499827319}', b'{"serverTime":1499827319559000}'],
)
def test_a_time_that_is_none_is_refused(sent: bytes) -> None:
    """Seconds, microseconds or something else would let live candles pass for closed ones."""
    with pytest.raises(BadPayload, match=r"^binance sent "):
        parse_time(sent)


def test_every_listed_market_is_read() -> None:
    """Ids, symbols in our spelling and whether they trade; names need not be ASCII, unknown fields do not matter."""
    listed = [
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": [{"a": 1}]},
        {"symbol": "币安人生USDT", "status": "BREAK", "baseAsset": "币安人生", "quoteAsset": "USDT"},
    ]
    assert parse_symbols(json.dumps({"timezone": "UTC", "symbols": listed}).encode()) == [
        Market("BTCUSDT", "BTC/USDT", trading=True),
        Market("币安人生USDT", "币安人生/USDT", trading=False),
    ]


@pytest.mark.parametrize(
    "sent", [b"", b"{}", b"[]", b'{"symbols":[]}', b'{"symbols":[{"symbol":"BTCUSDT"}]}', b"<html>"]
)
def test_a_symbol_list_that_is_none_is_refused(sent: bytes) -> None:
    """An empty list, believed and cached, would make every configured market unknown."""
    with pytest.raises(BadPayload, match="symbol list"):
        parse_symbols(sent)


def test_recorded_answers_read_as_their_text(shared_data: Path) -> None:
    """Every cell of every recorded answer equals what Python's own float makes of its text."""
    paths = sorted((shared_data / "responses" / "binance").glob("api_v3_klines-*.json"))
    assert paths
    read: Callable[[object], float] = lambda cell: float(str(cell))  # noqa: E731 - shorter than a function
    for path in paths:
        sent = json.loads(path.read_bytes())["body"]
        page = parse_candles(body(sent))
        assert page.spoiled == ()
        for position, name in enumerate(ORDER):
            assert page.rows[name].tolist() == [read(row[position]) for row in sent], path.name
