"""What counts as progress of a job: less is missing, not that something came."""

from __future__ import annotations

import pytest

from db.jobs import JobRow
from fetcher.model import HOUR, Series, Timeframe, Window
from fetcher.writer import OpenJob

SERIES = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=0)


def job() -> OpenJob:
    """A job for ten hours."""
    return OpenJob(JobRow(1, 1, "gap", 0, 10 * HOUR, 20, "leased", 3, 0, None, None, None, 0, 0), SERIES)


def hours(start: int, end: int) -> Window:
    """A window by its hours."""
    return Window(start * HOUR, end * HOUR)


@pytest.mark.parametrize(
    ("before", "after", "progressed"),
    [
        ([hours(2, 4), hours(7, 8)], [hours(2, 4), hours(7, 8)], False),
        ([hours(2, 4), hours(7, 8)], [hours(2, 4)], True),
        ([hours(0, 10)], [hours(3, 10)], True),
        ([hours(0, 10)], [], True),
        ([], [hours(0, 1)], False),
    ],
)
def test_only_less_that_is_missing_is_progress(before: list[Window], after: list[Window], *, progressed: bool) -> None:
    """Rows that were there already, as a page beside two holes brings them, leave as much missing as before."""
    mine = job()
    mine.begin(before)
    assert mine.has_progressed(after) == progressed


def test_what_turned_out_not_to_be_closed_is_no_progress() -> None:
    """A window cut at the source's clock has less missing in it, though nothing came."""
    mine = job()
    mine.begin([hours(0, 10)])
    mine.narrow(hours(0, 9))
    assert not mine.has_progressed([hours(0, 9)])
