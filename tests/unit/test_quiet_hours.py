"""Quiet hours: what is written is understood, by the clocks of the place, over midnight and changes of the clocks."""

from __future__ import annotations

import pytest

from fetcher.clock import parse_utc
from fetcher.quiet import parse_quiet_hours

BERLIN = "22:00-07:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("written", "moment", "quiet"),
    [
        (BERLIN, "2026-01-10T20:59:59Z", False),
        (BERLIN, "2026-01-10T21:00:00Z", True),  # winter: an hour ahead of UTC
        (BERLIN, "2026-01-11T05:59:59Z", True),
        (BERLIN, "2026-01-11T06:00:00Z", False),
        (BERLIN, "2026-07-10T20:00:00Z", True),  # summer: two hours
        (BERLIN, "2026-07-10T19:59:59Z", False),
        (BERLIN, "2026-10-25T00:30:00Z", True),  # the hour that comes twice
        (BERLIN, "2026-10-25T01:30:00Z", True),
        ("09:00-17:30", "2026-07-10T08:59:00Z", False),  # UTC where no place is named; not over midnight
        ("09:00-17:30", "2026-07-10T09:00:00Z", True),
        ("09:00-17:30", "2026-07-10T17:30:00Z", False),
        (" 00:00 - 06:00  Asia/Kolkata ", "2026-07-10T18:30:00Z", True),
    ],
)
def test_quiet_hours_go_by_the_clocks_of_the_place(written: str, moment: str, *, quiet: bool) -> None:
    """The first minute is quiet, the last is not."""
    hours = parse_quiet_hours(written)
    assert hours is not None
    assert hours.cover(parse_utc(moment)) is quiet


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("22-7", "write them like '22:00-07:00 Europe/Berlin'"),
        ("24:00-07:00", "write them like"),
        (7, "write them like"),
        ("07:00-07:00", "they end when they begin"),
        ("22:00-07:00 Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("22:00-07:00 ../../etc/passwd", "no time zone"),
        ("22:00-07:00 Europe", "no time zone"),
    ],
)
def test_what_are_no_quiet_hours_is_refused(written: object, says: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(ValueError, match=says):
        parse_quiet_hours(written)


def test_none_are_none() -> None:
    """Nobody needs to have any."""
    assert parse_quiet_hours(None) is None
