"""How long after a close its candle is there, learnt of each source: asked too early a source costs questions twice."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from db.engine import reading, writing
from db.retrying import retried
from db.series import settle_times, store_settle_times
from fetcher.events import TailRead

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fetcher.clock import Clock
    from fetcher.events import Fact

LEAST_MS, MOST_MS = 250, 45_000  # the latter is less than the shortest candle: none is ever passed over
GROWTH, SHRINKING = 1.5, 0.9
IN_TIME = 100  # candles in a row that were there when first asked for, before less time is tried
_KEPT_FROM = 0.05  # what changed by less is not worth a row


class Settling:
    """A listener that learns from what answers about the newest candles held; `first` (s) is what it begins with.

    None: nobody waits for candles to settle, and nothing is learnt. A candle was late when it lacked in one answer and
    came in a later one; one that never comes is a halt, or a quiet market.
    """

    def __init__(self, engine: Engine, clock: Clock, first: float | None) -> None:
        self._engine = engine
        self._clock = clock
        self._first_ms = None if first is None else int(first * 1000)
        self._lock = Lock()
        self._known: dict[str, float] | None = None
        self._kept: dict[str, float] = {}
        self._in_time: dict[str, int] = {}
        self._lacked: dict[tuple[str, str], tuple[int, int]] = {}  # by series and source: the slot, asked after so long

    def ms(self, source: str) -> int:
        """The ms after a close at which a source should have its candle."""
        if self._first_ms is None:
            return 0
        with self._lock:
            return int(self._of(source))

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        if self._first_ms is None or not isinstance(fact, TailRead):
            return
        with self._lock:
            self._judge_late(fact)
            if fact.newest_ms is None or fact.since_close_ms is None:
                return
            if not fact.holds(fact.newest_ms):
                self._lacked[fact.series, fact.source] = (fact.newest_ms, fact.since_close_ms)
            elif fact.since_close_ms <= 2 * self._of(fact.source) + 1000:  # else it came a while ago, and tells nothing
                self._note_in_time(fact.source)

    @retried
    def keep(self) -> None:
        """Write down what was learnt since the last time."""
        with self._lock:
            known = dict(self._known or {})
        changed = {
            source: int(ms) for source, ms in known.items() if abs(ms - self._kept.get(source, 0.0)) > _KEPT_FROM * ms
        }
        if changed:
            with writing(self._engine) as connection:
                store_settle_times(connection, changed)
            self._kept.update(changed)

    def _judge_late(self, fact: TailRead) -> None:
        late = self._lacked.pop((fact.series, fact.source), None)
        if late is None:
            return
        slot, asked_after = late
        if fact.holds(slot):
            self._in_time[fact.source] = 0
            grown = max(self._of(fact.source), float(asked_after), LEAST_MS) * GROWTH
            self._learn(fact.source, grown)
        elif fact.last_ms is None or fact.last_ms < slot:
            self._lacked[fact.series, fact.source] = late  # it says nothing of that slot

    def _note_in_time(self, source: str) -> None:
        count = self._in_time.get(source, 0) + 1
        if count >= IN_TIME:
            self._learn(source, self._of(source) * SHRINKING)
            count = 0
        self._in_time[source] = count

    def _learn(self, source: str, ms: float) -> None:
        known = self._known if self._known is not None else {}
        known[source] = min(float(MOST_MS), max(float(LEAST_MS), ms))
        self._known = known

    def _of(self, source: str) -> float:
        if self._known is None:
            self._known = self._read()
            self._kept = dict(self._known)
        return self._known.get(source, float(min(MOST_MS, self._first_ms or 0)))

    @retried
    def _read(self) -> dict[str, float]:
        with reading(self._engine) as connection:
            return {source: float(ms) for source, ms in settle_times(connection).items()}
