"""Alerts in words: one message for all that is new, and nothing in it that a stranger could steer a messenger with."""

from __future__ import annotations

import pytest

from db.alerts import AlertRow, Message
from fetcher.clock import parse_utc
from fetcher.model import HOUR, MINUTE
from fetcher.observe.alerts.telling import News, Turn
from fetcher.observe.alerts.words import compose, joined, strangers

NOON = parse_utc("2026-06-01T12:00:00Z")


def alert(number: int = 1, *, kind: str = "stale", urgent: bool = False, since: int = NOON - 2 * HOUR) -> AlertRow:
    """An alert that has lasted."""
    return AlertRow(f"{kind} {number}", kind, None, f"{kind} {number} is bad", urgent, 1, since, NOON, NOON - MINUTE)


@pytest.mark.parametrize(
    ("turn", "line"),
    [
        (Turn.BEGUN, "PROBLEM: stale 1 is bad (since 2026-06-01T10:00Z)"),
        (Turn.WORSE, "WORSE: stale 1 is bad (since 2026-06-01T10:00Z)"),
        (Turn.STILL, "STILL, for 2 h: stale 1 is bad"),
        (Turn.OVER, "OVER after 1 h 59 min: stale 1 is bad"),
        (Turn.PASSED, "WAS from 2026-06-01T10:00Z to 2026-06-01T11:59Z, in quiet hours: stale 1 is bad"),
    ],
)
def test_each_turn_has_its_line(turn: Turn, line: str) -> None:
    """What it is and since when stands in it."""
    assert compose([News(turn, alert())], "box", NOON)[1] == line


def test_several_alerts_are_one_message_with_the_urgent_first() -> None:
    """The title counts, what is over stands last."""
    news = [News(Turn.OVER, alert(1)), News(Turn.BEGUN, alert(2)),
            News(Turn.BEGUN, alert(3, kind="disk", urgent=True, since=NOON))]  # fmt: skip
    title, body = compose(news, "box", NOON)
    assert title == "fetcher on box: 2 problems, 1 over"
    assert [line.split(":")[0] for line in body.splitlines()] == ["URGENT", "PROBLEM", "OVER after 1 h 59 min"]


def test_many_of_one_kind_are_counted() -> None:
    """Sixty stale series are six lines."""
    title, body = compose([News(Turn.BEGUN, alert(number)) for number in range(60)], "box", NOON)
    assert title == "fetcher on box: 60 problems"
    assert len(body.splitlines()) == 6
    assert body.splitlines()[-1] == "… and 55 more like these; `python -m fetcher alerts` lists all"


def test_messages_that_waited_are_sent_as_one() -> None:
    """Each under its time, oldest first."""
    first = Message(1, "t", "one problem", "PROBLEM: a", NOON - HOUR, 0, 3)
    assert joined([first]) == ("one problem", "PROBLEM: a")
    title, body = joined([first, Message(2, "t", "one over", "OVER: a", NOON, 0, 0)])
    assert title == "one over (and 1 earlier)"
    assert body == "2026-06-01T11:00Z\nPROBLEM: a\n\n2026-06-01T12:00Z\nOVER: a"


@pytest.mark.parametrize(
    "said",
    ["<!channel> look", "@everyone look", "[click](http://evil.example)", "a\nPROBLEM: forged", "\x1b[2J", "`rm`",
     "*b*", "x" * 5000, "<script>alert(1)</script>", "\u202eevil"],
)  # fmt: skip
def test_what_strangers_say_steers_nothing(said: str) -> None:
    """No line break, no markup, no mention, not long, nothing unprintable."""
    safe = strangers(said)
    assert safe.isprintable()
    assert len(safe) <= 200
    assert not set(safe) & set("<>[]`@*")
    assert strangers(None)
