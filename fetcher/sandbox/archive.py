"""Binance's public archive as data.binance.vision serves it: zips of candles with their CHECKSUMs, at `/data/spot/…`.

Its objects lie in S3 and speak of errors as S3 does; nothing here counts as weight.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from msgspec import Struct, field

from fetcher.sandbox.answer import HTML, Answer, Asked
from fetcher.sandbox.archive_faults import IN_ROWS, IN_TEXT, MISSING, FileFaults, check_patterns
from fetcher.sandbox.archive_files import ArchiveFiles
from fetcher.sandbox.archive_names import CHECKSUM_EARLIER, Lateness, read_path
from fetcher.sandbox.layout import BINANCE_ROWS
from fetcher.sandbox.market import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.model import Window
    from fetcher.sandbox.archive_files import ArchiveFile
    from fetcher.sandbox.archive_names import FileName
    from fetcher.sandbox.market import Market

ARCHIVE = "archive"
FOLDER = "/data/"
ZIP = "application/zip"
KEPT_MB = 1_024
OCTETS = "binary/octet-stream"
_XML = "application/xml"
_PAGE = b"<html>\r\n<head><title>Please wait</title></head>\r\n<body></body>\r\n</html>\r\n"
_CODES = {
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    429: ("TooManyRequests", "Please reduce your request rate."),
    451: ("AccessDenied", "Access Denied"),
    503: ("SlowDown", "Please reduce your request rate."),
}
_GONE = {MISSING, "no_checksum"}
_INTERNAL = ("InternalError", "We encountered an internal error. Please try again.")


class ArchiveOptions(Struct, frozen=True):
    """What an archive can be told at its start: faults of files, spells of being down, lateness, MiB kept in memory.

    A month of minutes is about 2.5 MiB, so that 400 of them stay in the usual GiB.
    """

    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    down: tuple[Window, ...] = ()
    late: Lateness = field(default_factory=Lateness)
    kept_mb: int = KEPT_MB

    def __post_init__(self) -> None:
        check_patterns(self.faults)


class ArchiveExchange:
    """The archive of a market; a file is what was closed when it was published, or last restated since."""

    candle_path: str = f"{FOLDER}*"
    layout = BINANCE_ROWS
    used_weight = 0

    def __init__(self, market: Market, told: ArchiveOptions, seed: int = 0) -> None:
        self.market = market
        self.late = told.late
        self.faults = FileFaults(check_patterns(told.faults))
        self._files = ArchiveFiles(market, seed, told.kept_mb)

    def forget_pages(self) -> None:
        """Make every file anew: the market or the clock was changed."""
        self._files.forget()

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        """S3's words for a status."""
        return _error(status)

    def preparation(self, path: str, now_ms: int) -> Callable[[], None] | None:
        """What is worth doing in a thread before `answer` is asked for that path: making a file that is not kept."""
        named = read_path(path)
        if named is None or not self._is_there(*named, now_ms):
            return None
        name, is_checksum = named
        fault = self.faults.of(name.zip, checksum=is_checksum, spend=False)
        version, made_ms = _version(fault), self._made_ms(name)
        if fault in _GONE or self._files.kept(name, version, made_ms) is not None:
            return None
        return lambda: self._files.prepare(name, version, made_ms)

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        """The answer to a GET at this moment of the archive's clock; conditions and parameters are not read."""
        named = read_path(path)
        if named is None or not self._is_there(*named, now_ms):
            return _error(404, path)
        name, is_checksum = named
        fault = self.faults.of(name.zip, checksum=is_checksum)
        if fault in _GONE:
            return _error(404, path, fault)
        version, made_ms = _version(fault), self._made_ms(name)
        file = self._files.kept(name, version, made_ms) or self._files.make(name, version, made_ms)
        if file is None:
            return _error(404, path)
        if is_checksum:
            return _checksum(name, file, made_ms, fault)
        return _zip(name, file, made_ms, fault)

    def _is_there(self, name: FileName, is_checksum: bool, now_ms: int) -> bool:  # noqa: FBT001 - as read_path tells it
        """Whether it is published and can hold a candle."""
        if now_ms < name.published_ms(self.late) - CHECKSUM_EARLIER * is_checksum:
            return False
        known = self.market.listing(name.symbol) is not None
        return known and bool(name.period.intersect(self.market.lifetime(name.symbol, name.timeframe)))

    def _made_ms(self, name: FileName) -> int:
        restated = self.market.restated_at(name.symbol, name.timeframe, name.period)
        return max(name.published_ms(self.late), restated)


def _version(fault: str | None) -> str | None:
    """The fault as far as it makes another zip; every other is one of the answer."""
    return fault if fault in {*IN_ROWS, *IN_TEXT} else None


def _error(status: int, path: str = "", fault: str | None = None) -> Answer:
    code, message = _CODES.get(status, _INTERNAL)
    key = f"<Key>{escape(path.removeprefix('/'))}</Key>" if path else ""
    request = hashlib.sha256(path.encode()).hexdigest()[:16].upper()
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{key}'
        f"<RequestId>{request}</RequestId><HostId>sandbox</HostId></Error>"
    )
    return Answer(status, body.encode(), content_type=_XML, fault=fault)


def _stamped(made_ms: int, md5: str) -> dict[str, str]:
    return {"Last-Modified": formatdate(made_ms // 1000, usegmt=True), "ETag": f'"{md5}"'}


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _checksum(name: FileName, file: ArchiveFile, made_ms: int, fault: str | None) -> Answer:
    told = hashlib.sha256(file.body[:-1]).hexdigest() if fault == "wrong_checksum" else file.sha256
    body = f"{told}  {name.zip}\n".encode()
    headers = _stamped(made_ms - CHECKSUM_EARLIER, _md5(body))
    return Answer(200, body, headers, OCTETS, asked=_asked(name, file), fault=fault)


def _zip(name: FileName, file: ArchiveFile, made_ms: int, fault: str | None) -> Answer:
    asked = _asked(name, file)
    if fault == "not_zip":
        return Answer(200, _PAGE, content_type=HTML, asked=asked, fault=fault)
    if fault == "broken_zip":
        half = file.body[: len(file.body) // 2]
        return Answer(200, half, _stamped(made_ms, _md5(half)), ZIP, asked=asked, fault=fault)
    return Answer(200, file.body, _stamped(made_ms, file.md5), ZIP, file.rows, asked, fault=fault)


def _asked(name: FileName, file: ArchiveFile) -> Asked:
    return Asked(name.symbol, name.timeframe, Span(name.period.start, name.period.end - 1, file.rows))
