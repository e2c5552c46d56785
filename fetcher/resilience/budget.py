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

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from fetcher.clock import ServerClock

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

    def owe(self, cost: int) -> None:
        """Nothing is owed."""

    def close(self) -> None:
        """Nothing was reserved."""


class Budget:
    """Weight per span of one pool: everything that the exchange counts together (for Binance: one IP address).

    `limits` gives the weight that may be spent in a span, and the span in ms.
    """

    def __init__(self, engine: Engine, server: ServerClock, pool: str, limits: Callable[[], tuple[int, int]]) -> None:
        self._engine = engine
        self._server = server
        self._pool = pool
        self._ask_limits = limits  # asked when first needed: what a source allows may have to be read from its library
        self._lock = Lock()
        self._span_start = -1
        self._left = 0
        self._seen = 0
        self._is_full = False

    def take_now(self, cost: int) -> float:
        """Spend `cost` weight if it may be spent now: 0.0, else the seconds until it is worth trying again."""
        limit, span = self._limits
        cost = min(cost, limit)  # a question dearer than a span's weight takes a whole span
        with self._lock:
            while True:
                left_ms = self._enter_span()
                if left_ms <= min(GUARD_MS, span // 10):
                    return left_ms / 1000
                if self._left >= cost:
                    self._left -= cost
                    return 0.0
                if self._is_full:
                    return left_ms / 1000
                self._reserve(cost * BLOCK_REQUESTS)  # a busy database may have kept us until the span was over

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

    def owe(self, cost: int) -> None:
        """Count in weight that was spent without asking: what comes next waits for it."""
        with self._lock:
            self._left -= cost

    def close(self) -> None:
        """Hand back what this process reserved of the current span and did not spend."""
        with self._lock:
            if self._left > 0:  # else nothing was asked, and what is allowed need not be looked up
                self._enter_span()
            unspent, self._left = self._left, 0
            if unspent > 0:
                with writing(self._engine) as connection:
                    endpoints.hand_back(connection, self._pool, self._span_start, unspent)

    @cached_property
    def _limits(self) -> tuple[int, int]:
        return self._ask_limits()

    def _enter_span(self) -> int:
        """Begin anew where a span has begun; the ms that are left of it."""
        _, span = self._limits
        now = self._server.guess_ms()
        start = now // span * span
        if start != self._span_start:
            self._span_start, self._left, self._seen, self._is_full = start, 0, 0, False
        return start + span - now

    def _reserve(self, amount: int) -> None:
        limit, span = self._limits
        granted = self._granted(amount, limit, span)
        self._left += granted
        self._is_full = granted < amount  # hardly anybody gives back: the span has no more for anyone

    @retried
    def _granted(self, amount: int, limit: int, span: int) -> int:
        with writing(self._engine) as connection:
            return endpoints.reserve(
                connection, self._pool, self._span_start, amount, limit, self._seen + self._left, span_ms=span
            )
