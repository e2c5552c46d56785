"""The program's one clock: wall time, elapsed time and waiting, all of which `FETCHER_CLOCK` can shift and speed up.

Everything else is banned from reading the time or sleeping, so that a test or a demonstration turns one knob.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAKE_LATE = 0.001  # seconds; who wakes a moment before the deadline would go on
_JUMP = r"\s+jump\s+([+-])(\d+(?:\.\d+)?)([smhd])\s+at\s+(\d+(?:\.\d+)?)([smhd])"
_SPEC = re.compile(
    rf"(?P<start>\S+?)(?:\s+x(?P<speed>\d+(?:\.\d+)?))?(?P<jumps>(?:{re.sub(r'[(](?![?])', '(?:', _JUMP)})*)"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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
    """Wall clock and elapsed time; starts at `start_ms` and runs `speed` times as fast when given.

    `jumps` are times when somebody sets that wall clock: elapsed seconds, and by how many ms.
    """

    def __init__(
        self, start_ms: int | None = None, speed: float = 1.0, jumps: Sequence[tuple[float, int]] = ()
    ) -> None:
        self._speed = speed
        self._origin = time.monotonic()
        self._start_ms = start_ms
        self._jumps = tuple(jumps)

    @classmethod
    def from_environment(cls) -> Clock:
        """The real clock, or the one that FETCHER_CLOCK describes: `2026-06-01T00:00:00Z x60 jump +2h at 36h`."""
        spec = os.environ.get("FETCHER_CLOCK", "").strip()
        if not spec:
            return cls()
        match = _SPEC.fullmatch(spec)
        try:
            if match is None or float(match["speed"] or 1) <= 0:
                raise ValueError(spec)
            return cls(parse_utc(match["start"]), float(match["speed"] or 1), _jumps(match["jumps"]))
        except ValueError:
            raise ConfigError(
                f"FETCHER_CLOCK is {spec!r}; write a UTC time and optionally a speed and jumps, like "
                "'2026-06-01T00:00:00Z x60 jump +2h at 36h'"
            ) from None

    def now_ms(self) -> int:
        """Wall time in ms UTC."""
        if self._start_ms is None:
            return time.time_ns() // 1_000_000
        elapsed = self.elapsed()
        return self._start_ms + round(elapsed * 1000) + self._jumped(elapsed)

    def origin_ms(self) -> int:
        """Wall time (ms UTC) when the elapsed seconds were 0, by the wall clock as it is set now.

        It moves when that is set, and when the machine sleeps: elapsed seconds then stand still.
        """
        if self._start_ms is None:
            return self.now_ms() - round(self.elapsed() * 1000)
        return self._start_ms + self._jumped(self.elapsed())

    def _jumped(self, elapsed: float) -> int:
        return sum(by_ms for at, by_ms in self._jumps if elapsed >= at)

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


def _jumps(text: str) -> list[tuple[float, int]]:
    found = re.findall(_JUMP, text)
    return [
        (float(at) * _SECONDS[unit_at], round(float(f"{sign}{by}") * _SECONDS[unit] * 1000))
        for sign, by, unit, at, unit_at in found
    ]


def monotonic_usec() -> int:
    """The system's monotonic clock in microseconds, as service managers compare it."""
    return time.monotonic_ns() // 1000


class Stop(Event):
    """The word to end the work at hand, for everybody in this process: set by somebody, or when a run's time is up.

    `leave` is the word to end the program: it stays, whatever run begins or ends meanwhile. `interrupt` stays as well,
    until whoever works in a circle takes it by `resume`.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._deadline: float | None = None
        self._left_at: float | None = None
        self._is_interrupted = False

    def at(self, deadline: float | None) -> None:
        """Begin anew, to be set when the clock's elapsed seconds come to `deadline`; None: not by itself."""
        self._deadline = deadline
        self.clear()
        if self.is_leaving or self._is_interrupted:  # perhaps since a moment ago
            self.set()

    def interrupt(self) -> None:
        """Have the work at hand end, and the next one too, until `resume`."""
        self._is_interrupted = True
        self.set()

    def resume(self) -> bool:
        """Take an interruption: whether there was one."""
        was, self._is_interrupted = self._is_interrupted, False
        self.at(None)
        return was

    def leave(self) -> None:
        """Have the program end, whatever it does."""
        if self._left_at is None:
            self._left_at = self._clock.elapsed()
        self.set()

    @property
    def is_leaving(self) -> bool:
        """Whether the program is to end."""
        return self._left_at is not None

    def left_for(self) -> float:
        """For how many seconds on the wall the program has been ending; 0 where it is not."""
        return 0.0 if self._left_at is None else self._clock.real_seconds(self._clock.elapsed() - self._left_at)

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


class ClockReading(Struct, frozen=True):
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
        self._is_doubted = False

    def learn(self, server_ms: int) -> None:
        """Take the time endpoint's answer, received just now."""
        with self._lock:
            self._reading = ClockReading(server_ms, self._clock.elapsed())
            self._is_doubted = False

    def doubt(self) -> None:
        """Our own clock was set, or the machine slept: what is known is a lower bound still, and worth asking anew."""
        self._is_doubted = True

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
        if reading is None or self._is_doubted:
            return False
        return self._clock.elapsed() - reading.at < self.MAX_AGE

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
