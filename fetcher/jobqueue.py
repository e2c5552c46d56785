"""JobQueue: the queue in the database as one process sees it — its claims, its leases, and their series."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from db import endpoints, jobs
from db import series as series_rows
from db.engine import reading, writing
from db.jobs import Scope
from db.locks import PLAN, alone
from db.retrying import retried
from fetcher.errors import AuthenticationFailed, CannotServe, RateLimited, SourceDown, UnknownSymbol
from fetcher.healing import healers, mark_unserved
from fetcher.masking import masked
from fetcher.model import Series, Timeframe, Window
from fetcher.owners import is_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Engine

    from db.jobs import JobRow
    from db.series import SeriesRow
    from fetcher.clock import Clock
    from fetcher.healing import Healer
    from fetcher.listing import Listing
    from fetcher.router import APIRouter

LEASE_SECONDS = 600.0  # of a process on another machine that died; renewed every half minute


def as_series(row: SeriesRow) -> Series:
    """A database row as the value that travels."""
    return Series(
        row.id, row.symbol, Timeframe(row.timeframe), row.wanted_start_ms, row.sources, row.anchor_ms, row.listed_ms,
        row.closed_until_ms,
    )  # fmt: skip


class JobQueue:
    """Claims jobs for this process and ends them; knows the series, and writes down when they were listed."""

    def __init__(self, engine: Engine, router: APIRouter, clock: Clock, owner: str) -> None:
        self._engine = engine
        self._router = router
        self._clock = clock
        self._owner = owner
        self._series: dict[int, Series] = {}
        self._unknown: dict[int, str] = {}
        self._untold: set[int] = set()
        self._held: set[int] = set()  # claimed and not ended

    def know(self, all_series: Iterable[Series]) -> None:
        """Take these series as they stand."""
        self._series.update({series.id: series for series in all_series})

    def series(self, series_id: int) -> Series:
        """A series by its id, as last read."""
        if series_id not in self._series:
            self.know(self._stored())
        return self._series[series_id]

    @retried
    def _stored(self) -> list[Series]:
        with reading(self._engine) as connection:
            return [as_series(row) for row in series_rows.read_series(connection)]

    def page_slots(self, series: Series, source: str | None = None) -> int:
        """Candles per request of a source, by default the one that will most likely serve the series."""
        return self._router.page_slots(series, source)

    def wanted(self, series: Series) -> Window:
        """What of time can hold closed candles of a listed series, by its source's clock where that is known."""
        closed = self._router.server_now_if_known(series)
        start = series.listed_ms or 0
        return Window(start, max(start, series.grid.floor(closed))) if closed is not None else Window(start, 2**62)

    def begin(self) -> None:
        """Before any job is worked: give back what nobody works, of dead processes and of an earlier run of this one.

        That one may have held jobs when the database was gone. What it could not learn is asked again.
        """
        self._unknown.clear()
        self._untold.clear()
        self.release(list(self._held))
        self.take_over_dead()

    @retried
    def take_over_dead(self) -> int:
        """Put the jobs of processes of this host that died back into the queue; how many."""
        with reading(self._engine) as connection:
            dead = [owner for owner in jobs.owners(connection) if is_dead(owner)]
        if not dead:
            return 0
        with writing(self._engine) as connection:
            return jobs.take_over(connection, dead)

    @retried
    def claim(
        self, limit: int, scope: Scope | None, patience: float, *, without: frozenset[int] = frozenset()
    ) -> list[JobRow]:
        """Lease up to `limit` due jobs of the scope, but none whose sources all rest for longer than `patience` s.

        And none of the series `without`.
        """
        scope = self._reachable(scope, patience, without)
        now = self._clock.now_ms()
        with reading(self._engine) as connection:  # a look costs the writer nothing; most looks find nothing new
            due = jobs.next_due(connection, scope)
        if due is None or due > now:
            return []
        with writing(self._engine) as connection:
            claimed = jobs.claim(connection, self._owner, now, now + int(LEASE_SECONDS * 1000), limit, scope)
        self._held.update(job.id for job in claimed)
        return claimed

    @retried
    def renew_leases(self) -> None:
        """Keep what this process works on."""
        with writing(self._engine) as connection:
            jobs.renew(connection, self._owner, self._clock.now_ms() + int(LEASE_SECONDS * 1000))

    @retried
    def next_due(self, scope: Scope | None, patience: float) -> int | None:
        """When the next job of the scope may be claimed, ms UTC; None when there is none, or all their sources rest."""
        scope = self._reachable(scope, patience)
        with reading(self._engine) as connection:
            return jobs.next_due(connection, scope)

    @retried
    def others_work(self, scope: Scope | None) -> bool:
        """Whether other processes work on jobs of the scope."""
        with reading(self._engine) as connection:
            return any(owner != self._owner for owner in jobs.owners(connection, scope))

    @retried
    def clock_was_set(self, by_ms: int) -> None:
        """Our wall clock was set by so much: sources' clocks are read anew, and what waits waits as long as before.

        The latter where it was set back: set forward, things are due too early, which does no harm.
        """
        self._router.doubt_clocks()
        if by_ms < 0:
            before = self._clock.now_ms() - by_ms
            with writing(self._engine) as connection:
                jobs.move(connection, before, by_ms)
                endpoints.move_stops(connection, before, by_ms)

    def _reachable(self, scope: Scope | None, patience: float, without: frozenset[int] = frozenset()) -> Scope | None:
        resting = self._router.resting(patience)
        if not resting and not without:
            return scope
        ids = self._series.keys() if scope is None or scope.series_ids is None else scope.series_ids
        able = frozenset(number for number in ids - without if set(self.series(number).sources) - resting)
        return Scope(able, None if scope is None else scope.start, None if scope is None else scope.end)

    @retried
    def resize(self, job_id: int, window: Window) -> None:
        """Give a job the window that is left of it."""
        with writing(self._engine) as connection:
            jobs.resize(connection, job_id, window.start, window.end)

    @retried
    def end(self, job_id: int, status: str, error: str | None, *, not_before: int, attempts: int | None) -> None:
        """Write down how a job left: done, queued again at `not_before`, or failed."""
        now = self._clock.now_ms()
        error = None if error is None else masked(error)  # of a library's exception, too
        with writing(self._engine) as connection:
            if status == jobs.DONE:
                jobs.finish(connection, job_id, now)
            elif status == jobs.FAILED:
                jobs.fail(connection, job_id, error or "", now, owner=self._owner)
            else:
                jobs.requeue(connection, job_id, not_before, error, now, attempts=attempts, owner=self._owner)
        self.ended(job_id)

    def ended(self, job_id: int) -> None:
        """Hold a job no more that is written down as done already."""
        self._held.discard(job_id)

    @retried
    def release(self, job_ids: list[int]) -> None:
        """Give jobs back as they were claimed, without counting an attempt."""
        if job_ids:
            with writing(self._engine) as connection:
                jobs.release(connection, job_ids, self._owner)
            self._held.difference_update(job_ids)

    def best(self, series: Series) -> str | None:
        """The preferred source that offers the series' timeframe."""
        return self._router.best(series)

    @retried
    def healers(self, series: Series) -> tuple[Healer, ...]:
        """The sources that may heal a series now, the best first."""
        with reading(self._engine) as connection:
            return tuple(healers(connection, series, self._router.offers(series), self._clock.now_ms()))

    def reaches(self, series: Series, ms: int, source: str | None) -> bool:
        """Whether `source` (None: any), or one that the series prefers to it, serves what opens at `ms` (UTC)."""
        above = None if source is None else series.sources.index(source) + 1
        return any(oldest <= ms for _, oldest in self._router.offers(series, above))

    @retried
    def note_unserved(self, series: Series, source: str) -> None:
        """Remember that a source does not list the market of a series."""
        with writing(self._engine) as connection:
            mark_unserved(connection, series, source, self._clock.now_ms())

    def learn_listing(self, series_id: int, ask: Callable[[Series], Listing]) -> None:
        """Find out when a market was listed; what was planned before that date is dropped.

        The series stays without a date where that cannot be known now and the work may go on without: another source
        stands in, or the source cannot tell. Raises what the source said otherwise.
        """
        series = self.series(series_id)
        if series.listed_ms is not None or series_id in self._untold:
            return
        if series_id in self._unknown:
            raise UnknownSymbol(self._unknown[series_id])
        try:
            listing = ask(series)
        except UnknownSymbol as error:
            self._unknown[series_id] = str(error)
            raise
        except (SourceDown, RateLimited, AuthenticationFailed, CannotServe) as error:
            if series.lacks_grid or (len(series.sources) == 1 and not isinstance(error, CannotServe)):
                raise
            self._untold.add(series_id)
            return
        listed = replace(series, listed_ms=listing.listed_ms, anchor_ms=listing.listed_ms)
        now = self._router.server_now_if_known(series)
        self._series[series_id] = self._learned(listed, listing, None if now is None else listed.grid.floor(now))

    @retried
    def _learned(self, listed: Series, listing: Listing, closed_until: int | None) -> Series:
        """Write a listing down; where another process was first, its word counts: a grid must have one anchor."""
        with writing(self._engine) as connection:
            alone(connection, PLAN)
            if series_rows.set_listing(
                connection, listed.id, listing.listed_ms, listing.listed_ms, json.dumps(listing.evidence)
            ):
                if closed_until is not None:
                    series_rows.set_closed_until(connection, {listed.id: closed_until})
                jobs.drop_before(connection, listed.id, listing.listed_ms)
                return listed
            return next(as_series(row) for row in series_rows.read_series(connection) if row.id == listed.id)
