"""A way to a PostgreSQL server that can be cut at the moment that hurts most: when COMMIT is on its way."""

from __future__ import annotations

import socket
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMIT = b"COMMIT"
_READY = b"Z\0\0\0\5"  # ReadyForQuery: the server has done what it was told
_PATIENCE = 20.0


class Relay:
    """Passes bytes on both ways; when `armed`, the next COMMIT gets no answer, and with `swallow` no hearing either."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]
        self.armed = Event()
        self.swallow = False
        self.cuts = 0
        self._threads[0].start()

    def close(self) -> None:
        """Take no more, and be done with what there is."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def join(self) -> None:
        """Wait until nothing of it is left."""
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            muted, done = Event(), Event()
            down = Thread(target=_pass_down, args=(server, client, muted, done), daemon=True)
            down.start()
            with suppress(OSError):
                self._pass_up(client, server, muted, done)
            _shut(server)
            _shut(client)
            down.join(_PATIENCE)

    def _pass_up(self, client: socket.socket, server: socket.socket, muted: Event, done: Event) -> None:
        while sent := client.recv(65_536):
            if not (self.armed.is_set() and _COMMIT in sent):
                server.sendall(sent)
                continue
            self.armed.clear()
            self.cuts += 1
            muted.set()
            if not self.swallow:
                server.sendall(sent)
                done.wait(_PATIENCE)
            return


def _pass_down(server: socket.socket, client: socket.socket, muted: Event, done: Event) -> None:
    with suppress(OSError):
        while sent := server.recv(65_536):
            if not muted.is_set():
                client.sendall(sent)
            elif _READY in sent:
                done.set()
    _shut(client)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """A relay before the server's port; close the engines that went by it inside the block."""
    made = Relay(port)
    try:
        yield made
    finally:
        made.close()
        made.join()
