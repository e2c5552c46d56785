"""An API's request weight, shared by every process on the same database.

The exchange counts per wall-clock minute of its own clock (facts: Binance REST, weights). A process reserves weight in
blocks of about twenty requests, in short transactions, and what the answers' headers say of others' use is counted in.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from db import endpoints
from db.engine import writing
from fetcher.errors import Stopped
from fetcher.model import MINUTE

if TYPE_CHECKING:
    from threading import Event

    from sqlalchemy import Engine

    from fetcher.clock import Clock, ServerClock

BLOCK_REQUESTS = 20
GUARD_MS = 1_000  # a request sent later than this before the minute's end may be counted in the next one


class Budget:
    """Weight per minute of one pool: everything that the exchange counts together (for Binance: one IP address)."""

    def __init__(self, engine: Engine, clock: Clock, server: ServerClock, pool: str, limit: int) -> None:
        self._engine = engine
        self._clock = clock
        self._server = server
        self._pool = pool
        self._limit = limit
        self._lock = Lock()
        self._minute = -1
        self._left = 0
        self._seen = 0

    def take(self, cost: int, stop: Event) -> None:
        """Wait until `cost` weight may be spent, and spend it; raises Stopped when `stop` is set first."""
        while not stop.is_set():
            seconds = self._try(cost)
            if seconds is None:
                return
            self._clock.wait(stop, seconds)
        raise Stopped("stopped while waiting for request weight")

    def saw(self, used: int, sent_at: float) -> None:
        """Count in what the exchange says this address has used in the minute of a request sent at `sent_at`."""
        minute = self._server.guess_ms(sent_at) // MINUTE * MINUTE
        with self._lock:
            if minute == self._minute:
                self._seen = max(self._seen, used)
                self._left = min(self._left, max(0, self._limit - used))  # others may have spent what was reserved

    def _try(self, cost: int) -> float | None:
        with self._lock:
            now = self._server.guess_ms()
            minute = now // MINUTE * MINUTE
            left_ms = minute + MINUTE - now
            if left_ms <= GUARD_MS:
                return left_ms / 1000
            if minute != self._minute:
                self._minute, self._left, self._seen = minute, 0, 0
            if self._left < cost:
                with writing(self._engine) as connection:
                    self._left += endpoints.reserve(
                        connection, self._pool, minute, cost * BLOCK_REQUESTS, self._limit, self._seen + self._left
                    )
                if self._server.guess_ms() - minute >= MINUTE - GUARD_MS:
                    return 0.0  # a busy database kept us waiting until the minute was over: look again
            if self._left < cost:
                return left_ms / 1000
            self._left -= cost
            return None
