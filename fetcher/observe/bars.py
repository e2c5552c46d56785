"""Progress for someone who watches: a bar per series and one for all. Imports rich, so only a terminal loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column

from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from fetcher.clock import Clock
    from fetcher.observe.progress import Count, Tally

_OTHER_LINES = 4  # kept free below the bars
_TOTAL = "all"


class Bars:
    """Bars on stderr, redrawn ten times a second; they stay when the work is done."""

    def __init__(self, clock: Clock, console: Console | None = None) -> None:
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress | None = None

    def show(self, tally: Tally, now: float) -> None:
        """Move the bars; the first call draws them."""
        progress = self._progress or self._start()
        left = tally.seconds_left(now)
        speed = f"{tally.rate(now):,.0f} rows/s" + (f", {duration(left)} left" if left is not None else "")
        speed = f"{tally.quiet}, {speed}" if tally.quiet else speed
        if len(tally.series) == 1:
            self._move(progress, next(iter(tally.series)), tally.total, speed)
            return
        self._move(progress, _TOTAL, tally.total, speed)
        room = max(1, self._console.height - _OTHER_LINES)
        for name, count in tally.series.items():
            if name in self._tasks or (count.done + count.remaining and len(self._tasks) < room):
                self._move(progress, name, count, "")

    def close(self, tally: Tally, now: float) -> None:
        """Draw the end and let go of the terminal."""
        self.show(tally, now)
        if self._progress is not None:
            self._progress.stop()

    def _start(self) -> Progress:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            console=self._console,
            get_time=self._clock.elapsed,
            expand=True,
        )
        self._progress.start()
        return self._progress

    def _move(self, progress: Progress, name: str, count: Count, speed: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = progress.add_task(name, total=None, figures="")
        parts = [f"{count.rows:,} rows", speed, f"{count.absent:,} absent" if count.absent else ""]
        progress.update(
            self._tasks[name],
            completed=count.done,
            total=max(1, count.done + count.remaining),
            figures=", ".join(filter(None, parts)),
        )
