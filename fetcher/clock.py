"""The program's one clock: wall time, elapsed time and waiting, all of which `FETCHER_CLOCK` can shift and speed up.

Everything else is banned from reading the time or sleeping, so that a test or a demonstration turns one knob.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock

from fetcher.errors import ConfigError

_WAKE_LATE = 0.001  # seconds; who wakes a moment before the deadline would go on
_SPEC = re.compile(r"(?P<start>\S+?)(?:\s+x(?P<speed>\d+(?:\.\d+)?))?")


def parse_utc(text: str) -> int:
    """Read an ISO date or datetime (UTC where no zone is given) as ms UTC; ValueError when it is neither."""
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def format_utc(ms: int) -> str:
    """Write ms UTC as `2026-06-01T00:00:00Z`, with milliseconds only where there are any."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def brief_utc(ms: int) -> str:
    """Write ms UTC as `2026-06-01T00:00Z`, with whole seconds only where there are any."""
    text = format_utc(ms - ms % 1000)
    return text.removesuffix(":00Z") + "Z" if text.endswith(":00Z") else text


class Clock:
    """Wall clock and elapsed time; starts at `start_ms` and runs `speed` times as fast when given."""

    def __init__(self, start_ms: int | None = None, speed: float = 1.0) -> None:
        self._speed = speed
        self._origin = time.monotonic()
        self._start_ms = start_ms

    @classmethod
    def from_environment(cls) -> Clock:
        """The real clock, or the one that FETCHER_CLOCK describes: `2026-06-01T00:00:00Z x60`."""
        spec = os.environ.get("FETCHER_CLOCK", "").strip()
        if not spec:
            return cls()
        match = _SPEC.fullmatch(spec)
        try:
            if match is None or float(match["speed"] or 1) <= 0:
                raise ValueError(spec)
            return cls(parse_utc(match["start"]), float(match["speed"] or 1))
        except ValueError:
            raise ConfigError(
                f"FETCHER_CLOCK is {spec!r}; write a UTC time and optionally a speed, like '2026-06-01T00:00:00Z x60'"
            ) from None

    def now_ms(self) -> int:
        """Wall time in ms UTC."""
        if self._start_ms is None:
            return time.time_ns() // 1_000_000
        return self._start_ms + round(self.elapsed() * 1000)

    def elapsed(self) -> float:
        """Seconds of program time since this clock was made; never jumps."""
        return (time.monotonic() - self._origin) * self._speed

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait `seconds` of program time; True at once when `stop` is set meanwhile."""
        return stop.wait(max(0.0, seconds / self._speed))

    def real_seconds(self, seconds: float) -> float:
        """What `seconds` of program time last on the wall, for time-outs of library calls that wait for us."""
        return seconds / self._speed

    def stretched(self, real_seconds: float) -> float:
        """How much program time passes in so many seconds on the wall, as time-outs of requests are counted."""
        return real_seconds * self._speed


class Stop(Event):
    """The word to leave, for everybody in this process: set by a signal, or by itself when a run's time is up."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._deadline: float | None = None

    def at(self, deadline: float | None) -> None:
        """Be set when the clock's elapsed seconds come to `deadline`; None: not by itself."""
        self._deadline = deadline

    def is_set(self) -> bool:
        """Whether it is time to leave."""
        if self._deadline is not None and self._clock.elapsed() >= self._deadline:
            self.set()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds on the wall; True as soon as it is time to leave."""
        if self._deadline is not None:
            left = max(0.0, self._clock.real_seconds(self._deadline - self._clock.elapsed()))
            timeout = left + _WAKE_LATE if timeout is None else min(timeout, left + _WAKE_LATE)
        super().wait(timeout)
        return self.is_set()


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One look at a source's clock: its ms UTC at the program's elapsed seconds `at`."""

    server_ms: int
    at: float


class ServerClock:
    """What is known of one source's clock: a lower bound of its time now, never a guess from ours.

    A reading is extrapolated by our elapsed time, which is exact over minutes and does not move when the local
    clock is set. Each answer's Date header (whole seconds) caps the extrapolation for that answer, so that a slow or
    stopped server clock is never overtaken.
    """

    MAX_AGE = 300.0

    def __init__(self, clock: Clock, ahead_ms: int = 0) -> None:
        self._clock = clock
        self._ahead_ms = ahead_ms  # of ours, when last seen by any run: good enough to say which minute it is there
        self._lock = Lock()
        self._reading: ClockReading | None = None

    def learn(self, server_ms: int) -> None:
        """Take the time endpoint's answer, received just now."""
        with self._lock:
            self._reading = ClockReading(server_ms, self._clock.elapsed())

    def now_ms(self, at: float | None = None) -> int | None:
        """The source's time (ms UTC) at our elapsed second `at` (default: now); None while it is unknown."""
        reading = self._reading
        if reading is None:
            return None
        elapsed = (self._clock.elapsed() if at is None else at) - reading.at
        return reading.server_ms + int(elapsed * 1000)

    def guess_ms(self, at: float | None = None) -> int:
        """As `now_ms`, with our own clock and the difference last seen standing in for an unknown one: never proof."""
        known = self.now_ms(at)
        if known is not None:
            return known
        ago = 0 if at is None else int((self._clock.elapsed() - at) * 1000)
        return self._clock.now_ms() - ago + self._ahead_ms

    def is_fresh(self) -> bool:
        """Whether the last reading is young enough to extrapolate from."""
        reading = self._reading
        return reading is not None and self._clock.elapsed() - reading.at < self.MAX_AGE

    @staticmethod
    def dated_ms(date_header: str | None) -> int | None:
        """A Date header as ms UTC (whole seconds); None where there is none that can be read."""
        try:
            moment = parsedate_to_datetime(date_header) if date_header else None
            if moment is not None and moment.tzinfo is None:  # timestamp() would take it for this machine's own time
                moment = moment.replace(tzinfo=UTC)
            return None if moment is None else int(moment.timestamp() * 1000)
        except (ValueError, OverflowError):  # the second of a year that no calendar has
            return None

    def proven_ms(self, sent_at: float, date_header: str | None) -> int | None:
        """The latest ms UTC that the source's clock had surely reached when it made an answer to a request.

        `sent_at` is our elapsed second when the request left; the answer was made after that. Without a reading, the
        answer's own Date counts, less the time the request took (a proxy may stamp it after the data was read).
        """
        dated = self.dated_ms(date_header)
        known = self.now_ms(sent_at)
        if known is None:
            return None if dated is None else dated - int((self._clock.elapsed() - sent_at) * 1000)
        return known if dated is None else min(known, dated + 999)
