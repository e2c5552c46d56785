"""What is noted of an archive's files, so that one that did not help is left alone for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from db import archive_files
from fetcher.model import DAY, HOUR
from fetcher.periods import DAILY, MONTHLY, Period

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fetcher.model import Series

READ, SUSPECT, MISSING = "read", "suspect", "missing"
ASK_AGAIN_MS = {MISSING: 12 * HOUR, SUSPECT: 7 * DAY, READ: 7 * DAY}
"""When a file may be asked for again that was not there, not believed, or lacked candles."""


class FileNote(Struct, frozen=True):
    """A file of an archive as it was when it was asked for; see db.archive_files.ArchiveFileRow."""

    name: str
    period: Period
    state: str
    sha256: str | None = None
    modified_ms: int | None = None
    bytes: int | None = None
    rows: int | None = None
    reason: str | None = None


def write(connection: Connection, series: Series, source_id: int, note: FileNote, now_ms: int) -> None:
    """Note what a file is now; one that was read stays so, with the hash of then, since most of its candles came then.

    What became of it since `audit --archive` finds, and can have all of it read anew.
    """
    window, name = note.period.window, note.name
    row = archive_files.ArchiveFileRow(
        series.id, source_id, name, window.start, window.end, note.state, note.sha256, note.modified_ms,
        note.bytes, note.rows, note.reason, now_ms,
    )  # fmt: skip
    before = archive_files.get(connection, series.id, name)
    if before is not None and before.state == READ:
        reason = f"when it was asked for again: {note.reason or 'it was not there'}"
        is_read = note.state == READ
        row = replace(row, sha256=before.sha256) if is_read else replace(before, reason=reason, checked_ms=now_ms)
    archive_files.put(connection, row)


def spent(connection: Connection, series: Series, now_ms: int) -> set[Period]:
    """The periods whose files need not be asked for now: each was not there, not believed, or lacks candles."""
    return {
        period_of(row)
        for row in archive_files.read(connection, series.id)
        if (row.state != READ or row.reason is not None) and abs(now_ms - row.checked_ms) < ASK_AGAIN_MS[row.state]
    }


def period_of(row: archive_files.ArchiveFileRow) -> Period:
    """The month or day that a file is about."""
    return Period(row.start_ms, DAILY if row.end_ms - row.start_ms == DAY else MONTHLY)
