"""The files of an imitated archive: the market's candles as CSV in a zip, made once and kept while there is room."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import OrderedDict
from random import Random
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.sandbox import render
from fetcher.sandbox.archive_faults import IN_ROWS, IN_TEXT
from fetcher.sandbox.noise import key_of

if TYPE_CHECKING:
    from fetcher.sandbox.archive_names import FileName
    from fetcher.sandbox.market import Market

_LEVEL = 1  # a third of the text, as real files are; higher levels take up to six times as long
_MEBIBYTE = 1 << 20


class ArchiveFile(Struct, frozen=True):
    """One zip as it lies in the archive: its bytes, how many candles are in it, and the hashes of the bytes in hex."""

    body: bytes
    rows: int
    sha256: str
    md5: str


class ArchiveFiles:
    """Makes files of a market's candles; the latest used stay in memory, at most `kept_mb` MiB of them.

    A file may be made in a thread while others are served: whatever is made of a market that changed meanwhile is not
    kept.
    """

    def __init__(self, market: Market, seed: int, kept_mb: int) -> None:
        self._market = market
        self._seed = seed
        self._room = kept_mb * _MEBIBYTE
        self._kept: OrderedDict[tuple[str, str | None, int], ArchiveFile] = OrderedDict()
        self._bytes = 0
        self._state = 0
        self._one_at_a_time, self._guard = Lock(), Lock()

    def forget(self) -> None:
        """Make every file anew: the market was changed."""
        with self._guard:
            self._state += 1
            self._kept.clear()
            self._bytes = 0

    def kept(self, name: FileName, fault: str | None, made_ms: int) -> ArchiveFile | None:
        """The file where it is in memory."""
        with self._guard:
            found = self._kept.get(key := (name.zip, fault, made_ms))
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def make(self, name: FileName, fault: str | None, made_ms: int) -> ArchiveFile | None:
        """The file as it was made at that moment (ms UTC), with a fault of its contents; None without any candle."""
        state = self._state
        rows = self._market.closed(name.symbol, name.timeframe, name.period, made_ms)
        if not len(rows):
            return None
        rng = Random(key_of(self._seed, name.stem, fault))
        if fault in IN_ROWS:
            rows = IN_ROWS[fault](rows, rng)
        text = render.csv(rows, micros=name.micros)
        if fault in IN_TEXT:
            text = IN_TEXT[fault](text)
        body = pack(f"{name.stem}.csv", text)
        complete = len(rows) - (text[-1:] not in {b"\n", b""})
        made = ArchiveFile(
            body, complete, hashlib.sha256(body).hexdigest(), hashlib.md5(body, usedforsecurity=False).hexdigest()
        )
        self._keep((name.zip, fault, made_ms), made, state)
        return made

    def prepare(self, name: FileName, fault: str | None, made_ms: int) -> None:
        """Make the file unless it is there, or somebody else just made it: for threads, one at a time."""
        with self._one_at_a_time:
            if self.kept(name, fault, made_ms) is None:
                self.make(name, fault, made_ms)

    def _keep(self, key: tuple[str, str | None, int], made: ArchiveFile, state: int) -> None:
        with self._guard:
            if state != self._state or key in self._kept:
                return
            self._kept[key] = made
            self._bytes += len(made.body)
            while self._bytes > self._room and self._kept:
                self._bytes -= len(self._kept.popitem(last=False)[1].body)


def pack(name: str, text: bytes) -> bytes:
    """A zip of this one file, the same bytes whenever it is made."""
    entry = zipfile.ZipInfo(name)  # of 1980-01-01, where the format's time begins
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, text, compresslevel=_LEVEL)
    return packed.getvalue()
