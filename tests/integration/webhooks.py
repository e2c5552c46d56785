"""A real webhook server on loopback: what alerts are sent to, and what gets signs of life."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "S3cretTokenOfTheHook"  # noqa: S105 (made up)
"""A piece of each address, which nothing may show."""


@dataclass
class Webhooks:
    """What came, in order; `status` is what it answers; where it `hangs` a byte comes now and then, and no end."""

    port: int
    status: int = 200
    messages: list[dict[str, Any]] = field(default_factory=list)
    pings: list[str] = field(default_factory=list)
    hangs: bool = False
    asked: Event = field(default_factory=Event)
    let_go: Event = field(default_factory=Event)

    @property
    def target(self) -> str:
        """Its address as apprise has it."""
        return f"json://127.0.0.1:{self.port}/{TOKEN}"

    @property
    def ping_url(self) -> str:
        """Its address for signs of life."""
        return f"http://127.0.0.1:{self.port}/ping/{TOKEN}"

    def titles(self) -> list[str]:
        """The titles of all messages, without the machine's name."""
        return [each["title"].partition(": ")[2] for each in self.messages]

    def bodies(self) -> list[str]:
        """What the messages said."""
        return [each["message"] for each in self.messages]


@contextmanager
def serving() -> Iterator[Webhooks]:
    """A server of its own on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hooks.status < 300:
                hooks.messages.append(json.loads(body))
            self.answer()

        def do_GET(self) -> None:
            hooks.pings.append(self.path.replace(f"/ping/{TOKEN}", ""))
            self.answer()

        def answer(self) -> None:
            hooks.asked.set()
            if hooks.hangs:
                self.drip()
                return
            self.send_response(hooks.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def drip(self) -> None:
            with suppress(OSError):  # whoever asked has left
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Still-Thinking: ")
                while not hooks.let_go.wait(0.2):
                    self.wfile.write(b".")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hooks = Webhooks(server.server_address[1])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hooks
    finally:
        hooks.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
