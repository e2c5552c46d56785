"""Candles ⇄ rows: what pages of validated candles change in the database, in one transaction; knows both sides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from db import candles, coverage, jobs, quarantine
from db.engine import reading, writing
from db.revisions import keep_revisions
from db.series import ensure_sources
from fetcher.filenotes import spent, write
from fetcher.gaps import GapDetector
from fetcher.healing import unhealed
from fetcher.lacking import forget, recall, remember
from fetcher.merging import decide
from fetcher.model import Window
from fetcher.page import Stored
from fetcher.resilience.retry import recheck_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

    from fetcher.lacking import Lack
    from fetcher.model import Rows, Series
    from fetcher.page import Absent, Closing, Page
    from fetcher.periods import Period
    from fetcher.validation import Refused

    Slots = Callable[[int, int], int]


class Storage:
    """Writes pages and reads back what is known; each commit is one transaction of candles, coverage and job states."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._source_ids: dict[str, int] = {}

    def commit(self, pages: Sequence[Page], closing: Sequence[Closing], now_ms: int) -> Stored:
        """Store everything that the pages hold and finish the closing jobs that coverage proves done."""
        stored = Stored()
        with writing(self._engine) as connection:
            for group in _by_series_and_route(pages):
                self._store_group(connection, group, stored, now_ms)
            for job in closing:
                missing = self._left(connection, job.series, job.window, job.heals, now_ms)
                stored.missing[job.job_id] = missing
                if not missing:
                    jobs.finish(connection, job.job_id, now_ms)
        return stored

    def missing(self, series: Series, window: Window, heals: int | None = None, now_ms: int = 0) -> list[Window]:
        """The slots of `window` that coverage does not explain; with `heals`, those that worse sources stand for."""
        with reading(self._engine) as connection:
            return self._left(connection, series, window, heals, now_ms)

    def open_times(self, series: Series, window: Window, source: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Open times of the candles of `source` stored inside `window`: int64 ms UTC, ascending."""
        with reading(self._engine) as connection:
            rows = candles.read(connection, series.id, window.start, window.end)
            times: np.ndarray[tuple[int], np.dtype[np.int64]] = rows["open_time"][
                rows["source_id"] == self._source_id(connection, source)
            ]
        return times

    def has_after(self, series: Series, ms: int) -> bool:
        """Whether a candle at or after `ms` is stored."""
        with reading(self._engine) as connection:
            return candles.after(connection, series.id, ms) is not None

    def nearest(self, series: Series, hole: Window, source: str, slots: int) -> tuple[int | None, int | None]:
        """The stored candles next to a hole, before and after it: open times in ms UTC.

        Those of `source` within `slots` slots, since it need not have another's; else of anybody, however far.
        """
        grid = series.grid
        start, end = grid.advance(grid.floor(hole.start), -slots), grid.advance(grid.ceil(hole.end), slots)
        before = self.open_times(series, Window(start, hole.start), source)
        after = self.open_times(series, Window(hole.end, end), source)
        with reading(self._engine) as connection:
            return (
                int(before[-1]) if len(before) else candles.before(connection, series.id, hole.start),
                int(after[0]) if len(after) else candles.after(connection, series.id, hole.end),
            )

    def spent_files(self, series: Series, now_ms: int) -> set[Period]:
        """The periods of a series whose files in the archive need not be asked for now."""
        with reading(self._engine) as connection:
            return spent(connection, series, now_ms)

    def lacks(self, series: Series, now_ms: int) -> list[Lack]:
        """Which of several sources lacked what of a series in the last day and could not be asked to confirm it."""
        if len(series.sources) == 1:
            return []
        with reading(self._engine) as connection:
            return recall(connection, series, now_ms)

    def remember_lacks(self, series: Series, lacks: Sequence[Lack], now_ms: int) -> None:
        """Keep who lacked what for a day, or until `forget_lacks`."""
        with writing(self._engine) as connection:
            remember(connection, series, lacks, now_ms)

    def forget_lacks(self, series: Series, window: Window, now_ms: int) -> None:
        """Let any source fill `window`."""
        with writing(self._engine) as connection:
            forget(connection, series, window, now_ms)

    def answers(self, series: Series, window: Window) -> int:
        """How many answers agree so far that its source has nothing in `window`; 0 where coverage does not say so.

        Candles of a worse source may be there all the same: those that the better one was asked to heal and lacks.
        """
        with reading(self._engine) as connection:
            known = coverage.read(connection, series.id, window.start, window.end)
        return min((i.answers for i in known if i.answers is not None), default=0)

    def absent_rank(self, series: Series, window: Window) -> int | None:
        """The rank of the source that is proven to have nothing in `window`; None where none is."""
        with reading(self._engine) as connection:
            known = coverage.read(connection, series.id, window.start, window.end)
            ranks = self._ranks(connection, series)
        return min((ranks[i.source_id] for i in known if i.state == "absent" and i.source_id in ranks), default=None)

    def absent_around(self, series: Series, window: Window, source: str | None = None) -> Window:
        """`window` widened by the absent coverage that touches it; with `source`, by its own."""
        with reading(self._engine) as connection:
            known = coverage.read(connection, series.id, window.start - 1, window.end + 1)
            own = None if source is None else self._source_id(connection, source)
        absent = [i for i in known if i.state == "absent" and own in {None, i.source_id}]
        start = min((i.start_ms for i in absent if i.end_ms == window.start), default=window.start)
        return Window(start, max((i.end_ms for i in absent if i.start_ms == window.end), default=window.end))

    def _missing(self, connection: Connection, series: Series, window: Window) -> list[Window]:
        covered = coverage.read(connection, series.id, window.start, window.end)
        return GapDetector(series.grid).missing(window, [Window(i.start_ms, i.end_ms) for i in covered])

    def _left(
        self, connection: Connection, series: Series, window: Window, heals: int | None, now_ms: int
    ) -> list[Window]:
        if heals is None:
            return self._missing(connection, series, window)
        return unhealed(connection, series, window, self._ranks(connection, series), heals, now_ms)

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
        grid = series.grid

        def slots(start: int, end: int) -> int:
            return grid.count(Window(start, end))

        for page in pages:  # first: what another page of this commit stored wins over it
            for absent in page.absent:
                self._cover_absent(connection, page, absent, source_id, slots, now_ms)
        held: list[Rows] = []
        for page in sorted(pages, key=_first_open_time):
            existing = _existing(connection, series.id, page.batch.rows)
            merge = decide(existing, page.batch.rows, source_id, ranks)
            if len(merge.replaced):
                keep_revisions(connection, series.id, merge.replaced, now_ms, source_id)
            if len(merge.write):
                candles.insert(connection, series.id, source_id, merge.write)
            held.append(merge.held)
            stored.new += len(merge.write) - len(merge.replaced)
            stored.changed += len(merge.replaced)
            stored.unchanged += len(page.batch.rows) - len(merge.write)
            stored.refused += len(page.refused)
        for page in pages:
            sparse = [coverage.Interval(w.start, w.end, coverage.STORED, 0, source_id, route) for w in page.traded_not]
            if sparse:
                coverage.cover(connection, series.id, sparse, slots)
        self._cover_stored(connection, series, np.concatenate(held), source_id, route, slots)
        _keep_papers(connection, pages, source_id, now_ms)

    @staticmethod
    def _cover_stored(
        connection: Connection,
        series: Series,
        rows: Rows,
        source_id: int,
        route: str,
        slots: Slots,
        **proof: Any,  # noqa: ANN401 (the last fields of an Interval)
    ) -> None:
        intervals = [
            coverage.Interval(w.start, w.end, coverage.STORED, slots(w.start, w.end), source_id, route, **proof)
            for w in GapDetector(series.grid).runs(np.unique(rows["open_time"]))
        ]
        if intervals:
            coverage.cover(connection, series.id, intervals, slots)

    def _cover_absent(
        self, connection: Connection, page: Page, absent: Absent, source_id: int, slots: Slots, now_ms: int
    ) -> None:
        """Cover a window as absent, but for candles that are there all the same: those stay their sources'."""
        series, window = page.batch.series, absent.window
        there = candles.read(connection, series.id, window.start, window.end)
        evidence = json.dumps(absent.evidence)
        recheck_at = now_ms + int(recheck_delay(absent.answers) * 1000)
        for other in np.unique(there["source_id"]):
            self._cover_stored(
                connection,
                series,
                there[there["source_id"] == other],
                int(other),
                page.batch.route,
                slots,
                evidence=evidence,
                answers=absent.answers,
                checked_at=now_ms,
                recheck_at=recheck_at,
            )
        empty = GapDetector(series.grid).holes(window, there["open_time"]) if len(there) else [window]
        intervals = [
            coverage.Interval(
                w.start, w.end, coverage.ABSENT, 0, source_id, page.batch.route,
                evidence=evidence, answers=absent.answers, checked_at=now_ms, recheck_at=recheck_at,
            )
            for w in empty
        ]  # fmt: skip
        coverage.cover(connection, series.id, intervals, slots)


def _existing(connection: Connection, series_id: int, rows: Rows) -> Rows:
    if len(rows) == 0:
        return candles.read(connection, series_id, 0, 0)
    return candles.read(connection, series_id, int(rows["open_time"][0]), int(rows["open_time"][-1]) + 1)


def _first_open_time(page: Page) -> int:
    return int(page.batch.rows["open_time"][0]) if len(page.batch.rows) else 0


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
        page.batch.series.id, source_id, page.batch.route, refusal.open_time, refusal.reason, refusal.payload
    )
