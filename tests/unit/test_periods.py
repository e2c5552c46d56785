"""Which files a window touches, and from when each can be expected."""

from __future__ import annotations

import pytest

from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY, Window
from fetcher.periods import DAILY, MONTHLY, Period, days, inside, months


def window(start: str, end: str) -> Window:
    """A window by its UTC dates."""
    return Window(parse_utc(start), parse_utc(end))


def test_months_and_days_of_a_window() -> None:
    """Every one that is touched, also by a single ms; none of an empty window."""
    year = months(window("2023-12-31T23:59:00Z", "2024-03-01T00:00:00Z"))
    assert [format_utc(each.start)[:7] for each in year] == ["2023-12", "2024-01", "2024-02"]
    assert [each.window.span // DAY for each in year] == [31, 31, 29]
    assert [format_utc(each.start)[:10] for each in days(window("2024-02-28T12:00:00Z", "2024-03-01T00:00:01Z"))] == [
        "2024-02-28", "2024-02-29", "2024-03-01",
    ]  # fmt: skip
    assert months(window("2024-01-01", "2024-01-01")) == days(window("2024-01-01", "2024-01-01")) == []


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [
        (DAILY, "2024-01-15", "2024-01-16T09:00:00Z"),
        (MONTHLY, "2024-03-01", "2024-04-01T09:00:00Z"),  # 1 April 2024 was a Monday
        (MONTHLY, "2024-01-01", "2024-02-05T09:00:00Z"),
        (MONTHLY, "2023-12-01", "2024-01-01T09:00:00Z"),
    ],
)
def test_when_a_file_is_expected(kind: str, start: str, expected: str) -> None:
    """A day's on the next morning, a month's on the first Monday after it."""
    assert format_utc(Period(parse_utc(start), kind).expected_ms) == expected


def test_what_lies_inside() -> None:
    """The parts of windows in a period, without empty ones."""
    month = Period(parse_utc("2024-02-01"), MONTHLY)
    parts = inside(
        month,
        [window("2024-01-30", "2024-02-02"), window("2024-02-29", "2024-03-05"), window("2024-03-05", "2024-03-06")],
    )
    assert parts == (window("2024-02-01", "2024-02-02"), window("2024-02-29", "2024-03-01"))
