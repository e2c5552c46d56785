"""Part of the store contract: files of archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from db import archive_files
from db.archive_files import ArchiveFileRow
from tests.contract.store_base import T0, StoreBase

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from db.series import SeriesRow

MONTH = 31 * 86_400_000


class ArchiveFileStore(StoreBase):
    """What a file was when it was last looked at."""

    @pytest.fixture
    def file(self, btc: SeriesRow) -> ArchiveFileRow:
        """A file that was read."""
        return ArchiveFileRow(
            btc.id, 1, "BTCUSDT-1m-2024-01.zip", T0, T0 + MONTH, "read", "ab" * 32, T0, 2_900_000, 44_640, None, T0
        )

    def test_a_file_is_noted_once(self, conn: Connection, file: ArchiveFileRow) -> None:
        """What it is now stands instead of what it was; files come back by their start."""
        earlier = replace(file, name="BTCUSDT-1m-2023-12.zip", start_ms=T0 - MONTH, end_ms=T0)
        missing = replace(file, state="missing", sha256=None, modified_ms=None, bytes=None, rows=None)
        for row in (missing, earlier, file):
            archive_files.put(conn, row)
        assert archive_files.read(conn, file.series_id) == [earlier, file]
        assert archive_files.read(conn, file.series_id + 1) == []
        assert archive_files.get(conn, file.series_id, file.name) == file
        assert archive_files.get(conn, file.series_id + 1, file.name) is None

    def test_a_file_can_be_forgotten(self, conn: Connection, file: ArchiveFileRow) -> None:
        """That one alone."""
        earlier = replace(file, name="BTCUSDT-1m-2023-12.zip", start_ms=T0 - MONTH, end_ms=T0)
        for row in (earlier, file):
            archive_files.put(conn, row)
        archive_files.forget(conn, file.series_id, file.name)
        archive_files.forget(conn, file.series_id + 1, earlier.name)
        assert archive_files.read(conn, file.series_id) == [earlier]

    @pytest.mark.parametrize("wrong", [{"state": "lost"}, {"end_ms": T0}, {"series_id": 99}, {"source_id": 99}])
    def test_what_cannot_be_is_refused(self, conn: Connection, file: ArchiveFileRow, wrong: dict[str, object]) -> None:
        """An unknown state, a time that ends before it begins, a series or source that there is not."""
        with pytest.raises(IntegrityError), conn.begin_nested():
            archive_files.put(conn, replace(file, **wrong))
