"""Jobs of markets of which it is not known when they were listed: which wait for that, and which need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from fetcher.model import Series
    from fetcher.writer import OpenJob


class Unlisted:
    """The jobs that wait for a listing date, by series; one thread's."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[OpenJob]] = {}
        self._opened: dict[int, int] = {}

    def crowded(self, most: int) -> frozenset[int]:
        """The ids of series of which so many wait."""
        return frozenset(series_id for series_id, jobs in self._waiting.items() if len(jobs) >= most)

    def add(self, job: OpenJob) -> bool:
        """Have a job wait; whether the date of its series is still to be asked for."""
        is_first = job.series.id not in self._waiting
        self._waiting.setdefault(job.series.id, []).append(job)
        return is_first

    def sighted(self, series_id: int, opened: int) -> None:
        """A first answer names a first candle, at `opened` (ms UTC)."""
        self._opened[series_id] = opened

    def ahead(self, series_id: int) -> list[OpenJob]:
        """The jobs that need not wait any more, since they begin behind the first candle that was sighted.

        They are asked for as if that were proven: what is closed from then on is wanted, unless the source has invented
        it. Not so on a grid that starts at the first candle, of which no slot can be told.
        """
        opened, waiting = self._opened.get(series_id), self._waiting.get(series_id, [])
        if opened is None:
            return []
        ahead = [job for job in waiting if job.window.start >= opened and not job.series.lacks_grid]
        for job in ahead:
            waiting.remove(job)
            job.series = replace(job.series, listed_ms=job.series.grid.floor(opened))
        return ahead

    def take(self, series: Series) -> list[OpenJob]:
        """The jobs that waited until now, when nothing more is to be learnt of their series."""
        self._opened.pop(series.id, None)
        waiting = self._waiting.pop(series.id, [])
        for job in waiting:
            job.series = series
        return waiting
