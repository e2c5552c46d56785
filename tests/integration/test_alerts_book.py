"""The account of alerts on either database: told once whoever looks, delivered in the end, with real webhooks."""

from __future__ import annotations

import logging
import threading
from threading import Barrier, Event, Thread
from typing import TYPE_CHECKING

import pytest

from db import alerts
from db.alerts import Message
from db.engine import open_engine, reading, writing
from fetcher.clock import Clock, parse_utc
from fetcher.model import DAY, MINUTE, SECOND
from fetcher.observe.alerts.book import AlertBook
from fetcher.observe.alerts.findings import Finding
from fetcher.observe.alerts.sending import send_all
from fetcher.observe.alerts.telling import Manners
from fetcher.sections import Alerts
from fetcher.targets import Target, read_targets
from tests.integration.commands import until
from tests.integration.webhooks import TOKEN, Webhooks, serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.databases import Databases

NOON = parse_utc("2026-06-01T12:00:00Z")
HERE = Manners("here", DAY, 10 * MINUTE)
BAD = Finding("stale BTC/USDT 1m", "stale", "BTC/USDT 1m is late")


class SetClock(Clock):
    """A clock that is turned by hand; what it waits for, and elapsed time, are real."""

    def __init__(self, now_ms: int = NOON) -> None:
        super().__init__()
        self.time_ms = now_ms

    def now_ms(self) -> int:
        """What it was set to."""
        return self.time_ms


def targets(*hooks: Webhooks) -> list[Target]:
    """These webhooks as targets."""
    return read_targets(Alerts(), {"FETCHER_ALERTS": " ".join(hook.target for hook in hooks)})[0]


def send(messages: Mapping[Target, tuple[str, str]]) -> dict[Target, str | None]:
    """Send them as a run does."""
    return send_all(messages, Clock(), Event())


def look(book: AlertBook, *found: Finding, manners: Manners = HERE) -> None:
    """What the end of a run does."""
    book.note(found, manners)
    book.deliver(send)


def undelivered(engine: Engine) -> int:
    """How many messages wait."""
    with reading(engine) as connection:
        return alerts.waiting(connection)


def test_an_alert_begins_and_ends_with_one_message_each(engine: Engine, hooks: Webhooks) -> None:
    """Each look of each run is a new process; only what is new is told."""
    clock = SetClock()
    for minute in range(30):
        clock.time_ms = NOON + minute * MINUTE
        look(AlertBook(engine, clock, targets(hooks)), *([BAD] if minute < 5 else []))
    assert hooks.titles() == ["1 problem", "1 over"]
    assert hooks.bodies() == ["PROBLEM: BTC/USDT 1m is late", "OVER after 5 min: BTC/USDT 1m is late"]
    assert undelivered(engine) == 0


def test_two_processes_at_once_tell_once(databases: Databases, tmp_path: Path, engine: Engine, hooks: Webhooks) -> None:
    """Eight look at the same moment, each by connections of its own: one message."""
    barrier = Barrier(8)
    engines = [open_engine(databases.url(tmp_path)) for _ in range(8)]

    def process(mine: Engine) -> None:
        book = AlertBook(mine, SetClock(), targets(hooks))
        barrier.wait()
        look(book, BAD)

    threads = [Thread(target=process, args=(each,)) for each in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in engines:
        each.dispose()
    assert hooks.titles() == ["1 problem"]
    assert undelivered(engine) == 0


def test_one_that_was_killed_while_sending_is_taken_over(engine: Engine, hooks: Webhooks) -> None:
    """Nobody else sends while it may be at work; after a minute somebody does."""
    clock = SetClock()
    book = AlertBook(engine, clock, targets(hooks))
    book.note([BAD], HERE)
    assert book._claimed()  # and then it was killed
    clock.time_ms += 59 * SECOND
    look(AlertBook(engine, clock, targets(hooks)), BAD)
    assert hooks.messages == []
    clock.time_ms += SECOND
    look(AlertBook(engine, clock, targets(hooks)), BAD)
    assert hooks.titles() == ["1 problem"]


def test_a_target_that_fails_is_told_later_and_the_others_at_once(
    engine: Engine, hooks: Webhooks, caplog: pytest.LogCaptureFixture
) -> None:
    """What it missed comes as one message once it answers; the others hear nothing twice; the log holds no secret."""
    clock = SetClock()
    with serving() as broken, caplog.at_level(logging.DEBUG):
        broken.status = 503
        for minute in range(20):
            clock.time_ms = NOON + minute * MINUTE
            look(AlertBook(engine, clock, targets(hooks, broken)), *([BAD] if minute < 2 else []))
        assert hooks.titles() == ["1 problem", "1 over"]
        assert undelivered(engine) == 2
        broken.status = 200
        for minute in range(20, 80):
            clock.time_ms = NOON + minute * MINUTE
            look(AlertBook(engine, clock, targets(hooks, broken)))
        assert broken.titles() == ["1 over (and 1 earlier)"]
        assert broken.bodies()[0].split("\n\n") == [
            "2026-06-01T12:00Z\nPROBLEM: BTC/USDT 1m is late",
            "2026-06-01T12:12Z\nOVER after 2 min: BTC/USDT 1m is late",
        ]
    assert len(hooks.messages) == 2
    assert undelivered(engine) == 0
    warnings = [each.getMessage() for each in caplog.records if (each.name, each.levelname) == ("fetcher", "WARNING")]
    assert 3 <= len(warnings) <= 7  # tried ever more rarely, not each minute
    assert all("could not be sent to FETCHER_ALERTS 2 (json)" in each and "503" in each for each in warnings)
    assert TOKEN not in "".join(each.getMessage() for each in caplog.records if each.name != "urllib3.connectionpool")


def test_a_clock_that_was_ahead_keeps_no_message_waiting(engine: Engine, hooks: Webhooks) -> None:
    """What it put off by a year, and whatever is told since, arrives as soon as the target answers."""
    clock = SetClock(NOON + 365 * DAY)
    hooks.status = 503
    look(AlertBook(engine, clock, targets(hooks)), BAD)
    hooks.status = 200
    clock.time_ms = NOON
    look(AlertBook(engine, clock, targets(hooks)), BAD, Finding("quarantine", "quarantine", "500 rows were refused"))
    assert hooks.titles() == ["1 problem (and 1 earlier)"]
    assert undelivered(engine) == 0


def test_what_cannot_be_delivered_is_dropped_after_three_days(engine: Engine, hooks: Webhooks) -> None:
    """Also what was meant for a target that is configured no more."""
    clock = SetClock()
    look(AlertBook(engine, clock, targets(hooks)), BAD)
    with writing(engine) as connection:
        alerts.post(connection, ["gone"], "old", "old", NOON)
    clock.time_ms += 3 * DAY + 1
    book = AlertBook(engine, clock, targets(hooks))
    look(book, BAD)
    assert hooks.titles() == ["1 problem", "1 problem"]  # still, after three days
    assert undelivered(engine) == 0


def test_quiet_hours_end_with_one_summary(engine: Engine, hooks: Webhooks) -> None:
    """Three were held back, one passed meanwhile, an urgent one came through."""
    clock = SetClock()
    quiet = Manners("here", DAY, 10 * MINUTE, quiet=True)
    urgent = Finding("disk here database", "disk", "the disk is nearly full", urgent=True)
    other = Finding("quarantine", "quarantine", "500 rows were refused")
    for minute, found in ((0, [BAD, other]), (1, [BAD, other, urgent]), (30, [BAD, urgent]), (45, [BAD, urgent])):
        clock.time_ms = NOON + minute * MINUTE
        look(AlertBook(engine, clock, targets(hooks)), *found, manners=quiet)
    assert hooks.bodies() == ["URGENT: the disk is nearly full"]
    clock.time_ms = NOON + 60 * MINUTE
    look(AlertBook(engine, clock, targets(hooks)), BAD, urgent)
    assert hooks.titles()[1:] == ["1 problem, 1 over"]
    assert hooks.bodies()[1].splitlines() == [
        "PROBLEM: BTC/USDT 1m is late (since 2026-06-01T12:00Z)",
        "WAS from 2026-06-01T12:00Z to 2026-06-01T12:30Z, in quiet hours: 500 rows were refused",
    ]


def test_a_message_is_claimed_by_one(engine: Engine) -> None:
    """Whoever comes second finds it taken, also with what it had read before."""
    with writing(engine) as connection:
        alerts.post(connection, ["a", "b"], "title", "body", NOON)
    with writing(engine) as connection:
        assert alerts.claim(connection, ["a"], NOON - 1, NOON + MINUTE, NOON + DAY) == []
        [mine] = alerts.claim(connection, ["a"], NOON, NOON + MINUTE, NOON + DAY)
        assert mine == Message(mine.id, "a", "title", "body", NOON, NOON, 0)
        assert alerts.claim(connection, ["a"], NOON, NOON + MINUTE, NOON + DAY) == []
        assert alerts.is_due(connection, ["a", "b"], NOON, NOON + DAY)
        assert not alerts.is_due(connection, ["a"], NOON, NOON + DAY)


def test_a_target_that_hangs_holds_nobody_up(hooks: Webhooks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told at once, and what hangs is left behind after its time, sooner once we are to leave."""
    monkeypatch.setattr("fetcher.observe.alerts.sending.LIMIT_SECONDS", 0.5)
    with serving() as slow:
        slow.hangs = True
        before = set(threading.enumerate())
        outcomes = send_all(dict.fromkeys(targets(hooks, slow), ("title", "body")), Clock(), Event())
        assert hooks.bodies() == ["body"]
        assert list(outcomes.values()) == [None, "it did not answer within 0 s"]
        assert not {each for each in threading.enumerate() if each.name.startswith("ThreadPool")} - before


def test_leaving_ends_the_wait_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the program is asked to leave, it waits for no answer for long."""
    monkeypatch.setattr("fetcher.observe.alerts.sending.LEAVING_SECONDS", 0.1)
    leaving = Event()
    leaving.set()
    with serving() as slow:
        slow.hangs = True
        [problem] = send_all(dict.fromkeys(targets(slow), ("title", "body")), Clock(), leaving).values()
    assert problem is not None
    assert problem.startswith("it did not answer")


def test_a_target_that_hangs_gets_one_message_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a daemon would have more threads with each try; it is told the rest once it has answered."""
    monkeypatch.setattr("fetcher.observe.alerts.sending.LIMIT_SECONDS", 0.3)
    with serving() as slow:
        slow.hangs = True
        [target] = targets(slow)
        said = [send_all({target: ("title", "body")}, Clock(), Event())[target] for _ in range(2)]
        assert said == ["it did not answer within 0 s", "it has not answered to an earlier message yet"]
        assert slow.bodies() == ["body"]
        slow.hangs = False
        slow.let_go.set()
        until(lambda: not any(each.name == f"alerts {target.id}" for each in threading.enumerate()))
        assert send_all({target: ("title", "body")}, Clock(), Event())[target] is None


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (f"json://127.0.0.1:1/{TOKEN}", "A Connection error occurred"),
        (f"nosuch://127.0.0.1/{TOKEN}", "apprise cannot read its address"),
        (f"tgram://{TOKEN}", "apprise cannot read its address"),
    ],
)
def test_a_target_that_cannot_be_told_is_a_sentence(
    address: str, says: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of its address shows: not in what is said, not in a log, not on stderr."""
    [target] = read_targets(Alerts(), {"FETCHER_ALERTS": address})[0]
    with caplog.at_level(logging.DEBUG):
        [problem] = send({target: ("title", "body")}).values()
    assert problem is not None
    assert says in problem
    out, err = capfd.readouterr()
    logged = [
        each.getMessage() for each in caplog.records if each.name != "urllib3.connectionpool"
    ]  # at debug: ours never
    assert not any(TOKEN in text for text in (problem, out, err, *logged))
