"""Whether an archive still names the files that were read: exchanges publish some again, with other candles in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from db import archive_files, coverage
from db.engine import reading, writing
from db.locks import alone, series_lock
from db.retrying import retried
from db.series import source_ids
from fetcher.clients.binance_archive import checksum_in
from fetcher.errors import SourceError
from fetcher.filenotes import READ, period_of
from fetcher.model import Window
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from db.archive_files import ArchiveFileRow
    from fetcher.archive import ArchiveReader
    from fetcher.model import Series

REPUBLISHED = "file_republished"  # the archive has another file of that name now
NOT_ASKED = "file_not_asked"  # it could not be asked
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ArchiveFinding:
    """One file that is another one now, or of which that is not known; it speaks for `[start_ms, end_ms)` (ms UTC)."""

    series: Series
    kind: str
    start_ms: int
    end_ms: int
    rows: int
    message: str
    repaired: bool = False

    @property
    def repairable(self) -> bool:
        """Whether taking back what coverage says of it lets the next run fetch it anew."""
        return self.kind == REPUBLISHED


@dataclass(frozen=True, slots=True)
class _Read:
    series: Series
    source: str
    row: ArchiveFileRow


def republished(
    archive: ArchiveReader, engine: Engine, all_series: Sequence[Series], *, repair: bool = False
) -> tuple[int, list[ArchiveFinding]]:
    """Ask for the checksum of every file that was read: how many there are, and what is not as it was then.

    With `repair` what the file was the proof of is no longer covered: the next run reads it again, and what changed
    goes to `revisions`. One small request a file. Raises Stopped.
    """
    files = _files(engine, all_series, archive)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        compared = zip(files, pool.map(lambda file: _compared(archive, file), files), strict=True)
        found = [(file, finding) for file, finding in compared if finding is not None]
    return len(files), [_repaired(engine, *each) if repair and each[1].repairable else each[1] for each in found]


def _files(engine: Engine, all_series: Sequence[Series], archive: ArchiveReader) -> list[_Read]:
    with reading(engine) as connection:
        names = {number: name for name, number in source_ids(connection).items()}
        return [
            _Read(series, names[row.source_id], row)
            for series in all_series
            for row in archive_files.read(connection, series.id)
            if row.state == READ and names[row.source_id] in archive.archives
        ]


def _compared(archive: ArchiveReader, file: _Read) -> ArchiveFinding | None:
    row = file.row
    finding = ArchiveFinding(file.series, REPUBLISHED, row.start_ms, row.end_ms, row.rows or 0, "")
    try:
        named = archive.named_now(file.series, file.source, period_of(row))
    except SourceError as error:
        return replace(finding, kind=NOT_ASKED, message=f"{row.name} could not be asked about: {error}")
    if named is None:
        return replace(finding, message=f"{row.name}, which was read, is no longer there")
    told = checksum_in(named, row.name)
    if told is None:  # a page of HTML with 200, say
        text = f"{row.name} could not be asked about: what came as its checksum is '{excerpt(named, 80)}'"
        return replace(finding, kind=NOT_ASKED, message=text)
    text = f"{row.name} is another file now than the one that was read"
    return None if told == row.sha256 else replace(finding, message=text)


@retried
def _repaired(engine: Engine, file: _Read, finding: ArchiveFinding) -> ArchiveFinding:
    """Take back what is covered by the archive in the file's time, and what is noted of the file.

    Else one that was noted to lack candles would be left alone, and one that is not needed any more be found for ever.
    """
    series, window = finding.series, Window(finding.start_ms, finding.end_ms)

    def slots(start: int, end: int) -> int:
        return series.grid.count(Window(start, end))

    with writing(engine) as connection:
        alone(connection, series_lock(series.id))
        for interval in coverage.read(connection, series.id, window.start, window.end):
            part = Window(interval.start_ms, interval.end_ms).intersect(window)
            if part and interval.route == "archive":
                coverage.erase(connection, series.id, part.start, part.end, slots)
        archive_files.forget(connection, series.id, file.row.name)
    return replace(finding, repaired=True)
