"""The CSV inside an archive file, read whole columns at a time by pyarrow: no Python object a cell, no GIL.

A line is twelve numbers, the last of them unused. Lines that do not look like this are read one by one.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from fetcher.errors import BadPayload
from fetcher.wire import PAYLOAD_CHARACTERS, WIRE, Spoiled, WirePage, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fetcher.model import Rows

_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote",
)  # fmt: skip
_WIDTH = len(_COLUMNS) + 1
_INTEGERS = frozenset({"open_time", "close_time", "trades"})
_BEYOND = 2**63  # no number of a candle comes near it
_MICROSECONDS = 10**14  # a time beyond it is no ms: spot files are in µs from 2025 on
_PLAIN = b"0123456789.,-\n"  # pyarrow takes more for numbers: blanks, hexadecimal, nan, and so does Python
_NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MOST_SPOILED = 1_000  # lines that are kept; a zip of a few bytes may hold millions of them


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


def warm_up() -> None:
    """Read one line, so that no file has to wait for pyarrow. Raises nothing: whoever reads a file does."""
    with suppress(ImportError):
        _read_columns(b"0," * (_WIDTH - 1) + b"0\n")


def _whole_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut behind line ends; a last line that lacks its end gets one."""
    rest = b""
    for part in parts:
        cut = part.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(part)[:cut]))
            rest = part[cut:]
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
    import pyarrow as pa
    from pyarrow import csv

    if lines.translate(None, _PLAIN):
        return None
    try:
        table = csv.read_csv(
            pa.py_buffer(lines),
            csv.ReadOptions(use_threads=False, block_size=len(lines), column_names=[*_COLUMNS, "unused"]),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types={name: pa.int64() if name in _INTEGERS else pa.float64() for name in _COLUMNS},
                include_columns=_COLUMNS,
                null_values=[],
            ),
            memory_pool=pa.system_memory_pool(),  # its own keeps what each thread has freed: 180 MB more
        )
    except pa.ArrowInvalid:
        return None
    rows = np.zeros(table.num_rows, dtype=WIRE)
    for name, column in zip(_COLUMNS, table.combine_chunks().columns, strict=True):
        numbers = np.from_dlpack(column.chunk(0))  # its to_numpy would load pandas
        if not ((numbers >= 0) if name in _INTEGERS else (np.isfinite(numbers) & (numbers < _BEYOND))).all():
            return None
        rows[name] = numbers
    _to_ms(rows)
    return rows


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
    sound = all(math.isfinite(number) for number in row) and min(row[0], row[6], row[8]) >= 0 and max(row) < _BEYOND
    return row if sound else None


def _to_ms(rows: Rows) -> None:
    for name in ("open_time", "close_time"):
        micros = rows[name] > _MICROSECONDS
        rows[name][micros] //= 1000
