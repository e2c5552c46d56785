"""The circuit breaker: pybreaker's states, kept in the database so that every process obeys them.

pybreaker decides which state follows which outcome; nothing else of it is used, because `call()` holds a lock around
the protected call (all threads would queue up), its half-open state admits everybody, and it reads the wall clock.
Requests are sent outside of it and only their outcomes are reported, inside one short transaction.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pybreaker
from msgspec import Struct
from msgspec.structs import replace

from db.breakers import CLOSED, OPEN

FAIL_MAX = 10  # consecutive failures: several fetchers fail at once, and a third of all failing is not yet an outage


class BreakerState(Struct, frozen=True):
    """One breaker as the database keeps it; `opened_ms` is ms UTC of the program's clock."""

    state: str = CLOSED
    failures: int = 0
    successes: int = 0
    opened_ms: int | None = None


def after_outcome(before: BreakerState, now_ms: int, *, succeeded: bool) -> BreakerState:
    """The state that follows an outcome; one that comes while the breaker is open (sent before it tripped) is void."""
    if before.state == OPEN:
        return before
    storage = _Storage(before, now_ms)
    breaker = pybreaker.CircuitBreaker(fail_max=FAIL_MAX, state_storage=storage, throw_new_error_on_trip=False)
    with contextlib.suppress(_Failure):
        breaker.call(_succeed if succeeded else _fail)
    return storage.now


class _Failure(Exception):
    """Stands for a failed request inside pybreaker."""


def _succeed() -> None:
    """Stand for a request that was answered."""


def _fail() -> None:
    raise _Failure


class _Storage(pybreaker.CircuitBreakerStorage):
    """Lets pybreaker work on one `BreakerState`; every member it calls is here (it fails silently on a missing one)."""

    def __init__(self, state: BreakerState, now_ms: int) -> None:
        super().__init__("endpoint_state")
        self.now = state
        self._now_ms = now_ms

    @property
    def state(self) -> str:
        return self.now.state

    @state.setter
    def state(self, state: str) -> None:
        self.now = replace(self.now, state=state)

    def increment_counter(self) -> None:
        self.now = replace(self.now, failures=self.now.failures + 1)

    def reset_counter(self) -> None:
        self.now = replace(self.now, failures=0)

    def increment_success_counter(self) -> None:
        self.now = replace(self.now, successes=self.now.successes + 1)

    def reset_success_counter(self) -> None:
        self.now = replace(self.now, successes=0)

    @property
    def counter(self) -> int:
        return self.now.failures

    @property
    def success_counter(self) -> int:
        return self.now.successes

    @property
    def opened_at(self) -> datetime | None:
        opened = self.now.opened_ms
        return None if opened is None else datetime.fromtimestamp(opened / 1000, UTC)

    @opened_at.setter
    def opened_at(self, _wall_clock: datetime) -> None:
        self.now = replace(self.now, opened_ms=self._now_ms)  # the program's clock, not pybreaker's
