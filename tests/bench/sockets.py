"""The limit of fetching: plain sockets that ask for the same and read the same bytes unseen."""

from __future__ import annotations

import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.sandbox.control import SandboxControl

_RECEIVE = 2**18


def pages_asked(sandbox: SandboxControl) -> list[str]:
    """The candle requests that the sandbox has answered with full pages since its log was cleared: path and query."""
    asked = [entry for entry in sandbox.log("/api/v3/klines") if entry["status"] == 200 and (entry["rows"] or 0) > 1]
    return [f"{entry['path']}?{entry['query']}" for entry in asked]


def read_by_sockets(sandbox: SandboxControl, targets: Sequence[str], connections: int, smallest: int) -> float:
    """Seconds that plain sockets, one a thread, take to ask for these and read the answers.

    RuntimeError when an answer is no 200 or has less than `smallest` bytes, or one is left unread: a limit measured on
    refusals would flatter nobody.
    """
    waiting = deque(targets)
    host, _, port = urlsplit(sandbox.url).netloc.partition(":")
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        readers = [pool.submit(_read_pages, host, int(port), waiting) for _ in range(connections)]
        sizes = list(chain.from_iterable(reader.result() for reader in readers))
        seconds = time.perf_counter() - began
    if len(sizes) != len(targets) or min(sizes) < smallest:
        raise RuntimeError(f"{len(sizes)} of {len(targets)} answers were read, the smallest of {min(sizes)} bytes")
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
