"""SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once; committed work is safe either way."""

from __future__ import annotations

import os
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

    A handler runs in the main thread, only once that is back from whatever it waits for, and perhaps inside the event's
    own lock, where setting it would wait for ever. So the interpreter itself writes each signal into a pipe, and a
    thread reads it there.
    """
    heard, written = os.pipe()
    os.set_blocking(written, False)

    def obey() -> None:
        if not _next(heard):
            return
        stop.set()
        _say("finishing what is in flight; a second signal leaves at once")
        if number := _next(heard):
            _leave(number)

    before = {number: signal.signal(number, _leave_it_to_the_thread) for number in _SIGNALS}
    pipe_before = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    thread = Thread(target=obey, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(pipe_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(written, bytes(2))
        thread.join()
        os.close(heard)
        os.close(written)


def _leave_it_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    """Keep the signal from its usual effect."""


def _next(pipe: int) -> int:
    """The next signal to obey; 0 at the end."""
    while (number := os.read(pipe, 1)[0]) and number not in _SIGNALS:
        pass
    return number


def _say(text: str) -> None:
    typer.echo(f"fetcher: {text}", err=True)


def _leave(number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # progress bars hide it
        sys.stderr.flush()
    os._exit(128 + number)
