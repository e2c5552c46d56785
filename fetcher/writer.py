"""The one writer: takes finished pages from all fetchers, groups them into commits, and says what came of each job."""

from __future__ import annotations

import queue
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.model import Window
from fetcher.page import Closing, Page, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from db.jobs import JobRow
    from fetcher.clock import Clock
    from fetcher.healing import Healer
    from fetcher.lacking import Lack
    from fetcher.model import Series
    from fetcher.periods import Period
    from fetcher.storage import Storage
    from fetcher.validation import Refused

COMMIT_ROWS = 20_000
WAITING_ROWS = 200_000  # of finished pages held in memory, some 20 MB; fetchers wait beyond that
LOG_ROWS = 40_000  # some 4 MB of SQLite's log, copied into the file beside the next commits


class OpenJob:
    """A job being worked: how many of its pages are neither committed nor failed yet; two threads share it."""

    def __init__(self, job: JobRow, series: Series) -> None:
        self.row = job
        self.series = series
        self.window = Window(job.start_ms, job.end_ms)
        self.error: Exception | None = None
        self.confirming = False
        self.heals: tuple[Healer, ...] | None = None  # of a job that heals: who may be asked for its window
        self.answered = False
        self.is_learning = False  # when its market was listed: it does not end before that is answered
        self.is_through = False  # with all else
        self.refused: Refused | None = None
        self.lacks: list[Lack] = []  # which source was asked for which of its windows; only appended to, by any thread
        self.recalled: list[Lack] = []  # the same of earlier runs, as far as nobody has confirmed it yet
        self.spent: set[Period] = set()  # files of the archive that need not be asked for; only added to, by any thread
        self._lock = Lock()
        self._pages = 0
        self._rounds = 0
        self._missing_ms = self.window.span + 1
        self._at_first: Sequence[Window] = ()

    @property
    def id(self) -> int:
        """The job's id in the database."""
        return self.row.id

    def narrow(self, bounds: Window) -> None:
        """Give up what lies outside `bounds`: not listed yet, or not closed by the source's clock."""
        with self._lock:
            self.window = self.window.intersect(bounds)

    def fruitless_rounds(self, missing_ms: int) -> int:
        """How many rounds of confirming in a row have left as much missing as before."""
        self._rounds = 0 if missing_ms < self._missing_ms else self._rounds + 1
        self._missing_ms = missing_ms
        return self._rounds

    def begin(self, missing: Sequence[Window]) -> None:
        """Note what its window lacks before anything is asked."""
        self._at_first = missing

    def has_progressed(self, missing: Iterable[Window]) -> bool:
        """Whether less is `missing` than when it began; rows that came are none while they were there already."""
        before = sum(hole.intersect(self.window).span for hole in self._at_first)
        return sum(hole.span for hole in missing) < before

    def bring(self, page: Page) -> None:
        """Note that a page of it was stored; one with candles or a proof answers a second look at an absence."""
        self.answered = self.answered or bool(len(page.batch.rows) or page.absent)
        self.refused = page.refused[-1] if page.refused else None

    def expect(self, pages: int) -> None:
        """More pages are on their way."""
        with self._lock:
            self._pages += pages

    def ends_with(self, pages: int) -> bool:
        """Whether these pages are the last of all that is awaited, and nothing has failed."""
        with self._lock:
            return self._pages == pages and self.error is None and not self.is_learning

    def settled(self, pages: int = 1, error: Exception | None = None) -> bool:
        """Count pages as committed or, with `error`, as failed; True when none is awaited any more."""
        with self._lock:
            self._pages -= pages
            self.error = self.error or error
            return self._pages == 0


class Committed(Struct, frozen=True):
    """A commit that took place: the pages in it, and the jobs of which it held the last page."""

    pages: tuple[tuple[OpenJob, Page], ...]
    stored: Stored
    ended: tuple[OpenJob, ...]


class Writer:
    """A thread that commits; `put` blocks while too much waits, `close` returns when everything put is committed.

    An error while committing (disk full, database gone) is kept in `error` and told through `tell`; what was put is
    thrown away from then on, since nothing of it was promised to anybody.
    """

    def __init__(self, storage: Storage, clock: Clock, tell: Callable[[Committed | Exception], None]) -> None:
        self._storage = storage
        self._clock = clock
        self._tell = tell
        self._waiting: queue.SimpleQueue[tuple[OpenJob, Page] | None] = queue.SimpleQueue()
        self._room = Condition()
        self._rows = 0  # that wait
        self._thread = Thread(target=self._run, name="writer", daemon=True)
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._in_log = 0  # rows committed since it was last copied
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, job: OpenJob, page: Page) -> None:
        """Hand over a page of a job, waiting while too many rows wait already."""
        with self._room:
            self._room.wait_for(lambda: self._rows < WAITING_ROWS)
            self._rows += len(page.batch.rows)
        self._waiting.put((job, page))

    def close(self) -> None:
        """Commit what waits, then end."""
        self._waiting.put(None)
        self._thread.join()
        self._beside.shutdown(cancel_futures=True)

    def _run(self) -> None:
        more = True
        while more:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            rows = len(first[1].batch.rows)
            while rows < COMMIT_ROWS:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    more = False
                    break
                group.append(following)
                rows += len(following[1].batch.rows)
            self._commit(group)

    def _commit(self, group: list[tuple[OpenJob, Page]]) -> None:
        try:
            self._commit_now(group)
        finally:
            with self._room:
                self._rows -= sum(len(page.batch.rows) for _, page in group)
                self._room.notify_all()

    def _commit_now(self, group: list[tuple[OpenJob, Page]]) -> None:
        if self.error is not None:
            return
        pages_here = Counter(job.id for job, _ in group)
        jobs = {job.id: job for job, _ in group}
        closing = [
            Closing(job.id, job.series, job.window, job.heals)
            for job in jobs.values()
            if job.ends_with(pages_here[job.id]) and not job.confirming
        ]
        try:
            stored = self._storage.commit([page for _, page in group], closing, self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 (the edge of this thread: the coordinator raises it again)
            self.error = error
            self._tell(error)
            return
        ended = tuple(job for job in jobs.values() if job.settled(pages_here[job.id]))
        self._have_log_copied(stored.new + stored.changed, more=self._rows > sum(len(p.batch.rows) for _, p in group))
        self._tell(Committed(tuple(group), stored, ended))

    def _have_log_copied(self, rows: int, *, more: bool) -> None:
        """Beside the next commits, where that is worth it; behind the last one the database does so when it closes."""
        self._in_log += rows
        if self._in_log >= LOG_ROWS and more:
            self._in_log = 0
            with suppress(RuntimeError):  # no thread to be had: it is copied later
                self._beside.submit(self._storage.bring_in_log)
