"""Recorded Binance candles, served by the sandbox, arrive bit for bit, and every hole in them is proven."""

from __future__ import annotations

import gzip
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fetcher.clock import parse_utc
from fetcher.model import ANOMALY, CANDLE, CUT_SHORT, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from tests.integration.world import as_candles, market, open_world, same_candles, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fetcher.model import Rows
    from tests.integration.world import World

pytestmark = pytest.mark.usefixtures("database")


def recorded(folder: Path, symbol: str, timeframe: str) -> Rows:
    """A recording as candles, read by itself: empty cells are the zeros that the sandbox serves for them."""
    with gzip.open(folder / "binance" / f"{symbol}-{timeframe}.csv.gz", "rt") as file:
        lines = [line.rstrip("\n").split(",") for line in file][1:]
    rows = np.zeros(len(lines), dtype=CANDLE)
    for name, place in {"open_time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}.items():
        rows[name] = [float(line[place]) if place else int(line[place]) for line in lines]
    for name, place in {"quote_volume": 7, "trades": 8, "taker_base": 9, "taker_quote": 10}.items():
        rows[name] = [float(line[place] or 0) if name != "trades" else int(line[place] or 0) for line in lines]
    step = Timeframe(timeframe).ms
    closes = np.array([int(line[6]) if line[6] else int(line[0]) + step - 1 for line in lines])
    rows["flags"] = np.where(closes != rows["open_time"] + step - 1, CUT_SHORT, 0)
    return rows


def published_gaps(folder: Path) -> list[Window]:
    """The outages of BTCUSDT 1h as the recordings' index lists them."""
    index = (folder / "INDEX.md").read_text(encoding="utf-8").replace("\n", " ")
    listed = re.search(r"BTCUSDT 1h gaps \(start, hours\): (.*?)\.\s", index)
    assert listed is not None
    found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d) \((\d+)\)", listed[1])
    return [Window(start := parse_utc(moment), start + int(hours) * HOUR) for moment, hours in found]


@pytest.fixture
def recordings(shared_data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world that serves the recordings, at the moment that the test is parametrised with."""
    with open_world(tmp_path, "--data", str(shared_data / "binance"), "--clock", request.param) as world:
        yield world


def assert_evidence(world: World, symbol: str, timeframe: str) -> None:
    """Every absence names its source and at least two answers in which the neighbours came back."""
    for gap in world.coverage(symbol, timeframe):
        if gap.state == "absent":
            assert gap.answers is not None
            assert gap.answers >= 2
            proof = json.loads(gap.evidence or "")
            assert proof["source"] == "binance"
            assert all(len(answer["came_back"]) == 2 for answer in proof["answers"])
            assert gap.recheck_at is not None


def assert_silent(world: World, asked: Window) -> None:
    """A second backfill asks for no candle."""
    world.sandbox.clear_log()
    assert world.backfill(asked).outcome is Outcome.OK
    assert world.klines() == []


@pytest.mark.parametrize("recordings", ["2026-04-30T04:00:05Z"], indirect=True)
def test_eight_years_of_hours(recordings: World, shared_data: Path) -> None:
    """One backfill of BTC/USDT 1h stores every recorded candle and proves exactly the 27 published outages."""
    world, asked = recordings, window("2018-01-01", "2026-05-01")
    world.configure(market("BTC/USDT", "1h", "2018-01-01"))
    assert world.backfill(asked).outcome is Outcome.OK
    stored, true = world.rows("BTC/USDT", "1h"), recorded(shared_data, "BTCUSDT", "1h")
    assert same_candles(stored, true)
    assert np.count_nonzero(stored["flags"] & CUT_SHORT) == 12
    assert np.count_nonzero(stored["volume"] == 0) == np.count_nonzero(true["volume"] == 0) > 0
    gaps = published_gaps(shared_data)
    assert (len(gaps), sum(gap.span for gap in gaps)) == (27, 122 * HOUR)
    assert world.absent("BTC/USDT", "1h") == gaps
    assert_evidence(world, "BTC/USDT", "1h")
    assert world.query("SELECT count(*) FROM gaps") == [(0,)]
    assert_silent(world, asked)


@pytest.mark.parametrize("recordings", ["2021-05-14T20:25:05Z"], indirect=True)
def test_two_markets_of_minutes(recordings: World, shared_data: Path) -> None:
    """Two markets at 1m: both outages of 2021 to the minute, and the last row, open when recorded, is not stored."""
    world, asked = recordings, window("2021-04-02", "2021-05-15")
    world.configure(market("BTC/USDT ETH/USDT", "1m", "2021-04-02"))
    assert world.backfill(asked).outcome is Outcome.OK
    now = parse_utc("2021-05-14T20:25:05Z")
    outages = [("2021-04-20T02:00", 150), ("2021-04-25T04:01", 284)]
    expected = [Window(at := parse_utc(start), at + minutes * MINUTE) for start, minutes in outages]
    for symbol in ("BTC/USDT", "ETH/USDT"):
        true = recorded(shared_data, symbol.replace("/", ""), "1m")
        closed = true[true["open_time"] + MINUTE <= now]
        assert len(closed) < len(true)
        assert same_candles(world.rows(symbol, "1m"), closed)
        assert world.absent(symbol, "1m") == expected
        assert_evidence(world, symbol, "1m")
    assert_silent(world, asked)


@pytest.mark.parametrize(
    ("recordings", "symbol", "timeframe", "listed"),
    [
        ("2021-05-14T20:26:05Z", "SLP/USDT", "1m", "2021-04-30T12:00"),
        ("2021-05-13T13:25:05Z", "ALICE/USDT", "5m", "2021-03-15T06:00"),
    ],
    indirect=["recordings"],
)
def test_listing(recordings: World, shared_data: Path, symbol: str, timeframe: str, listed: str) -> None:
    """A market is complete from its listing on, its first spike is kept, and nothing is asked before it."""
    world, listed_ms = recordings, parse_utc(listed)
    now, step = world.sandbox.config()["now_ms"], Timeframe(timeframe).ms
    world.configure(market(symbol, timeframe, "2019-01-01"))
    assert world.run().outcome is Outcome.OK
    true = recorded(shared_data, symbol.replace("/", ""), timeframe)
    stored = world.rows(symbol, timeframe)
    assert same_candles(stored, true[true["open_time"] + step <= now])
    assert stored["open_time"][0] == listed_ms
    assert stored["flags"][0] & ANOMALY or stored["high"][0] < 3 * stored["low"][0]
    probes = [asked for asked in world.klines() if asked.start == 0]
    assert len(probes) == 2
    assert all(asked.start is not None and asked.start >= listed_ms for asked in world.klines() if asked not in probes)
    assert_silent(world, window("2019-01-01", "2021-05-15"))


@pytest.mark.parametrize("recordings", ["2021-05-14T20:25:05Z"], indirect=True)
def test_listing_spike(recordings: World) -> None:
    """ALICE/USDT went from 0.1 to 60 and back to 17 in five minutes: stored as it was, flagged, not refused."""
    recordings.configure(market("ALICE/USDT", "5m", "2021-03-15"))
    recordings.backfill(window("2021-03-15", "2021-03-16"))
    first = recordings.rows("ALICE/USDT", "5m")[0]
    assert (first["low"], first["high"]) == (0.1, 60.0)
    assert first["flags"] & ANOMALY
    assert recordings.query("SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parametrize("recordings", ["2026-04-28T12:00:05Z", "2026-04-30T04:00:05Z"], indirect=True)
def test_coarse_timeframes(recordings: World, shared_data: Path) -> None:
    """Days, three days from the listing day on, weeks from Monday on, and months added up from days are all right."""
    world = recordings
    now = world.sandbox.config()["now_ms"]
    world.configure(market("BTC/USDT", "1d 3d 1w 1M", "2017-01-01"))
    assert world.run().outcome is Outcome.OK
    for timeframe in ("1d", "3d", "1w"):
        true = recorded(shared_data, "BTCUSDT", timeframe)
        closed = true[true["open_time"] + Timeframe(timeframe).ms <= now]
        assert same_candles(world.rows("BTC/USDT", timeframe), closed)
        assert world.absent("BTC/USDT", timeframe) == []
    assert world.series("BTC/USDT", "3d").anchor_ms == parse_utc("2017-08-17")
    months = months_of(recorded(shared_data, "BTCUSDT", "1d"), now)
    assert same_candles(world.rows("BTC/USDT", "1M"), months, flags=False)


def months_of(days: Rows, now: int) -> Rows:
    """Closed months, added up from the decimals that the days were recorded as."""
    number = days["open_time"].astype("datetime64[ms]").astype("datetime64[M]")
    made = []
    for month in np.unique(number):
        part = days[number == month]
        closes = int((month + 1).astype("datetime64[ms]").astype(np.int64))
        if closes > now:
            continue
        row = as_candles(part[:1])
        row["open_time"] = month.astype("datetime64[ms]").astype(np.int64)
        row["high"], row["low"], row["close"] = part["high"].max(), part["low"].min(), part["close"][-1]
        row["trades"] = part["trades"].sum()
        for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
            row[name] = float(sum(Decimal(repr(float(value))) for value in part[name]))
        made.append(row)
    return np.concatenate(made)
