"""SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once; committed work is safe either way.

An orderly end takes LEAVE_SECONDS at most, whatever hangs. SIGHUP asks whoever listens to it to read its configuration.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from fetcher.clock import Stop
from fetcher.outcome import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fetcher.clock import Clock

LEAVE_SECONDS = 4.0  # on the wall: services and machines that go down wait not much longer before they kill
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def stopping(stop: Stop, *, hangup: bool = False, within: float | None = None) -> Iterator[None]:
    """Tell `stop` to leave at the first signal, and leave with 128 + its number at the second.

    With `within` the process ends so many seconds after the first, if it has not by then: something hangs that no word
    reaches. With `hangup` SIGHUP interrupts what is at hand.

    A handler runs in the main thread, only once that is back from whatever it waits for, and perhaps inside the event's
    own lock, where setting it would wait for ever. So the interpreter itself writes each signal into a pipe, and a
    thread reads it there.
    """
    heard, written = os.pipe()
    os.set_blocking(written, False)
    obeyed = (*_SIGNALS, signal.SIGHUP) if hangup else _SIGNALS

    def obey() -> None:
        while number := _next(heard, obeyed):
            if number == signal.SIGHUP:
                stop.interrupt()
            elif stop.is_leaving:
                _leave(number)
            else:
                stop.leave()
                if within is not None:
                    _leave_after(within)
                _say("finishing what is in flight; a second signal leaves at once")

    before = {number: signal.signal(number, _leave_it_to_the_thread) for number in obeyed}
    pipe_before = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    thread = threading.Thread(target=obey, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(pipe_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(written, bytes(1))
        thread.join()
        os.close(heard)
        os.close(written)


@contextmanager
def closing(clock: Clock) -> Iterator[None]:
    """What is left to do takes a moment: the first signal does not cut it short, the second ends at once."""
    with stopping(Stop(clock), within=LEAVE_SECONDS):
        yield


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does: what is half written is cleared away, and the exit code is 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_after(seconds: float) -> None:
    """End the process then, if it is still there: not even what waits for a lock of the database keeps it."""

    def leave() -> None:
        _say("leaving what does not come to an end; nothing that was committed is lost")
        os._exit(EXIT_INCOMPLETE)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _leave_it_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    """Keep the signal from its usual effect."""


def _next(pipe: int, obeyed: tuple[int, ...]) -> int:
    """The next signal to obey; 0 at the end."""
    while (number := os.read(pipe, 1)[0]) and number not in obeyed:
        pass
    return number


def _say(text: str) -> None:
    with suppress(OSError):  # whoever read our stderr may have been ended by the same signal
        typer.echo(f"fetcher: {text}", err=True)


def _leave(number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # progress bars hide it
        sys.stderr.flush()
    os._exit(128 + number)
