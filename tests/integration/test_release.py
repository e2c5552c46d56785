"""Release: what the validator refused becomes a candle by a person's decision, or a sentence says why not."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from db import candles, coverage, quarantine
from db.engine import reading, writing
from db.revisions import read_revisions
from db.series import WantedSeries, read_series, set_closed_until, set_listing, sync_series
from fetcher.jobqueue import as_series
from fetcher.model import ANOMALY, CANDLE, HOUR, OFF_GRID, CandleBatch, Window, empty_rows
from fetcher.page import Absent, Page
from fetcher.release import Released, candle_of, release
from fetcher.storage import Storage
from fetcher.validation import DataValidator, snap
from fetcher.wire import WIRE, Spoiled, WirePage

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fetcher.model import Rows, Series
    from fetcher.validation import Refused

T0 = 1_704_067_200_000  # 2024-01-01
DAY_WINDOW = Window(T0, T0 + 24 * HOUR)
NOW = T0 + 99 * HOUR


@pytest.fixture
def btc(engine: Engine) -> Series:
    """BTC/USDT 1h from binance, then okx; listed at T0, closed for a day since."""
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1h", HOUR, T0, ("binance", "okx"))], T0)
        set_listing(conn, row.id, T0, T0, "{}")
        set_closed_until(conn, {row.id: DAY_WINDOW.end})
        [row] = read_series(conn)
    return as_series(row)


def wire(*hours: int, **cells: float) -> Rows:
    """Sound hours after T0, with some cells changed: dtype WIRE."""
    rows = np.zeros(len(hours), dtype=WIRE)
    rows["open_time"] = [T0 + hour * HOUR for hour in hours]
    rows["open"], rows["high"], rows["low"], rows["close"] = 10, 12, 9, 11
    rows["volume"], rows["quote_volume"], rows["trades"] = 5, 55, 7
    rows["close_time"] = rows["open_time"] + HOUR - 1
    for name, value in cells.items():
        rows[name] = value
    return rows


def refused(series: Series, rows: Rows, spoiled: tuple[Spoiled, ...] = ()) -> tuple[Refused, ...]:
    """What the validator refuses of a page."""
    return DataValidator().check(WirePage(rows, spoiled), series.grid, DAY_WINDOW, DAY_WINDOW.end).refused


def keep(
    engine: Engine, series: Series, source: str, *, rows: Rows | None = None, bad: tuple[Refused, ...] = ()
) -> None:
    """Commit a page of a source."""
    batch = CandleBatch(series, source, "rest", empty_rows() if rows is None else rows)
    Storage(engine).commit([Page(batch, bad)], [], T0)


def as_candles(rows: Rows) -> Rows:
    """Wire rows as candles to store."""
    made = np.zeros(len(rows), dtype=CANDLE)
    for name in CANDLE.names or ():
        if name != "flags":
            made[name] = rows[name]
    return made


def held(engine: Engine) -> list[quarantine.Quarantined]:
    """Everything in quarantine, oldest first."""
    with reading(engine) as conn:
        return quarantine.listing(conn)[::-1]


def stored(engine: Engine, series: Series) -> Rows:
    """Every candle of the series."""
    with reading(engine) as conn:
        return candles.read(conn, series.id, 0, 2**62)


def intervals(engine: Engine, series: Series) -> list[coverage.Interval]:
    """Its coverage."""
    with reading(engine) as conn:
        return coverage.read_all(conn).get(series.id, [])


def test_a_refused_candle_is_stored_covered_and_marked(engine: Engine, btc: Series) -> None:
    """More taken than was traded, accepted: stored as received, flagged, proven by coverage, gone from what is held."""
    keep(engine, btc, "binance", bad=refused(btc, wire(3, taker_quote=99, volume=math.nan)))
    [row] = held(engine)
    assert row.reason == "taker_share"
    told = Released(row.id, ok=True, message="BTC/USDT 1h 2024-01-01T03:00:00Z stored")
    assert release(engine, [btc], [row.id], NOW) == [told]
    [candle] = stored(engine, btc)
    assert (candle["open_time"], candle["taker_quote"], candle["close"]) == (T0 + 3 * HOUR, 99.0, 11.0)
    assert (math.isnan(candle["volume"]), candle["trades"], candle["flags"]) == (True, 7, ANOMALY)
    [covered] = intervals(engine, btc)
    assert (covered.start_ms, covered.end_ms, covered.state) == (T0 + 3 * HOUR, T0 + 4 * HOUR, "stored")
    assert (covered.rows, covered.route) == (1, "rest")
    assert held(engine)[0].released_ms == NOW
    with reading(engine) as conn:
        assert quarantine.counts(conn) == {}


def test_nothing_is_released_twice(engine: Engine, btc: Series) -> None:
    """The second time a sentence says when it was released; the candle stays as it is."""
    keep(engine, btc, "binance", bad=refused(btc, wire(3, taker_quote=99)))
    first, second = release(engine, [btc], [1, 1], NOW)
    assert (first.ok, second.ok) == (True, False)
    assert "released already" in second.message
    assert len(stored(engine, btc)) == 1


def test_an_off_grid_row_goes_to_its_slot(engine: Engine, btc: Series) -> None:
    """As in February 2018: 14.789 s late, moved to the slot that it belongs to, with both flags."""
    late = as_candles(wire(5))
    late["open_time"] += 14_789
    _, bad = snap(late, late[:0], btc.grid, [])
    keep(engine, btc, "binance", bad=bad)
    assert release(engine, [btc], [1], NOW)[0].ok
    [candle] = stored(engine, btc)
    assert (candle["open_time"], candle["flags"]) == (T0 + 5 * HOUR, ANOMALY | OFF_GRID)


@pytest.mark.parametrize("source", ["binance", "okx"])
def test_a_sound_candle_stays(engine: Engine, btc: Series, source: str) -> None:
    """What is stored passed every check: no refused row of its own source, or of a worse one, takes its place."""
    keep(engine, btc, "binance", rows=as_candles(wire(3, close=9.5)))
    keep(engine, btc, source, bad=refused(btc, wire(3, taker_quote=99)))
    before = (stored(engine, btc).tolist(), intervals(engine, btc))
    [answer] = release(engine, [btc], [1], NOW)
    assert (answer.ok, "a sound candle of the same or a better source" in answer.message) == (False, True)
    assert (stored(engine, btc).tolist(), intervals(engine, btc)) == before
    assert held(engine)[0].released_ms is None


def test_a_worse_sources_candle_is_replaced(engine: Engine, btc: Series) -> None:
    """What binance sent takes the place of okx's candle, row and coverage alike; the old values are not lost."""
    keep(engine, btc, "okx", rows=as_candles(wire(2, 3, 4)))
    keep(engine, btc, "binance", bad=refused(btc, wire(3, taker_quote=99)))
    assert release(engine, [btc], [1], NOW)[0].ok
    sources = stored(engine, btc)["source_id"].tolist()
    assert sources[0] == sources[2] != sources[1]
    assert [each.rows for each in intervals(engine, btc)] == [1, 1, 1]
    with reading(engine) as conn:
        [old] = read_revisions(conn, btc.id, 0, NOW)
    assert (old.taker_quote, old.replaced_ms) == (0.0, NOW)


def test_a_slot_proven_absent_becomes_stored(engine: Engine, btc: Series) -> None:
    """The person knows better than two agreeing answers: the absence around the slot stays."""
    hole = Window(T0 + 2 * HOUR, T0 + 6 * HOUR)
    bad = refused(btc, wire(3, taker_quote=99))
    page = Page(CandleBatch(btc, "binance", "rest", empty_rows()), bad, (Absent(hole, 2, {}),))
    Storage(engine).commit([page], [], T0)
    assert release(engine, [btc], [1], NOW)[0].ok
    assert [(each.start_ms, each.state) for each in intervals(engine, btc)] == [
        (hole.start, "absent"),
        (T0 + 3 * HOUR, "stored"),
        (T0 + 4 * HOUR, "absent"),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"close": math.nan}, "no positive number"),
        ({"high": math.inf}, "no positive number"),
        ({"low": -9.0}, "no positive number"),
        ({"open": 0.0}, "no positive number"),
        ({"quote_volume": math.inf}, "volume below 0 or without bounds"),
        ({"volume": -1.0}, "volume below 0 or without bounds"),
        ({"high": 10.5}, "a high or low that its open and close exceed"),
        ({"low": 10.5}, "a high or low that its open and close exceed"),
        ({"open_time": T0 // 1000}, "outside the time"),
        ({"open_time": T0 * 1000}, "outside the time"),
        ({"open_time": T0 - HOUR}, "outside the time"),
        ({"open_time": DAY_WINDOW.end}, "outside the time"),
    ],
)
def test_what_can_be_no_candle_is_refused(engine: Engine, btc: Series, changes: dict[str, float], words: str) -> None:
    """Prices must be positive numbers, and the slot one that the series can have closed; nothing changes otherwise."""
    bad = refused(btc, wire(3, **changes))
    if not bad:  # only the window or a clock would refuse it: say it by hand
        bad = refused(btc, wire(3, taker_quote=99))
        payload = json.loads(bad[0].payload) | {name: str(value) for name, value in changes.items()}
        bad = (replace(bad[0], payload=json.dumps(payload)),)
    keep(engine, btc, "binance", bad=bad)
    [answer] = release(engine, [btc], [1], NOW)
    assert not answer.ok
    assert words in answer.message
    assert len(stored(engine, btc)) == 0
    assert intervals(engine, btc) == []


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        "[1,2,3]",
        '{"open_time":17040',
        '{"open":1,"high":1,"low":1}',
        '{"open_time":1e999,"open":1,"high":1,"low":1,"close":1,"volume":1,"quote_volume":1,"trades":1,"taker_base":0}',
        "<html>",
    ],
)
def test_a_row_that_nobody_can_read_is_refused(engine: Engine, btc: Series, payload: str) -> None:
    """Raw text of a spoiled row, or a payload cut off: a sentence, never a traceback."""
    keep(engine, btc, "binance", bad=refused(btc, wire(), (Spoiled(None, "malformed", payload),)))
    [answer] = release(engine, [btc], [1], NOW)
    assert (answer.ok, "cannot be read" in answer.message) == (False, True)


def test_unknown_ids_and_series_are_told(engine: Engine, btc: Series) -> None:
    """An id that is not there and a series that the configuration lacks have their own sentences, beside good ones."""
    keep(engine, btc, "binance", bad=refused(btc, wire(3, 4, taker_quote=99)))
    gone, good, alsogood = release(engine, [btc], [99, 2, 1], NOW)
    assert "no quarantined row has the id 99" in gone.message
    assert (gone.ok, good.ok, alsogood.ok) == (False, True, True)
    keep(engine, btc, "binance", bad=refused(btc, wire(5, taker_quote=99)))
    assert "no series of the configuration" in release(engine, [], [3], NOW)[0].message


def test_a_series_without_proof_takes_nothing(engine: Engine, btc: Series) -> None:
    """Before listing and last close are known nothing can be placed."""
    keep(engine, btc, "binance", bad=refused(btc, wire(3, taker_quote=99)))
    [answer] = release(engine, [replace(btc, listed_ms=None)], [1], NOW)
    assert (answer.ok, "run the fetcher first" in answer.message) == (False, True)


def test_the_pure_part_alone(btc: Series) -> None:
    """Deciding needs no database: a quarantined row and a series make a candle."""
    [bad] = refused(btc, wire(7, taker_quote=99))
    row = quarantine.Quarantined(1, btc.id, 1, "rest", bad.open_time, bad.reason, bad.payload, T0, 1, T0, None)
    [candle] = candle_of(row, btc)
    assert (candle["open_time"], candle["quote_volume"], candle["taker_base"]) == (T0 + 7 * HOUR, 55.0, 0.0)
