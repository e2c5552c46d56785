"""Progress: figures from facts, plain lines at their pace, bars that fit the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from fetcher.clock import Clock
from fetcher.events import Attempt, JobEnded, PageStored, Planned
from fetcher.observe.bars import Bars
from fetcher.observe.progress import Count, PlainLines, Progress, Tally, duration, figures

if TYPE_CHECKING:
    from collections.abc import Mapping

HOUR = 3_600_000


class TurnedClock(Clock):
    """A clock that moves only when told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.seconds = 0.0

    def elapsed(self) -> float:
        """As turned."""
        return self.seconds


def page(rows: int, *absent: tuple[int, int], series: str = "BTC/USDT 1h") -> PageStored:
    """A committed page."""
    return PageStored(series, "binance", rows, 0, absent)


def test_pages_are_counted_by_series() -> None:
    """Candles and absent slots are counted; a series' grid says how many slots an absence has."""
    tally = Tally()
    tally.count("BTC/USDT 1h").remaining = 1010
    tally.took(page(1000, (0, 2 * HOUR)), 1.0)
    tally.took(page(5, (0, 31 * 24 * HOUR), series="ETH/USDT 1M"), 2.0)
    assert tally.series["BTC/USDT 1h"] == Count(1000, 2, 8)
    assert tally.series["ETH/USDT 1M"].absent == 1
    assert tally.total.done == 1008


def test_speed_is_that_of_the_last_seconds() -> None:
    """A slow start is forgotten; without a sample there is no speed and no time left."""
    tally = Tally()
    assert (tally.rate(5.0), tally.seconds_left(5.0)) == (0.0, None)
    tally.samples.append((0.0, 0))
    for second in range(1, 61):
        tally.count("BTC/USDT 1h").remaining = 10_000
        tally.took(page(10 if second <= 30 else 1000), float(second))
    assert tally.rate(60.0) == pytest.approx(1000)


def test_time_left_is_that_of_the_whole_run_within_the_limits() -> None:
    """A minute's weight may be used up in two seconds: then the limits tell how long the rest takes."""
    tally = Tally(started=10.0)
    tally.count("BTC/USDT 1h").remaining = 61_000
    assert tally.seconds_left(10.0) is None
    tally.took(page(1000), 12.0)
    assert tally.seconds_left(12.0) == pytest.approx(120.0)
    assert tally.seconds_left(70.0) == pytest.approx(3600.0)
    tally.fastest = 100.0
    assert tally.seconds_left(12.0) == pytest.approx(600.0)


def test_lines_come_while_nothing_moves() -> None:
    """While requests wait for their weight no fact comes: ticks have the line written, with what is waited for."""
    clock, said, reasons = TurnedClock(), list[str](), [None, "waiting for request weight of binance"]
    progress = Progress(
        clock,
        lambda: {"BTC/USDT 1h": 2000},
        PlainLines(clock, said.append),
        lambda: reasons[clock.seconds > 12],
        fastest=1.0,
    )
    progress.tick()
    progress(Planned(1, 2000))
    progress(page(1000))
    for second in (4.0, 11.0, 12.0, 21.0, 22.0):
        clock.seconds = second
        if second == 12.0:
            progress(Attempt("binance", "e", "candles", "ok", "", 0, 0.1))
        progress.tick()
    assert said == [
        "1,000 candles, 91 rows/s, 1,000 to come, about 16 min 40 s left; no answer for 11 s",
        "1,000 candles, 0 rows/s, 1,000 to come, about 16 min 40 s left; waiting for request weight of binance",
    ]
    progress.close()
    clock.seconds = 60.0
    progress.tick()
    assert len(said) == 3


def test_plain_lines_come_at_their_pace() -> None:
    """At most one line in ten seconds, and a last one."""
    clock, said = TurnedClock(), list[str]()
    lines, tally = PlainLines(clock, said.append), Tally()
    tally.samples.append((0.0, 0))
    tally.count("BTC/USDT 1h").remaining = 5_000
    for second in range(1, 26):
        clock.seconds = float(second)
        tally.took(page(100), clock.seconds)
        lines.show(tally, clock.seconds)
    assert len(said) == 2
    assert said[0] == "1,000 candles, 100 rows/s, 4,000 to come, about 40 s left"
    lines.close(tally, 25.0)
    assert said[-1] == "2,500 candles in 25 s (100 rows/s), 2,500 still to come"


def test_nothing_done_is_not_worth_a_line() -> None:
    """An idle run in cron is silent."""
    clock, said = TurnedClock(), list[str]()
    progress = Progress(clock, lambda: {"BTC/USDT 1h": 5}, PlainLines(clock, said.append))
    progress(Planned(1, 5))
    progress.close()
    assert said == []


def test_what_remains_is_the_databases_word() -> None:
    """It is looked up when planned and then every two seconds, so that dropped jobs no longer count."""
    clock, looks = TurnedClock(), list[float]()

    def remaining() -> Mapping[str, int]:
        looks.append(clock.seconds)
        return {"BTC/USDT 1h": 100} if clock.seconds < 2 else {}

    progress = Progress(clock, remaining, PlainLines(clock, lambda _: None))
    progress(Attempt("binance", "e", "time", "ok", "", 0, 0.1))
    progress(Planned(1, 100))
    for second in (0.5, 1.0, 1.5, 2.5, 3.0):
        clock.seconds = second
        progress(page(10))
    progress(JobEnded(1, "gap", "BTC/USDT 1h", 0, HOUR, "done", None))
    assert looks == [0.0, 2.5]
    assert progress.tally.series["BTC/USDT 1h"] == Count(50, 0, 0)
    progress.close()
    assert looks[-1] == 3.0


def test_without_anything_to_do_nothing_is_shown() -> None:
    """Where no job is open the display is never called."""

    class Refusing:
        def show(self, tally: Tally, now: float) -> None:
            raise AssertionError(tally, now)

        close = show

    progress = Progress(TurnedClock(), dict, Refusing())
    progress(Planned(0, 0))
    progress(page(1))
    progress.close()


def test_bars_show_each_series_and_all() -> None:
    """Each series has its bar with candles and absent slots, all together speed and time left."""
    clock, drawn = TurnedClock(), io.StringIO()
    bars, tally = Bars(clock, Console(file=drawn, force_terminal=True, width=110, height=30)), Tally()
    tally.samples.append((0.0, 0))
    tally.count("ETH/USDT 1h").remaining = 50
    tally.count("BTC/USDT 1h").remaining = 52
    tally.took(page(50, (0, 2 * HOUR)), 1.0)
    bars.show(tally, 1.0)
    bars.close(tally, 1.0)
    text = drawn.getvalue()
    assert "50 rows, 50 rows/s, 1 s left, 2 absent" in text
    assert "100%" in text
    assert "ETH/USDT 1h" in text


def test_bars_never_outgrow_the_terminal() -> None:
    """Where there are more series than lines the total speaks for the rest."""
    clock, drawn = TurnedClock(), io.StringIO()
    bars, tally = Bars(clock, Console(file=drawn, force_terminal=True, width=110, height=10)), Tally()
    for number in range(40):
        tally.count(f"C{number}/USDT 1h").remaining = 50
    bars.show(tally, 1.0)
    bars.close(tally, 1.0)
    assert drawn.getvalue().count("C5/USDT") == 0
    assert "all" in drawn.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"),
        (3600, "1 h"), (7_500, "2 h 5 min"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    """Two units at most, and the smaller only where it counts."""
    assert duration(seconds) == words


def test_figures_name_absences_only_where_there_are_any() -> None:
    """A run without holes does not speak of them."""
    assert figures(Count(12_345, 0, 0)) == "12,345 candles"
    assert figures(Count(0, 7, 0)) == "0 candles, 7 proven absent"
