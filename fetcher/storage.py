"""Candles ⇄ rows: what pages of validated candles change in the database, in one transaction; knows both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from db import candles, coverage, jobs, quarantine
from db.engine import bring_in_log, reading, writing
from db.locks import alone, series_lock
from db.retrying import retried
from db.revisions import keep_revisions
from db.series import ensure_sources, source_ids
from fetcher import neighbours
from fetcher.covering import cover_absent, cover_stored
from fetcher.events import Restated
from fetcher.filenotes import spent, write
from fetcher.gaps import GapDetector
from fetcher.healing import unhealed
from fetcher.lacking import forget, recall, remember
from fetcher.masking import masked
from fetcher.merging import decide
from fetcher.model import Window
from fetcher.page import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine

    from db.candles import Times
    from db.intervals import Interval
    from fetcher.healing import Healer
    from fetcher.lacking import Lack
    from fetcher.model import Rows, Series
    from fetcher.page import Closing, Page
    from fetcher.periods import Period
    from fetcher.validation import Refused


_NOBODY = 0  # no source's id


class Storage:
    """Writes pages and reads back what is known; each commit is one transaction of candles, coverage and job states."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._source_ids: dict[str, int] = {}

    @retried
    def commit(self, pages: Sequence[Page], closing: Sequence[Closing], now_ms: int) -> Stored:
        """Store everything that the pages hold and finish the closing jobs that coverage proves done."""
        stored = Stored()
        self._source_ids = {}  # a source that was new in a transaction that failed has not been stored under its id
        with writing(self._engine) as connection:
            touched = {page.batch.series.id for page in pages} | {job.series.id for job in closing}
            alone(connection, *map(series_lock, touched))
            for group in _by_series_and_route(pages):
                self._store_group(connection, group, stored, now_ms)
            for job in closing:
                missing = self._left(connection, job.series, job.window, job.heals, now_ms)
                stored.missing[job.job_id] = missing
                if not missing:
                    jobs.finish(connection, job.job_id, now_ms)
        return stored

    def bring_in_log(self) -> None:
        """See `db.engine`."""
        bring_in_log(self._engine)

    @retried
    def missing(
        self, series: Series, window: Window, heals: Sequence[Healer] | None = None, now_ms: int = 0
    ) -> list[Window]:
        """The slots of `window` that coverage does not explain; with `heals`, those that these are to be asked for."""
        with reading(self._engine) as connection:
            return self._left(connection, series, window, heals, now_ms)

    @retried
    def open_times(self, series: Series, window: Window, source: str) -> Times:
        """Open times of the candles of `source` stored inside `window`: int64 ms UTC, ascending."""
        with reading(self._engine) as connection:
            return neighbours.open_times(connection, series.id, window, _known_id(connection, source))

    @retried
    def has_after(self, series: Series, ms: int, source: str) -> bool:
        """Whether a candle of `source` at or after `ms` is stored."""
        with reading(self._engine) as connection:
            return neighbours.after(connection, series.id, ms, _known_id(connection, source)) is not None

    @retried
    def nearest(self, series: Series, hole: Window, source: str, slots: int) -> tuple[int | None, int | None]:
        """The stored candles next to a hole, before and after it: open times in ms UTC.

        Those of `source`, since it need not have another's, looked for within `slots` slots first; else anybody's.
        """
        with reading(self._engine) as connection:
            return neighbours.nearest(connection, series, hole, _known_id(connection, source), slots)

    @retried
    def spent_files(self, series: Series, now_ms: int) -> set[Period]:
        """The periods of a series whose files in the archive need not be asked for now."""
        with reading(self._engine) as connection:
            return spent(connection, series, now_ms)

    @retried
    def lacks(self, series: Series, window: Window, now_ms: int) -> list[Lack]:
        """Which source lacked what of `window` in the last day and could not be asked to confirm it."""
        with reading(self._engine) as connection:
            return [lack for lack in recall(connection, series, now_ms) if lack.window.intersect(window)]

    @retried
    def remember_lacks(self, series: Series, lacks: Sequence[Lack], now_ms: int) -> None:
        """Keep who lacked what for a day, or until `forget_lacks`."""
        with writing(self._engine) as connection:
            alone(connection, series_lock(series.id))
            remember(connection, series, lacks, now_ms)

    @retried
    def forget_lacks(self, series: Series, window: Window, now_ms: int) -> None:
        """Let any source fill `window`."""
        with writing(self._engine) as connection:
            alone(connection, series_lock(series.id))
            forget(connection, series, window, now_ms)

    @retried
    def answers(self, series: Series, window: Window) -> int:
        """How many answers agree so far that its source has nothing in `window`; 0 where coverage does not say so.

        Candles of a worse source may be there all the same: those that the better one was asked to heal and lacks.
        """
        with reading(self._engine) as connection:
            known = _inside(coverage.read(connection, series.id, window.start, window.end), window)
        return min((each.answers or 0 for each, _ in known), default=0)

    @retried
    def due_absences(self, series: Series, window: Window, now_ms: int) -> list[tuple[Window, str | None]]:
        """What is absent in `window` and due to be asked again, with its source (None: one no longer configured)."""
        with reading(self._engine) as connection:
            known = _inside(coverage.read(connection, series.id, window.start, window.end), window)
            ranks = self._ranks(connection, series)
        return [
            (part, series.sources[ranks[each.source_id]] if each.source_id in ranks else None)
            for each, part in known
            if each.state == coverage.ABSENT and each.recheck_at is not None and each.recheck_at <= now_ms
        ]

    @retried
    def ask_no_more(self, series: Series, window: Window) -> None:
        """Let what is absent in `window` be so for good: nobody who could say otherwise reaches back to it."""
        with writing(self._engine) as connection:
            alone(connection, series_lock(series.id))
            known = _inside(coverage.read(connection, series.id, window.start, window.end), window)
            settled = [
                replace(each, start_ms=part.start, end_ms=part.end, recheck_at=None)
                for each, part in known
                if each.state == coverage.ABSENT
            ]
            coverage.cover(connection, series.id, settled, lambda start, end: series.grid.count(Window(start, end)))

    def _left(
        self, connection: Connection, series: Series, window: Window, heals: Sequence[Healer] | None, now_ms: int
    ) -> list[Window]:
        covered = coverage.read(connection, series.id, window.start, window.end)
        if heals is None:
            return GapDetector(series.grid).missing(window, [Window(i.start_ms, i.end_ms) for i in covered])
        waiting = unhealed(covered, self._ranks(connection, series), heals, now_ms)
        return [inside for part, _ in waiting if (inside := part.intersect(window))]

    def _ranks(self, connection: Connection, series: Series) -> dict[int, int]:
        return {self._source_id(connection, name): rank for rank, name in enumerate(series.sources)}

    def _source_id(self, connection: Connection, source: str) -> int:
        if source not in self._source_ids:
            self._source_ids = ensure_sources(connection, [source])
        return self._source_ids[source]

    def _store_group(self, connection: Connection, pages: Sequence[Page], stored: Stored, now_ms: int) -> None:
        series, source, route = pages[0].batch.series, pages[0].batch.source, pages[0].batch.route
        source_id = self._source_id(connection, source)
        ranks = self._ranks(connection, series)
        for page in pages:  # first: what another page of this commit stored wins over it
            for absent in page.absent:
                cover_absent(connection, series, absent, source_id, route, ranks, now_ms)
        held: list[Rows] = []
        for rows in _in_runs(pages, series):
            existing = _existing(connection, series.id, rows)
            merge = decide(existing, rows, source_id, ranks)
            if len(merge.replaced):
                keep_revisions(connection, series.id, merge.replaced, now_ms, source_id)
                stored.restated += _restated(series, source, merge.replaced[merge.replaced["source_id"] == source_id])
            if len(merge.write):
                candles.insert(connection, series.id, source_id, merge.write, fresh=not len(existing))
            held.append(merge.held)
            stored.new += len(merge.write) - len(merge.replaced)
            stored.changed += len(merge.replaced)
            stored.unchanged += len(rows) - len(merge.write)
        stored.refused += sum(len(page.refused) for page in pages)
        cover_stored(connection, series, np.concatenate(held), source_id, route)
        _keep_papers(connection, pages, source_id, now_ms)


def _restated(series: Series, source: str, own: Rows) -> list[Restated]:
    """What a source gave otherwise before, of ascending candles."""
    if not len(own):
        return []
    return [Restated(str(series), source, len(own), int(own["open_time"][0]), int(own["open_time"][-1]))]


def _inside(intervals: Iterable[Interval], window: Window) -> list[tuple[Interval, Window]]:
    """The intervals that reach into a window, each with the part of it."""
    parts = ((each, Window(each.start_ms, each.end_ms).intersect(window)) for each in intervals)
    return [(each, part) for each, part in parts if part]


def _known_id(connection: Connection, source: str) -> int:
    """A source's id, for one who only reads; no source's where it has stored nothing yet."""
    return source_ids(connection).get(source, _NOBODY)


def _existing(connection: Connection, series_id: int, rows: Rows) -> Rows:
    if len(rows) == 0:
        return candles.read(connection, series_id, 0, 0)
    return candles.read(connection, series_id, int(rows["open_time"][0]), int(rows["open_time"][-1]) + 1)


def _in_runs(pages: Sequence[Page], series: Series) -> list[Rows]:
    """The candles of pages of a series, ascending; of those that follow each other without a gap as one.

    One look and one statement for many pages. Over a gap they stay apart, since what is stored there would be read.
    """
    parts = [page.batch.rows for page in pages if len(page.batch.rows)] or [pages[0].batch.rows]
    runs: list[list[Rows]] = []
    for rows in sorted(parts, key=_first_open_time):
        if runs and _first_open_time(rows) == series.grid.next(int(runs[-1][-1]["open_time"][-1])):
            runs[-1].append(rows)
        else:
            runs.append([rows])
    return [run[0] if len(run) == 1 else np.concatenate(run) for run in runs]  # a month of a file is not copied


def _first_open_time(rows: Rows) -> int:
    return int(rows["open_time"][0]) if len(rows) else 0


def _by_series_and_route(pages: Sequence[Page]) -> list[list[Page]]:
    groups: dict[tuple[int, str, str], list[Page]] = {}
    for page in pages:
        groups.setdefault((page.batch.series.id, page.batch.source, page.batch.route), []).append(page)
    return list(groups.values())


def _keep_papers(connection: Connection, pages: Sequence[Page], source_id: int, now_ms: int) -> None:
    """Keep what was refused, and what is to be noted of files."""
    refused = [_quarantined(page, refusal, source_id) for page in pages for refusal in page.refused]
    if refused:
        quarantine.add(connection, refused, now_ms)
    for page in pages:
        if page.file is not None:
            write(connection, page.batch.series, source_id, page.file, now_ms)


def _quarantined(page: Page, refusal: Refused, source_id: int) -> quarantine.QuarantineRow:
    return quarantine.QuarantineRow(
        page.batch.series.id, source_id, page.batch.route, refusal.open_time, refusal.reason, masked(refusal.payload)
    )
