"""Progress as figures: what came, how fast, how long the rest takes; shown as plain lines here, as bars by bars.py."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from fetcher.events import JobEnded, PageStored, Planned
from fetcher.model import Timeframe, Window
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.clock import Clock
    from fetcher.events import Fact

RATE_SECONDS = 20.0  # the span over which speed is measured
PLAIN_SECONDS = 10.0  # between two lines where nobody watches
QUIET_SECONDS = 5.0  # without any answer, after which it is said why
_LOOK_SECONDS = 2.0  # between two looks at what remains


class Count(Struct):
    """One series so far: candles received, slots proven absent, and slots that open jobs still have to bring."""

    rows: int = 0
    absent: int = 0
    remaining: int = 0

    @property
    def done(self) -> int:
        """Slots explained by this run."""
        return self.rows + self.absent


class Tally(Struct):
    """Everything that the listeners heard; `samples` are (elapsed seconds, candles received by then).

    `started` is when the work began, `fastest` what the limits of the sources allow, candles a second over minutes;
    `quiet` says why nothing moves, where nothing does.
    """

    series: dict[str, Count] = field(default_factory=dict)
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    started: float = 0.0
    fastest: float | None = None
    quiet: str | None = None

    @property
    def total(self) -> Count:
        """All series together."""
        counts = self.series.values()
        return Count(sum(c.rows for c in counts), sum(c.absent for c in counts), sum(c.remaining for c in counts))

    def count(self, name: str) -> Count:
        """The count of one series, by its name (`BTC/USDT 1h`)."""
        return self.series.setdefault(name, Count())

    def took(self, page: PageStored, at: float) -> None:
        """Count in a committed page, `at` elapsed seconds."""
        count = self.count(page.series)
        grid = Timeframe(page.series.rpartition(" ")[2]).grid()
        absent = sum(grid.count(Window(start, end)) for start, end in page.absent)
        count.rows += page.rows
        count.absent += absent
        count.remaining = max(0, count.remaining - page.rows - absent)
        self.samples.append((at, self.total.rows))

    def rate(self, now: float) -> float:
        """Candles a second over the last RATE_SECONDS; 0 while unknown."""
        while len(self.samples) > 1 and self.samples[0][0] < now - RATE_SECONDS:
            self.samples.popleft()
        if not self.samples:
            return 0.0
        (start, before), (_, after) = self.samples[0], self.samples[-1]
        return (after - before) / (now - start) if now > start else 0.0

    def seconds_left(self, now: float) -> float | None:
        """How long the remaining slots take at the speed so far, or as the limits allow; None while it is unknown.

        The last seconds say little: a minute's weight is used up in a part of it, and then nothing comes.
        """
        total, seconds = self.total, now - self.started
        if not total.done or seconds <= 0:
            return None
        rate = total.done / seconds
        return total.remaining / (rate if self.fastest is None else min(rate, self.fastest))


class Display(Protocol):
    """Whoever shows a tally: called by one thread at a time, quick, raises nothing."""

    def show(self, tally: Tally, now: float) -> None:
        """Show the figures as of `now` (elapsed seconds)."""

    def close(self, tally: Tally, now: float) -> None:
        """Show the last figures, and end."""


class Progress:
    """A listener that keeps the tally and has it shown.

    `remaining` answers how many slots of each series open jobs still have to bring: the database's word, so that jobs
    of earlier runs, dropped ones and those put back count rightly. `waiting` says why no answer comes, where that is
    known. Facts come from any thread, and `tick` from one that has nothing else to do.
    """

    def __init__(
        self, clock: Clock, remaining: Callable[[], Mapping[str, int]], display: Display,
        waiting: Callable[[], str | None] = lambda: None, fastest: float | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._waiting = waiting
        self._lock = Lock()
        self._heard = clock.elapsed()
        self._remaining = remaining
        self._display = display
        self._looked = float("-inf")
        self._working = False
        self.tally = Tally(fastest=fastest)

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        with self._lock:
            self._hear(fact, self._clock.elapsed())

    def tick(self) -> None:
        """Show how it stands although nothing happened, and say why nothing does."""
        with self._lock:
            now = self._clock.elapsed()
            if not self._working:
                return
            silence = self._clock.real_seconds(now - self._heard)
            if silence >= QUIET_SECONDS:
                self.tally.quiet = self._waiting() or f"no answer for {duration(silence)}"
            self._display.show(self.tally, now)

    def _hear(self, fact: Fact, now: float) -> None:
        self._heard, self.tally.quiet = now, None
        match fact:
            case Planned():
                self._look(now)
                self._working = self.tally.total.remaining > 0
                if self._working and not self.tally.samples:
                    self.tally.started = now
                    self.tally.samples.append((now, 0))
            case PageStored():
                self.tally.took(fact, now)
            case JobEnded():
                pass
            case _:
                return
        if self._working:
            if self._clock.real_seconds(now - self._looked) >= _LOOK_SECONDS:
                self._look(now)
            self._display.show(self.tally, now)

    def close(self) -> None:
        """Show the end, where there was anything to do."""
        with self._lock:
            if self._working:
                now = self._clock.elapsed()
                self._working, self.tally.quiet = False, None
                self._look(now)
                self._display.close(self.tally, now)

    def _look(self, now: float) -> None:
        self._looked = now
        remaining = self._remaining()
        for name in dict.fromkeys((*remaining, *self.tally.series)):
            self.tally.count(name).remaining = remaining.get(name, 0)


class PlainLines:
    """Progress where nobody watches: a line every PLAIN_SECONDS at most, and a last one."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._started = self._said = clock.elapsed()

    def show(self, tally: Tally, now: float) -> None:
        """Say how far it is, when it is time."""
        if self._clock.real_seconds(now - self._said) >= PLAIN_SECONDS:
            self._said = now
            left = tally.seconds_left(now)
            rest = f", about {duration(left)} left" if left is not None else ""
            rest += f"; {tally.quiet}" if tally.quiet else ""
            self._say(f"{figures(tally.total)}, {tally.rate(now):,.0f} rows/s, {tally.total.remaining:,} to come{rest}")

    def close(self, tally: Tally, now: float) -> None:
        """Say what came of it, where anything did."""
        if not tally.total.done and self._said == self._started:
            return
        seconds = now - self._started
        rate = tally.total.rows / seconds if seconds else 0.0
        rest = f", {tally.total.remaining:,} still to come" if tally.total.remaining else ""
        self._say(f"{figures(tally.total)} in {duration(seconds)} ({rate:,.0f} rows/s){rest}")


def figures(count: Count) -> str:
    """`12,345 candles, 7 proven absent`."""
    absent = f", {count.absent:,} proven absent" if count.absent else ""
    return f"{counted(count.rows, 'candle')}{absent}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 (below that, tenths mean something)
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
