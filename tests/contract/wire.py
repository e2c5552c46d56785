"""A server on loopback that answers as told, well or badly, for clients under test."""

from __future__ import annotations

import gzip
import os
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: an answer, or with `fault` something else (a name of FAULTS)."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


class WireServer:
    """`with WireServer() as wire:` serves `wire.url`; give replies with `wire.answer(...)`, read `wire.seen`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.connections: set[tuple[str, int]] = set()
        self.replies: deque[Reply] = deque()
        self.ended = Event()
        server = self

        class Handler(_Handler):
            wire = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, *replies: Reply) -> None:
        """Queue replies, one a request; a request without one gets a 599."""
        self.replies.extend(replies)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: WireServer

    def do_GET(self) -> None:
        self.wire.seen.append(self.path)
        self.wire.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.wire.connections.add(self.client_address)
        reply = self.wire.replies.popleft() if self.wire.replies else Reply(599, b"no reply was queued")
        FAULTS[reply.fault](self, reply)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output to the tests."""

    def head(self, reply: Reply, **headers: str) -> None:
        """Send status and headers, Content-Length among them unless told otherwise."""
        self.send_response(reply.status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(reply.body))} | dict(reply.headers) | named).items():
            if value:
                self.send_header(name, value)
        self.end_headers()


def _whole(handler: _Handler, reply: Reply) -> None:
    handler.head(reply)
    handler.wfile.write(reply.body)


def _reset(handler: _Handler, _: Reply) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())  # closes at once: the files made of the socket would keep it open
    handler.close_connection = True


def _close(handler: _Handler, _: Reply) -> None:
    handler.close_connection = True


def _hang(handler: _Handler, _: Reply) -> None:
    handler.wire.ended.wait(30)
    handler.close_connection = True


def _truncate(handler: _Handler, reply: Reply) -> None:
    handler.head(reply)
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler.close_connection = True


def _stall(handler: _Handler, reply: Reply) -> None:
    handler.head(reply)
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler.wfile.flush()
    _hang(handler, reply)


def _drip(handler: _Handler, reply: Reply) -> None:
    handler.head(reply)
    for byte in reply.body:
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            break
        if handler.wire.ended.wait(0.03):
            break
    handler.close_connection = True


def _chunked(handler: _Handler, reply: Reply) -> None:
    _chunks(handler, reply)
    handler.wfile.write(b"0\r\n\r\n")


def _chunked_cut(handler: _Handler, reply: Reply) -> None:
    _chunks(handler, reply)
    handler.close_connection = True


def _chunks(handler: _Handler, reply: Reply) -> None:
    handler.head(reply, Content_Length="", Transfer_Encoding="chunked")
    half = len(reply.body) // 2
    for part in (reply.body[:half], reply.body[half:]):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


def _gzip(handler: _Handler, reply: Reply) -> None:
    packed = gzip.compress(reply.body)
    handler.head(reply, Content_Length=str(len(packed)), Content_Encoding="gzip")
    handler.wfile.write(packed)


def _gzip_broken(handler: _Handler, reply: Reply) -> None:
    handler.head(reply, Content_Encoding="gzip")
    handler.wfile.write(reply.body)


def _not_http(handler: _Handler, reply: Reply) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n" + reply.body)
    handler.close_connection = True


FAULTS: dict[str, Callable[[_Handler, Reply], None]] = {
    "": _whole,
    "reset": _reset,
    "close": _close,
    "hang": _hang,
    "truncate": _truncate,
    "stall": _stall,
    "drip": _drip,
    "chunked": _chunked,
    "chunked_cut": _chunked_cut,
    "gzip": _gzip,
    "gzip_broken": _gzip_broken,
    "not_http": _not_http,
}


def unused_url() -> str:
    """An address on loopback where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"
