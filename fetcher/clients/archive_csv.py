"""The CSV inside an archive file, read whole columns at a time: without a Python object a cell, and without the GIL.

A line is twelve numbers: integers, and decimals with eight places. Eight digits at once are read as one 64-bit word.
The integer that a decimal's digits make, divided by 10⁸, is the nearest double as long as it is below 2⁵³, which is
what reading its text gives, bit for bit. Lines that do not look like this are read one by one.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fetcher.errors import BadPayload
from fetcher.wire import PAYLOAD_CHARACTERS, WIRE, Spoiled, WirePage, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fetcher.model import Rows

Words: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint64]]"
Codes: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint8]]"
Places: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote",
)  # fmt: skip
_WIDTH = len(_COLUMNS) + 1  # the last one is unused
_INTEGERS = frozenset({"open_time", "close_time", "trades"})
_DECIMALS = 8
_UNIT = 10**_DECIMALS
_WHOLE_EXACT = 2**53 // _UNIT  # whole parts below this leave room for eight places in a double
_MICROSECONDS = 10**14  # a time beyond it is no ms: spot files are in µs from 2025 on
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")  # Python takes more: blanks, underscores, other digits
_MOST_SPOILED = 1_000  # lines that are kept; a zip of a few bytes may hold millions of them
_PAD = b"\n" * 16  # so that the first line has a word before it too
_KEEP = np.array([(2**64 - 1) - (2 ** (8 * (8 - n)) - 1) if n else 0 for n in range(9)], dtype=np.uint64)
_COMMA, _NEWLINE, _DOT = b",\n."


def parse_csv(parts: Iterable[bytes]) -> WirePage:
    """Read a file that comes in parts: every line a row, or a Spoiled where it cannot be read; a header is passed over.

    Times in ms UTC whatever the file's unit; the columns as `/api/v3/klines` gives them. BadPayload for rubbish.
    """
    pages, is_first = [], True
    for lines in _whole_lines(parts):
        if is_first:
            lines, is_first = _without_header(lines), False  # noqa: PLW2901 (it is the same piece)
        if lines:
            rows = _read_columns(lines)
            pages.append(_read_lines(lines) if rows is None else WirePage(rows))
    return joined(pages) if pages else WirePage(np.empty(0, dtype=WIRE))


def _whole_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut behind line ends; a last line that lacks its end gets one."""
    rest = b""
    for part in parts:
        head, end, tail = part.rpartition(b"\n")
        if end:
            yield rest + head + end
            rest = tail
        else:
            rest += part
    if rest:
        yield rest + b"\n"


def _without_header(lines: bytes) -> bytes:
    if lines[:1].isdigit():
        return lines
    first, _, others = lines.partition(b"\n")
    names = first.split(b",")
    return others if len(names) == _WIDTH and not any(name[:1].isdigit() for name in names) else lines


def _read_columns(lines: bytes) -> Rows | None:
    """Every line as a row of WIRE; None unless each is exactly as expected."""
    text = _PAD + lines
    codes = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero((codes == _COMMA) | (codes == _NEWLINE))[len(_PAD) :]
    if len(ends) % _WIDTH or (codes[ends[_WIDTH - 1 :: _WIDTH]] != _NEWLINE).any():
        return None
    count = len(ends) // _WIDTH
    if np.count_nonzero(codes == _NEWLINE) != count + len(_PAD):
        return None
    lengths = np.diff(ends, prepend=len(_PAD) - 1) - 1
    words: Words = np.ndarray(len(text) - 7, dtype="V8", buffer=text, strides=(1,))  # a word from every byte on
    rows = np.zeros(count, dtype=WIRE)
    for place, name in enumerate(_COLUMNS):
        end, length = ends[place::_WIDTH], lengths[place::_WIDTH]
        column = _integers(words, end, length) if name in _INTEGERS else _decimals(codes, words, end, length, text)
        if column is None:
            return None
        rows[name] = column
    _to_ms(rows)
    return rows


def _integers(words: Words, end: Places, length: Places) -> Places | None:
    """The numbers of one to sixteen digits that end before these places; None unless all are."""
    if ((length < 1) | (length > 16)).any():  # noqa: PLR2004 (two words of eight)
        return None
    low = _eight(words, end - 8, np.minimum(length, 8))
    if low is None or length.max() <= 8:  # noqa: PLR2004 (one word)
        return None if low is None else low.view(np.int64)
    high = _eight(words, end - 16, np.maximum(length - 8, 0))
    return None if high is None else (high * np.uint64(10**8) + low).view(np.int64)


def _decimals(codes: Codes, words: Words, end: Places, length: Places, text: bytes) -> Rows | None:
    """The decimals with eight places that end before these places, as doubles; None unless all are."""
    if (length <= _DECIMALS + 1).any() or (codes[end - (_DECIMALS + 1)] != _DOT).any():
        return None
    part = _eight(words, end - _DECIMALS)
    whole = _integers(words, end - (_DECIMALS + 1), length - (_DECIMALS + 1))
    if part is None or whole is None:
        return None
    numbers: Rows = (whole * _UNIT + part.view(np.int64)) / _UNIT
    for at in np.flatnonzero(whole >= _WHOLE_EXACT):
        numbers[at] = float(text[end[at] - length[at] : end[at]])
    return numbers


def _eight(words: Words, start: Places, digits: Places | None = None) -> Words | None:
    """The numbers that the last `digits` (0 … 8; None: all) characters of the words at `start` make.

    None unless all of these are digits.
    """
    found = words[start].view(np.uint64) ^ np.uint64(0x3030303030303030)
    if digits is not None:
        found &= _KEEP[digits]
    if (((found + np.uint64(0x7676767676767676)) | found) & np.uint64(0x8080808080808080)).any():
        return None
    pairs = (found * np.uint64(10) + (found >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    eights: Words = (fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return eights


def _read_lines(lines: bytes) -> WirePage:
    """The same, line by line: slowly, but a bad cell spoils its own row only."""
    good, spoiled = [], []
    for line in lines.decode("utf-8", "backslashreplace").splitlines():
        row = _read_line(line)
        if row is None:
            first = line.partition(",")[0]
            time = int(first) if first.isascii() and first.isdecimal() and len(first) < 17 else None  # noqa: PLR2004 - digits
            open_time = None if time is None else time // 1000 if time > _MICROSECONDS else time
            spoiled.append(Spoiled(open_time, "malformed", json.dumps(line)[:PAYLOAD_CHARACTERS]))
            if len(spoiled) > _MOST_SPOILED:
                raise BadPayload(f"more than {_MOST_SPOILED:,} of its lines cannot be read")
        else:
            good.append(row)
    rows = np.zeros(len(good), dtype=WIRE)
    for place, name in enumerate(_COLUMNS):
        rows[name] = [row[place] for row in good]
    _to_ms(rows)
    return WirePage(rows, tuple(spoiled))


def _read_line(line: str) -> list[float] | None:
    cells = line.split(",")
    if len(cells) != _WIDTH or not all(map(_NUMBER.fullmatch, cells[:-1])):
        return None
    try:
        row = [int(cell) if name in _INTEGERS else float(cell) for name, cell in zip(_COLUMNS, cells, strict=False)]
    except ValueError:
        return None
    sound = all(math.isfinite(number) for number in row) and min(row[0], row[6], row[8]) >= 0 and max(row) < 2**63
    return row if sound else None


def _to_ms(rows: Rows) -> None:
    for name in ("open_time", "close_time"):
        micros = rows[name] > _MICROSECONDS
        rows[name][micros] //= 1000
