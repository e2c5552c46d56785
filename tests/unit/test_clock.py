"""The one clock, and what is known of a source's: never ahead of what its answers prove."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import format_datetime
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.clock import Clock, ServerClock, Stop, format_utc, parse_utc
from fetcher.errors import ConfigError

T0 = 1_780_272_000_000  # 2026-06-01


class HandClock(Clock):
    """A clock that moves when it is told to, and when somebody waits."""

    def __init__(self, start_ms: int = T0) -> None:
        super().__init__(start_ms)
        self.seconds = 0.0

    def elapsed(self) -> float:
        """Seconds that the hand has turned."""
        return self.seconds

    def wait(self, stop: Event, seconds: float) -> bool:
        """Turn by what is waited for."""
        self.seconds += max(0.0, seconds)
        return stop.is_set()


def header(ms: int) -> str:
    """A Date header as servers write it: whole seconds, cut off."""
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)


@given(st.integers(0, 4_000_000_000_000))
def test_times_are_written_as_they_are_read(ms: int) -> None:
    """Text and back, to the millisecond."""
    assert parse_utc(format_utc(ms)) == ms
    assert ("." in format_utc(ms)) == (ms % 1000 != 0)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-06-01", T0),
        ("2026-06-01T00:00:00Z", T0),
        (" 2026-06-01 00:00 ", T0),
        ("2026-06-01T02:00:00+02:00", T0),
        ("2026-06-01T00:00:00.250", T0 + 250),
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_dates_without_a_zone_are_utc(text: str, ms: int) -> None:
    """Whatever the machine's own zone is."""
    assert parse_utc(text) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-02-30", "1780272000", "12:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """A ValueError, for whoever asked to make a sentence of."""
    with pytest.raises(ValueError, match=r".+"):
        parse_utc(text)


@pytest.mark.parametrize(
    ("spec", "speed"),
    [
        ("2026-06-01", 1),
        ("2026-06-01T00:00:00Z", 1),
        ("2026-06-01T00:00:00Z x60", 60),
        ("  2026-06-01   x0.5 ", 0.5),
    ],
)
def test_the_environment_sets_time_and_speed(monkeypatch: pytest.MonkeyPatch, spec: str, speed: float) -> None:
    """FETCHER_CLOCK as DESIGN.md writes it; waits shrink with the speed."""
    monkeypatch.setenv("FETCHER_CLOCK", spec)
    clock = Clock.from_environment()
    assert 0 <= clock.now_ms() - T0 < 60_000 * speed
    assert clock.real_seconds(60) == 60 / speed


def test_somebody_sets_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jumps move the wall clock at their time, and elapsed seconds never."""
    monkeypatch.setenv("FETCHER_CLOCK", "2026-06-01T00:00:00Z x60 jump +2h at 0s jump -90m at 36h jump +1.5d at 0s")
    clock = Clock.from_environment()
    moved = 7_200_000 + 129_600_000
    assert 0 <= clock.now_ms() - T0 - moved < 600_000
    assert clock.origin_ms() == T0 + moved
    assert clock.elapsed() < 600


def test_the_origin_of_a_real_clock_stands_still(clock: Clock) -> None:
    """As long as nobody sets it: the elapsed seconds and the wall clock go on together."""
    first = clock.origin_ms()
    clock.wait(Event(), 0.05)
    assert abs(clock.origin_ms() - first) < 1_000


def test_who_is_told_to_leave_leaves_whatever_begins() -> None:
    """A stop that a deadline or a failure set is over with the next run; `leave` is not, nor an interruption."""
    clock = HandClock()
    stop = Stop(clock)
    stop.set()
    stop.at(None)
    assert not stop.is_set()
    stop.interrupt()
    stop.at(100.0)
    assert stop.is_set()
    assert stop.resume()
    assert not stop.resume()
    assert not stop.is_set()
    assert stop.left_for() == 0
    stop.leave()
    clock.seconds += 3
    stop.leave()
    stop.at(1000.0)
    stop.resume()
    assert stop.is_set()
    assert stop.is_leaving
    assert stop.left_for() == 3


@pytest.mark.parametrize(
    "spec",
    [
        "soon", "2026-06-01 60", "2026-06-01 x0", "x60", "2026-06-01 x-1", "2026-06-01 x60 x2",
        "2026-06-01 jump 2h at 3h", "2026-06-01 jump +2h", "jump +2h at 3h", "2026-06-01 jump +2h at 3h x60",
    ],
)  # fmt: skip
def test_a_clock_that_cannot_be_read_is_one_sentence(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    """It names the variable, what it holds, and how to write it."""
    monkeypatch.setenv("FETCHER_CLOCK", spec)
    with pytest.raises(ConfigError) as refusal:
        Clock.from_environment()
    assert "FETCHER_CLOCK" in str(refusal.value)
    assert repr(spec) in str(refusal.value)


@pytest.mark.parametrize("spec", [None, "", "  "])
def test_without_it_the_clock_is_real(monkeypatch: pytest.MonkeyPatch, spec: str | None) -> None:
    """Unset or blank, the machine's time counts."""
    monkeypatch.delenv("FETCHER_CLOCK", raising=False)
    if spec is not None:
        monkeypatch.setenv("FETCHER_CLOCK", spec)
    assert abs(Clock.from_environment().now_ms() - Clock().now_ms()) < 5_000


def test_waiting_is_scaled_and_ends_with_the_stop() -> None:
    """An hour at 10,000 times the speed is over at once; a stop that is set ends any wait, and says so."""
    fast, stop = Clock(T0, 36_000), Event()
    before = fast.elapsed()
    assert not fast.wait(stop, 3600)
    assert fast.elapsed() - before >= 3600
    assert fast.now_ms() >= T0 + 3_600_000
    assert not fast.wait(stop, -5)
    stop.set()
    assert Clock().wait(stop, 3600)


@given(
    st.integers(-400 * 86_400_000, 400 * 86_400_000),
    st.lists(st.tuples(st.floats(0, 400), st.floats(0, 20), st.floats(0, 1), st.booleans()), min_size=1, max_size=8),
)
def test_a_sources_clock_is_never_overtaken(ahead_ms: int, steps: list[tuple[float, float, float, bool]]) -> None:
    """Whatever our clock says and however long answers take: what is proven had come at the source when it answered."""
    clock = HandClock()
    known = ServerClock(clock, ahead_ms=12_345)
    for pause, duration, moment, is_time in steps:
        clock.seconds += pause
        sent = clock.elapsed()
        answered = sent + duration * moment
        truth = clock.now_ms() + ahead_ms + int(duration * moment * 1000)
        clock.seconds += duration
        if is_time:
            known.learn(truth)
        proven = known.proven_ms(sent, header(truth))
        assert answered >= sent
        assert proven is not None
        assert proven <= truth + 1, "a whole millisecond may come of rounding"
        assert proven <= (known.dated_ms(header(truth)) or 0) + 999


def test_a_slow_servers_date_caps_the_extrapolation() -> None:
    """A source whose clock stands still while ours goes on: its own Date header holds us back."""
    clock = HandClock()
    known = ServerClock(clock)
    known.learn(T0)
    clock.seconds += 120
    assert known.now_ms() == T0 + 120_000
    assert known.proven_ms(clock.elapsed(), header(T0)) == T0 + 999


def test_a_date_alone_proves_what_the_answer_did_not_last() -> None:
    """Without a reading the Date counts, less the whole time of the request."""
    clock = HandClock()
    known = ServerClock(clock)
    clock.seconds += 7
    assert known.proven_ms(2.0, header(T0)) == T0 - 5_000
    assert known.proven_ms(2.0, None) is None
    assert known.now_ms() is None


def test_an_unknown_clock_is_guessed_but_never_proven() -> None:
    """To say which minute it is at the source, ours with the difference last seen must do."""
    clock = HandClock()
    known = ServerClock(clock, ahead_ms=-600_000)
    clock.seconds += 10
    assert known.guess_ms() == T0 + 10_000 - 600_000
    assert known.guess_ms(at=4.0) == T0 + 4_000 - 600_000
    assert known.now_ms() is None
    known.learn(T0 + 99)
    clock.seconds += 1
    assert known.guess_ms() == known.now_ms() == T0 + 1_099
    assert known.now_ms(at=10.5) == T0 + 599


def test_a_reading_ages() -> None:
    """After five minutes it is time to ask again; what it proved stays a lower bound."""
    clock = HandClock()
    known = ServerClock(clock)
    assert not known.is_fresh()
    known.learn(T0)
    assert known.is_fresh()
    known.doubt()
    assert not known.is_fresh()
    assert known.now_ms() is not None
    known.learn(T0)
    assert known.is_fresh()
    clock.seconds += ServerClock.MAX_AGE
    assert not known.is_fresh()
    assert known.now_ms() == T0 + 300_000


@pytest.mark.parametrize(
    "text", [None, "", "now", "Mon, 99 Foo 2026 99:99:99 GMT", "0", "Mon, 01 Jun 2026 00:00:00 +9999"]
)
def test_a_date_that_cannot_be_read_is_none(text: str | None) -> None:
    """A proxy's nonsense in the header proves nothing and breaks nothing."""
    assert ServerClock.dated_ms(text) is None


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000", ""])
def test_a_date_header_is_utc(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """With or without its zone, wherever this machine is."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert ServerClock.dated_ms(f"Mon, 01 Jun 2026 00:00:07 {zone}".strip()) == T0 + 7_000
    finally:
        monkeypatch.undo()
        time.tzset()
