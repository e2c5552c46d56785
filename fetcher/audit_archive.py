"""Whether an archive still names the files that were read: exchanges publish some again, with other candles in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from db import archive_files, coverage
from db.engine import reading, writing
from db.locks import alone, series_lock
from db.series import source_ids
from fetcher.clients.binance_archive import checksum_in
from fetcher.errors import SourceError
from fetcher.filenotes import READ, period_of
from fetcher.model import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from db.archive_files import ArchiveFileRow
    from db.audit_log import Hand
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
    archive: ArchiveReader, engine: Engine, all_series: Sequence[Series], *, repair: bool = False,
    by: Hand | None = None,
) -> tuple[int, list[ArchiveFinding]]:  # fmt: skip
    """Ask for the checksum of every file that was read: how many there are, and what is not as it was then.

    With `repair` what the file was the proof of is no longer covered: the next run reads it again, and what changed
    goes to `revisions`. One small request a file; `by` whom it is repaired is kept. Raises Stopped.
    """
    files = _files(engine, all_series, archive)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [each for each in pool.map(lambda file: _compared(archive, file), files) if each is not None]
    if repair:
        found = [_repaired(engine, each, by) if each.repairable else each for each in found]
    return len(files), found


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
    if named is not None and checksum_in(named, row.name) == row.sha256:
        return None
    now = "is no longer there" if named is None else "is another file now"
    return replace(finding, message=f"{row.name} {now} than the one that was read")


def _repaired(engine: Engine, finding: ArchiveFinding, by: Hand | None) -> ArchiveFinding:
    """Take back what is covered by the archive in the file's time."""
    series, window = finding.series, Window(finding.start_ms, finding.end_ms)

    def slots(start: int, end: int) -> int:
        return series.grid.count(Window(start, end))

    with writing(engine) as connection:
        alone(connection, series_lock(series.id))
        for interval in coverage.read(connection, series.id, window.start, window.end):
            part = Window(interval.start_ms, interval.end_ms).intersect(window)
            if part and interval.route == "archive":
                coverage.erase(connection, series.id, part.start, part.end, slots)
        if by is not None:
            by.note(connection, series=str(series), count=1, findings=[f"{finding.kind}: {finding.message}"])
    return replace(finding, repaired=True)
