"""Interval arithmetic against the plainest model: sets of slots."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.gaps import GapDetector, pages, subtract, union
from fetcher.model import DAY, TIMEFRAMES, Grid, Timeframe, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

T0 = 1_704_067_200_000  # 2024-01-01
SPAN = 40  # slots of the range wanted
PARTS = st.lists(st.tuples(st.integers(-3, SPAN + 3), st.integers(0, 12)), max_size=8)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """The grid of any timeframe, with any day as anchor."""
    return Timeframe(draw(st.sampled_from(TIMEFRAMES))).grid(draw(st.integers(0, 20_000)) * DAY)


def on(grid: Grid, parts: Iterable[tuple[int, int]]) -> list[Window]:
    """Windows of so many slots from so many slots after the range's start; they may overlap and be empty."""
    first = grid.ceil(T0)
    return [Window(grid.advance(first, at), grid.advance(first, at + length)) for at, length in parts]


def slots_in(grid: Grid, windows: Iterable[Window]) -> set[int]:
    """Every slot of some windows."""
    return {int(slot) for window in windows for slot in grid.slots(window)}


@given(grids(), PARTS, PARTS)
def test_stored_absent_and_gaps_are_all_there_is(
    grid: Grid, stored: list[tuple[int, int]], absent: list[tuple[int, int]]
) -> None:
    """Slot for slot: what is stored, proven absent or missing is what is wanted, and nothing is missing twice."""
    wanted = Window(grid.ceil(T0), grid.advance(grid.ceil(T0), SPAN))
    covered = on(grid, (*stored, *absent))
    gaps = GapDetector(grid).missing(wanted, covered)
    expected = slots_in(grid, [wanted])
    assert slots_in(grid, gaps) == expected - slots_in(grid, covered)
    assert sum(grid.count(gap) for gap in gaps) == len(slots_in(grid, gaps))
    assert all(grid.floor(edge) == edge for gap in gaps for edge in (gap.start, gap.end))
    assert all(one.end < other.start for one, other in pairwise(gaps))
    assert all(gaps)


@given(grids(), PARTS, st.integers(-DAY, DAY), st.integers(-DAY, DAY))
def test_ragged_edges_lose_no_slot(grid: Grid, parts: list[tuple[int, int]], left: int, right: int) -> None:
    """Where wanted range and coverage end between slots, a slot counts where its first instant lies."""
    start, end = grid.ceil(T0), grid.advance(grid.ceil(T0), SPAN)
    wanted = Window(start + left, max(start + left, end + right))
    covered = [Window(each.start + left // 7, each.end + left // 7) for each in on(grid, parts)]
    gaps = GapDetector(grid).missing(wanted, covered)
    assert slots_in(grid, gaps) == slots_in(grid, [wanted]) - slots_in(grid, covered)


@given(grids(), st.sets(st.integers(0, SPAN - 1)))
def test_runs_are_the_slots_themselves(grid: Grid, numbers: set[int]) -> None:
    """Slots as windows and back; no two windows touch."""
    first = grid.ceil(T0)
    slots = sorted(grid.advance(first, number) for number in numbers)
    runs = GapDetector(grid).runs(np.array(slots, dtype=np.int64))
    assert sorted(slots_in(grid, runs)) == slots
    assert all(one.end < other.start for one, other in pairwise(runs))
    assert all(grid.floor(edge) == edge for run in runs for edge in (run.start, run.end))


@given(grids(), st.sets(st.integers(-3, SPAN + 3)))
def test_holes_and_present_make_the_window(grid: Grid, numbers: set[int]) -> None:
    """Holes are the slots of the window that are not present; what is present outside of it changes nothing."""
    first = grid.ceil(T0)
    window = Window(first, grid.advance(first, SPAN))
    present = np.array(sorted(grid.advance(first, number) for number in numbers), dtype=np.int64)
    holes = GapDetector(grid).holes(window, present)
    assert slots_in(grid, holes) == slots_in(grid, [window]) - set(present.tolist())


@given(grids(), st.integers(0, SPAN), st.integers(1, 15), st.integers(-DAY, DAY))
def test_pages_are_full_and_cover_all(grid: Grid, length: int, size: int, ragged: int) -> None:
    """Consecutive, of at most `size` slots, all but the last full, together the window's slots."""
    start = grid.ceil(T0)
    window = Window(start + min(ragged, 0), grid.advance(start, length) + abs(ragged))
    cut = pages(window, grid, size)
    counts = [grid.count(page) for page in cut]
    assert slots_in(grid, cut) == slots_in(grid, [window])
    assert sum(counts) == grid.count(window)
    assert all(count == size for count in counts[:-1])
    assert all(0 < count <= size for count in counts)
    assert all(one.end == other.start for one, other in pairwise(cut))
    assert not cut or cut[-1].end == window.end


@given(PARTS, st.tuples(st.integers(-3, SPAN), st.integers(0, SPAN)))
def test_union_and_subtract_agree_with_sets(parts: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    """On whole numbers: a union is disjoint and holds the same, a difference holds what nothing took."""
    windows = [Window(at, at + length) for at, length in parts]
    wanted = Window(asked[0], asked[0] + asked[1])
    points = {point for window in windows for point in range(window.start, window.end)}
    merged = union(windows)
    assert [point for window in merged for point in range(window.start, window.end)] == sorted(points)
    assert all(one.end < other.start for one, other in pairwise(merged))
    left = [point for window in subtract(wanted, windows) for point in range(window.start, window.end)]
    assert left == [point for point in range(wanted.start, wanted.end) if point not in points]


@pytest.mark.parametrize("name", TIMEFRAMES)
def test_years_between_two_slots_cost_nothing(name: str) -> None:
    """Two slots thirty years apart are two runs; the time between them is not spelled out for fixed grids."""
    grid = Timeframe(name).grid(T0)
    slots = np.array([grid.floor(T0 - 30 * 365 * DAY), grid.floor(T0)], dtype=np.int64)
    assert GapDetector(grid).runs(slots) == [Window(int(slot), grid.next(int(slot))) for slot in slots]
