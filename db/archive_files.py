"""Files of exchanges' archives: what each was when it was last looked at. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import delete, select

from db.dialect import upsert
from db.schema import archive_files

if TYPE_CHECKING:
    from sqlalchemy import Connection

_c = archive_files.c


class ArchiveFileRow(Struct, frozen=True):
    """One file of a series, which speaks for `[start_ms, end_ms)`.

    `state`: `read` (its candles are stored as far as they were missing), `suspect` (not believed) or `missing` (not
    there); `reason` says why it is suspect, or what it lacks. `sha256` is hexadecimal, of the file as it came.
    """

    series_id: int
    source_id: int
    name: str
    start_ms: int
    end_ms: int
    state: str
    sha256: str | None
    modified_ms: int | None
    bytes: int | None
    rows: int | None
    reason: str | None
    checked_ms: int


_COLUMNS = tuple(_c[tuple(ArchiveFileRow.__struct_fields__)])
_KEY = ("series_id", "name")


def put(conn: Connection, row: ArchiveFileRow) -> None:
    """Write down what a file is now, instead of what it was."""
    statement = upsert(conn, archive_files).values(asdict(row))
    changed = {name: statement.excluded[name] for name in ArchiveFileRow.__struct_fields__ if name not in _KEY}
    conn.execute(statement.on_conflict_do_update(index_elements=list(_KEY), set_=changed))


def read(conn: Connection, series_id: int) -> list[ArchiveFileRow]:
    """The files of a series, by start, then name."""
    rows = conn.execute(select(*_COLUMNS).where(_c.series_id == series_id).order_by(_c.start_ms, _c.name))
    return [ArchiveFileRow(*fields) for fields in map(tuple, rows)]


def get(conn: Connection, series_id: int, name: str) -> ArchiveFileRow | None:
    """One file of a series by its name; None where nothing is noted of it."""
    row = conn.execute(select(*_COLUMNS).where(_c.series_id == series_id, _c.name == name)).first()
    return None if row is None else ArchiveFileRow(*tuple(row))


def forget(conn: Connection, series_id: int, name: str) -> None:
    """Note nothing of a file any more."""
    conn.execute(delete(archive_files).where(_c.series_id == series_id, _c.name == name))
