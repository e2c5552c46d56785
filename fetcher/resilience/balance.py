"""Who of several endpoints is asked next: load is spread by health, speed and budget left. The choice is pure.

`weigh` makes a weight of what is known of each, `take_turn` deals turns in proportion to the weights (smooth weighted
round-robin: equals alternate, and nobody waits for a turn longer than its share says). What is known lives in the
process; a new one begins with what the database tells of the last hour.
"""

from __future__ import annotations

from collections import Counter
from random import random
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.clock import Clock

NEWEST = 0.2  # how much a new outcome moves an average: about the last ten count
FORGET_SECONDS = 60.0  # after which half of a bad reputation is forgotten: whoever is not asked cannot do better
LEAST = 0.01  # the smallest health, so that the worst is asked now and then
SLACK = 2.0  # latencies up to so many times the best count as equal: questions differ in size
SHORTEST = 0.02  # seconds; below, latency says nothing of a host


class Standing(Struct, frozen=True):
    """One endpoint at a moment; times in seconds, shares 0 … 1.

    `success` is the recent share of good answers, `latency` what those take (None: not known), `idle` how long ago the
    newest of both was learnt, `waiting` how long the oldest of the requests `in_flight` has been on its way, and
    `budget_left` the share of its pool's budget that is left in this span.
    """

    success: float = 1.0
    latency: float | None = None
    idle: float = 0.0
    waiting: float = 0.0
    in_flight: int = 0
    budget_left: float = 1.0


def weigh(standings: Mapping[str, Standing]) -> dict[str, float]:
    """Weights to deal turns by: budget left × health × speed ÷ requests in flight.

    Health is the fourth power of success, since each failure costs another request and a pause; speed the square of the
    best latency's share of this one, from twice the best on. A request that hangs is slow before it is over.
    """
    best = min((max(each.latency, SHORTEST) for each in standings.values() if each.latency is not None), default=None)
    weights = {}
    for name, each in standings.items():
        kept = 0.5 ** (each.idle / FORGET_SECONDS)
        health = (1 - (1 - each.success) * kept) ** 4
        if best is not None:
            known = best if each.latency is None else best + (max(each.latency, SHORTEST) - best) * kept
            health *= min(1.0, SLACK * best / max(known, each.waiting)) ** 2
        weights[name] = max(LEAST, health) * max(LEAST, each.budget_left) / (1 + each.in_flight)
    return weights


def take_turn(credit: Mapping[str, float], weights: Mapping[str, float]) -> tuple[str, dict[str, float]]:
    """Whose turn it is, and what credit everybody has afterwards; the first one where all is equal."""
    after = dict(credit)
    for name, weight in weights.items():
        after[name] = after.get(name, 0.0) + weight
    chosen = max(weights, key=lambda name: after[name])
    after[chosen] -= sum(weights.values())
    return chosen, after


class _Record(Struct):
    success: float
    latency: float | None
    heard_at: float  # the clock's elapsed second of the newest outcome
    sent_at: Counter[float] = field(default_factory=Counter)  # of the requests in flight

    def learn(self, now: float, *, good: bool, latency: float | None) -> None:
        forgiven = 1 - (1 - self.success) * 0.5 ** ((now - self.heard_at) / FORGET_SECONDS)
        self.success = forgiven + NEWEST * (good - forgiven)
        self.heard_at = now
        if latency is not None:
            self.latency = latency if self.latency is None else self.latency + NEWEST * (latency - self.latency)

    def standing(self, now: float, budget_left: float) -> Standing:
        waiting = now - min(self.sent_at) if self.sent_at else 0.0
        return Standing(
            self.success, self.latency, now - self.heard_at, waiting, self.sent_at.total(), budget_left
        )  # fmt: skip


class Balance:
    """What this process knows of a source's endpoints, by key; all threads report to it and are dealt turns by it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._records: dict[str, _Record] = {}
        self._credit: dict[str, float] = {}

    def introduce(self, name: str, success: float = 1.0, latency: float | None = None, idle: float = 0.0) -> None:
        """Tell what earlier processes left of an endpoint, learnt `idle` seconds ago; needed once, before its turns."""
        with self._lock:
            self._records[name] = _Record(success, latency, self._clock.elapsed() - idle)
            self._credit[name] = random() * LEAST  # else every run of a few requests would ask the first few

    def choose(self, budget_left: Mapping[str, float]) -> str:
        """Deal a turn to one of these endpoints, which may all be asked; values are the shares of budget left."""
        with self._lock:
            now = self._clock.elapsed()
            standings = {name: self._records[name].standing(now, left) for name, left in budget_left.items()}
            chosen, self._credit = take_turn(self._credit, weigh(standings))
            return chosen

    def began(self, name: str) -> float:
        """A request leaves for an endpoint; returns the ticket to report its end with."""
        with self._lock:
            now = self._clock.elapsed()
            self._records[name].sent_at[now] += 1
            return now

    def ended(self, name: str, ticket: float) -> None:
        """A request is over, whatever came of it."""
        with self._lock:
            self._records[name].sent_at -= Counter((ticket,))  # what falls to zero goes

    def learn(self, name: str, *, good: bool, latency: float | None = None) -> None:
        """An endpoint answered well or badly, within so many seconds (None: not to be measured by)."""
        with self._lock:
            self._records[name].learn(self._clock.elapsed(), good=good, latency=latency)
