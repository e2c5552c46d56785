"""The validator: every named check, what is flagged and kept, and that no row is lost."""

from __future__ import annotations

import csv
import gzip
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import (
    ANOMALY,
    CANDLE,
    CUT_SHORT,
    DAY,
    HOUR,
    MINUTE,
    OFF_GRID,
    SECOND,
    VALUE_COLUMNS,
    Timeframe,
    Window,
    empty_rows,
)
from fetcher.validation import CHECKS, DataValidator, snap
from fetcher.wire import WIRE, Spoiled, WirePage, empty_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fetcher.model import Grid, Rows
    from fetcher.validation import Verdict

HOURLY = Timeframe("1h").grid()
START = 1_614_556_800_000  # 2021-03-01T00:00Z, a Monday and the first of a month
COUNT = 6


def candles(grid: Grid = HOURLY, count: int = COUNT, start: int = START) -> Rows:
    """Sound closed candles on the grid: shape (count,), dtype WIRE."""
    rows = np.zeros(count, dtype=WIRE)
    slots = [grid.advance(start, step) for step in range(count)]
    rows["open_time"] = slots
    rows["close_time"] = [grid.next(slot) - 1 for slot in slots]
    rows["open"], rows["high"], rows["low"], rows["close"] = 10.0, 12.0, 9.0, 11.0
    rows["volume"], rows["quote_volume"], rows["taker_base"], rows["taker_quote"] = 5.0, 50.0, 2.0, 20.0
    rows["trades"] = np.arange(count) + 1
    return rows


def judge(rows: Rows, grid: Grid = HOURLY, proven_ms: int | None = START + 400 * DAY) -> Verdict:
    """The verdict on rows asked for from START on, wide enough for them all."""
    return DataValidator().check(WirePage(rows), grid, Window(START, START + 400 * DAY), proven_ms)


def put(column: str, value: float) -> Callable[[Rows], None]:
    """A change of one cell of the third row."""

    def change(rows: Rows) -> None:
        rows[column][2] = value

    return change


def repeat(change: float) -> Callable[[Rows], None]:
    """Make the third row the second one again, its volume changed."""

    def apply(rows: Rows) -> None:
        rows[2] = rows[1]
        rows["volume"][2] += change

    return apply


PROVEN = START + COUNT * HOUR + 30 * MINUTE  # in the middle of the candle after the last sound one

BAD_ROWS: dict[str, list[Callable[[Rows], None]]] = {
    "time_unit": [put("open_time", START // SECOND), put("open_time", START * 1000), put("open_time", 0)],
    "live": [put("open_time", START + COUNT * HOUR), put("open_time", START + COUNT * HOUR + 29 * MINUTE)],
    "future": [put("open_time", START + (COUNT + 1) * HOUR), put("open_time", START + 300 * DAY)],
    "inside_window": [put("open_time", START - HOUR), put("open_time", START - 1)],
    "finite": [
        *(put(price, value) for price in ("open", "high", "low", "close") for value in (math.nan, math.inf, -math.inf)),
        *(put(amount, math.inf) for amount in ("volume", "quote_volume", "taker_base", "taker_quote")),
    ],
    "positive_price": [put(price, value) for price in ("open", "high", "low", "close") for value in (0.0, -1.0)],
    "ohlc_order": [put("high", 10.5), put("low", 10.5), put("open", 13.0), put("close", 8.0), put("high", 8.5)],
    "volume_sign": [
        *(put(amount, -1e-8) for amount in ("volume", "quote_volume", "taker_base", "taker_quote")),
        put("trades", -2),
    ],
    "taker_share": [put("taker_base", 5.1), put("taker_quote", 50.1)],
    "conflict": [repeat(1.0)],
    "duplicate": [repeat(0.0)],
    "off_grid": [put("open_time", START + 2 * HOUR + 14_789)],
}
CASES = [
    pytest.param(name, change, id=f"{name}-{n}") for name, cases in BAD_ROWS.items() for n, change in enumerate(cases)
]


def test_every_check_has_a_case() -> None:
    """A check without a bad row to show it is not a check."""
    assert list(BAD_ROWS) == list(CHECKS)


@pytest.mark.parametrize(("name", "spoil"), CASES)
def test_a_bad_row_is_told_apart_and_the_rest_kept(name: str, spoil: Callable[[Rows], None]) -> None:
    """One bad row fails the check of its name and no other, and takes no good row with it."""
    rows = candles()
    spoil(rows)
    verdict = judge(rows, proven_ms=PROVEN)
    sound = {START + step * HOUR for step in range(COUNT)} - {START + 2 * HOUR}
    if name == "live":
        assert (verdict.live, verdict.refused) == (1, ())
    elif name == "off_grid":
        assert verdict.off_grid["open_time"].tolist() == [START + 2 * HOUR + 14_789]
        assert verdict.refused == ()
    elif name == "conflict":
        assert [refused.reason for refused in verdict.refused] == ["conflict", "conflict"]
        sound -= {START + HOUR}
    else:
        assert [(refused.reason, refused.open_time) for refused in verdict.refused] == [(name, rows["open_time"][2])]
    assert set(verdict.rows["open_time"].tolist()) == sound


def test_a_clean_page_passes_untouched() -> None:
    """Sound rows come out with every value as it came in and no flag."""
    rows = candles(count=1000)
    verdict = judge(rows)
    assert verdict.rows.dtype == CANDLE
    assert all((verdict.rows[name] == rows[name]).all() for name in ("open_time", *VALUE_COLUMNS))
    assert not verdict.rows["flags"].any()
    assert (len(verdict.off_grid), verdict.refused, verdict.live) == (0, (), 0)


def test_an_empty_page_is_judged_empty() -> None:
    """No rows in, no rows out, nothing refused."""
    verdict = DataValidator().check(empty_page(), HOURLY, Window(START, START + HOUR), PROVEN)
    assert (len(verdict.rows), len(verdict.off_grid), verdict.refused, verdict.live) == (0, 0, (), 0)


def test_a_shuffled_page_is_sorted() -> None:
    """The order of rows on the wire is no reason to refuse any."""
    verdict = judge(candles()[[3, 0, 5, 1, 4, 2]])
    assert verdict.rows["trades"].tolist() == [1, 2, 3, 4, 5, 6]
    assert verdict.refused == ()


def test_unknown_volumes_and_counts_are_sound() -> None:
    """A source that tells no volume or trade count is believed in the rest, and its gaps stay unknown."""
    rows = candles()
    for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
        rows[name] = math.nan
    rows["trades"], rows["close_time"] = -1, -1
    verdict = judge(rows)
    assert len(verdict.rows) == COUNT
    assert np.isnan(verdict.rows["volume"]).all()
    assert not verdict.rows["flags"].any()


def test_a_flat_candle_without_trades_is_sound() -> None:
    """Zero volume beside real candles is how an exchange says that nobody traded."""
    rows = candles()
    for name in ("open", "high", "low", "close"):
        rows[name] = 10.0
    for name in ("volume", "quote_volume", "trades", "taker_base", "taker_quote"):
        rows[name] = 0
    assert len(judge(rows).rows) == COUNT


@pytest.mark.parametrize(
    ("proven_ms", "closed", "live", "future"),
    [
        pytest.param(START + 3 * HOUR - 1, 2, 2, 2, id="last ms of the third"),
        pytest.param(START + 3 * HOUR, 3, 1, 2, id="third just closed"),
        pytest.param(START + COUNT * HOUR, 6, 0, 0, id="all closed"),
        pytest.param(START - 1, 0, 1, 5, id="before the first"),
        pytest.param(START - 2 * MINUTE, 0, 0, 6, id="long before the first"),
        pytest.param(None, 0, 6, 0, id="no clock"),
    ],
)
def test_only_candles_closed_by_the_source_clock_are_kept(
    proven_ms: int | None, closed: int, live: int, future: int
) -> None:
    """A candle is closed from the very millisecond of its end on, and without a clock none is.

    One that begins while the answer is on its way is live, not from the future.
    """
    verdict = judge(candles(), proven_ms=proven_ms)
    assert (len(verdict.rows), verdict.live) == (closed, live)
    assert [refused.reason for refused in verdict.refused] == ["future"] * future


def test_a_live_row_is_dropped_before_its_values_are_judged() -> None:
    """What is still moving may look like anything and is no reason for quarantine."""
    rows = candles()
    rows["high"][-1] = math.nan
    verdict = judge(rows, proven_ms=START + COUNT * HOUR - 1)
    assert (len(verdict.rows), verdict.live, verdict.refused) == (COUNT - 1, 1, ())


def test_an_off_grid_row_closes_as_late_as_it_opened() -> None:
    """A candle opened 14.789 s after its slot is live until 14.789 s after the slot's end."""
    rows = candles()
    rows["open_time"] += 14_789
    end = START + COUNT * HOUR
    assert judge(rows, proven_ms=end + 14_788).live == 1
    assert len(judge(rows, proven_ms=end + 14_789).off_grid) == COUNT


@pytest.mark.parametrize("name", ["1m", "1d", "1w", "1M", "3d"])
def test_closing_follows_the_calendar_of_each_grid(name: str) -> None:
    """Months of any length, Mondays and anchored days close when their own next slot begins."""
    grid = Timeframe(name).grid(START)
    rows = candles(grid)
    last = int(rows["open_time"][-1])
    assert judge(rows, grid, grid.next(last)).live == 0
    verdict = judge(rows, grid, grid.next(last) - 1)
    assert (verdict.live, len(verdict.rows)) == (1, COUNT - 1)
    assert not verdict.rows["flags"].any()


def test_a_candle_cut_short_by_a_halt_is_flagged_and_kept() -> None:
    """An early close time marks the candle, not a refusal."""
    rows = candles()
    rows["close_time"][3] = rows["open_time"][3] + 14_838
    assert judge(rows).rows["flags"].tolist() == [0, 0, 0, CUT_SHORT, 0, 0]


def test_a_listing_spike_is_flagged_and_kept() -> None:
    """0.1 to 60 within one candle is how listings look: kept, and marked for whoever charts it."""
    rows = candles()
    rows["low"][0], rows["open"][0], rows["high"][0], rows["close"][0] = 0.1, 0.1, 60.0, 17.0
    verdict = judge(rows)
    assert verdict.rows["flags"].tolist() == [ANOMALY, 0, 0, 0, 0, 0]
    assert verdict.rows["high"][0] == 60.0


@pytest.mark.parametrize("factor", [4.0, 0.2])
def test_a_jump_between_candles_is_flagged_and_kept(factor: float) -> None:
    """An open beyond threefold the close before, up or down, marks the row after the jump."""
    rows = candles()
    for name in ("open", "high", "low", "close"):
        rows[name][4:] *= factor
    assert judge(rows).rows["flags"].tolist() == [0, 0, 0, 0, ANOMALY, 0]


def test_a_broken_twin_does_not_make_a_sound_row_doubtful() -> None:
    """Of two rows for one slot, one impossible by itself, the sound one stays."""
    rows = candles()
    rows[2] = rows[1]
    rows["high"][2] = math.nan
    verdict = judge(rows)
    assert [refused.reason for refused in verdict.refused] == ["finite"]
    assert START + HOUR in verdict.rows["open_time"]


def test_of_three_rows_for_one_slot_a_single_difference_refuses_all() -> None:
    """Nobody can say which of disagreeing rows is the candle."""
    rows = candles()
    rows[2] = rows[1]
    rows[3] = rows[1]
    rows["close"][3] = 10.5
    assert [refused.reason for refused in judge(rows).refused] == ["conflict"] * 3


def test_a_row_that_could_not_be_decoded_is_refused_with_its_text() -> None:
    """What the client could not read reaches quarantine as it came."""
    page = WirePage(candles(), (Spoiled(None, "malformed", '["?"]'),))
    verdict = DataValidator().check(page, HOURLY, Window(START, START + DAY), PROVEN)
    assert [(row.open_time, row.reason, row.payload) for row in verdict.refused] == [(None, "malformed", '["?"]')]
    assert len(verdict.rows) == COUNT


def test_a_refused_row_is_kept_as_strict_json() -> None:
    """The payload names each column, keeps what JSON cannot say as words, and stays short."""
    rows = candles()
    rows["high"][2] = math.nan
    (refused,) = judge(rows).refused
    cells = json.loads(refused.payload, parse_constant=pytest.fail)
    assert (cells["open_time"], cells["high"], cells["low"], cells["trades"]) == (START + 2 * HOUR, "nan", 9.0, 3)
    assert len(refused.payload) <= 1000


def shifted(*steps: int, by: int = 14_789) -> Rows:
    """Off-grid candidates, as a verdict holds them."""
    rows = candles()[list(steps)]
    rows["open_time"] += by
    return judge(rows).off_grid


def test_a_confirmed_off_grid_row_takes_its_free_slot() -> None:
    """Said twice and with room: stored at its slot, flagged, and its raw open time kept in quarantine."""
    rows, refused = snap(shifted(1, 2), shifted(1, 2, 3), HOURLY, taken=[])
    assert rows["open_time"].tolist() == [START + HOUR, START + 2 * HOUR]
    assert (rows["flags"] == OFF_GRID).all()
    assert rows["trades"].tolist() == [2, 3]
    assert [(row.reason, row.open_time) for row in refused] == [
        ("off_grid", START + HOUR + 14_789),
        ("off_grid", START + 2 * HOUR + 14_789),
    ]


def test_an_off_grid_row_never_displaces_another() -> None:
    """A slot that has a row, or was just given to an earlier candidate, is not free."""
    twice = np.concatenate([shifted(2), shifted(2, by=20_000)])
    rows, refused = snap(
        np.concatenate([shifted(1), twice]), np.concatenate([shifted(1), twice]), HOURLY, [START + HOUR]
    )
    assert rows["open_time"].tolist() == [START + 2 * HOUR]
    assert len(refused) == 3


def test_an_off_grid_row_that_is_not_repeated_exactly_is_only_quarantined() -> None:
    """Another value, another time or no second answer confirm nothing."""
    changed = shifted(1)
    changed["close"] = 10.5
    for second in (changed, shifted(1, by=14_790), empty_rows()):
        rows, refused = snap(shifted(1), second, HOURLY, taken=[])
        assert len(rows) == 0
        assert len(refused) == 1


CELLS = st.sampled_from([0.0, -1.0, 9.0, 10.0, 30.0, 60.0, math.nan, math.inf])
ROW = st.tuples(
    st.integers(-1, COUNT + 2),
    st.sampled_from([0, 0, 0, 14_789, -START, START]),
    st.dictionaries(st.sampled_from(["open", "high", "low", "close", "volume", "taker_quote"]), CELLS, max_size=2),
)


@given(
    st.lists(ROW, max_size=30),
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(START - HOUR, START + COUNT * HOUR)),
    st.sampled_from(["1m", "1h", "1d", "1M"]),
)
def test_nothing_received_is_lost_or_told_twice(
    drawn: list[tuple[int, int, dict[str, float]]], unreadable: int, proven_ms: int | None, name: str
) -> None:
    """Whatever a page holds, kept + off the grid + refused + live are exactly the rows received."""
    grid = Timeframe(name).grid()
    rows = candles(count=len(drawn))
    for row, (step, shift, changes) in zip(rows, drawn, strict=True):
        row["open_time"] = grid.advance(START, step) + shift
        for column, value in changes.items():
            row[column] = value
    spoiled = (Spoiled(None, "malformed", "[]"),) * unreadable
    window = Window(START, START + 2 * DAY)
    verdict = DataValidator().check(WirePage(rows, spoiled), grid, window, proven_ms)

    kept = verdict.rows["open_time"].tolist()
    placed = [*kept, *verdict.off_grid["open_time"].tolist(), *(r.open_time for r in verdict.refused if r.open_time)]
    received = rows["open_time"].tolist()
    assert len(kept) + len(verdict.off_grid) + len(verdict.refused) + verdict.live == len(drawn) + unreadable
    assert all(placed.count(time) <= received.count(time) for time in placed if time)
    assert kept == sorted(set(kept))
    assert all(grid.floor(time) == time and time in range(window.start, window.end) for time in kept)
    assert all(proven_ms is not None and grid.next(time) <= proven_ms for time in kept)


def recorded(path: Path) -> Rows:
    """A recorded series as its source sent it, dtype WIRE; empty cells unknown."""
    columns = ("open_time", *VALUE_COLUMNS[:5], "close_time", *VALUE_COLUMNS[5:])
    unknown = {"close_time": -1, "trades": -1}
    with gzip.open(path, "rt", encoding="ascii") as text:
        lines = list(csv.reader(text))[1:]
    rows = np.empty(len(lines), dtype=WIRE)
    for name, cells in zip(columns, zip(*lines, strict=True), strict=True):
        rows[name] = np.array([cell or unknown.get(name, math.nan) for cell in cells]).astype(WIRE[name])
    return rows


@pytest.mark.parametrize(
    ("name", "cut_short", "anomalies"),
    [
        ("BTCUSDT-1h", 12, []),
        ("BTCUSDT-4h", 21, []),
        ("BTCUSDT-1d", 1, []),
        ("BTCUSDT-3d", 0, []),
        ("BTCUSDT-1w", 0, []),
        ("BTCUSDT-1m", 0, []),
        ("ETHUSDT-1h", 12, []),
        ("ETHUSDT-1d", 1, []),
        ("ETHUSDT-1m", 0, []),
        ("SLPUSDT-1m", 0, []),
        ("ALICEUSDT-5m", 0, [1_615_788_000_000]),
    ],
)
def test_every_recorded_candle_is_kept(shared_data: Path, name: str, cut_short: int, anomalies: list[int]) -> None:
    """Real history passes whole, with halts and the one listing spike flagged and nothing else."""
    rows = recorded(shared_data / "binance" / f"{name}.csv.gz")
    grid = Timeframe(name.partition("-")[2]).grid(int(rows["open_time"][0]))
    window = Window(int(rows["open_time"][0]), grid.next(int(rows["open_time"][-1])))
    verdict = DataValidator().check(WirePage(rows), grid, window, window.end)
    assert (len(verdict.rows), verdict.live, verdict.refused) == (len(rows), 0, ())
    assert np.count_nonzero(verdict.rows["flags"] & CUT_SHORT) == cut_short
    assert verdict.rows["open_time"][verdict.rows["flags"] & ANOMALY != 0].tolist() == anomalies
