"""The planner against sets of slots: every slot that nothing explains gets one job, in the order of work."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import DAY, HOUR, TIMEFRAMES, Series, Timeframe, Window
from fetcher.planner import JOB_PAGES, PRIORITY, Known, PlannedJob, interleave, plan_range, plan_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T0 = 1_704_067_200_000  # 2024-01-01
SPAN = 60
PAGE = 2  # slots a request: jobs of 40 slots
PARTS = st.lists(st.tuples(st.integers(-3, SPAN), st.integers(1, 10)), max_size=6)


@st.composite
def all_series(draw: st.DrawFn) -> Series:
    """A series of any timeframe, with any day as anchor, wanted from somewhere around T0."""
    timeframe = Timeframe(draw(st.sampled_from(TIMEFRAMES)))
    start = T0 + draw(st.integers(-5, 5)) * HOUR
    listed = draw(st.one_of(st.none(), st.just(0), st.just(T0 + 3 * timeframe.ms)))
    return Series(7, "BTC/USDT", timeframe, start, ("binance",), draw(st.integers(0, 20_000)) * DAY, listed)


def on(series: Series, parts: Iterable[tuple[int, int]]) -> tuple[Window, ...]:
    """Windows of so many slots from so many slots after the series' first."""
    grid, first = series.grid, series.first_ms
    return tuple(Window(grid.advance(first, at), grid.advance(first, at + length)) for at, length in parts)


def slots_in(series: Series, windows: Iterable[Window]) -> Counter[int]:
    """How often each slot lies in some windows."""
    return Counter(int(slot) for window in windows for slot in series.grid.slots(window))


def kinds(jobs: Sequence[PlannedJob], kind: str) -> list[Window]:
    """The windows of one kind, in order."""
    return [job.window for job in jobs if job.kind == kind]


def hours(*parts: tuple[int, int]) -> tuple[Window, ...]:
    """Windows in hours after T0."""
    return tuple(Window(T0 + start * HOUR, T0 + end * HOUR) for start, end in parts)


HOURLY = Series(1, "BTC/USDT", Timeframe("1h"), T0, ("binance",), listed_ms=0)


@given(all_series(), PARTS, PARTS, PARTS)
def test_jobs_are_exactly_what_is_missing(
    series: Series, stored: list[tuple[int, int]], absent: list[tuple[int, int]], jobs: list[tuple[int, int]]
) -> None:
    """No slot twice, none that is explained, none left out but the silent tail after an absence; jobs are bounded."""
    known = Known(on(series, stored), on(series, absent), on(series, jobs))
    closed_until = series.grid.advance(series.first_ms, SPAN)
    planned = plan_series(series, closed_until, known, page_slots=PAGE)
    found = slots_in(series, [job.window for job in planned])
    taken = slots_in(series, (*known.stored, *known.absent, *known.jobs))
    missing = set(slots_in(series, [Window(series.first_ms, closed_until)])) - set(taken)
    assert set(found.values()) <= {1}
    assert set(found) <= missing
    left = missing - set(found)
    newest_absent = max((window.end for window in known.absent), default=-1)
    assert all(slot >= newest_absent for slot in left), "only after a proven silence may a tail wait"
    assert not left or len(left) * 4 * series.timeframe.ms <= 2 * SPAN * series.timeframe.ms
    assert all(0 < series.grid.count(job.window) <= PAGE * JOB_PAGES for job in planned)
    assert all(series.grid.floor(edge) == edge for job in planned for edge in (job.window.start, job.window.end))


@given(all_series(), PARTS, PARTS)
def test_the_order_is_tail_gaps_backfill_newest_first(
    series: Series, stored: list[tuple[int, int]], jobs: list[tuple[int, int]]
) -> None:
    """Priorities ascend; within a kind the newest comes first; each kind lies where its name says."""
    known = Known(on(series, stored), jobs=on(series, jobs))
    planned = plan_series(series, series.grid.advance(series.first_ms, SPAN), known, page_slots=PAGE)
    assert planned == sorted(planned, key=lambda job: (PRIORITY[job.kind], -job.window.start))
    newest = max((window.end for window in known.stored), default=None)
    oldest = min((window.start for window in known.stored), default=None)
    if newest is not None and oldest is not None:
        assert all(window.start >= newest for window in kinds(planned, "tail"))
        assert all(oldest < window.end and window.start < newest for window in kinds(planned, "gap"))
        assert all(window.end <= oldest for window in kinds(planned, "backfill"))


@given(all_series(), PARTS, st.integers(-10, SPAN), st.integers(0, SPAN))
def test_a_range_is_planned_within_listing_and_close(
    series: Series, stored: list[tuple[int, int]], at: int, length: int
) -> None:
    """A backfill's jobs are the missing slots of the range asked, even before the configured start."""
    grid = series.grid
    [asked] = on(series, [(at, length)])
    known, closed_until = Known(on(series, stored)), grid.advance(series.first_ms, SPAN // 2)
    planned = plan_range(series, asked, closed_until, known, page_slots=PAGE)
    possible = {
        slot for slot in slots_in(series, [asked]) if slot < closed_until and slot >= (series.listed_ms or -(2**62))
    }
    assert slots_in(series, [job.window for job in planned]) == Counter(possible - set(slots_in(series, known.stored)))
    assert {job.kind for job in planned} <= {"backfill"}
    assert planned == sorted(planned, key=lambda job: -job.window.start)


def test_a_new_series_has_its_newest_page_first() -> None:
    """What a trader looks at first is there after one request; all before it is backfill, newest first."""
    planned = plan_series(HOURLY, T0 + 100 * HOUR, Known(), page_slots=PAGE)
    assert kinds(planned, "tail") == list(hours((98, 100)))
    assert kinds(planned, "backfill") == list(hours((80, 98), (40, 80), (0, 40)))
    assert [job.kind for job in planned] == ["tail", "backfill", "backfill", "backfill"]


def test_tail_gap_and_backfill_by_their_place() -> None:
    """After, between and before what is covered."""
    known = Known(stored=hours((10, 20), (30, 40)), absent=hours((22, 24)))
    planned = plan_series(HOURLY, T0 + 45 * HOUR, known)
    assert [(job.kind, job.window) for job in planned] == [
        ("tail", *hours((40, 45))),
        ("gap", *hours((24, 30))),
        ("gap", *hours((20, 22))),
        ("backfill", *hours((0, 10))),
    ]


def test_a_tail_that_grows_while_nothing_is_stored_yet_stays_a_tail() -> None:
    """While the source is away from the first run on, each later run adds its newest candles as a tail to be merged."""
    waiting = Known(jobs=hours((0, 98), (98, 100)))
    assert [(job.kind, job.window) for job in plan_series(HOURLY, T0 + 101 * HOUR, waiting)] == [
        ("tail", *hours((100, 101)))
    ]
    assert [job.kind for job in plan_series(HOURLY, T0 + 100 * HOUR, Known(jobs=hours((50, 100))))] == ["backfill"]


def test_a_silent_market_is_asked_ever_more_rarely() -> None:
    """After a silence of 40 hours the next ten are waited for, after a year's a day; a stored candle ends that."""
    silent = Known(stored=hours((0, 10)), absent=hours((10, 50)))
    assert plan_series(HOURLY, T0 + 59 * HOUR, silent) == []
    assert kinds(plan_series(HOURLY, T0 + 60 * HOUR, silent), "tail") == list(hours((50, 60)))
    year = Known(stored=hours((0, 10)), absent=hours((10, 9000)))
    assert plan_series(HOURLY, T0 + 9023 * HOUR, year) == []
    assert len(plan_series(HOURLY, T0 + 9024 * HOUR, year)) == 1
    awake = Known(stored=hours((0, 10), (50, 51)), absent=hours((10, 50)))
    assert kinds(plan_series(HOURLY, T0 + 52 * HOUR, awake), "tail") == list(hours((51, 52)))


def test_what_waits_to_be_healed_is_joined_over_what_lies_between() -> None:
    """Single slots that a better source left out make one job as far as one reaches, but not over another's window."""
    alone = [(at, at + 1) for at in range(0, 60, 3)]
    known = Known(stored=hours((0, 60)), fallback=hours(*alone))
    assert [job.window for job in plan_series(HOURLY, T0 + 60 * HOUR, known, page_slots=PAGE)] == list(
        hours((42, 58), (0, 40))
    )
    busy = Known(stored=hours((0, 60)), fallback=hours((0, 1), (3, 4), (9, 10)), jobs=hours((5, 6)))
    healed = [job.window for job in plan_series(HOURLY, T0 + 60 * HOUR, busy, page_slots=PAGE)]
    assert healed == list(hours((9, 10), (0, 4)))


def test_a_silence_in_pieces_is_one_silence() -> None:
    """What was proven absent piece by piece counts whole when a silent market is asked again."""
    silent = Known(stored=hours((0, 10)), absent=hours((10, 20), (20, 40), (40, 50)))
    assert plan_series(HOURLY, T0 + 59 * HOUR, silent) == []
    assert kinds(plan_series(HOURLY, T0 + 60 * HOUR, silent), "tail") == list(hours((50, 60)))


@pytest.mark.parametrize("closed_until", [0, T0 - HOUR, T0])
def test_nothing_is_planned_before_the_first_candle_closes(closed_until: int) -> None:
    """A start in the future, or now, is no work and no error."""
    assert plan_series(HOURLY, closed_until, Known()) == []
    assert plan_range(HOURLY, Window(T0, T0 + HOUR), closed_until, Known()) == []


def test_series_take_turns() -> None:
    """By priority first; within one, no series' long history makes another wait."""

    def job(series_id: int, kind: str, at: int) -> PlannedJob:
        return PlannedJob(series_id, kind, *hours((at, at + 1)))

    long = [job(1, "tail", 9), *(job(1, "backfill", at) for at in (3, 2, 1))]
    short = [job(2, "tail", 9), job(2, "gap", 5), job(2, "backfill", 3)]
    ordered = [(each.series_id, each.kind, each.window.start) for each in interleave([long, short])]
    assert [(number, kind) for number, kind, _ in ordered] == [
        (1, "tail"), (2, "tail"), (2, "gap"), (1, "backfill"), (1, "backfill"), (2, "backfill"), (1, "backfill")
    ]  # fmt: skip
    assert interleave([]) == []
    assert interleave([[], []]) == []
