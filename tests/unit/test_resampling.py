"""Adding up and filling against the plainest model: one candle at a time, in dictionaries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.candles import STORED_DTYPE
from fetcher.gaps import GapDetector, fits, pages
from fetcher.model import DAY, TIMEFRAMES, Grid, Timeframe, Window
from fetcher.resampling import MIXED, NOBODY, fill, resample, spoiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.model import Rows

T0 = 1_704_067_200_000  # 2024-01-01
SUMS = ("volume", "quote_volume", "taker_base", "taker_quote")
STORED, EMPTY, MISSING = range(3)  # what a slot can be


@st.composite
def steps(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """A grid and a coarser one that its candles fit into, anchored at any day."""
    anchor = draw(st.integers(0, 20_000)) * DAY
    fine, coarse = (Timeframe(draw(st.sampled_from(TIMEFRAMES))).grid(anchor) for _ in range(2))
    if fine == coarse or not fits(fine, coarse) or coarse.next(T0) - T0 > 400 * (fine.next(T0) - fine.floor(T0)):
        return Timeframe("8h").grid(), Timeframe("3d").grid(anchor)
    return fine, coarse


def some_rows(slots: Sequence[int], seed: int) -> Rows:
    """Candles at these slots; unknown values, flags and sources here and there."""
    random = np.random.default_rng(seed)
    rows = np.zeros(len(slots), dtype=STORED_DTYPE)
    rows["open_time"] = slots
    for name in ("open", "high", "low", "close", *SUMS):
        rows[name] = random.random(len(slots)) * 1000
    for name in SUMS:
        rows[name][random.random(len(slots)) < 0.1] = np.nan
    rows["trades"] = random.integers(-1, 5, len(slots))
    rows["flags"] = random.choice([0, 0, 1, 2, 8], len(slots))
    rows["source_id"] = random.choice([1, 1, 1, 2], len(slots))
    return rows


def split(grid: Grid, window: Window, kinds: Sequence[int], seed: int) -> tuple[Rows, list[Window]]:
    """The rows and holes of a window whose slots are of these kinds, in turn."""
    slots = grid.slots(window).tolist()
    of = [kinds[place % len(kinds)] for place in range(len(slots))]
    holes = GapDetector(grid).runs(
        np.array([s for s, k in zip(slots, of, strict=True) if k == MISSING], dtype=np.int64)
    )
    return some_rows([s for s, k in zip(slots, of, strict=True) if k == STORED], seed), holes


def total(values: Sequence[float]) -> float:
    """Their sum, unknown where one is."""
    return math.nan if any(math.isnan(each) for each in values) else math.fsum(values)


def added_up(rows: Rows, fine: Grid, coarse: Grid, window: Window, holes: Sequence[Window]) -> list[dict[str, Any]]:
    """The plain way: for each coarse slot its candles, one by one."""
    missing = {int(slot) for hole in holes for slot in fine.slots(hole)}
    found = []
    for opened in coarse.slots(window).tolist():
        mine = [row for row in rows if opened <= row["open_time"] < coarse.next(opened)]
        if not mine or any(opened <= slot < coarse.next(opened) for slot in missing):
            continue
        trades = [int(row["trades"]) for row in mine]
        sources = {int(row["source_id"]) for row in mine}
        found.append(
            {
                "open_time": opened,
                "open": mine[0]["open"],
                "high": max(row["high"] for row in mine),
                "low": min(row["low"] for row in mine),
                "close": mine[-1]["close"],
                **{name: total([float(row[name]) for row in mine]) for name in SUMS},
                "trades": -1 if -1 in trades else sum(trades),
                "flags": int(np.bitwise_or.reduce([row["flags"] for row in mine])),
                "source_id": sources.pop() if len(sources) == 1 else MIXED,
                "made_of": len(mine),
            }
        )
    return found


@given(steps(), st.lists(st.sampled_from([STORED, STORED, STORED, EMPTY, MISSING]), min_size=1), st.integers(0, 2**32))
def test_candles_add_up(grids: tuple[Grid, Grid], kinds: list[int], seed: int) -> None:
    """Each coarse candle is what its candles make; one of which any is missing, or that has none, is not there."""
    fine, coarse = grids
    window = Window(coarse.ceil(T0), coarse.advance(coarse.ceil(T0), 3))
    rows, holes = split(fine, window, kinds, seed)
    made, counts = resample(rows, coarse, window, holes)
    expected = added_up(rows, fine, coarse, window, holes)
    assert made["open_time"].tolist() == [each["open_time"] for each in expected]
    assert counts.tolist() == [each["made_of"] for each in expected]
    for row, true in zip(made, expected, strict=True):
        for name in STORED_DTYPE.names or ():
            if name in SUMS:
                assert row[name] == pytest.approx(true[name], rel=1e-12, nan_ok=True)
            else:
                assert row[name] == true[name], name


@given(steps(), st.lists(st.sampled_from([STORED, EMPTY, MISSING]), min_size=1))
def test_what_a_hole_spoils_is_what_is_not_made(grids: tuple[Grid, Grid], kinds: list[int]) -> None:
    """The coarse slots that touch a hole are those that hold a missing slot, no more and no fewer."""
    fine, coarse = grids
    window = Window(coarse.ceil(T0), coarse.advance(coarse.ceil(T0), 5))
    _, holes = split(fine, window, kinds, 0)
    touched = {coarse.floor(int(slot)) for hole in holes for slot in fine.slots(hole)}
    assert {int(slot) for each in spoiled(coarse, holes) for slot in coarse.slots(each)} == touched


def filled_in(
    rows: Rows, grid: Grid, window: Window, holes: Sequence[Window], last: dict[str, Any] | None
) -> dict[int, dict[str, Any]]:
    """The plain way: slot after slot, with the last candle in hand, which a missing slot makes one forget."""
    by_time = {int(row["open_time"]): {name: row[name] for name in STORED_DTYPE.names or ()} for row in rows}
    missing = {int(slot) for hole in holes for slot in grid.slots(hole)}
    found = {}
    for slot in grid.slots(window).tolist():
        if slot in by_time:
            last = by_time[slot]
        elif slot in missing:
            last = None
        elif last is not None:
            flat = dict.fromkeys(("open", "high", "low", "close"), last["close"])
            sums = {name: math.nan if math.isnan(last[name]) else 0.0 for name in SUMS}
            trades = -1 if last["trades"] == -1 else 0
            found[slot] = flat | sums | {"open_time": slot, "trades": trades, "flags": 0, "source_id": NOBODY}
    return found


@given(
    st.sampled_from(TIMEFRAMES), st.lists(st.sampled_from([STORED, EMPTY, EMPTY, MISSING]), min_size=1, max_size=40),
    st.integers(0, 2**32), st.booleans(), st.integers(1, 40),
)  # fmt: skip
def test_empty_slots_are_filled(timeframe: str, kinds: list[int], seed: int, before: bool, at_once: int) -> None:
    """Slot for slot as by hand, in parts of any size; rows that were there are as they were."""
    grid = Timeframe(timeframe).grid(T0)
    window = Window(grid.ceil(T0), grid.advance(grid.ceil(T0), len(kinds)))
    rows, holes = split(grid, window, kinds, seed)
    last = some_rows([grid.advance(window.start, -1)], seed + 1) if before else None
    first = None if last is None else {name: last[0][name] for name in STORED_DTYPE.names or ()}
    expected = filled_in(rows, grid, window, holes, first)
    made: list[Rows] = []
    for part in pages(window, grid, at_once):
        inside = rows[(rows["open_time"] >= part.start) & (rows["open_time"] < part.end)]
        done = fill(inside, grid, part, [cut for hole in holes if (cut := hole.intersect(part))], last)
        assert done.rows[~done.filled].tobytes() == inside.tobytes()
        assert (np.diff(done.rows["open_time"]) > 0).all()
        made.append(done.rows[done.filled])
        last = done.last
    flat = np.concatenate(made)
    assert flat["open_time"].tolist() == list(expected)
    for row in flat:
        for name, value in expected[int(row["open_time"])].items():
            assert row[name] == pytest.approx(value, nan_ok=True), name


def test_nothing_makes_nothing() -> None:
    """No candles and no slots are no error."""
    hours, days = Timeframe("1h").grid(), Timeframe("1d").grid()
    rows = some_rows([], 0)
    made, counts = resample(rows, days, Window(T0, T0 + DAY), [])
    assert (len(made), len(counts)) == (0, 0)
    assert len(fill(rows, hours, Window(T0, T0 + DAY), [], None).rows) == 0
    assert len(fill(rows, hours, Window(T0, T0), [], None).rows) == 0


def test_some_columns_are_enough() -> None:
    """Who needs prices alone reads and adds up prices alone."""
    hours, days = Timeframe("1h").grid(), Timeframe("1d").grid()
    rows = some_rows(hours.slots(Window(T0, T0 + DAY)).tolist(), 0)[["open_time", "high", "close"]]
    made, _ = resample(rows, days, Window(T0, T0 + DAY), [])
    assert made.tolist() == [(T0, rows["high"].max(), rows["close"][-1])]
