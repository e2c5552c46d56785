"""Reading again: once a day the newest closed candles of each series, since exchanges restate some of them later.

No kind of job: nothing is missing, and a run may end without it. A request or two a series and day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import coverage
from db import series as series_rows
from db.engine import reading, writing
from db.retrying import retried
from fetcher.errors import CannotServe, SourceError, Stopped
from fetcher.events import PageStored
from fetcher.gaps import pages
from fetcher.model import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine

    from fetcher.asking import Asker
    from fetcher.clock import Clock
    from fetcher.events import Fact
    from fetcher.model import Series
    from fetcher.router import APIRouter
    from fetcher.storage import Storage

EVERY_MS = DAY
MOST_PAGES = 10  # of a series; two are enough for minutes at Binance, five at OKX
TRIES = 2  # of a request: what does not come now comes with the next run


class Rereader:
    """Asks whoever served the newest candles for them again: what differs replaces them, revisions keep the old."""

    def __init__(
        self, engine: Engine, asker: Asker, storage: Storage, router: APIRouter, clock: Clock,
        tell: Callable[[Fact], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._asker = asker
        self._storage = storage
        self._router = router
        self._clock = clock
        self._tell = tell

    def reread(self, all_series: Sequence[Series], deadline: float) -> None:
        """Read again what is due, the longest waiting first, until `deadline` (the clock's elapsed seconds).

        A series is due a day after the last time, or after it was first seen here. A source that does not serve is left
        for the next run.
        """
        now, away = self._clock.now_ms(), set[str]()
        for series in self._due(all_series, now):
            source, windows = self._asked(series)
            if source in away:
                continue
            try:
                for window in windows:
                    if self._clock.elapsed() >= deadline:
                        return
                    self._read(series, window, source)
            except Stopped:
                return
            except CannotServe:
                pass  # it will not tomorrow either, or reaches back to it no longer
            except SourceError:
                away.add(source)
                continue
            self._note([series.id], now)

    def _due(self, all_series: Sequence[Series], now: int) -> list[Series]:
        with reading(self._engine) as connection:
            last = series_rows.reread_times(connection)
        known = {number: ms for number, ms in last.items() if ms is not None and ms <= now}
        if new := [series.id for series in all_series if series.id not in known]:  # or a clock was ahead
            self._note(new, now)
        due = [series for series in all_series if now - known.get(series.id, now) >= EVERY_MS]
        return sorted(due, key=lambda series: known[series.id])

    def _asked(self, series: Series) -> tuple[str, list[Window]]:
        """The best source that has candles among the newest, and the pages of it to ask for again, newest first.

        A day of candles, and as many more as come with the same requests.
        """
        grid, end = series.grid, series.closed_until_ms or 0
        with reading(self._engine) as connection:
            names = {number: name for name, number in series_rows.source_ids(connection).items()}
            day = coverage.read(connection, series.id, end - DAY, end)
            ours = {names[each.source_id] for each in day if each.state == coverage.STORED and each.rows}
            source = next((name for name in series.sources if name in ours), None)
            if source is None:
                return "", []
            slots = self._router.page_slots(series, source)
            wanted = min(MOST_PAGES, -(-max(1, grid.count(Window(end - DAY, end))) // slots))
            asked = Window(max(series.first_ms, grid.advance(end, -wanted * slots)), end)
            covered = coverage.read(connection, series.id, asked.start, asked.end)
        stored = [Window(each.start_ms, each.end_ms) for each in covered if each.state == coverage.STORED]
        return source, [page for page in pages(asked, grid, slots) if any(map(page.intersect, stored))][::-1]

    def _read(self, series: Series, window: Window, source: str) -> None:
        page = self._asker.page(series, window, only=source, tries=TRIES)
        stored = self._storage.commit([page], [], self._clock.now_ms())
        if page.refused:
            self._tell(PageStored(str(series), source, 0, len(page.refused), ()))
        for restated in stored.restated:
            self._tell(restated)

    @retried
    def _note(self, ids: Sequence[int], now: int) -> None:
        with writing(self._engine) as connection:
            series_rows.set_reread(connection, ids, now)
