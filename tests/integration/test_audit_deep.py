"""`audit --deep` on recorded candles: what the exchange itself contradicts is told, and nothing else."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from db import candles, coverage
from db.engine import reading, writing
from db.series import WantedSeries, read_series, sync_series
from fetcher.audit import AuditReport, audit
from fetcher.audit_deep import compare, pairs
from fetcher.clock import format_utc, parse_utc
from fetcher.gaps import GapDetector
from fetcher.jobqueue import as_series
from fetcher.model import CANDLE, DAY, HOUR, MINUTE, TIMEFRAMES, Series, Timeframe, Window

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from fetcher.model import Rows

COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "",
    "quote_volume",
    "trades",
    "taker_base",
    "taker_quote",
)


def recorded(path: Path) -> Rows:
    """A recorded series: dtype CANDLE, without its last row, which may have been open."""
    with gzip.open(path, "rt", encoding="ascii") as text:
        cells = list(zip(*list(csv.reader(text))[1:-1], strict=True))
    rows = np.zeros(len(cells[0]), dtype=CANDLE)
    for name, column in zip(COLUMNS, cells, strict=True):
        if name:
            unknown = "-1" if name == "trades" else "nan"
            rows[name] = np.array([cell or unknown for cell in column]).astype(CANDLE[name])
    return rows


def store(engine: Engine, folder: Path, symbol: str, names: dict[str, Window | None]) -> list[Series]:
    """Put recordings (whole, or a window of them) into the database with their coverage, gaps proven absent."""
    wanted = [WantedSeries(symbol, name, Timeframe(name).ms, 0, ("binance",)) for name in names]
    with writing(engine) as conn:
        sync_series(conn, wanted, 0)
        all_series = [as_series(row) for row in read_series(conn)]
        for series in all_series:
            rows = recorded(folder / f"{symbol.replace('/', '')}-{series.timeframe}.csv.gz")
            part = names[series.timeframe.name]
            if part is not None:
                rows = rows[(rows["open_time"] >= part.start) & (rows["open_time"] < part.end)]
            candles.insert(conn, series.id, 1, rows)
            grid = series.grid
            whole = Window(int(rows["open_time"][0]), grid.next(int(rows["open_time"][-1])))
            runs = GapDetector(grid).runs(rows["open_time"])
            known = [coverage.Interval(w.start, w.end, "stored", grid.count(w), 1, "rest") for w in runs]
            known += [
                coverage.Interval(w.start, w.end, "absent", 0, 1, "rest", "{}", 2, 0, 0)
                for w in GapDetector(grid).missing(whole, runs)
            ]
            coverage.cover(conn, series.id, known, lambda a, b, grid=grid: grid.count(Window(a, b)))  # type: ignore[misc]  # a lambda's default has no type
    return all_series


def opens(report: AuditReport) -> list[str]:
    """Where parents disagree."""
    assert {finding.kind for finding in report.findings} <= {"parent_disagrees"}
    assert report.sound
    return [format_utc(finding.start_ms) for finding in report.findings]


def test_hours_that_their_minutes_do_not_make(engine: Engine, shared_data: Path) -> None:
    """Of a thousand hours of 2021, three were restated in one timeframe only; outages of minutes disturb nothing."""
    span = Window(parse_utc("2021-04-01"), parse_utc("2021-05-15"))
    all_series = store(engine, shared_data / "binance", "BTC/USDT", {"1m": None, "1h": span})
    report = audit(engine, all_series, deep=True)
    assert opens(report) == ["2021-04-22T02:00:00Z", "2021-04-23T01:00:00Z", "2021-04-23T02:00:00Z"]
    assert all("volume is" in finding.message for finding in report.findings)


def test_a_four_hour_open_that_is_not_its_first_hours(engine: Engine, shared_data: Path) -> None:
    """After the halt of 2023-03-24 the 4h candle opened at another price than its first hour."""
    span = Window(parse_utc("2023-03-01"), parse_utc("2023-04-01"))
    all_series = store(engine, shared_data / "binance", "BTC/USDT", {"1h": span, "4h": span})
    report = audit(engine, all_series, deep=True)
    assert opens(report) == ["2023-03-24T12:00:00Z"]
    assert "open is 28079.99, they make 28080" in report.findings[0].message


def test_deep_reads_in_bounded_parts(engine: Engine, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts find what large ones find, and no read of children is larger than its bound."""
    span = Window(parse_utc("2021-04-20"), parse_utc("2021-04-24"))
    all_series = store(engine, shared_data / "binance", "BTC/USDT", {"1m": span, "1h": span})
    monkeypatch.setattr("fetcher.audit_deep.CHILD_ROWS", 150)
    read, sizes = candles.read, list[int]()

    def watched(*asked: int) -> Rows:
        rows = read(*asked)  # type: ignore[arg-type]  # whatever it is called with
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(candles, "read", watched)
    assert len(opens(audit(engine, all_series, deep=True))) == 3
    assert 0 < max(sizes) <= 150


def series(number: int, name: str, symbol: str = "BTC/USDT", anchor: int | None = None) -> Series:
    """A series for pairing."""
    return Series(number, symbol, Timeframe(name), 0, ("binance",), anchor_ms=anchor)


def test_each_parent_has_the_longest_children_that_fit() -> None:
    """8h does not make 12h, months are made of days and not of weeks, another symbol's candles make nothing."""
    all_series = [series(n, name, anchor=2 * DAY if name == "3d" else None) for n, name in enumerate(TIMEFRAMES)]
    found = {
        str(parent.timeframe): str(child.timeframe) for parent, child in pairs([*all_series, series(99, "1h", "X/Y")])
    }
    assert found == {
        "3m": "1m", "5m": "1m", "15m": "5m", "30m": "15m", "1h": "30m", "2h": "1h", "4h": "2h", "6h": "2h", "8h": "4h",
        "12h": "6h", "1d": "12h", "3d": "1d", "1w": "1d", "1M": "1d",
    }  # fmt: skip
    assert pairs([series(1, "3d", anchor=HOUR), series(2, "1d")]) == []


def hour_and_minutes() -> tuple[Rows, Rows]:
    """An hour (shape (1,)) and its sixty minutes, dtype STORED_DTYPE, which agree."""
    minutes = np.zeros(60, dtype=candles.STORED_DTYPE)
    minutes["open_time"] = np.arange(60) * MINUTE
    for place, name in enumerate(
        ("open", "high", "low", "close", "volume", "quote_volume", "taker_base", "taker_quote")
    ):
        minutes[name] = 10 * place + np.arange(60) / 7
    minutes["trades"] = 3
    hour = minutes[:1].copy()
    hour["high"], hour["low"], hour["close"] = minutes["high"].max(), minutes["low"].min(), minutes["close"][-1]
    for name in ("volume", "quote_volume", "taker_base", "taker_quote", "trades"):
        hour[name] = minutes[name].sum()
    return hour, minutes


@pytest.mark.parametrize(
    "column", ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_base", "taker_quote"]
)
def test_every_column_is_compared(column: str) -> None:
    """A parent that differs in one column is told with that column and both values; rounding of sums is not told."""
    hour, minutes = hour_and_minutes()
    closes = np.array([HOUR], dtype=np.int64)
    assert compare(hour, closes, minutes) == []
    if column.endswith(("volume", "base", "quote")):
        hour[column] *= 1 + 1e-11
        assert compare(hour, closes, minutes) == []
    true = float(hour[column][0])
    hour[column] += 1
    [(place, number, [(name, ours, theirs)])] = compare(hour, closes, minutes)
    assert (place, number, name, ours) == (0, 60, column, true + 1)
    assert theirs == pytest.approx(true)


def test_what_is_unknown_or_another_sources_is_not_compared() -> None:
    """A child without quote volume or trade count, and a child of another source, contradict nobody."""
    hour, minutes = hour_and_minutes()
    closes = np.array([HOUR], dtype=np.int64)
    minutes["quote_volume"][7], minutes["trades"][8] = np.nan, -1
    hour["quote_volume"], hour["trades"] = 1.0, 1
    assert compare(hour, closes, minutes) == []
    hour["volume"] += 1
    assert len(compare(hour, closes, minutes)) == 1
    minutes["source_id"][5] = 2
    assert compare(hour, closes, minutes) == []
    assert compare(hour, closes, minutes[:0]) == []


def test_a_coverage_in_pieces_counts_as_one(engine: Engine, shared_data: Path) -> None:
    """Whether children are complete does not depend on how many intervals say so."""
    span = Window(parse_utc("2021-04-23"), parse_utc("2021-04-24"))
    all_series = store(engine, shared_data / "binance", "BTC/USDT", {"1m": span, "1h": span})
    [minutes] = [each for each in all_series if each.timeframe.name == "1m"]
    with reading(engine) as conn:
        [whole] = coverage.read(conn, minutes.id, span.start, span.end)
    middle = span.start + 90 * MINUTE
    pieces = [replace(whole, end_ms=middle, rows=90), replace(whole, start_ms=middle, rows=1350, route="archive")]
    with writing(engine) as conn:
        coverage.cover(conn, minutes.id, pieces, lambda a, b: (b - a) // MINUTE)
    assert opens(audit(engine, all_series, deep=True)) == ["2021-04-23T01:00:00Z", "2021-04-23T02:00:00Z"]
