"""Rows as the bytes of an SQLite database with one table, from which SQLite copies by itself.

No cell becomes a Python object, and the copying holds no GIL: three quarters of the CPU that the same rows take as
parameters, and whoever parses the next file meanwhile is not kept waiting. The format has been stable since 2004:
sqlite.org/fileformat2.html, sections 1.3 (the header), 1.6 (pages of a B-tree) and 2.1 (records).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

Rows: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.void]]"
Bytes: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
Numbers: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

MOST_ROWS = 500_000  # of one image: its rowids have three bytes, and one page names all leaves
_MOST_IMAGES = 5  # of one transaction; SQLite attaches ten databases
_PAGE = 32_768
_LEAF, _INTERIOR = 13, 5  # kinds of pages; the first byte
_HEADER_BYTES = {_LEAF: 8, _INTERIOR: 12}
_SERIAL = {"f8": 7, "i8": 6, "i2": 2}  # how a record says what a value is; all are stored big-endian
_ABOVE = np.dtype([("page", ">u4"), ("rowid", "u1", 3)])  # a cell of the page above: a leaf, and its last rowid
_BEFORE_RECORD = 4  # bytes of a cell: its record's length, and its rowid
_MOST_BYTES = 127  # of a record, so that its length is one byte
_FIRST_ROWID = 1 << 14  # from here on a varint has three bytes
_ATTACHED = "images"


def can_attach(conn: Connection, rows: Rows) -> bool:
    """Whether SQLite can read an image here, and this transaction has room for one more."""
    if not 0 < len(rows) <= MOST_ROWS or len(conn.info.get(_ATTACHED, ())) >= _MOST_IMAGES:
        return False
    driver: Any = conn.connection.driver_connection
    return (
        hasattr(driver, "deserialize")  # not where Python was built with an SQLite without it
        and driver.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) >= _MOST_IMAGES
        and driver.execute("PRAGMA main.encoding").fetchone() == ("UTF-8",)  # both have to have the same
    )


def attach(conn: Connection, rows: Rows) -> str:
    """Attach rows (columns of dtype f8, i8 and i2) as a table until the connection is given back; the table's name.

    NaN reads as NULL. To be called within a transaction: what is attached before takes part in it, and is locked.
    """
    attached: list[str] = conn.info.setdefault(_ATTACHED, [])
    schema = f"image{len(attached)}"
    driver: Any = conn.connection.driver_connection
    driver.execute(f"ATTACH ':memory:' AS {schema}")
    attached.append(schema)
    driver.deserialize(image(rows), name=schema)
    return f"{schema}.t"


def detach(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    """Let go of all images of a connection that is given back to the pool; one that holds on to them is closed."""
    attached = record.info.pop(_ATTACHED, ())
    if connection is None:  # it was closed before
        return
    driver: Any = connection
    try:
        for schema in attached:
            driver.execute(f"DETACH {schema}")
    except sqlite3.Error as error:  # what was committed is committed
        record.invalidate(error)


def image(rows: Rows) -> memoryview:
    """A whole database of one table `t` with the columns of `rows`: shape (n,), 1 … MOST_ROWS of f8, i8 and i2.

    ValueError where a row has more than _MOST_BYTES.
    """
    cell = _cell(rows.dtype)
    if cell.itemsize - _BEFORE_RECORD > _MOST_BYTES:
        raise ValueError(f"a row of an image has {_MOST_BYTES} bytes at most, not {cell.itemsize - _BEFORE_RECORD}")
    each = (_PAGE - _HEADER_BYTES[_LEAF]) // (cell.itemsize + 2)
    full, rest = divmod(len(rows), each)
    leaves = full + (rest > 0)
    first = 2 if leaves > 1 else 1  # of the leaves; a single one is the table's root itself
    pages = np.zeros((first + leaves, _PAGE), dtype=np.uint8)
    pages[0] = _first_page(rows.dtype.names or ())
    pages[0, 28:32] = _big(len(pages), "u4")
    if leaves > 1:
        [above] = _cells(pages[1:2], _INTERIOR, leaves - 1, _ABOVE)
        above["page"] = first + 1 + np.arange(leaves - 1)
        above["rowid"] = _varints(np.arange(1, leaves) * each - 1)
        pages[1, 8:12] = _big(len(pages), "u4")  # the last leaf stands in the header
    if full:
        _write(pages[first : first + full], rows[: full * each], 0, cell)
    if rest:
        _write(pages[first + full :], rows[full * each :], full * each, cell)
    return pages.data


def _write(pages: Bytes, rows: Rows, number: int, cell: np.dtype[np.void]) -> None:
    """Share rows out evenly among leaves; `number` is that of the first one."""
    cells = _cells(pages, _LEAF, len(rows) // len(pages), cell)
    cells["_length"] = cell.itemsize - _BEFORE_RECORD
    cells["_rowid"] = _varints(np.arange(number, number + len(rows))).reshape(*cells.shape, 3)
    cells["_header"] = _record_header(rows.dtype)
    for name in rows.dtype.names or ():
        cells[name] = rows[name].reshape(cells.shape)


def _cells(pages: Bytes, kind: int, count: int, cell: np.dtype[np.void]) -> np.ndarray[tuple[int, int], Any]:
    """Lay out pages for so many cells each: header, then where each cell stands, and the cells at the page's end.

    The cells, which are to be filled: shape (pages, count).
    """
    size, header = cell.itemsize, _HEADER_BYTES[kind]
    start = _PAGE - count * size
    pages[:, 0] = kind
    pages[:, 3:5] = _big(count, "u2")
    pages[:, 5:7] = _big(start, "u2")
    pages[:, header : header + 2 * count] = (start + size * np.arange(count)).astype(">u2").view(np.uint8)
    return np.ndarray((len(pages), count), cell, buffer=pages.data, offset=start, strides=(_PAGE, size))


def _cell(rows: np.dtype[np.void]) -> np.dtype[np.void]:
    """A row as it stands on a page: the length of its record, its rowid, the record's header, the values."""
    header = len(_record_header(rows))
    values = [(name, f">{rows[name].str[1:]}") for name in rows.names or ()]
    return np.dtype([("_length", "u1"), ("_rowid", "u1", 3), ("_header", "u1", header), *values])


def _record_header(rows: np.dtype[np.void]) -> list[int]:
    """Its own length, then what each value is."""
    names = rows.names or ()
    return [1 + len(names), *(_SERIAL[rows[name].str[1:]] for name in names)]


@lru_cache(maxsize=4)
def _first_page(columns: tuple[str, ...]) -> Bytes:
    """The page with the database's header and its schema, as SQLite itself makes it of an empty table."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        connection.execute(f"CREATE TABLE t ({', '.join(columns)})")
        return np.frombuffer(connection.serialize(), dtype=np.uint8)[:_PAGE]


def _varints(numbers: Numbers) -> Bytes:
    """Rowids from _FIRST_ROWID on, seven bits a byte, all but the last byte with the highest bit set: shape (n, 3)."""
    rowids = numbers + _FIRST_ROWID
    return np.stack((0x80 | rowids >> 14, 0x80 | rowids >> 7 & 0x7F, rowids & 0x7F), axis=1).astype(np.uint8)


def _big(number: int, kind: str) -> Bytes:
    """A number's bytes, the highest first."""
    return np.array([number], dtype=f">{kind}").view(np.uint8)
