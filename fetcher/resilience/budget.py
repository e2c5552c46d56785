"""An API's request weight, shared by every process on the same database.

Binance counts per wall-clock minute of its own clock (facts: Binance REST, weights); other sources are given shorter
spans, so that no second gets a minute's worth. A process reserves weight in blocks of about twenty requests, in short
transactions, and what the answers' headers say of others' use is counted in.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from db import endpoints
from db.engine import writing
from db.retrying import retried
from fetcher.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from sqlalchemy import Engine

    from fetcher.clock import Clock, ServerClock

BLOCK_REQUESTS = 20
GUARD_MS = 1_000  # a request sent later than this before a minute's end may be counted in the next one


class Unlimited:
    """The purse of what an exchange does not count: nothing is reserved, and nobody waits."""

    def take_now(self, cost: int) -> float:  # noqa: ARG002 (as Budget)
        """Nothing is ever worth waiting for."""
        return 0.0

    def give_back(self, cost: int) -> None:
        """Nothing was taken."""

    def share_left(self, window_ms: int | None, used: int) -> float:  # noqa: ARG002 (as Budget)
        """All of it."""
        return 1.0

    def saw(self, used: int, sent_at: float) -> None:
        """It counts nothing."""


class Budget:
    """Weight per span of one pool: everything that the exchange counts together (for Binance: one IP address).

    `limits` gives the weight that may be spent in a span, and the span in ms.
    """

    def __init__(
        self, engine: Engine, clock: Clock, server: ServerClock, pool: str, limits: Callable[[], tuple[int, int]]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._server = server
        self._pool = pool
        self._ask_limits = limits  # asked when first needed: what a source allows may have to be read from its library
        self._lock = Lock()
        self._span_start = -1
        self._left = 0
        self._seen = 0
        self._is_full = False

    def take(self, cost: int, stop: Event) -> None:
        """Wait until `cost` weight may be spent, and spend it; raises Stopped when `stop` is set first."""
        while not stop.is_set():
            seconds = self._try(cost)
            if seconds is None:
                return
            self._clock.wait(stop, seconds)
        raise Stopped("stopped while waiting for request weight")

    def take_now(self, cost: int) -> float:
        """Spend `cost` weight if it may be spent now: 0.0, else the seconds until it is worth trying again."""
        while (seconds := self._try(cost)) == 0.0:
            continue  # a busy database kept us waiting until the span was over: look again
        return 0.0 if seconds is None else seconds

    def give_back(self, cost: int) -> None:
        """Weight that was taken and not sent for, to whoever asks next in this process and span."""
        limit, span = self._limits
        with self._lock:
            if self._server.guess_ms() // span * span == self._span_start:
                self._left = min(limit, self._left + min(cost, limit))

    def share_left(self, window_ms: int | None, used: int) -> float:
        """The share (0 … 1) of the current span's weight that this process may still get.

        `used` is what all processes have reserved in the window that began at `window_ms`, as the database has it.
        """
        limit, span = self._limits
        with self._lock:
            start = self._server.guess_ms() // span * span
            here = start == self._span_start
            left = limit - (used if window_ms == start else 0) + (self._left if here else 0)
            return max(0.0, min(left, limit - (self._seen if here else 0)) / limit)

    def saw(self, used: int, sent_at: float) -> None:
        """Count in what the exchange says this address has used in the span of a request sent at `sent_at`."""
        limit, span = self._limits
        start = self._server.guess_ms(sent_at) // span * span
        with self._lock:
            if start == self._span_start:
                self._seen = max(self._seen, used)
                self._left = min(self._left, max(0, limit - used))  # others may have spent what was reserved

    @cached_property
    def _limits(self) -> tuple[int, int]:
        return self._ask_limits()

    def _try(self, cost: int) -> float | None:
        limit, span = self._limits
        cost = min(cost, limit)  # a question dearer than a span's weight takes a whole span
        guard = min(GUARD_MS, span // 10)
        with self._lock:
            now = self._server.guess_ms()
            start = now // span * span
            left_ms = start + span - now
            if left_ms <= guard:
                return left_ms / 1000
            if start != self._span_start:
                self._span_start, self._left, self._seen, self._is_full = start, 0, 0, False
            if self._left < cost and not self._is_full:
                granted = self._reserve(start, cost * BLOCK_REQUESTS)
                self._left += granted
                self._is_full = granted < cost * BLOCK_REQUESTS  # nobody gives back: the span has no more for anyone
                if self._server.guess_ms() - start >= span - guard:
                    return 0.0  # a busy database kept us waiting until the span was over: look again
            if self._left < cost:
                return left_ms / 1000
            self._left -= cost
            return None

    @retried
    def _reserve(self, start: int, amount: int) -> int:
        limit, span = self._limits
        with writing(self._engine) as connection:
            return endpoints.reserve(
                connection, self._pool, start, amount, limit, self._seen + self._left, span_ms=span
            )
