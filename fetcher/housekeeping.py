"""Housekeeping: once a day what nothing depends on any more is pruned, by age and by number of rows.

An SQLite file is not shrunk by it: free pages are used again by what comes next, so that it stops growing; auto_vacuum
would move pages at each commit. PostgreSQL's autovacuum does the same.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from db import pruning, state
from db.engine import reading, writing
from db.retrying import retried
from fetcher.events import Pruned
from fetcher.filenotes import READ
from fetcher.model import DAY, OFF_GRID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.sections import Keep

    Batch = Callable[[Connection, int], int]

EVERY_MS = DAY
BATCH_ROWS = 1_000  # of one transaction, some milliseconds
BATCHES = 50  # of one run, half a second; what is left goes with the next
FRESH_MS = 7 * DAY  # no limit of rows takes what is younger: somebody may be about to look at it
_NOTED_MS = 90 * DAY  # of cached texts and of files that brought nothing
_KEY = "housekeeping"


class Housekeeping:
    """Keeps a store small; a run with nothing due pays one look at one row."""

    def __init__(self, engine: Engine, clock: Clock, keep: Keep, tell: Callable[[Fact], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._keep = keep
        self._tell = tell

    def tidy(self) -> None:
        """Prune what is old, or too much, in short transactions; nothing while the last time is less than a day ago."""
        now = self._clock.now_ms()
        if not self._is_due(now):
            return
        pruned: Counter[str] = Counter()
        left = BATCHES
        for table, batch in self._batches(now):
            count = BATCH_ROWS
            while count >= BATCH_ROWS and left:
                count, left = self._prune(batch), left - 1
                pruned[table] += count
        if left:
            self._finish(now)
        told = tuple((table, rows) for table, rows in sorted(pruned.items()) if rows)
        if told:
            self._tell(Pruned(told))

    @retried
    def _is_due(self, now: int) -> bool:
        with reading(self._engine) as connection:
            last = state.cache_get(connection, _KEY)
        return last is None or abs(now - last[1]) >= EVERY_MS  # a time far ahead is of a clock that was wrong

    @retried
    def _prune(self, batch: Batch) -> int:
        with writing(self._engine) as connection:
            return batch(connection, BATCH_ROWS)

    @retried
    def _finish(self, now: int) -> None:
        with writing(self._engine) as connection:
            pruning.old_locks(connection, now - DAY)
            pruning.old_texts(connection, now - _NOTED_MS)
            pruning.old_files(connection, READ, now - _NOTED_MS)
            state.cache_put(connection, _KEY, "", now)

    def _batches(self, now: int) -> Iterator[tuple[str, Batch]]:
        """What may go, by table: first by age, then by number."""
        ages: list[tuple[str, float | None, Callable[[Connection, int, int], int]]] = [
            ("jobs", self._keep.jobs, pruning.old_jobs),
            ("runs", self._keep.runs, pruning.old_runs),
            ("audit_log", self._keep.audit_log, pruning.old_deeds),
            ("revisions", self._keep.revisions, pruning.old_revisions),
            ("quarantine", self._keep.quarantine, _old_refusals),
        ]
        for table, age, prune in ages:
            if age is not None:
                yield table, partial(_before, prune, now - int(age * 1000))
        fresh = now - FRESH_MS
        if (rows := self._keep.revisions_rows) is not None:
            yield "revisions", partial(_beyond, pruning.surplus_revisions, rows, fresh)
        if (rows := self._keep.quarantine_rows) is not None:
            yield "quarantine", partial(_beyond, _surplus_refusals, rows, fresh)


def _before(
    prune: Callable[[Connection, int, int], int], before_ms: int, connection: Connection, limit: int
) -> int:  # fmt: skip
    return prune(connection, before_ms, limit)


def _beyond(
    prune: Callable[[Connection, int, int, int], int], rows: int, fresh_ms: int, connection: Connection, limit: int
) -> int:  # fmt: skip
    return prune(connection, rows, fresh_ms, limit)


def _old_refusals(connection: Connection, before_ms: int, limit: int) -> int:
    return pruning.old_refusals(connection, before_ms, OFF_GRID, limit)


def _surplus_refusals(connection: Connection, rows: int, fresh_ms: int, limit: int) -> int:
    return pruning.surplus_refusals(connection, rows, fresh_ms, OFF_GRID, limit)
