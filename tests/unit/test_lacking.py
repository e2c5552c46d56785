"""Who lacked what: cutting holes by witness, joining them by page, and what the database keeps of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.engine import reading, writing
from fetcher.lacking import Lack, by_witness, forget, is_quiet, merged, recall, remember, together, with_neighbours
from fetcher.model import DAY, MINUTE, Series, Timeframe, Window

if TYPE_CHECKING:
    from sqlalchemy import Engine

SOURCES = ("binance", "okx", "coinbase")
SERIES = Series(1, "BTC/USDT", Timeframe("1m"), 0, SOURCES)
GRID = SERIES.grid
NOW = 1_790_000_000_000


def minutes(start: int, end: int) -> Window:
    """A window by minutes since the epoch."""
    return Window(start * MINUTE, end * MINUTE)


def windows(most: int) -> st.SearchStrategy[list[Window]]:
    """Ascending windows of minutes with at least one minute between them."""
    edges = st.lists(st.integers(0, most), unique=True, min_size=0, max_size=12).map(sorted)
    return edges.map(lambda at: [minutes(a, b) for a, b in zip(at[::2], at[1::2], strict=False)])


LACKS = st.lists(
    st.builds(
        lambda start, length, source: Lack(minutes(start, start + length), source),
        st.integers(0, 60), st.integers(1, 30), st.sampled_from([*SOURCES, "gone"]),
    ),
    max_size=6,
)  # fmt: skip


@given(windows(80), LACKS)
def test_every_missing_slot_has_the_best_witness(missing: list[Window], lacks: list[Lack]) -> None:
    """Each slot appears once, with the best source that lacked it; one that is no source of the series says nothing."""
    told = {
        slot: source for window, source in by_witness(missing, lacks, SOURCES) for slot in GRID.slots(window).tolist()
    }
    assert sorted(told) == [slot for window in missing for slot in GRID.slots(window).tolist()]
    for slot, source in told.items():
        asked = {lack.source for lack in lacks if lack.window.start <= slot < lack.window.end}
        assert source == next((name for name in SOURCES if name in asked), None)


@given(windows(400), st.integers(3, 100))
def test_holes_are_joined_while_they_fit_one_answer(holes: list[Window], slots: int) -> None:
    """Nothing is lost or moved, no joined question exceeds an answer, and the next hole would not have fitted."""
    groups = together(holes, GRID, slots)
    assert [hole for group in groups for hole in group] == holes
    sizes = [GRID.count(with_neighbours(group, GRID)) for group in groups]
    assert all(size <= slots for size, group in zip(sizes, groups, strict=True) if len(group) > 1)
    for group, following in pairwise(groups):
        assert GRID.count(with_neighbours((*group, following[0]), GRID)) > slots


def known(engine: Engine, now_ms: int = NOW) -> list[Lack]:
    """What is remembered."""
    with reading(engine) as connection:
        return recall(connection, SERIES, now_ms)


def test_who_lacked_what_is_known_for_a_day(engine: Engine) -> None:
    """A later word replaces an earlier one where they overlap, each ages by itself, and another series has its own."""
    with writing(engine) as connection:
        remember(connection, SERIES, [Lack(minutes(0, 10), "okx")], NOW)
        remember(connection, SERIES, [Lack(minutes(4, 6), "binance")], NOW + DAY // 2)
        assert recall(connection, Series(2, "ETH/USDT", Timeframe("1m"), 0, SOURCES), NOW) == []
    assert set(known(engine, NOW + DAY - 1)) == {
        Lack(minutes(0, 4), "okx"), Lack(minutes(4, 6), "binance"), Lack(minutes(6, 10), "okx"),
    }  # fmt: skip
    assert known(engine, NOW + DAY) == [Lack(minutes(4, 6), "binance")]
    assert known(engine, NOW + DAY + DAY // 2) == []


def test_a_clock_that_was_months_ahead_holds_nothing_up(engine: Engine) -> None:
    """What was written in a future that is none is not believed."""
    with writing(engine) as connection:
        remember(connection, SERIES, [Lack(minutes(0, 10), "okx")], NOW + 90 * DAY)
    assert known(engine) == []


def test_forgetting_frees_a_window_alone(engine: Engine) -> None:
    """What lies beside it is still known."""
    with writing(engine) as connection:
        remember(connection, SERIES, [Lack(minutes(0, 10), "okx")], NOW)
        forget(connection, SERIES, minutes(3, 20), NOW)
    assert known(engine) == [Lack(minutes(0, 3), "okx")]


@pytest.mark.parametrize(
    ("timeframe", "slots", "quiet"),
    [("1m", 1, True), ("1m", 20, True), ("1m", 21, False), ("1h", 20, True), ("4h", 6, True), ("4h", 7, False),
     ("1d", 1, True), ("1d", 2, False)],
)  # fmt: skip
def test_a_run_is_quiet_while_it_is_short(timeframe: str, slots: int, quiet: bool) -> None:
    """Twenty slots, and no more than a day of them."""
    frame = Timeframe(timeframe)
    assert is_quiet(Window(0, slots * frame.ms), frame.grid()) is quiet


def test_what_is_remembered_is_pages_not_holes() -> None:
    """Pages of one source that touch are one, each source's apart, and only what is asked of the job is kept."""
    lacks = [Lack(minutes(0, 10), "okx"), Lack(minutes(10, 20), "okx"), Lack(minutes(5, 8), "binance")]
    assert merged(lacks, minutes(2, 15)) == [Lack(minutes(2, 15), "okx"), Lack(minutes(5, 8), "binance")]
    earlier = [Lack(minutes(4, 6), "binance")]
    assert set(merged(lacks, minutes(2, 15), earlier)) == {
        Lack(minutes(2, 4), "okx"), Lack(minutes(6, 15), "okx"), Lack(minutes(6, 8), "binance"),
    }  # fmt: skip
