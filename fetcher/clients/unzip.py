"""The one file inside a zip, piece by piece, straight from memory; inflated by isal, three times as fast as zlib.

The standard library's zipfile reads the directory; only the inflating is not its own.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from isal import isal_zlib

from fetcher.errors import BadPayload
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zipfile import ZipInfo

PIECE = 2**20  # of what comes out: its columns fit the processor's cache
_MOST_BYTES = 2**25  # of what comes out; a month of minutes has 7 MB
_HEADER = 30  # bytes before the name in a file's own header, whose last four are the lengths of name and extra field


def unzip(body: bytes, member: str) -> Iterator[bytes]:
    """The only file of a zip, which must be called `member`, in pieces; BadPayload where it is not such a zip."""
    try:
        yield from _inflated(body, _only(body, member), member)
    except (BadZipFile, zlib.error, isal_zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:  # type: ignore[misc]  # isal has no types
        raise BadPayload(f"the zip of {member} cannot be unpacked: {excerpt(str(error), 80)}") from None


def _only(body: bytes, member: str) -> ZipInfo:
    with ZipFile(BytesIO(body)) as archive:
        entries = archive.infolist()
    if [entry.filename for entry in entries] != [member]:
        held = ", ".join(entry.filename for entry in entries) or "nothing"
        raise BadPayload(f"the zip of {member} holds {excerpt(held, 80)} instead")
    if entries[0].file_size > _MOST_BYTES:
        raise BadPayload(f"{member} is longer than {_MOST_BYTES} bytes")
    return entries[0]


def _inflated(body: bytes, entry: ZipInfo, member: str) -> Iterator[bytes]:
    at = entry.header_offset + _HEADER
    start = at + int.from_bytes(body[at - 4 : at - 2], "little") + int.from_bytes(body[at - 2 : at], "little")
    packed = body[start : start + entry.compress_size]
    if entry.compress_type not in {ZIP_DEFLATED, ZIP_STORED} or len(packed) != entry.compress_size:
        raise BadZipFile("it is cut short, or packed in another way")
    check, size = 0, 0
    for piece in _pieces(packed, deflated=entry.compress_type == ZIP_DEFLATED):
        check, size = isal_zlib.crc32(piece, check), size + len(piece)
        if size > entry.file_size:
            break
        yield piece
    if (check, size) != (entry.CRC, entry.file_size):
        raise BadPayload(f"{member} does not agree with its zip's own check sum")


def _pieces(packed: bytes, *, deflated: bool) -> Iterator[bytes]:
    if not deflated:
        yield packed
        return
    inflate = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflate.eof:  # once all has gone in, there may still be more to come out
        piece, before = inflate.decompress(packed, PIECE), len(packed)
        packed = inflate.unconsumed_tail
        if piece:
            yield piece
        elif len(packed) == before:
            raise EOFError("it ends too early")
