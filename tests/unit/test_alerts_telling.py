"""Who hears of what and when: an alert's way, step by step, as a table of moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from fetcher.model import DAY, HOUR, MINUTE
from fetcher.observe.alerts.findings import Finding
from fetcher.observe.alerts.telling import Manners, Turn, decide, is_open

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.alerts import AlertRow

BEGUN, WORSE, STILL, OVER, PASSED = Turn.BEGUN, Turn.WORSE, Turn.STILL, Turn.OVER, Turn.PASSED
HERE = Manners("here", DAY, 10 * MINUTE)
QUIET = replace(HERE, quiet=True)
BAD = Finding("stale BTC/USDT 1m", "stale", "it is late")


class Book:
    """What would be stored, through several looks."""

    def __init__(self) -> None:
        self.rows: dict[str, AlertRow] = {}

    def look(self, minute: float, found: Finding | None = None, manners: Manners = HERE) -> Turn | None:
        """What is told at a minute where this, or nothing, is found."""
        decision = decide(self.rows, [found] if found else [], int(minute * MINUTE) + DAY, manners)
        self.rows |= {row.key: row for row in decision.changed}
        for key in decision.dropped:
            del self.rows[key]
        assert len(decision.news) <= 1
        return decision.news[0].turn if decision.news else None


def turns(looks: Sequence[tuple[float, Finding | None]], manners: Manners = HERE) -> list[Turn | None]:
    """What is told at each look."""
    book = Book()
    return [book.look(minute, found, manners) for minute, found in looks]


def level(number: int) -> Finding:
    """The same, this bad."""
    return replace(BAD, level=number)


LATER = replace(BAD, after_ms=15 * MINUTE)
STUCK = replace(BAD, stuck=True, after_ms=60 * MINUTE)


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        pytest.param([(0, BAD), (1, BAD), (2, BAD)], [BEGUN, None, None], id="told once"),
        pytest.param([(0, BAD), (1439, BAD), (1440, BAD), (1441, BAD)], [BEGUN, None, STILL, None],
                     id="again in a day"),
        pytest.param([(0, BAD), (1, None), (10, None), (11, None), (12, None)], [BEGUN, None, None, OVER, None],
                     id="over after a calm of ten minutes"),
        pytest.param([(0, BAD), (1, None), (5, BAD), (6, None), (11, None), (16, None)],
                     [BEGUN, None, None, None, None, OVER], id="back within the calm: as if it had not gone"),
        pytest.param([(0, LATER), (14, LATER), (15, LATER)], [None, None, BEGUN], id="told when it has lasted"),
        pytest.param([(0, LATER), (5, None), (6, LATER), (20, LATER), (21, LATER)], [None, None, None, None, BEGUN],
                     id="lasting begins anew"),
        pytest.param([(0, level(10)), (59, level(20)), (60, level(19)), (61, level(20)), (62, level(20))],
                     [BEGUN, None, None, WORSE, None], id="twice as bad, after an hour"),
        pytest.param([(0, replace(STUCK, level=9)), (59, replace(STUCK, level=8)), (60, replace(STUCK, level=8)),
                      (118, replace(STUCK, level=8)), (119, replace(STUCK, level=8))],
                     [None, None, None, None, BEGUN], id="what gets less is not stuck"),
        pytest.param([(0, replace(STUCK, level=9)), (30, replace(STUCK, level=10)), (31, replace(STUCK, level=9)),
                      (60, replace(STUCK, level=9))], [None, None, None, BEGUN],
                     id="what comes and goes on top of it is no progress"),
        pytest.param([(0, replace(STUCK, level=9)), (30, replace(STUCK, level=30)), (60, replace(STUCK, level=30)),
                      (121, replace(STUCK, level=30))], [None, None, BEGUN, None],
                     id="what grew before it was told is not worse afterwards"),
        pytest.param([(0, replace(STUCK, level=9)), (60, replace(STUCK, level=12))], [None, BEGUN],
                     id="what grows is stuck"),
    ],
)  # fmt: skip
def test_when_an_alert_is_told(looks: list[tuple[float, Finding | None]], told: list[Turn | None]) -> None:
    """Each moment tells what it should, and nothing else."""
    assert turns(looks) == told


def test_what_comes_and_goes_falls_silent() -> None:
    """On for a minute, off for fifteen, all day long: told a few times, not ninety times."""
    looks = [(float(minute), BAD if minute % 16 == 0 else None) for minute in range(1440)]
    told = [turn for turn in turns(looks) if turn is not None]
    assert told == [BEGUN, OVER, BEGUN]


def test_each_new_beginning_needs_a_longer_calm() -> None:
    """The second time it is over after twenty minutes, and after a quiet day all is forgotten."""
    book = Book()
    assert [book.look(0, BAD), book.look(1), book.look(11)] == [BEGUN, None, OVER]
    assert [book.look(20, BAD), book.look(21), book.look(31), book.look(41)] == [BEGUN, None, None, OVER]
    assert [book.look(41 + 1439), book.look(41 + 1440)] == [None, None]
    assert not book.rows


def test_quiet_hours_hold_back_what_is_not_urgent() -> None:
    """It is told when they end, and urgent ones at once."""
    book = Book()
    assert book.look(0, BAD, QUIET) is None
    assert book.look(60, BAD, QUIET) is None
    assert book.look(61, BAD) is BEGUN
    urgent = Book()
    assert urgent.look(0, replace(BAD, urgent=True), QUIET) is BEGUN
    assert urgent.look(1, None, QUIET) is None
    assert urgent.look(300, None, QUIET) is None  # nobody is woken to hear that it is over
    assert urgent.look(301) is OVER


def test_what_came_and_went_in_quiet_hours_is_told_at_their_end() -> None:
    """Once, as passed; what was too short to be told at any hour is not."""
    book = Book()
    assert [book.look(0, BAD, QUIET), book.look(5, None, QUIET), book.look(60, None, QUIET)] == [None, None, None]
    assert is_open(book.rows[BAD.key])
    assert [book.look(61), book.look(62)] == [PASSED, None]
    assert turns([(0, LATER), (5, None), (61, None)]) == [None, None, None]


def test_a_process_with_nobody_to_tell_decides_for_nobody() -> None:
    """It keeps the account; who has targets tells, both the beginning and the end."""
    mute, book = replace(HERE, tells=False), Book()
    assert [book.look(0, BAD, mute), book.look(1, BAD), book.look(2, BAD, mute)] == [None, BEGUN, None]
    assert [book.look(3, None, mute), book.look(20, None, mute), book.look(21)] == [None, None, OVER]


def test_what_is_over_and_has_nobody_left_to_be_told_to_is_forgotten() -> None:
    """Else it would be listed for ever once the last target is gone."""
    mute, book = replace(HERE, tells=False), Book()
    assert [book.look(0, BAD), book.look(1, None, mute), book.look(7 * 1440, None, mute)] == [BEGUN, None, None]
    assert book.rows
    assert book.look(7 * 1440 + 1, None, mute) is None
    assert not book.rows


def test_an_alert_of_another_machine_is_its_own_affair() -> None:
    """Not finding it here says nothing; a machine that is heard of no more is forgotten after a week."""
    there, book = replace(HERE, host="there"), Book()
    disk = Finding("disk there database", "disk", "full", host="there")
    assert book.look(0, disk, there) is BEGUN
    assert [book.look(1), book.look(60)] == [None, None]
    assert is_open(book.rows[disk.key])
    assert [book.look(61, None, there), book.look(71, None, there)] == [None, OVER]
    assert book.look(80, disk, there) is BEGUN
    assert book.look(80 + 7 * 1440 - 1) is None
    assert book.rows
    assert book.look(80 + 7 * 1440) is None
    assert not book.rows


def test_a_clock_that_was_set_back_keeps_nothing_waiting() -> None:
    """Times to come count as now: it is over ten minutes later, not in a year."""
    book = Book()
    assert book.look(500_000, BAD) is BEGUN
    assert [book.look(0), book.look(10)] == [None, OVER]


def test_nothing_wrong_and_nothing_known_writes_nothing() -> None:
    """The usual run costs one look."""
    assert not decide({}, [], HOUR, HERE)
