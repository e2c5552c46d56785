"""The archive's CSV is read as its text says, to the last bit, by columns or by lines."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.clients import archive_csv
from fetcher.clients.archive_csv import _read_columns, _read_lines, parse_csv, warm_up
from fetcher.errors import BadPayload
from fetcher.model import MINUTE

T0 = 1_704_067_200_000
LINE = (
    "{0},7195.24000000,7196.25000000,7183.14000000,7186.68000000,51.64281200,{1},371233.51835535,493,19.59823000,"
    "140888.41428273,0\n"
)


def line(number: int, *, micros: bool = False) -> str:
    """The candle so many minutes after T0."""
    start = T0 + number * MINUTE
    return LINE.format(*((f"{start}000", f"{start + 59_999}999") if micros else (start, start + 59_999)))


def bits(number: float) -> bytes:
    """A double as it is stored."""
    return struct.pack("<d", number)


def test_columns_are_read_as_the_api_gives_them() -> None:
    """Times in ms, prices and volumes as doubles, trades as a count."""
    [row] = parse_csv([line(0).encode()]).rows
    assert row["open_time"] == T0
    assert row["close_time"] == T0 + 59_999
    assert [row[name] for name in ("open", "high", "low", "close")] == [7195.24, 7196.25, 7183.14, 7186.68]
    assert [row[name] for name in ("volume", "quote_volume", "trades")] == [51.642812, 371233.51835535, 493]
    assert [row[name] for name in ("taker_base", "taker_quote")] == [19.59823, 140888.41428273]


def test_warming_up_reads_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file needs is loaded by it; where that cannot be, whoever reads a file says so."""
    read: list[bytes] = []
    with monkeypatch.context() as patched:
        patched.setattr(archive_csv, "_read_columns", read.append)
        warm_up()
    [lines] = read
    rows = _read_columns(lines)
    assert rows is not None
    assert len(rows) == 1

    def missing(_: bytes) -> None:
        raise ImportError("libarrow.so")

    monkeypatch.setattr(archive_csv, "_read_columns", missing)
    warm_up()


def test_microseconds_become_milliseconds() -> None:
    """Spot files of 2025 on are in µs; what they mean is the same."""
    assert parse_csv([line(0, micros=True).encode()]).rows.tobytes() == parse_csv([line(0).encode()]).rows.tobytes()


def test_a_header_is_passed_over() -> None:
    """As newer files of futures have one."""
    header = b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,x,ignore\n"
    page = parse_csv([header + line(0).encode()])
    assert (len(page.rows), page.spoiled) == (1, ())


@pytest.mark.parametrize("first", ["rubbish\n", "<html>\n", "x" + line(9), "\n"])
def test_a_first_line_that_is_no_header_is_kept_as_spoiled(first: str) -> None:
    """A file that begins with anything but candles, or the names of their columns, is not to be believed."""
    page = parse_csv([(first + line(0)).encode()])
    assert (len(page.rows), len(page.spoiled)) == (1, 1)


@pytest.mark.parametrize("rubbish", [b"\n", b"x,y\n"])
def test_a_file_of_rubbish_is_given_up(rubbish: bytes) -> None:
    """It is not kept line by line: a small zip holds millions of them."""
    with pytest.raises(BadPayload, match="more than 1,000 of its lines cannot be read"):
        parse_csv([rubbish * 5_000])


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 10**6])
def test_it_does_not_matter_how_the_file_is_cut(size: int) -> None:
    """Pieces end anywhere."""
    text = "".join(map(line, range(50))).encode()
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    assert parse_csv(pieces).rows["open_time"].tolist() == [T0 + n * MINUTE for n in range(50)]


def test_a_bad_line_spoils_itself_only() -> None:
    """It keeps its time and its text; so does a last line that is cut off."""
    bad = line(1).replace("7195.24000000", "7195.2x")
    page = parse_csv([(line(0) + bad + line(2) + line(3)[:40]).encode()])
    assert page.rows["open_time"].tolist() == [T0, T0 + 2 * MINUTE]
    assert [(row.open_time, row.reason) for row in page.spoiled] == [
        (T0 + MINUTE, "malformed"),
        (T0 + 3 * MINUTE, "malformed"),
    ]
    assert "7195.2x" in page.spoiled[0].payload


@pytest.mark.parametrize(
    "cells",
    ["-5.00000000", "nan", "inf", "1e5", "", "1.5", "12345678901234567.00000000", f"-{'9' * 400}", "0.1\xff0000000"],
)
def test_what_no_column_holds_is_read_line_by_line(cells: str) -> None:
    """The fast way gives up on anything unusual; both ways never disagree on what they accept."""
    text = line(0).replace("7195.24000000", cells).encode("latin-1")
    assert _read_columns(text) is None or _read_columns(text).tobytes() == _read_lines(text).rows.tobytes()  # type: ignore[union-attr]  # not None: looked at before
    page = parse_csv([text])
    assert len(page.rows) + len(page.spoiled) == 1


@pytest.mark.parametrize("cell", ["7_195.24000000", " 7195.24000000", "7195.24000000 ", "\uff17195.24", "+7195.24"])
def test_what_python_alone_takes_for_a_number_is_none(cell: str) -> None:
    """A line that is not written as the exchange writes them says that something happened to it."""
    page = parse_csv([line(0).replace("7195.24000000", cell).encode()])
    assert (len(page.rows), len(page.spoiled)) == (0, 1)


@settings(deadline=None)
@given(st.integers(0, 11), st.text('0123456789.-+eE xnaif,\n\r\t"/', max_size=24))
def test_both_ways_agree_on_any_cell(place: int, cell: str) -> None:
    """The fast way may give up, but never reads another number, nor what the slow way refuses."""
    cells = line(0).rstrip().split(",")
    cells[place] = cell
    text = (line(1) + ",".join(cells) + "\n" + line(2)).encode()
    fast, slow = _read_columns(text), _read_lines(text)
    assert fast is None or (slow.spoiled == () and fast.tobytes() == slow.rows.tobytes())


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**17), min_size=9, max_size=9), st.integers(0, 10**9))
def test_any_decimal_is_the_double_that_its_text_means(units: list[int], trades: int) -> None:
    """Also those too long for a double: they are read from their text."""
    texts = [f"{unit // 10**8}.{unit % 10**8:08}" for unit in units]
    opened, high, low, close, volume, quote, base, taker, _ = texts
    text = f"{T0},{opened},{high},{low},{close},{volume},{T0 + 59_999},{quote},{trades},{base},{taker},0\n"
    rows = _read_columns(text.encode())
    assert rows is not None
    names = ("open", "high", "low", "close", "volume", "quote_volume", "taker_base", "taker_quote")
    for name, cell in zip(names, texts, strict=False):
        assert bits(float(rows[name][0])) == bits(float(cell))
    assert rows["trades"].tolist() == [trades]


def test_nothing_is_nothing() -> None:
    """An empty file has no candles."""
    assert len(parse_csv([]).rows) == len(parse_csv([b""]).rows) == 0
    assert parse_csv([]).rows.dtype == parse_csv([line(0).encode()]).rows.dtype
    assert np.array_equal(parse_csv([b""]).rows, parse_csv([]).rows)
