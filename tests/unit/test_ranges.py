"""What can be asked of the stored series, and what cannot, in one sentence."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import DAY, HOUR, Series, Timeframe
from fetcher.ranges import asked, stored

START, LISTED = parse_utc("2024-01-01"), parse_utc("2024-01-03T04:00Z")
CLOSED, NOW = parse_utc("2024-03-01T07:00Z"), parse_utc("2024-03-01T07:30Z")
HOURS = Series(1, "BTC/USDT", Timeframe("1h"), START, ("binance",), closed_until_ms=CLOSED)
DAYS = replace(HOURS, id=2, timeframe=Timeframe("1d"))
THREE_DAYS = replace(HOURS, id=3, timeframe=Timeframe("3d"), anchor_ms=LISTED - LISTED % DAY)
MONTHS = replace(HOURS, id=4, timeframe=Timeframe("1M"))
EVERY = [HOURS, DAYS, THREE_DAYS, MONTHS]


def test_a_series_is_found_as_people_write_it() -> None:
    """Blanks and small letters are no reason to fail."""
    assert stored(EVERY, " btc/usdt", "1d") is DAYS


@pytest.mark.parametrize(
    ("every", "symbol", "timeframe", "sentence"),
    [
        (EVERY, "ETH/USDT", "1h", "the database has no series ETH/USDT 1h; there are BTC/USDT 1h, BTC/USDT 1d, "),
        (EVERY, "BTC/USDT", "90m", "timeframe '90m' is none; one of 1m 3m"),
        ([], "BTC/USDT", "1h", "no series BTC/USDT 1h; it holds no series yet"),
    ],
)
def test_a_series_that_is_not_there(every: list[Series], symbol: str, timeframe: str, sentence: str) -> None:
    """It says which there are."""
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as raised:
        stored(every, symbol, timeframe)
    assert sentence in str(raised.value)


def test_the_whole_series_unless_told_otherwise() -> None:
    """From the start to the last proven close; whole slots inside what was asked; an end ahead is now."""
    assert asked(EVERY, HOURS, None, None, NOW).window == (whole := asked(EVERY, HOURS, START, CLOSED, NOW).window)
    assert (whole.start, whole.end) == (START, CLOSED)
    part = asked(EVERY, HOURS, START + 1, START + 5 * HOUR - 1, NOW)
    assert (part.window.start, part.window.end) == (START + HOUR, START + 4 * HOUR)
    assert asked(EVERY, HOURS, None, NOW + 400 * DAY, NOW + 3 * HOUR).window.end == CLOSED + 3 * HOUR


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [
        ("1d", "2024-01-01", "2024-03-01"),
        ("1w", "2024-01-01", "2024-02-26"),
        ("1M", "2024-01-01", "2024-03-01"),
        ("3d", "2024-01-03", "2024-02-29"),  # as its own series has learnt: its candles begin at the listing's day
    ],
)
def test_only_whole_candles_are_added_up(timeframe: str, start: str, end: str) -> None:
    """A coarser candle that the range holds a part of is left out, at either end."""
    found = asked(EVERY, HOURS, None, None, NOW, resample=timeframe)
    assert (found.window.start, found.window.end) == (parse_utc(start), parse_utc(end))
    assert (str(found), found.is_resampled) == (f"BTC/USDT {timeframe}", True)


def test_the_candle_of_the_listing_is_whole() -> None:
    """Before the listing nothing is missing, so that the day in which it was is there."""
    listed = replace(HOURS, listed_ms=LISTED)
    assert asked([listed], listed, None, None, NOW, resample="1d").window.start == LISTED - LISTED % DAY
    assert asked([listed], listed, None, None, NOW, resample="3d").window.start == LISTED - LISTED % DAY
    later = replace(listed, wanted_start_ms=LISTED + 5 * HOUR)
    assert asked([later], later, None, None, NOW, resample="1d").window.start == LISTED - LISTED % DAY + DAY


@pytest.mark.parametrize(
    ("series", "start", "end", "resample", "sentence"),
    [
        (replace(HOURS, closed_until_ms=None), None, None, None, "nothing is known yet of BTC/USDT 1h"),
        (HOURS, NOW + 1, None, None, "nothing of BTC/USDT 1h can have closed since 2024-03-01T07:30:00.001Z"),
        (HOURS, START, START, None, "no 1h candle of BTC/USDT 1h begins and ends between 2024-01-01T00:00:00Z and"),
        (HOURS, START + HOUR, START, None, "no 1h candle of BTC/USDT 1h begins and ends between 2024-01-01T01:00:00Z"),
        (HOURS, START + 1, START + DAY, "1d", "no 1d candle of BTC/USDT 1h begins and ends between"),
        (HOURS, None, None, "15m", "1h candles cannot be added up to 15m ones"),
        (DAYS, None, None, "1w", None),
        (MONTHS, None, None, "1w", "1M candles cannot be added up to 1w ones"),
        (replace(DAYS, timeframe=Timeframe("1w")), None, None, "1M", "1w candles cannot be added up to 1M ones"),
        (THREE_DAYS, None, None, "1w", "3d candles cannot be added up to 1w ones"),
        (HOURS, None, None, "7h", "resample '7h' is none; one of 1m 3m"),
        (HOURS, None, None, "1H", "resample '1H' is none; one of 1m 3m"),
    ],
)
def test_what_cannot_be_asked(
    series: Series, start: int | None, end: int | None, resample: str | None, sentence: str | None
) -> None:
    """One sentence that says what is wrong."""
    if sentence is None:
        assert str(asked([series], series, start, end, NOW, resample=resample)) == "BTC/USDT 1w"
        return
    with pytest.raises(ConfigError, match=r"^[^\n]+$") as raised:
        asked([series], series, start, end, NOW, resample=resample)
    assert sentence in str(raised.value)


def test_where_three_days_begin_has_to_be_known() -> None:
    """Neither a series of its own nor a listing tells: it is not guessed."""
    with pytest.raises(ConfigError, match="counted from its first day, which is not known; configure its 3d series"):
        asked([HOURS], HOURS, None, None, NOW, resample="3d")
