"""What this machine can do at most: rows into SQLite by the plain driver, pages from the sandbox by plain sockets."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from db.engine import open_engine
from db.manager import DatabaseManager

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl

Row = tuple[Any, ...]

_COMMIT_ROWS = 20_000  # as the program's writer
_STATEMENT_ROWS = 100
_WIDTH = 13
_RECEIVE = 2**18
_SMALLEST_PAGE = 200  # bytes; one row has about 170


def stored_rows(database: Path) -> list[Row]:
    """Every candle row of a database: tuples of 13 columns, in key order."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM candles ORDER BY series_id, open_time").fetchall()


def executemany(rows: Sequence[Row], database: Path) -> float:
    """Rows a second of `executemany` into the program's own tables, in commits as large as the program's."""
    one = _insert(1)
    with closing(_new_database(database)) as connection:
        began = time.perf_counter()
        for start in range(0, len(rows), _COMMIT_ROWS):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(one, rows[start : start + _COMMIT_ROWS])
            connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)


def multi_row(rows: Sequence[Row], database: Path) -> float:
    """Rows a second of INSERTs of 100 rows each, their cells made ready before: the driver and SQLite alone."""
    cells = [tuple(chain.from_iterable(rows[n : n + _STATEMENT_ROWS])) for n in range(0, len(rows), _STATEMENT_ROWS)]
    statements = {size: _insert(size // _WIDTH) for size in map(len, cells)}
    with closing(_new_database(database)) as connection:
        began = time.perf_counter()
        for start in range(0, len(cells), _COMMIT_ROWS // _STATEMENT_ROWS):
            connection.execute("BEGIN IMMEDIATE")
            for chunk in cells[start : start + _COMMIT_ROWS // _STATEMENT_ROWS]:
                connection.execute(statements[len(chunk)], chunk)
            connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)


def _insert(rows: int) -> str:
    line = f"({','.join('?' * _WIDTH)})"
    return f"INSERT INTO candles VALUES {','.join([line] * rows)}"  # noqa: S608 - nothing but question marks


def _new_database(database: Path) -> sqlite3.Connection:
    for left in database.parent.glob(database.name + "*"):
        left.unlink()
    url = f"sqlite:///{database}"
    engine = open_engine(url)
    DatabaseManager(engine, url).prepare()
    engine.dispose()
    connection = sqlite3.connect(database, isolation_level=None)
    for pragma in ("synchronous = NORMAL", "cache_size = -16384", "wal_autocheckpoint = 4000"):  # as db/engine.py
        connection.execute(f"PRAGMA {pragma}")
    return connection


def pages_asked(sandbox: SandboxControl) -> list[str]:
    """The candle requests that the sandbox has answered with full pages since its log was cleared: path and query."""
    asked = [entry for entry in sandbox.log("/api/v3/klines") if entry["status"] == 200 and (entry["rows"] or 0) > 1]
    return [f"{entry['path']}?{entry['query']}" for entry in asked]


def read_by_sockets(sandbox: SandboxControl, targets: Sequence[str], connections: int) -> float:
    """Seconds that plain sockets, one a thread, take to ask the same pages and read the same bytes unseen.

    RuntimeError when an answer is no page, or one is left unread: a limit measured on refusals would flatter nobody.
    """
    waiting = deque(targets)
    host, _, port = urlsplit(sandbox.url).netloc.partition(":")
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        readers = [pool.submit(_read_pages, host, int(port), waiting) for _ in range(connections)]
        sizes = list(chain.from_iterable(reader.result() for reader in readers))
        seconds = time.perf_counter() - began
    if len(sizes) != len(targets) or min(sizes) < _SMALLEST_PAGE:
        raise RuntimeError(f"{len(sizes)} of {len(targets)} pages were read, the smallest of {min(sizes)} bytes")
    return seconds


def _read_pages(host: str, port: int, waiting: deque[str]) -> list[int]:
    """Ask for pages until none is waiting; the bytes of each body."""
    sizes: list[int] = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                target = waiting.popleft()
            except IndexError:
                return sizes
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            sizes.append(_read_answer(connection))


def _read_answer(connection: socket.socket) -> int:
    head = b""
    while b"\r\n\r\n" not in head:
        head += _receive(connection, _RECEIVE)
    head, _, body = head.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    if b" 200 " not in status:
        raise RuntimeError(f"the sandbox answered {status.decode()} where a page was expected")
    length = next(int(line[15:]) for line in headers if line.lower().startswith(b"content-length:"))
    left = length - len(body)
    while left:
        left -= len(_receive(connection, min(left, _RECEIVE)))
    return length


def _receive(connection: socket.socket, most: int) -> bytes:
    came = connection.recv(most)
    if not came:
        raise RuntimeError("the sandbox closed the connection in the middle of an answer")
    return came
