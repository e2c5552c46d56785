"""What is missing is covered once, by the routes that cost least, and nothing is asked that cannot be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fetcher.clock import format_utc, parse_utc
from fetcher.gaps import subtract, union
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.periods import DAILY, MONTHLY, Period, months
from fetcher.routes import FILE_COST, Mix, Offer, cheapest, is_worth_a_month

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.model import Grid

NOW = parse_utc("2024-06-20T12:00:00Z")
OFFER = Offer(daily=True, now_ms=NOW, page_slots=1000, page_cost=2.0)
ONE = Timeframe("1m").grid()


def window(start: str, end: str) -> Window:
    """A window by its UTC dates."""
    return Window(parse_utc(start), parse_utc(end))


def labels(mix: Mix) -> list[str]:
    """The files of a mix in words."""
    length = {MONTHLY: 7, DAILY: 10}
    return [f"{period.kind} {format_utc(period.start)[: length[period.kind]]}" for period, _ in mix.files]


def test_a_long_gap_of_minutes_takes_months_then_days_then_pages() -> None:
    """Whole months as monthly zips, days of the month that is not published yet as daily ones, today from the API."""
    mix = cheapest([window("2024-03-10", "2024-06-20T12:00:00Z")], ONE, OFFER)
    assert labels(mix)[:3] == ["monthly 2024-03", "monthly 2024-04", "monthly 2024-05"]
    assert labels(mix)[3:] == [f"daily 2024-06-{day:02}" for day in range(1, 20)]
    assert mix.pages == (window("2024-06-20", "2024-06-20T12:00:00Z"),)


def test_a_few_missing_minutes_are_asked_of_the_api() -> None:
    """A page costs less than a file of which it needs little."""
    hole = window("2024-03-10T02:00:00Z", "2024-03-10T04:30:00Z")
    assert cheapest([hole], ONE, OFFER) == Mix((), (hole,))


def test_coarse_candles_come_by_pages() -> None:
    """A month of hours is less than a page."""
    year = window("2023-01-01", "2024-01-01")
    assert cheapest([year], Timeframe("1h").grid(), OFFER) == Mix((), (year,))
    assert not is_worth_a_month(Timeframe("1h").grid(), Period(year.start, MONTHLY), OFFER)
    assert is_worth_a_month(Timeframe("15m").grid(), Period(year.start, MONTHLY), OFFER)


def test_a_file_that_did_not_help_is_replaced_by_the_next_cheapest() -> None:
    """A month that is spent by its days, a day that is spent by pages."""
    month = window("2024-03-01", "2024-04-01")
    spent = {Period(month.start, MONTHLY), Period(parse_utc("2024-03-02"), DAILY)}
    mix = cheapest([month], ONE, replace(OFFER, spent=spent))
    assert len(mix.files) == 30
    assert mix.pages == (window("2024-03-02", "2024-03-03"),)


def test_scattered_holes_of_a_month_come_in_one_file_when_that_is_cheaper() -> None:
    """Each hole would be a question of its own."""
    holes = [Window(start := parse_utc("2024-03-01") + n * DAY, start + HOUR) for n in range(10)]
    mix = cheapest(holes, ONE, OFFER)
    assert [(period.kind, parts) for period, parts in mix.files] == [("monthly", tuple(holes))]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 150_000), st.integers(1, 60_000)), min_size=1, max_size=6),
    st.sets(st.sampled_from([MONTHLY, DAILY])), st.sampled_from(["1m", "5m", "1h"]),
)  # fmt: skip
def test_everything_missing_is_covered_once_and_nothing_else(
    spans: list[tuple[int, int]], offered: set[str], timeframe: str
) -> None:
    """Files and pages together are what is missing, disjoint; every file could be there, and costs less than pages."""
    start, grid = parse_utc("2024-02-10"), Timeframe(timeframe).grid()
    step = Timeframe(timeframe).ms
    missing = union(Window(s := grid.floor(start + a * MINUTE), s + -(-b * MINUTE // step) * step) for a, b in spans)
    spent = () if MONTHLY in offered else months(Window(missing[0].start, missing[-1].end))
    mix = cheapest(missing, grid, replace(OFFER, daily=DAILY in offered, spent=spent))
    parts = [*(part for _, brought in mix.files for part in brought), *mix.pages]
    assert union(parts) == missing
    assert sum(part.span for part in parts) == sum(gap.span for gap in missing)
    for period, brought in mix.files:
        assert period.expected_ms <= NOW
        assert period.kind in offered
        assert all(not subtract(part, [period.window]) for part in brought)
    assert len(mix.files) * FILE_COST <= _pages_cost([part for _, some in mix.files for part in some], grid)


def _pages_cost(parts: Sequence[Window], grid: Grid) -> float:
    return sum(max(1.0, grid.count(part) / 1000) * 2.0 for part in parts)
