"""A database as years of work leave it, made in a minute: candles, coverage and jobs given up, straight into tables.

However many rows there are, there are as many series, intervals and jobs: what is looked at in `scale` may differ in
the number of candles alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from db import candles, coverage, jobs, series
from db.engine import writing
from db.series import WantedSeries
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import CANDLE, DAY, Timeframe, Window
from tests.bench.places import engine_of
from tests.bench.size import COINS
from tests.bench.stage import market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from db.coverage import Interval
    from tests.bench.places import Place

SYMBOLS = COINS[:10]
TIMEFRAMES = ("1m", "5m")
SERIES = len(SYMBOLS) * len(TIMEFRAMES)
_BLOCKS = 16  # of stored candles in each series, with a hole before each but the first
_HOLE = 30  # slots: proven absent and given up in turns
_ROWS_AT_ONCE = 50_000
_EVIDENCE = json.dumps({"source": "binance", "answers": 3})
_MARKETS_END = parse_utc("2026-06-01")


@dataclass(frozen=True, slots=True)
class Filled:
    """What was made: the configuration's markets, and how many rows and intervals."""

    markets: list[dict[str, object]]
    rows: int
    intervals: int


def fill(place: Place, rows: int) -> Filled:
    """Fill an empty database with so many candles, which end at 2026-06-01."""
    with engine_of(place) as engine:
        per_series = rows // SERIES // _BLOCKS * _BLOCKS
        slots = per_series + (_BLOCKS - 1) * _HOLE
        starts = {name: _MARKETS_END - slots * Timeframe(name).ms for name in TIMEFRAMES}
        wanted = [
            WantedSeries(symbol, name, Timeframe(name).ms, starts[name], ("binance",))
            for name in TIMEFRAMES
            for symbol in SYMBOLS
        ]
        with writing(engine) as connection:
            known = series.sync_series(connection, wanted, Clock().now_ms())
            source = series.source_ids(connection)["binance"]
        intervals = 0
        for row in known:
            step = row.timeframe_ms
            blocks = list(_blocks(row.wanted_start_ms, per_series // _BLOCKS * step, _HOLE * step))
            for window in blocks:
                for part in _parts(window, _ROWS_AT_ONCE * step):
                    with writing(engine) as connection:
                        candles.insert(connection, row.id, source, _candles(part, step, row.id), fresh=True)
            with writing(engine) as connection:
                intervals += _explain(connection, row, source, blocks)
    return Filled(
        [market(SYMBOLS, [name], format_utc(starts[name])) for name in TIMEFRAMES], per_series * SERIES, intervals
    )


def _blocks(start: int, span: int, hole: int) -> Iterator[Window]:
    for number in range(_BLOCKS):
        at = start + number * (span + hole)
        yield Window(at, at + span)


def _parts(window: Window, span: int) -> Iterator[Window]:
    for start in range(window.start, window.end, span):
        yield Window(start, min(start + span, window.end))


def _candles(window: Window, step: int, seed: int) -> candles.Rows:
    """Plausible candles of every slot."""
    times = np.arange(window.start, window.end, step, dtype=np.int64)
    rng = np.random.default_rng(seed)
    made = np.zeros(len(times), dtype=CANDLE)
    price = np.round(100 + rng.random(len(times)) * 10, 2)
    made["open_time"], made["open"], made["close"] = times, price, np.roll(price, -1)
    made["high"] = np.maximum(made["open"], made["close"]) + 1
    made["low"] = np.minimum(made["open"], made["close"]) - 1
    for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
        made[name] = np.round(rng.random(len(times)) * 1000, 5)
    made["trades"] = rng.integers(1, 5000, len(times))
    return made


def _explain(connection: Connection, row: series.SeriesRow, source: int, blocks: list[Window]) -> int:
    """Coverage of a series' candles; of its holes half are proven absent, the others given up by a job."""
    now, step = Clock().now_ms(), row.timeframe_ms
    holes = [Window(one.end, other.start) for one, other in pairwise(blocks)]
    absent, lost = holes[::2], holes[1::2]
    stored: list[Interval] = [
        coverage.Interval(w.start, w.end, coverage.STORED, w.span // step, source, "archive") for w in blocks
    ]
    proven: list[Interval] = [
        coverage.Interval(w.start, w.end, coverage.ABSENT, 0, source, "rest", _EVIDENCE, 3, now, now + 30 * DAY)
        for w in absent
    ]
    coverage.cover(connection, row.id, [*stored, *proven], lambda start, end: (end - start) // step)
    given_up = jobs.add(connection, [jobs.NewJob(row.id, "gap", w.start, w.end, 20) for w in lost], now)
    for job in given_up:
        jobs.fail(connection, job, "the archive and the API contradict each other", now)
    series.set_listing(connection, row.id, row.wanted_start_ms - DAY, None, _EVIDENCE)
    series.set_closed_until(connection, {row.id: _MARKETS_END})
    return len(stored) + len(proven)
