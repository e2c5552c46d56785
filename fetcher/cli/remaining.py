"""What open jobs still have to bring, read from the database: the denominator of every progress bar."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from db import coverage, jobs
from db import series as series_rows
from db.engine import reading
from fetcher.gaps import GapDetector, subtract, union
from fetcher.jobqueue import as_series
from fetcher.model import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine


def remaining_slots(engine: Engine, asked: Mapping[str, Window] | None = None) -> Callable[[], dict[str, int]]:
    """A function that counts, by series name, the slots of queued and leased jobs that coverage does not explain.

    `asked` limits it to these series and windows (ms UTC). Costs the number of coverage intervals and open jobs.
    """

    def count() -> dict[str, int]:
        with reading(engine) as connection:
            open_jobs = jobs.open_windows(connection)
            covered = coverage.read_all(connection) if open_jobs else {}
            all_series = [as_series(row) for row in series_rows.read_series(connection)] if open_jobs else []
        windows: defaultdict[int, list[Window]] = defaultdict(list)
        for job in open_jobs:
            if job.status != jobs.FAILED:
                windows[job.series_id].append(Window(job.start_ms, job.end_ms))
        found = {}
        for series in all_series:
            name = str(series)
            if series.id not in windows or (asked is not None and name not in asked):
                continue
            wanted = union(windows[series.id])
            if asked is not None:
                wanted = [w.intersect(asked[name]) for w in wanted]
            hull = Window(wanted[0].start, max(wanted[0].start, wanted[-1].end))
            taken = [*subtract(hull, wanted), *(Window(i.start_ms, i.end_ms) for i in covered.get(series.id, ()))]
            found[name] = sum(series.grid.count(part) for part in GapDetector(series.grid).missing(hull, taken))
        return {name: slots for name, slots in found.items() if slots}

    return count
