"""A zip gives its one file, or one sentence."""

from __future__ import annotations

import zlib
from io import BytesIO
from random import Random
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest

from fetcher.clients.unzip import PIECE, unzip
from fetcher.errors import BadPayload

NAME = "BTCUSDT-1m-2024-01.csv"


def zipped(content: bytes, name: str = NAME, method: int = ZIP_DEFLATED, more: str | None = None) -> bytes:
    """A zip as the standard library makes it."""
    body = BytesIO()
    with ZipFile(body, "w", method) as archive:
        archive.writestr(name, content)
        if more is not None:
            archive.writestr(more, b"more")
    return body.getvalue()


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_STORED])
@pytest.mark.parametrize("size", [0, 1, 1000, 3 * PIECE + 17])
def test_what_went_in_comes_out(method: int, size: int) -> None:
    """In pieces that are not longer than a piece."""
    content = Random(size).randbytes(size // 2) * 2 + b"x" * (size % 2)
    pieces = list(unzip(zipped(content, method=method), NAME))
    assert b"".join(pieces) == content
    assert method == ZIP_STORED or all(len(piece) <= PIECE for piece in pieces)


@pytest.mark.parametrize("more", range(1, 300, 7))
def test_what_comes_out_of_the_last_bytes_is_not_lost(more: int) -> None:
    """All of the zip may have gone in while a piece, which is full, has not let all of it out yet."""
    content = b"0" * (PIECE + more)
    assert b"".join(unzip(zipped(content), NAME)) == content


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"PK nothing of the kind", "cannot be unpacked"),
        (b"", "cannot be unpacked"),
        (zipped(b"x" * 5000)[:60], "cannot be unpacked"),
        (zipped(b"x", name="other.csv"), "holds other.csv instead"),
        (zipped(b"x", more="second.csv"), "second.csv instead"),
        (zipped(b"x" * 5000, method=ZIP_BZIP2), "packed in another way"),
    ],
)
def test_anything_else_is_one_sentence(body: bytes, sentence: str) -> None:
    """And never another kind of error."""
    with pytest.raises(BadPayload, match=sentence):
        list(unzip(body, NAME))


def test_content_that_was_changed_on_the_way_is_noticed() -> None:
    """By the check sum inside the zip, or by what cannot be inflated."""
    content = Random(1).randbytes(20_000)
    whole = bytearray(zipped(content))
    assert zlib.crc32(content)
    for at in range(100, len(whole) - 200, 997):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x55
        with pytest.raises(BadPayload):
            list(unzip(bytes(spoilt), NAME))


def test_a_size_that_is_a_lie_does_not_fill_the_memory() -> None:
    """What comes out beyond the size that the directory names is not waited for."""
    body = bytearray(zipped(b"\0" * (4 * PIECE)))
    place = body.rfind(b"PK\x01\x02")
    body[place + 24 : place + 28] = (100).to_bytes(4, "little")
    with pytest.raises(BadPayload):
        list(unzip(bytes(body), NAME))
