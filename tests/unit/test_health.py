"""Tallies of endpoints: histograms, hours, when they are due, and how a run writes them down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import endpoints, health
from db.breakers import Tally
from db.engine import reading, writing
from db.series import ensure_sources, source_clock
from fetcher.clock import Clock, parse_utc
from fetcher.resilience.health import FLUSH_SECONDS, Health, HourOf
from fetcher.runbook import RunBook

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fetcher.line import SourceLine

NOON = parse_utc("2026-06-01T12:00Z")
HOUR = health.HOUR_MS


class HandClock(Clock):
    """A clock that a test turns."""

    seconds = 0.0

    def now_ms(self) -> int:
        """Noon and what was turned."""
        return NOON + round(self.seconds * 1000)

    def elapsed(self) -> float:
        """What was turned."""
        return self.seconds


@given(st.lists(st.floats(1.0, 100_000.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_known_to_a_tenth(latencies: list[float], share: float) -> None:
    """The bucket's middle is within a tenth of the true order statistic."""
    histogram: dict[int, float] = {}
    for latency in latencies:
        place = health.bucket(latency)
        histogram[place] = histogram.get(place, 0) + 1
    true = next(x for n, x in enumerate(sorted(latencies), 1) if n >= share * len(latencies))
    assert health.percentile(histogram, share) == pytest.approx(true, rel=0.1)


def test_nothing_answered_has_no_percentile() -> None:
    """No latency is invented where every request failed."""
    assert health.percentile({}, 0.5) is None
    assert health.bucket(0.0) == health.bucket(1.0) == 0


def test_outcomes_are_tallied_by_the_hour() -> None:
    """A request belongs to the hour in which it ended; drained tallies come earliest first and start afresh."""
    tallies, clock = Health(), HandClock()
    tallies.failed("a", "reset", NOON + HOUR)
    tallies.answered("a", 0.08, NOON + 1)
    tallies.answered("a", 0.12, NOON + 2)
    first, second = tallies.drain(clock).items()
    assert first[0] == HourOf(NOON, "a")
    assert (first[1].requests, first[1].errors, first[1].last_ok_ms) == (2, 0, NOON + 2)
    assert first[1].latency_ms == pytest.approx(100)
    assert first[1].latency == {health.bucket(80): 1, health.bucket(120): 1}
    assert (second[0].hour_ms, second[1].errors, second[1].last_error) == (NOON + HOUR, 1, "reset")
    assert tallies.drain(clock) == {}


def test_a_flush_is_due_every_half_minute_while_something_happens() -> None:
    """Not at once, not for nothing, and not again before its time."""
    tallies, clock = Health(), HandClock()
    assert not tallies.due(clock)
    tallies.answered("a", 0.1, NOON)
    clock.seconds += FLUSH_SECONDS - 1
    assert not tallies.due(clock)
    clock.seconds += 1
    assert tallies.due(clock)
    tallies.drain(clock)
    clock.seconds += FLUSH_SECONDS
    assert not tallies.due(clock)


def test_a_long_run_writes_down_as_it_goes(engine: Engine) -> None:
    """What was tallied is in the database half a minute later, in totals and hours, with the clock; old hours go."""
    clock, tallies = HandClock(), Health()
    line = SimpleNamespace(source="okx", health=tallies, newest_proven_ms=NOON - 5)
    book = RunBook(engine, clock, [cast("SourceLine", line)], "me", lambda _: None, lambda: None)
    with writing(engine) as connection:
        endpoints.ensure(connection, "okx a", "okx")
        ensure_sources(connection, ["okx"])
        health.add(connection, "okx a", NOON - 9 * 24 * HOUR, Tally(3))
    tallies.answered("okx a", 0.08, NOON)
    book.flush_when_due()
    with reading(engine) as connection:
        assert health.read(connection, NOON) == {}
    clock.seconds += FLUSH_SECONDS
    book.flush_when_due()
    with reading(engine) as connection:
        assert health.read(connection, 0)["okx a"].requests == 1
        row = endpoints.read(connection, "okx a")
        known = source_clock(connection, "okx")
    assert row is not None
    assert (row.requests, row.last_ok_ms) == (1, NOON)
    assert known is not None
    assert known.clock_ms == NOON - 5
