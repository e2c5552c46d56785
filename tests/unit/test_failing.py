"""How long a source may fail before it is left to others, by seconds on the wall."""

from __future__ import annotations

from threading import Event

import pytest

from fetcher.clock import Clock, Stop
from fetcher.resilience.failing import ASIDE_SECONDS, FORGET_SECONDS, PATIENCE_SECONDS, Failing


class HandClock(Clock):
    """A clock that moves when it is told to, twice as fast as the wall's."""

    def __init__(self) -> None:
        super().__init__(0, 2.0)
        self.seconds = 0.0

    def elapsed(self) -> float:
        """Seconds that the hand has turned."""
        return 2 * self.seconds


def fail(failing: Failing, clock: HandClock, seconds: float, *, vital: bool = True) -> None:
    """A question that takes so many seconds and brings nothing."""
    began = clock.elapsed()
    clock.seconds += seconds
    failing.failed(began, "timed out", vital=vital)


def test_patience_is_counted_from_the_first_failure() -> None:
    """One time-out of ten seconds is worth another try, two are enough; good candles begin anew."""
    clock = HandClock()
    failing = Failing(clock)
    assert failing.enough(vital=True) is None
    fail(failing, clock, PATIENCE_SECONDS / 2)
    assert failing.enough(vital=True) is None
    fail(failing, clock, PATIENCE_SECONDS / 2)
    assert failing.enough(vital=True) == "failing for 20 s: timed out"
    failing.over()
    assert failing.enough(vital=True) is None


def test_what_is_asked_besides_condemns_no_candles() -> None:
    """A time that hangs is soon given up, and candles get their try all the same: one, if they hang too."""
    clock = HandClock()
    failing = Failing(clock)
    fail(failing, clock, PATIENCE_SECONDS, vital=False)
    assert failing.enough(vital=False) is not None
    assert failing.enough(vital=True) is None
    fail(failing, clock, 1.0)
    assert failing.enough(vital=True) is not None


def test_besides_is_given_up_sooner() -> None:
    """So that candles are asked for in time."""
    clock = HandClock()
    failing = Failing(clock)
    fail(failing, clock, ASIDE_SECONDS)
    assert (failing.enough(vital=False) is None, failing.enough(vital=True) is None) == (False, True)


def test_after_a_minute_it_is_tried_anew() -> None:
    """With all its patience, as after an open breaker's rest."""
    clock = HandClock()
    failing = Failing(clock)
    fail(failing, clock, PATIENCE_SECONDS)
    assert failing.forgotten_ms() == clock.now_ms() + int(2 * FORGET_SECONDS * 1000)
    clock.seconds += FORGET_SECONDS - 1
    assert failing.enough(vital=True) is not None
    clock.seconds += 1
    assert failing.enough(vital=True) is None
    fail(failing, clock, PATIENCE_SECONDS / 2)
    assert failing.enough(vital=True) is None


def test_a_run_leaves_at_its_deadline_by_itself() -> None:
    """Whoever looks or waits is told, and a wait that would last longer ends with it."""
    clock = HandClock()
    stop = Stop(clock)
    stop.at(10.0)
    assert not stop.is_set()
    clock.seconds = 5.0
    assert stop.wait(30.0)
    assert stop.is_set()


@pytest.mark.parametrize("deadline", [None, 1000.0])
def test_before_its_deadline_a_stop_is_an_event(deadline: float | None) -> None:
    """Set by a signal it ends every wait; a wait that ends first says so."""
    clock = HandClock()
    stop = Stop(clock)
    stop.at(deadline)
    assert not stop.wait(0.001)
    assert isinstance(stop, Event)
    stop.set()
    assert stop.wait(30.0)
