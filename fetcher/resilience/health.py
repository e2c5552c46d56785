"""How each endpoint has been doing, tallied in memory and written in batches, so that a request costs no write."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from db.breakers import Tally


@dataclass(slots=True)
class _Sum:
    requests: int = 0
    errors: int = 0
    latency_ms: float = 0.0
    last_ok_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None

    def tally(self) -> Tally:
        answered = self.requests - self.errors
        mean = self.latency_ms / answered if answered else None
        return Tally(self.requests, self.errors, mean, self.last_ok_ms, self.last_error, self.last_error_ms)


class Health:
    """Collects outcomes from all threads; `drain` hands them over and starts afresh."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[str, _Sum] = {}

    def answered(self, endpoint: str, seconds: float, now_ms: int) -> None:
        """Count a good answer that took `seconds`."""
        with self._lock:
            tally = self._sums.setdefault(endpoint, _Sum())
            tally.requests += 1
            tally.latency_ms += seconds * 1000
            tally.last_ok_ms = now_ms

    def failed(self, endpoint: str, error: str, now_ms: int) -> None:
        """Count a request that failed, for whatever reason."""
        with self._lock:
            tally = self._sums.setdefault(endpoint, _Sum())
            tally.requests += 1
            tally.errors += 1
            tally.last_error, tally.last_error_ms = error, now_ms

    def drain(self) -> dict[str, Tally]:
        """Everything tallied so far, by endpoint."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return {endpoint: each.tally() for endpoint, each in sums.items()}
