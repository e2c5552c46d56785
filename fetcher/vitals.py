"""Vitals: how the whole program is, in numbers read from the database; metrics, alerts and `status` tell of them.

Reading them costs the number of coverage intervals, open jobs and quarantined rows, never the number of candles.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from db import coverage, jobs, quarantine, state
from db import series as series_rows
from db.engine import reading
from db.errors import DatabaseProblem
from fetcher.endpoints import read_states
from fetcher.events import STEP
from fetcher.model import DAY, HOUR, MINUTE
from fetcher.planner import BACKFILL, GAP, PRIORITY
from fetcher.standing import configured_series, standing
from fetcher.uptime import up_since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from db.health import Spell
    from db.jobs import JobRow
    from db.quarantine import Held
    from db.series import SourceClock
    from db.state import RunRow
    from fetcher.config import Config
    from fetcher.endpoints import EndpointState
    from fetcher.model import Series
    from fetcher.standing import Standing

RECOVERY_KINDS = (GAP, BACKFILL)  # what lies behind the newest candle
RECOVERY_MS = 7 * DAY
RECENT_RUNS = 50
CLOCK_WRONG_MS = 3 * MINUTE  # a source's clock that differs by more tells that ours was set wrong: its own closes count
FAILED = "failed"  # as an outcome
_ALONE_KINDS = {"run", STEP}  # of those only one is at work at a time


class Vitals(Struct, frozen=True):
    """The numbers as they were at `now_ms` (ms UTC).

    `jobs` counts open jobs (queued, leased, failed) by (kind, status), `oldest_job_ms` is when the oldest of those that
    wait was planned. `filled` are jobs for gaps and history that were done in the last week, `given_up` those that were
    given up. `quarantine` is by reason, new in the last hour. `runs` are the latest, newest first, and `up_since_ms` is
    when the daemon began that is at work.
    """

    now_ms: int
    series: tuple[Standing, ...]
    endpoints: tuple[EndpointState, ...]
    jobs: Mapping[tuple[str, str], int]
    oldest_job_ms: int | None
    filled: int
    given_up: int
    quarantine: Mapping[str, Held]
    runs: tuple[RunRow, ...]
    up_since_ms: int | None = None

    @property
    def unfetched(self) -> int:
        """How many series nothing is known of yet."""
        return sum(place.unfetched for place in self.series)

    @property
    def expected(self) -> int:
        """Slots of all series that candles are wanted for, as far as they are known to be closed."""
        return sum(place.expected or 0 for place in self.series)

    @property
    def missing(self) -> int:
        """Slots neither stored nor quiet nor proven absent."""
        return sum(place.missing or 0 for place in self.series)

    @property
    def completeness(self) -> float | None:
        """The share of expected slots that are explained, 0 … 1; None where nothing can be said of all series."""
        if self.unfetched:
            return 0.0 if self.unfetched == len(self.series) else None
        return (self.expected - self.missing) / self.expected if self.expected else None

    @property
    def gap_recovery(self) -> float | None:
        """The share of jobs for gaps and history that brought what they were for, 0 … 1; None where none has ended."""
        ended = self.filled + self.given_up
        return self.filled / ended if ended else None

    @property
    def api_success(self) -> float | None:
        """The share of requests to APIs that were answered well in the last day, 0 … 1; None where none was sent."""
        spells = self._api_days()
        requests = sum(each.requests for each in spells)
        return sum(each.success * each.requests for each in spells) / requests if requests else None

    @property
    def response_ms(self) -> float | None:
        """How long an API took for a good answer in the last day, on average, ms; None where none came."""
        answered = [(each.mean_ms, each.success * each.requests) for each in self._api_days() if each.mean_ms]
        total = sum(number for _, number in answered)
        return sum(ms * number for ms, number in answered) / total if total else None

    @property
    def last_run(self) -> RunRow | None:
        """The newest run of any kind, at work or over."""
        return self.runs[0] if self.runs else None

    @property
    def failed_in_row(self) -> int:
        """How many of the latest bare runs and daemons failed one after the other, or were killed."""
        over = not_at_work(self.runs)
        well = (n for n, run in enumerate(over) if run.ended_ms is not None and run.outcome != FAILED)
        return next(well, len(over))

    def latest(self, kind: str) -> RunRow | None:
        """The newest run of a kind that is over; None where there is none among `runs`."""
        return next((run for run in self.runs if run.kind == kind and run.ended_ms is not None), None)

    def _api_days(self) -> list[Spell]:
        """A day of each endpoint but the archives': their files are large, and answer no question in time."""
        return [each.day for each in self.endpoints if each.day is not None and not each.is_archive]


def not_at_work(latest: Sequence[RunRow]) -> list[RunRow]:
    """The bare runs and daemon's steps among the latest, newest first, that are over or were killed."""
    mine = [run for run in latest if run.kind in _ALONE_KINDS]
    return mine[1:] if mine and mine[0].ended_ms is None else mine  # the newest without an end is at work


def read_vitals(engine: Engine, config: Config, now_ms: int) -> Vitals:
    """Everything in one snapshot; raises DatabaseProblem where the database cannot be read."""
    with reading(engine) as connection:
        covered = coverage.read_all(connection)
        open_jobs = _open_jobs(connection)
        names = {number: name for name, number in series_rows.source_ids(connection).items()}
        every = [job for mine in open_jobs.values() for job in mine]
        clocks = series_rows.source_clocks(connection)

        def there(series: Series) -> int:
            return now_ms + next((_ahead_ms(clocks[name]) for name in series.sources if name in clocks), 0)

        return Vitals(
            now_ms,
            tuple(
                standing(series, covered.get(series.id, ()), open_jobs.get(series.id, ()), names, there(series))
                for series in configured_series(connection, config)
            ),
            tuple(read_states(connection, config, now_ms)),
            Counter((job.kind, job.status) for job in every),
            min((job.created_ms for job in every if job.status != jobs.FAILED), default=None),
            jobs.count_done(connection, [PRIORITY[kind] for kind in RECOVERY_KINDS], now_ms - RECOVERY_MS),
            sum(job.status == jobs.FAILED and job.kind in RECOVERY_KINDS for job in every),
            quarantine.held(connection, now_ms - HOUR),
            tuple(state.recent_runs(connection, RECENT_RUNS)),
            up_since(connection, now_ms),
        )


def vitals_or_none(engine: Engine, config: Config, now_ms: int) -> Vitals | None:
    """`read_vitals`, or None where the database cannot be read."""
    try:
        return read_vitals(engine, config, now_ms)
    except DatabaseProblem:
        return None


def _ahead_ms(clock: SourceClock) -> int:
    """By how much the clock of a source is ahead of ours (ms); 0 where that is no more than the time between looks."""
    ahead = 0 if clock.seen_ms is None else clock.clock_ms - clock.seen_ms
    return ahead if abs(ahead) > CLOCK_WRONG_MS else 0


def _open_jobs(connection: Connection) -> dict[int, list[JobRow]]:
    found: defaultdict[int, list[JobRow]] = defaultdict(list)
    for job in jobs.open_windows(connection):
        found[job.series_id].append(job)
    return found
