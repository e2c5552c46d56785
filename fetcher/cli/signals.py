"""SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once; committed work is safe either way."""

from __future__ import annotations

import os
import queue
import signal
import sys
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def stopping(stop: Event) -> Iterator[None]:
    """Set `stop` at the first signal, and leave with 128 + its number at the second.

    A handler that set the event itself could interrupt the main thread inside that event's own lock, and wait for it
    for ever; so it only puts the signal into a queue that may be written from a handler, and a thread does the rest.
    """
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hear(number: int, _frame: FrameType | None) -> None:
        arrived.put(number)

    def obey() -> None:
        if not arrived.get():
            return
        stop.set()
        _say("finishing what is in flight; a second signal leaves at once")
        if number := arrived.get():
            _leave(number)

    before = {number: signal.signal(number, hear) for number in _SIGNALS}
    thread = Thread(target=obey, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        arrived.put(0)
        arrived.put(0)
        thread.join()


def _say(text: str) -> None:
    typer.echo(f"fetcher: {text}", err=True)


def _leave(number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # progress bars hide it
        sys.stderr.flush()
    os._exit(128 + number)
