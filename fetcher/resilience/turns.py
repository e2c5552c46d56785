"""One source's turns: who of its endpoints is asked next, with what gate, budget and good name each has."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from db import health
from db.engine import reading
from db.retrying import retried
from fetcher.errors import RateLimited, SourceDown, SourceError, Stopped, ends_at, most_hopeful
from fetcher.model import HOUR
from fetcher.resilience.balance import Balance

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from threading import Event

    from sqlalchemy import Engine

    from fetcher.clock import Clock
    from fetcher.resilience.budget import Budget, Unlimited
    from fetcher.resilience.gate import Gate

_AFTER_A_FAILURE = 0.7  # what each failure in a row leaves of a good name


class Turn(Struct, frozen=True):
    """One request's turn, its weight spent; `probe` where it is a half-open breaker's one probe."""

    gate: Gate
    probe: bool
    cost: int
    ticket: float


class Turns:
    """Deals turns at the gates of one source, by the budgets of their pools; shared by all threads."""

    def __init__(
        self, gates: Collection[Gate], budgets: Mapping[str, Budget | Unlimited], engine: Engine, clock: Clock
    ) -> None:
        self._gates = {gate.endpoint: gate for gate in gates}
        self._budgets = budgets
        self._engine = engine
        self._clock = clock
        self._balance = Balance(clock)
        self._lock = Lock()
        self._introduced = False

    def admit(self, cost: int, stop: Event, avoid: Collection[str] = (), *, vital: bool = True) -> Turn:
        """Whose turn it is, with `cost` weight spent for it; waits for weight where no pool that may be asked has any.

        Those to `avoid`, which have just failed, come last; the others by health, speed and budget left. A question
        that is not `vital` goes to none that is to be probed. Raises why not where no endpoint may be asked, Stopped
        when `stop` is set while it waits. Follow with `ended`.
        """
        self._introduce()
        while not stop.is_set():
            turn, seconds = self._try(cost, avoid, vital=vital)
            if turn is not None:
                return turn
            self._clock.wait(stop, seconds)
        raise Stopped("stopped while waiting for request weight")

    def ended(self, turn: Turn) -> None:
        """The request that `admit` let through is over."""
        self._balance.ended(turn.gate.endpoint, turn.ticket)

    def refund(self, turn: Turn) -> None:
        """Take back the weight of a turn in which nobody was asked."""
        self._budgets[turn.gate.pool].give_back(turn.cost)

    def learn(self, turn: Turn, *, good: bool, seconds: float | None = None) -> None:
        """Let an outcome count when turns are dealt; `seconds` where the question is one to compare latencies by."""
        self._balance.learn(turn.gate.endpoint, good=good, latency=seconds)

    def _try(self, cost: int, avoid: Collection[str], *, vital: bool) -> tuple[Turn | None, float]:
        """A turn, or the seconds until it is worth looking again."""
        refusals: list[SourceError] = []
        waits: list[float] = []
        open_now: list[Gate] = []
        for gate in self._gates.values():
            refusal = gate.refusal(vital=vital)
            if refusal is None:
                open_now.append(gate)
            else:
                refusals.append(refusal)
        while open_now:
            fresh = [gate for gate in open_now if gate.endpoint not in avoid] or open_now
            gate = fresh[0] if len(fresh) == 1 else self._chosen(fresh)
            budget = self._budgets[gate.pool]
            wait = budget.take_now(cost)
            if wait:
                waits.append(wait)
                open_now = [each for each in open_now if each.pool != gate.pool]
                continue
            try:
                probe = gate.admit()  # only now: a probe is claimed for as long as a request takes
            except (RateLimited, SourceDown) as refusal:
                budget.give_back(cost)
                refusals.append(refusal)
                open_now.remove(gate)
                continue
            return Turn(gate, probe, cost, self._balance.began(gate.endpoint)), 0.0
        if not waits:
            raise most_hopeful(refusals)
        now = self._clock.now_ms()
        rests = [(end - now) / 1000 for end in map(ends_at, refusals) if end is not None and end > now]
        return None, min(waits + rests)

    def _chosen(self, fresh: Collection[Gate]) -> Gate:
        return self._gates[self._balance.choose({gate.endpoint: self._share_left(gate) for gate in fresh})]

    def _share_left(self, gate: Gate) -> float:
        _, pool = gate.state()
        return self._budgets[gate.pool].share_left(pool.window_ms, pool.used)

    def _introduce(self) -> None:
        """Begin with what the last hour's runs learnt of each endpoint, where there is a choice at all."""
        with self._lock:
            if self._introduced:
                return
            now, known = self._clock.now_ms(), {}
            if len(self._gates) > 1:
                known = self._last_hour(now)
            for name, gate in self._gates.items():
                row, spell = gate.state()[0], known.get(name)
                good = 1.0 if spell is None else spell.success
                latency = None if spell is None or spell.p50_ms is None else spell.p50_ms / 1000
                heard_ms = max(row.last_ok_ms or 0, row.last_error_ms or 0)
                idle = max(0.0, (now - heard_ms) / 1000)
                self._balance.introduce(name, good * _AFTER_A_FAILURE**row.failures, latency, idle)
            self._introduced = True

    @retried
    def _last_hour(self, now: int) -> dict[str, health.Spell]:
        with reading(self._engine) as connection:
            return health.read(connection, now - HOUR)
