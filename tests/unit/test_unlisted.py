"""Jobs of markets without a listing date: one asks for all, and those behind a first sight of it go on."""

from __future__ import annotations

import pytest

from db.jobs import JobRow
from fetcher.model import DAY, HOUR, Series, Timeframe
from fetcher.unlisted import Unlisted
from fetcher.writer import OpenJob

LISTED = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=HOUR)


def job(number: int, start: int, *, series_id: int = 1, timeframe: str = "1h") -> OpenJob:
    """A job for ten hours of a series of which nothing is known, from an hour on."""
    series = Series(series_id, "BTC/USDT", Timeframe(timeframe), 0, ("binance",))
    row = JobRow(
        number, series_id, "gap", start * HOUR, (start + 10) * HOUR, 20, "leased", 3, 0, None, None, None, 0, 0
    )
    return OpenJob(row, series)


@pytest.fixture
def unlisted() -> Unlisted:
    """Two series of which jobs wait: three of the first, one of the second."""
    made = Unlisted()
    asks = [made.add(each) for each in (job(1, 20), job(2, 10), job(3, 0), job(4, 0, series_id=2))]
    assert asks == [True, False, False, True]
    return made


def ids(jobs: list[OpenJob]) -> list[int]:
    """Which they are, in their order."""
    return [each.id for each in jobs]


@pytest.mark.parametrize(
    ("opened", "ahead"),
    [(0, [1, 2, 3]), (1, [1, 2]), (10 * HOUR, [1, 2]), (10 * HOUR + 1, [1]), (21 * HOUR, [])],
)
def test_only_what_begins_behind_the_first_candle_goes_on(unlisted: Unlisted, opened: int, ahead: list[int]) -> None:
    """It works as if that were the listing date; the others wait until it is proven."""
    assert unlisted.ahead(1) == [], "nothing was sighted yet"
    unlisted.sighted(1, opened)
    going = unlisted.ahead(1)
    assert ids(going) == ahead
    assert {each.series.listed_ms for each in going} <= {opened - opened % HOUR}
    assert unlisted.ahead(1) == [], "each goes on once"
    assert ids(unlisted.take(LISTED)) == [number for number in (1, 2, 3) if number not in ahead]


def test_whoever_comes_while_the_question_is_out_does_not_ask_it(unlisted: Unlisted) -> None:
    """Even when all that waited are gone; behind what was sighted it goes on as they did."""
    unlisted.sighted(1, HOUR)
    assert ids(unlisted.ahead(1)) == [1, 2]
    assert not any(unlisted.add(each) for each in (job(5, 30), job(6, 0)))
    assert ids(unlisted.ahead(1)) == [5]
    learned = unlisted.take(LISTED)
    assert ids(learned) == [3, 6]
    assert all(each.series is LISTED for each in learned)


def test_what_was_answered_may_be_asked_again(unlisted: Unlisted) -> None:
    """Where it could not be told; nothing is left of what an earlier answer said."""
    unlisted.sighted(1, 0)
    assert ids(unlisted.take(job(1, 0).series)) == [1, 2, 3]
    assert unlisted.add(job(5, 30))
    assert unlisted.ahead(1) == []


def test_a_grid_that_starts_at_the_first_candle_waits_for_the_proof() -> None:
    """Without it no slot of the job can be told."""
    unlisted = Unlisted()
    waits = job(1, 30 * 24, timeframe="3d")
    unlisted.add(waits)
    unlisted.sighted(1, DAY)
    assert unlisted.ahead(1) == []
    assert unlisted.take(waits.series) == [waits]


def test_a_series_of_which_many_wait_is_crowded(unlisted: Unlisted) -> None:
    """More of it need not be claimed."""
    assert [unlisted.crowded(most) for most in (1, 2, 3, 4)] == [{1, 2}, {1}, {1}, set()]
