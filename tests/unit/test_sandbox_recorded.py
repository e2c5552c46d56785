"""Recordings: served as recorded, added up where a timeframe is missing, refused with file and line when malformed."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import CUT_SHORT, DAY, HOUR, Timeframe, Window
from fetcher.sandbox import render
from fetcher.sandbox.market import Span
from fetcher.sandbox.recorded import COLUMNS, RecordedMarket

if TYPE_CHECKING:
    from pathlib import Path

START = parse_utc("2021-04-19")
NOW = parse_utc("2026-04-30T04:00:30")


def record(folder: Path, name: str, *rows: str, header: str = ",".join(COLUMNS)) -> None:
    """Write one recording."""
    with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
        file.write("\n".join([header, *rows]) + "\n")


def pages(market: RecordedMarket, symbol: str, timeframe: str, now_ms: int = NOW) -> list[Any]:
    """Everything served, page after page, as a client decodes it."""
    rows: list[Any] = []
    start = 0
    while page := json.loads(render.klines(market.page(symbol, Timeframe(timeframe), Span(start, None, 1000), now_ms))):
        rows += page
        start = page[-1][0] + 1
    return rows


def test_recorded_values_are_served_exactly_and_unknown_ones_as_zero(tmp_path: Path) -> None:
    """Padded to eight decimals; an empty close time is the regular one, a recorded one stays."""
    record(
        tmp_path, "SLPUSDT-1h",
        f"{START},0.1128,0.2,0.10000001,0.1654,7928193.0,,,,,",
        f"{START + HOUR},0.1654,9,.1,0.2,0,{START + HOUR + 14_837},13477694934.871798,7,1.5,2",
    )  # fmt: skip
    market = RecordedMarket.load(tmp_path)
    zero = "0.00000000"
    assert pages(market, "SLPUSDT", "1h") == [
        [START, "0.11280000", "0.20000000", "0.10000001", "0.16540000", "7928193.00000000", START + HOUR - 1, zero, 0,
         zero, zero, "0"],
        [START + HOUR, "0.16540000", "9.00000000", "0.10000000", "0.20000000", zero, START + HOUR + 14_837,
         "13477694934.87179800", 7, "1.50000000", "2.00000000", "0"],
    ]  # fmt: skip
    truth = market.oracle("SLPUSDT", Timeframe("1h"), Window(0, NOW), NOW)
    assert [int(flag) for flag in truth["flags"]] == [0, CUT_SHORT]
    assert truth["quote_volume"][1] == 13477694934.871798
    assert [listing.symbol for listing in market.symbols()] == ["SLPUSDT"]
    assert market.listing("BTCUSDT") is None


def test_a_missing_timeframe_is_added_up_and_an_impossible_one_is_empty(tmp_path: Path) -> None:
    """2h from 1h, with the hour that is missing cutting its parent short; minutes cannot be made from hours."""
    record(
        tmp_path, "XUSDT-1h",
        *(f"{START + n * HOUR},{n + 1},{n + 3},{n + 1},{n + 2},1.5,,,2,," for n in (0, 1, 2, 4, 5)),
    )  # fmt: skip
    market = RecordedMarket.load(tmp_path)
    rows = pages(market, "XUSDT", "2h")
    assert [(row[0] - START) // HOUR for row in rows] == [0, 2, 4]
    assert [(row[6] - row[0] + 1) // HOUR for row in rows] == [2, 1, 2]
    assert rows[0][1:6] == ["1.00000000", "4.00000000", "1.00000000", "3.00000000", "3.00000000"]
    assert rows[0][8] == 4
    assert pages(market, "XUSDT", "1m") == []
    assert pages(market, "XUSDT", "3d")[0][0] == START


def test_a_recording_is_unfinished_while_the_clock_stands_inside_it(tmp_path: Path) -> None:
    """Rows after the clock do not exist yet, the one around it has only part of its volume."""
    record(tmp_path, "XUSDT-1h", *(f"{START + n * HOUR},1,2,1,2,8,,,4,," for n in range(5)))
    rows = pages(RecordedMarket.load(tmp_path), "XUSDT", "1h", START + 2 * HOUR + HOUR // 4)
    assert [row[5] for row in rows] == ["8.00000000", "8.00000000", "2.00000000"]
    assert rows[-1][6] == START + 3 * HOUR - 1


GOOD = f"{START},1,2,1,2,3,,,,,"


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        ("BTCUSDT", [GOOD], "not named SYMBOL-TIMEFRAME"),
        ("BTCUSDT-7h", [GOOD], "not named SYMBOL-TIMEFRAME"),
        ("BTCUSDT-1h", [], "holds no candle"),
        ("BTCUSDT-1h", [GOOD, f"{START + HOUR},1,2,1,2"], "line 3: 5 columns instead of 11"),
        ("BTCUSDT-1h", [GOOD, f"{START + HOUR},1,2,1,2,1e5,,,,,"], "line 3: volume is '1e5'"),
        ("BTCUSDT-1h", [GOOD, f"{START + HOUR},1,-2,1,2,1,,,,,"], "line 3: high is '-2'"),
        ("BTCUSDT-1h", [f"{START},1,2,1.123456789,2,1,,,,,"], "line 2: low is '1.123456789'"),
        ("BTCUSDT-1h", [f"{START},1,2,1,,1,,,,,"], "line 2: close is ''"),
        ("BTCUSDT-1h", [f"{START},1,2,1,2.0.1,1,,,,,"], "line 2: close is '2.0.1'"),
        ("BTCUSDT-1h", [f"{START},99999999999,2,1,2,1,,,,,"], "line 2: open is '99999999999'"),
        ("BTCUSDT-1h", [GOOD, GOOD], "line 3: open times have to ascend"),
    ],
)
def test_a_malformed_recording_is_refused_with_file_and_line(
    tmp_path: Path, name: str, rows: list[str], says: str
) -> None:
    """One sentence, before anything is served."""
    record(tmp_path, name, *rows)
    with pytest.raises(ConfigError, match=says) as refused:
        RecordedMarket.load(tmp_path)
    assert name in str(refused.value)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    """Missing, empty, no gzip and another header each say what they are."""
    with pytest.raises(ConfigError, match="is no folder"):
        RecordedMarket.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"holds no SYMBOL-TIMEFRAME\.csv\.gz"):
        RecordedMarket.load(tmp_path)
    record(tmp_path, "BTCUSDT-1h", GOOD, header="time,price")
    with pytest.raises(ConfigError, match="the first line has to be open_time_ms"):
        RecordedMarket.load(tmp_path)
    (tmp_path / "BTCUSDT-1h.csv.gz").write_text("plain")
    with pytest.raises(ConfigError, match="cannot be read as gzip"):
        RecordedMarket.load(tmp_path)


@pytest.fixture(scope="module")
def recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours and days of BTCUSDT alone: the others take a second more to read."""
    folder: Path = tmp_path_factory.mktemp("recordings")
    for name in ("BTCUSDT-1h.csv.gz", "BTCUSDT-1d.csv.gz"):
        (folder / name).symlink_to(shared_data / "binance" / name)
    return folder


def test_the_recorded_hours_come_back_bit_for_bit(recordings: Path) -> None:
    """All eleven columns of 72,866 real candles through pages of 1000."""
    with gzip.open(recordings / "BTCUSDT-1h.csv.gz", "rt") as file:
        recorded = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    market = RecordedMarket.load(recordings)
    served = pages(market, "BTCUSDT", "1h")
    assert len(served) == 72_866
    assert [[float(cell) for cell in row[:11]] for row in served] == recorded
    truth = market.oracle("BTCUSDT", Timeframe("1h"), Window(0, NOW), NOW)
    assert list(truth["open_time"]) == [row[0] for row in recorded]
    for column, name in enumerate(COLUMNS):
        if name not in {"open_time_ms", "close_time_ms"}:
            assert list(truth[name]) == [row[column] for row in recorded]
    assert int((truth["flags"] == CUT_SHORT).sum()) == 12


def test_recorded_months_are_the_sum_of_recorded_days(recordings: Path) -> None:
    """A month's quote volume is larger than one int64 of 1e-8 units and still exact."""
    market = RecordedMarket.load(recordings)
    months, days = pages(market, "BTCUSDT", "1M"), pages(market, "BTCUSDT", "1d")
    assert (len(months), months[0][0]) == (105, parse_utc("2017-08-01"))
    may = [row for row in days if parse_utc("2021-05-01") <= row[0] < parse_utc("2021-06-01")]
    (month,) = [row for row in months if row[0] == parse_utc("2021-05-01")]
    assert len(may) == 31
    for column in (5, 7, 9, 10):
        assert int(month[column].replace(".", "")) == sum(int(row[column].replace(".", "")) for row in may)
    assert int(month[7].replace(".", "")) > 2**63
    assert (month[1], month[4], month[8]) == (may[0][1], may[-1][4], sum(row[8] for row in may))
    assert month[6] - month[0] + 1 == 31 * DAY
