"""A small forward proxy on loopback: each is an address of its own, behind which an exchange of its own can stand."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = ("Date", "Content-Type", "Retry-After", "x-mbx-used-weight", "x-mbx-used-weight-1m")


class ForwardProxy:
    """`with ForwardProxy(to) as proxy:` passes every request on to the base URL `to`, whatever host it names.

    `seen` holds the headers of each request, names in lower case. What carries a header of `refused` (its value) gets
    a 429 with that many seconds of rest instead.
    """

    def __init__(self, to: str) -> None:
        self.seen: list[Mapping[str, str]] = []
        self.refused: dict[str, int] = {}
        self.lock = Lock()
        self.to = to
        proxy = self

        class Handler(_Handler):
            by = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://someone:hush@{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    by: ForwardProxy

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.by.lock:
            self.by.seen.append(headers)
        rest = next((seconds for value, seconds in self.by.refused.items() if value in headers.values()), None)
        if rest is not None:
            self._answer(429, b"Throttled", {"Retry-After": str(rest)})
            return
        asked = urlsplit(self.path)
        kept = {name: value for name, value in headers.items() if name.startswith("x-")}
        with requests.Session() as session:
            session.trust_env = False
            told = session.get(f"{self.by.to}{asked.path}?{asked.query}", headers=kept, timeout=30)
        self._answer(
            told.status_code, told.content, {name: told.headers[name] for name in _KEPT if name in told.headers}
        )

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output to the tests."""
