"""What an archive names beside a file decides whether it is still the one that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from db.archive_files import ArchiveFileRow
from fetcher.audit_archive import NOT_ASKED, REPUBLISHED, _compared, _Read
from fetcher.clock import parse_utc
from fetcher.errors import SourceDown
from fetcher.model import Series, Timeframe
from fetcher.periods import MONTHLY, Period

if TYPE_CHECKING:
    from fetcher.archive import ArchiveReader

START, END = parse_utc("2024-01-01"), parse_utc("2024-02-01")
NAME = "BTCUSDT-1m-2024-01.zip"
HASH = "0123456789abcdef" * 4


class Naming:
    """An archive that has this beside every file."""

    def __init__(self, text: str | SourceDown | None) -> None:
        self._text = text

    def named_now(self, _series: Series, source: str, period: Period) -> str | None:
        """As ArchiveReader has it."""
        assert (source, period) == ("binance", Period(START, MONTHLY))
        if isinstance(self._text, SourceDown):
            raise self._text
        return self._text


@pytest.mark.parametrize(
    ("text", "read", "kind"),
    [
        (f"{HASH}  {NAME}\n", HASH, None),
        (f"{HASH[::-1]}  {NAME}\n", HASH, REPUBLISHED),
        (None, HASH, REPUBLISHED),
        (f"{HASH}  {NAME}\n", None, REPUBLISHED),
        (f"{HASH}  BTCUSDT-1m-2024-02.zip\n", HASH, NOT_ASKED),
        (f"{HASH}  BTCUSDT-1m-2024-02.zip\n", None, NOT_ASKED),
        ("<html>Please wait</html>", HASH, NOT_ASKED),
        ("", HASH, NOT_ASKED),
        (SourceDown("away"), HASH, NOT_ASKED),
    ],
    ids=[
        "the same", "another", "gone", "read without a hash", "of another file", "of another file, read without a hash",
        "a page of HTML", "nothing", "no answer",
    ],
)  # fmt: skip
def test_what_stands_beside_a_file_now(text: str | SourceDown | None, read: str | None, kind: str | None) -> None:
    """Another hash is another file; what is no hash of this file says nothing of it, and is told."""
    series = Series(1, "BTC/USDT", Timeframe("1m"), START, ("binance",))
    row = ArchiveFileRow(1, 1, NAME, START, END, "read", read, None, 9, 44_640, None, END)
    found = _compared(cast("ArchiveReader", Naming(text)), _Read(series, "binance", row))
    assert (None if found is None else found.kind) == kind
    assert found is None or found.message.startswith(NAME)
