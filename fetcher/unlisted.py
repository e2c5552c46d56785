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

    def __len__(self) -> int:
        """How many wait for what another one of their series asks."""
        return sum(max(0, len(jobs) - 1) for jobs in self._waiting.values())

    def add(self, job: OpenJob) -> bool:
        """Have a job wait; whether the date of its series is still to be asked for."""
        is_first = job.series.id not in self._waiting
        self._waiting.setdefault(job.series.id, []).append(job)
        return is_first

    def sighted(self, series_id: int, opened: int) -> list[OpenJob]:
        """The jobs that need not wait any more once a first answer names a first candle, at `opened` (ms UTC).

        What opens from then on is wanted whatever the second answer says of the time before. Not so on a grid that
        starts at the first candle.
        """
        waiting = self._waiting.get(series_id, [])
        ahead = [job for job in waiting if job.window.start >= opened and not job.series.lacks_grid]
        for job in ahead:
            waiting.remove(job)
            job.series = replace(job.series, listed_ms=job.series.grid.floor(opened))
        return ahead

    def learned(self, series: Series) -> list[OpenJob]:
        """The jobs that waited until now, when nothing more is to be learnt of their series."""
        waiting = self._waiting.pop(series.id, [])
        for job in waiting:
            job.series = series
        return waiting

    def clear(self) -> None:
        """Let nobody wait any more."""
        self._waiting.clear()
