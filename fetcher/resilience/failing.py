"""How long a source has been failing: the breaker counts failures, but a run has seconds.

Seconds are those on the wall, as the time-outs of requests are, whatever the speed of the program's clock.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetcher.clock import Clock

PATIENCE_SECONDS = 20.0  # with a source that others can stand in for: a run of 50 s must come to those as well
ASIDE_SECONDS = 5.0  # of it for its time and its symbols, which candles can do without
FORGET_SECONDS = 60.0  # after which it is tried anew, as an open breaker is


class Failing:
    """Since when one source has failed in this process without an answer about candles; shared by all threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._since = self._last = 0.0
        self._candles = False
        self._why: str | None = None

    def failed(self, began: float, why: str, *, vital: bool) -> None:
        """A question that left at the clock's elapsed second `began` brought nothing; `vital`: it was about candles."""
        with self._lock:
            if not self._lasts():
                self._since, self._candles = began, False
            self._last, self._why = self._clock.elapsed(), why
            self._candles = self._candles or vital

    def over(self) -> None:
        """It answered a question about candles."""
        with self._lock:
            self._why = None

    def enough(self, *, vital: bool) -> str | None:
        """Why it is to be left alone for now, if others can be asked; None where it is worth another try.

        For candles only once those failed too: that its time cannot be had says nothing of them.
        """
        with self._lock:
            seconds = self._clock.real_seconds(self._last - self._since)
            tired = self._candles and seconds >= PATIENCE_SECONDS if vital else seconds >= ASIDE_SECONDS
            return f"failing for {seconds:.0f} s: {self._why}" if self._lasts() and tired else None

    def forgotten_ms(self) -> int:
        """When it is tried anew, ms UTC."""
        with self._lock:
            left = self._clock.stretched(FORGET_SECONDS) - (self._clock.elapsed() - self._last)
            return self._clock.now_ms() + int(left * 1000)

    def _lasts(self) -> bool:
        return self._why is not None and self._clock.real_seconds(self._clock.elapsed() - self._last) < FORGET_SECONDS
