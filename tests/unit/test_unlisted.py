"""Jobs of markets without a listing date: one asks for all, and those behind a first sight of it go on."""

from __future__ import annotations

import pytest

from db.jobs import JobRow
from fetcher.model import DAY, HOUR, Series, Timeframe
from fetcher.unlisted import Unlisted
from fetcher.writer import OpenJob


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
    going = unlisted.sighted(1, opened)
    assert ids(going) == ahead
    assert {each.series.listed_ms for each in going} <= {opened - opened % HOUR}
    assert len(unlisted) == max(0, 2 - len(ahead)), "beside the one of each series for whom it is asked"
    assert unlisted.sighted(1, opened) == [], "each goes on once"


def test_whoever_comes_while_the_question_is_out_does_not_ask_it(unlisted: Unlisted) -> None:
    """Even when all that waited are gone."""
    assert len(unlisted.sighted(1, 0)) == 3
    assert not unlisted.add(job(5, 30))
    listed = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=HOUR)
    learned = unlisted.learned(listed)
    assert ids(learned) == [5]
    assert learned[0].series is listed
    assert unlisted.add(job(6, 30)), "it was answered, and may be asked again"


def test_a_grid_that_starts_at_the_first_candle_waits_for_the_proof() -> None:
    """Without it no slot of the job can be told."""
    unlisted = Unlisted()
    waits = job(1, 30 * 24, timeframe="3d")
    unlisted.add(waits)
    assert unlisted.sighted(1, DAY) == []
    assert unlisted.learned(waits.series) == [waits]


def test_a_late_word_of_a_series_that_nobody_waits_for_is_heard_in_vain(unlisted: Unlisted) -> None:
    """An answer may come after the jobs were given back."""
    unlisted.clear()
    assert (unlisted.sighted(1, 0), unlisted.learned(job(1, 0).series), len(unlisted)) == ([], [], 0)
