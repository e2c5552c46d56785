"""What travels from those who ask to the one who writes: pages of candles and proofs; and what a commit made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from fetcher.events import PageStored, TailRead
from fetcher.model import Window

if TYPE_CHECKING:
    from fetcher.events import Restated
    from fetcher.filenotes import FileNote
    from fetcher.healing import Healer
    from fetcher.model import CandleBatch, Series
    from fetcher.validation import Refused


class Absent(Struct, frozen=True):
    """A window proven to hold no candles: how many answers agreed, and what they were (JSON-able).

    `quiet`: at a source that leaves out candles without trades, and short enough to be a time without any.
    """

    window: Window
    answers: int
    evidence: dict[str, object]
    quiet: bool = False


class Page(Struct, frozen=True):
    """What one task brought, ready to store: candles, what was refused with its reason, and windows proven empty."""

    batch: CandleBatch
    refused: tuple[Refused, ...] = ()
    absent: tuple[Absent, ...] = ()
    asked: Window | None = None  # of a page of candles: the window that its source answered for
    closed_until: int | None = None  # by the source's clock when it answered: nothing from here on could have come
    since_close_ms: int | None = None  # by the same clock: how long before the question went there that was
    file: FileNote | None = None  # of an archive's file: what is to be noted of it

    def told(self, since_ms: int) -> PageStored:
        """What is told of it once it is committed; rows before `since_ms` were known, and are looked at again."""
        rows = int((self.batch.rows["open_time"] >= since_ms).sum())
        absent = [(part.window.start, part.window.end) for part in self.absent if not part.quiet]
        return PageStored(str(self.batch.series), self.batch.source, rows, len(self.refused), tuple(absent))

    def tail_read(self) -> TailRead:
        """What it says of the newest candles of its series."""
        series, times = self.batch.series, self.batch.rows["open_time"]
        first, last = (int(times[0]), int(times[-1])) if len(times) else (None, None)
        count = 0 if first is None or last is None else series.grid.count(Window(first, series.grid.next(last)))
        closed, asked = self.closed_until, self.asked
        about = closed is not None and asked is not None and asked.end >= closed
        newest = series.grid.advance(closed, -1) if about and closed is not None else None
        return TailRead(
            str(series),
            self.batch.source,
            first,
            last,
            count == len(times),
            newest,
            self.since_close_ms if about else None,
        )


class Stored(Struct):
    """What a commit did: rows new, changed and already there, and per closed job the windows still missing.

    `restated` tells of changed rows which those were that their own source had given otherwise before.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    restated: list[Restated] = field(default_factory=list)
    missing: dict[int, list[Window]] = field(default_factory=dict)


class Closing(Struct, frozen=True):
    """A job whose last page is in this commit: done when coverage leaves nothing of its window.

    With `heals`: when nothing of it is left that one of these is to be asked for.
    """

    job_id: int
    series: Series
    window: Window
    heals: tuple[Healer, ...] | None = None
