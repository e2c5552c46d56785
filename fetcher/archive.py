"""The archive of a source as a route beside its API: what it offers, and a file as a page ready to store.

A file that cannot be believed is fetched once more; then it is left alone for a while, noted with the reason, and the
next cheapest route brings what it was to bring. So it is with one that cannot be had: nothing waits for an archive.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore, Lock, Timer
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from fetcher.attempts import Effort
from fetcher.clients.archive_csv import warm_up
from fetcher.clients.binance_archive import NO_DAILY, checksum_in, file_name, modified_ms, parse_zip
from fetcher.errors import BadPayload, NotPublished, SourceError
from fetcher.filenotes import MISSING, READ, SUSPECT, FileNote
from fetcher.model import CandleBatch, Window, empty_rows
from fetcher.page import Page
from fetcher.periods import DAILY
from fetcher.routes import Offer
from fetcher.validation import Refused
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fetcher.clients.base import Answer, Endpoint
    from fetcher.clients.binance_archive import BinanceArchiveClient
    from fetcher.line import SourceLine
    from fetcher.model import Rows, Series, Timeframe
    from fetcher.periods import Period
    from fetcher.router import APIRouter
    from fetcher.validation import DataValidator
    from fetcher.wire import WirePage

T = TypeVar("T")

FILES_AT_ONCE = 6  # in memory, some 10 MB each; more would not keep the network busier
_EFFORT = Effort(tries=3, hurried=True)  # of one request; then the next route is better than waiting
_SENT_SECONDS = 0.02  # after the first file is asked for: the first questions are sent, and all wait for answers
_LOOKS = 2  # at a file that cannot be believed


class Fetched(Struct, frozen=True):
    """A zip as it came: its own SHA-256 (hexadecimal), and the text beside it that names one (None: there is none)."""

    body: bytes
    sha256: str
    named: str | None
    modified_ms: int | None
    proven_ms: int | None


class Archive(Struct, frozen=True):
    """One archive: its client, and the line (gates, budget, clock) by which it is asked."""

    client: BinanceArchiveClient
    line: SourceLine


class ArchiveReader:
    """Reads files of the archives that sources have, by source; all threads share it.

    `room` is to be held from before a file is asked for until its page is in the writer's hands, so that memory is
    bounded: behind a slow database each thread would have a month in its hand.
    """

    def __init__(self, archives: Mapping[str, Archive], router: APIRouter, validator: DataValidator) -> None:
        self._archives = archives
        self._router = router
        self._validator = validator
        self.room = BoundedSemaphore(FILES_AT_ONCE)
        # Read one after the other: side by side all would be ready late, and the writer idle till then.
        self._reading = Lock()
        self._is_warm = False
        self._beside = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="checksum")

    def close(self) -> None:
        """End its threads and connections."""
        self._beside.shutdown(wait=False, cancel_futures=True)  # what hangs would keep a program from ending
        for archive in self._archives.values():
            archive.line.close()

    @property
    def archives(self) -> Mapping[str, Archive]:
        """By source."""
        return self._archives

    def offer(self, series: Series, spent: Collection[Period] = ()) -> Offer | None:
        """What the archive of the series' preferred source has for it; None where that source has no archive."""
        source = self._router.best(series)
        if source is None or source not in self._archives or series.lacks_grid:
            return None
        return Offer(
            daily=series.timeframe.name not in NO_DAILY,
            now_ms=self._archives[source].line.server.guess_ms(),
            page_slots=self._router.page_slots(series, source),
            page_cost=self._router.page_cost(source),
            spent=spent,
        )

    def page(self, series: Series, period: Period, windows: Sequence[Window]) -> Page:
        """The candles that a file has of some windows (ascending) of its period, judged, with what is noted of it.

        Empty where the file cannot be had or believed. Raises Stopped.
        """
        source = self._router.best(series) or series.sources[0]
        try:
            return self._page(series, source, period, windows)
        except NotPublished:
            return _empty(series, source, FileNote(self._name(series, source, period), period, MISSING))
        except SourceError:
            return _empty(series, source)  # its attempts are accounted for; another route is asked

    def named_now(self, series: Series, source: str, period: Period) -> str | None:
        """The text beside a file that names its SHA-256; None where there is none. Raises SourceError, Stopped."""
        try:
            return self._ask(series, source, period, self._archives[source].client.checksum, "checksum").value
        except NotPublished:
            return None

    def _page(self, series: Series, source: str, period: Period, windows: Sequence[Window]) -> Page:
        name = self._name(series, source, period)
        note = FileNote(name, period, SUSPECT)
        for _ in range(_LOOKS):
            file = self._fetch(series, source, period)
            note = replace(note, sha256=file.sha256, modified_ms=file.modified_ms, bytes=len(file.body))
            with self._reading:
                try:
                    wire = parse_zip(file.body, name)
                except BadPayload as error:
                    note = replace(note, reason=str(error))
                    continue
                note = replace(note, rows=len(wire.rows), reason=_suspicion(name, period, file, wire))
                if note.reason is None:
                    return self._sound(series, source, windows, wire, file, note)
        told = {"file": name, "reason": note.reason, "sha256": note.sha256, "bytes": note.bytes, "rows": note.rows}
        refused = Refused(period.start, "archive_file", json.dumps(told))
        return replace(_empty(series, source, note), refused=(refused,))

    def _sound(
        self, series: Series, source: str, windows: Sequence[Window], wire: WirePage, file: Fetched, note: FileNote
    ) -> Page:
        inside = _inside(wire.rows, windows)
        rows = wire.rows if inside.all() else wire.rows[inside]
        hull = Window(windows[0].start, windows[-1].end)
        verdict = self._validator.check(replace(wire, rows=rows), series.grid, hull, file.proven_ms)
        # what opens between the slots needs a second answer: the API gives both
        batch = CandleBatch(series, source, "archive", verdict.rows)
        lacking = series.grid.count(self._traded(series, note.period)) - len(wire.rows)
        reason = f"{lacking} of its candles are not in it" if lacking > 0 else None
        return Page(batch, verdict.refused, file=replace(note, state=READ, reason=reason))

    @staticmethod
    def _traded(series: Series, period: Period) -> Window:
        return period.window.intersect(Window(series.listed_ms or 0, 2**62))

    def _fetch(self, series: Series, source: str, period: Period) -> Fetched:
        """A zip and, meanwhile, its checksum; raises NotPublished without a zip, and what the attempts raise."""
        client, line = self._archives[source].client, self._archives[source].line
        self._warm_up_beside()
        checksum = self._beside.submit(self.named_now, series, source, period)
        try:
            answer = self._ask(series, source, period, client.zip, "file")
        finally:
            checksum.exception()  # waited for: it belongs to this file
        body, record = answer.value, answer.record
        return Fetched(
            body, hashlib.sha256(body).hexdigest(), checksum.result(), modified_ms(record), line.proven_ms(record)
        )

    def _warm_up_beside(self) -> None:
        """Load what reads files while the first is on its way; once."""
        if self._is_warm:
            return
        self._is_warm = True
        timer = Timer(_SENT_SECONDS, warm_up)
        timer.name = "warm-up"
        with suppress(RuntimeError):  # no thread to be had: the first file waits for it
            timer.start()

    def _ask(
        self, series: Series, source: str, period: Period,
        question: Callable[[Endpoint, str, Timeframe, Period], Answer[T]], what: str,
    ) -> Answer[T]:  # fmt: skip
        market_id = self._router.market_id(series, source)
        purpose = f"{series} archive {what} of {file_name(market_id, series.timeframe, period)}"

        def send(endpoint: Endpoint) -> Answer[T]:
            return question(endpoint, market_id, series.timeframe, period)

        return self._router.ask(self._archives[source].line, 1, purpose, send, _EFFORT)

    def _name(self, series: Series, source: str, period: Period) -> str:
        return file_name(self._router.market_id(series, source), series.timeframe, period)


def _empty(series: Series, source: str, note: FileNote | None = None) -> Page:
    return Page(CandleBatch(series, source, "archive", empty_rows()), file=note)


def _inside(rows: Rows, windows: Sequence[Window]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    times = rows["open_time"]
    inside = np.zeros(len(rows), dtype=np.bool_)
    for window in windows:
        inside |= (times >= window.start) & (times < window.end)
    return inside


def _suspicion(name: str, period: Period, file: Fetched, wire: WirePage) -> str | None:
    """Why a file is not believed; None where it is."""
    if file.named is None:
        return "the archive names no checksum for it"
    named = checksum_in(file.named, name)
    if file.sha256 != named:
        return f"its checksum is {file.sha256}, the archive names {named or excerpt(file.named, 80)}"
    if wire.spoiled:
        return f"{len(wire.spoiled)} of its lines cannot be read"
    times = wire.rows["open_time"]
    if (np.diff(times) <= 0).any():
        return "its candles are not in order, or come twice"
    window = period.window
    if len(times) and not (window.start <= times[0] and times[-1] < window.end):
        return f"it has candles of another {'day' if period.kind == DAILY else 'month'}"
    return None
