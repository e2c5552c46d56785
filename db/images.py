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
_FIRST_ROWID = 1 << 14  # from here on a varint has three bytes
_ATTACHED = "images"


def can_attach(conn: Connection, rows: Rows) -> bool:
    """Whether SQLite can read an image here, and this transaction has room for one more."""
    able = hasattr(sqlite3.Connection, "deserialize")  # not where Python was built with an SQLite without it
    return able and 0 < len(rows) <= MOST_ROWS and len(conn.info.get(_ATTACHED, ())) < _MOST_IMAGES


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


def detach(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Let go of all images of a connection that is given back to the pool."""
    driver: Any = connection
    for schema in record.info.pop(_ATTACHED, ()):
        driver.execute(f"DETACH {schema}")


def image(rows: Rows) -> bytes:
    """A whole database of one table `t` with the columns of `rows`: shape (n,), 1 … MOST_ROWS of f8, i8 and i2."""
    cells = _cells(rows)
    each = (_PAGE - _HEADER_BYTES[_LEAF]) // (cells.itemsize + 2)
    full, rest = divmod(len(cells), each)
    leaves = full + (rest > 0)
    first = 2 if leaves > 1 else 1  # of the leaves; a single one is the table's root itself
    pages = np.zeros((first + leaves, _PAGE), dtype=np.uint8)
    pages[0] = _first_page(rows.dtype.names or ())
    pages[0, 28:32] = _big(len(pages), "u4")
    if leaves > 1:
        above = np.empty(leaves - 1, dtype=[("page", ">u4"), ("rowid", "u1", 3)])  # the last leaf stands in the header
        above["page"] = first + 1 + np.arange(leaves - 1)
        above["rowid"] = _varints(np.arange(1, leaves) * each - 1)
        _fill(pages[1:2], _INTERIOR, above)
        pages[1, 8:12] = _big(len(pages), "u4")
    _fill(pages[first : first + full], _LEAF, cells[: full * each])
    _fill(pages[first + full :], _LEAF, cells[full * each :])
    return pages.tobytes()


def _cells(rows: Rows) -> Rows:
    """Each row as it stands on a page: the length of its record, its rowid, the record's header, the values."""
    types = {name: rows.dtype[name].str[1:] for name in rows.dtype.names or ()}
    header = [1 + len(types), *(_SERIAL[kind] for kind in types.values())]
    values = [(name, f">{kind}") for name, kind in types.items()]
    cells = np.empty(len(rows), dtype=[("_length", "u1"), ("_rowid", "u1", 3), ("_header", "u1", len(header)), *values])
    cells["_length"] = cells.itemsize - 4
    cells["_rowid"] = _varints(np.arange(len(rows)))
    cells["_header"] = header
    for name in types:
        cells[name] = rows[name]
    return cells


def _fill(pages: Bytes, kind: int, cells: Rows) -> None:
    """Share cells out evenly among pages: header, then where each cell stands, and the cells at the page's end."""
    if not len(pages):
        return
    count, size, header = len(cells) // len(pages), cells.itemsize, _HEADER_BYTES[kind]
    start = _PAGE - count * size
    pages[:, 0] = kind
    pages[:, 3:5] = _big(count, "u2")
    pages[:, 5:7] = _big(start, "u2")
    pages[:, header : header + 2 * count] = (start + size * np.arange(count)).astype(">u2").view(np.uint8)
    pages[:, start:] = cells.view(np.uint8).reshape(len(pages), -1)


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
