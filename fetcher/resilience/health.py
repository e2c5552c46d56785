"""How each endpoint has been doing, tallied in memory and written in batches, so that a request costs no write."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct, field

from db.breakers import Tally
from db.health import HOUR_MS, bucket

if TYPE_CHECKING:
    from fetcher.clock import Clock

FLUSH_SECONDS = 30.0  # what a killed process loses of the account at most, and how often a long one writes it


class _Sum(Struct):
    requests: int = 0
    errors: int = 0
    latency_ms: float = 0.0
    latency: Counter[int] = field(default_factory=Counter)
    last_ok_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None

    def tally(self) -> Tally:
        answered = self.requests - self.errors
        mean = self.latency_ms / answered if answered else None
        return Tally(
            self.requests, self.errors, mean, self.last_ok_ms, self.last_error, self.last_error_ms, dict(self.latency)
        )


class HourOf(Struct, frozen=True):
    """One endpoint in the hour that begins at `hour_ms` (ms UTC)."""

    hour_ms: int
    endpoint: str


class Health:
    """Collects outcomes from all threads; `drain` hands them over and starts afresh."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[HourOf, _Sum] = {}
        self._drained_at: float | None = None

    def answered(self, endpoint: str, seconds: float, now_ms: int) -> None:
        """Count a good answer that took `seconds`."""
        with self._lock:
            tally = self._sum(endpoint, now_ms)
            tally.requests += 1
            tally.latency_ms += seconds * 1000
            tally.latency[bucket(seconds * 1000)] += 1
            tally.last_ok_ms = now_ms

    def failed(self, endpoint: str, error: str, now_ms: int) -> None:
        """Count a request that failed, for whatever reason."""
        with self._lock:
            tally = self._sum(endpoint, now_ms)
            tally.requests += 1
            tally.errors += 1
            tally.last_error, tally.last_error_ms = error, now_ms

    def due(self, clock: Clock) -> bool:
        """Whether it is time to write down what was tallied: something was, and the last time is half a minute ago."""
        with self._lock:
            if self._drained_at is None:
                self._drained_at = clock.elapsed()
            return bool(self._sums) and clock.elapsed() - self._drained_at >= FLUSH_SECONDS

    def drain(self, clock: Clock) -> dict[HourOf, Tally]:
        """Everything tallied so far, the earliest hour first."""
        with self._lock:
            sums, self._sums = self._sums, {}
            self._drained_at = clock.elapsed()
        return {hour: sums[hour].tally() for hour in sorted(sums, key=lambda each: (each.hour_ms, each.endpoint))}

    def _sum(self, endpoint: str, now_ms: int) -> _Sum:
        return self._sums.setdefault(HourOf(now_ms - now_ms % HOUR_MS, endpoint), _Sum())
