"""Whether an archive still names the files that were read: exchanges publish some again, with other candles in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from db import archive_files, coverage
from db.engine import reading, writing
from db.locks import alone, series_lock
from db.retrying import retried
from db.series import source_ids
from fetcher.clients.binance_archive import checksum_in
from fetcher.errors import SourceError
from fetcher.filenotes import READ, period_of
from fetcher.finding import Finding
from fetcher.model import Window
from fetcher.wire import excerpt

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


class _Read(Struct, frozen=True):
    series: Series
    source: str
    row: ArchiveFileRow


def republished(
    archive: ArchiveReader, engine: Engine, all_series: Sequence[Series], *, repair: bool = False,
    by: Hand | None = None,
) -> tuple[int, list[Finding]]:  # fmt: skip
    """Ask for the checksum of every file that was read: how many there are, and what is not as it was then.

    With `repair` what the file was the proof of is no longer covered: the next run reads it again, and what changed
    goes to `revisions`. One small request a file; `by` whom it is repaired is kept. Raises Stopped.
    """
    files = _files(engine, all_series, archive)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        compared = zip(files, pool.map(lambda file: _compared(archive, file), files), strict=True)
        found = [(file, finding) for file, finding in compared if finding is not None]
    return len(files), [_repaired(engine, *each, by) if repair and each[1].repairable else each[1] for each in found]


def _files(engine: Engine, all_series: Sequence[Series], archive: ArchiveReader) -> list[_Read]:
    with reading(engine) as connection:
        names = {number: name for name, number in source_ids(connection).items()}
        return [
            _Read(series, names[row.source_id], row)
            for series in all_series
            for row in archive_files.read(connection, series.id)
            if row.state == READ and names[row.source_id] in archive.archives
        ]


def _compared(archive: ArchiveReader, file: _Read) -> Finding | None:
    try:
        named = archive.named_now(file.series, file.source, period_of(file.row))
    except SourceError as error:
        return _finding(file, NOT_ASKED, f"could not be asked about: {error}")
    if named is None:
        return _finding(file, REPUBLISHED, "was read and is no longer there")
    told = checksum_in(named, file.row.name)
    if told is None:  # a page of HTML with 200, say
        return _finding(file, NOT_ASKED, f"could not be asked about: beside it stands '{excerpt(named, 80)}'")
    return None if told == file.row.sha256 else _finding(file, REPUBLISHED, "is another file now than the one read")


def _finding(file: _Read, kind: str, text: str) -> Finding:
    row, message = file.row, f"{file.row.name} {text}"
    return Finding(file.series, kind, row.start_ms, row.end_ms, row.rows or 0, message, repairable=kind == REPUBLISHED)


@retried
def _repaired(engine: Engine, file: _Read, finding: Finding, by: Hand | None) -> Finding:
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
        if by is not None:
            by.note(connection, series=str(series), count=1, findings=[f"{finding.kind}: {finding.message}"])
    return replace(finding, repaired=True)
