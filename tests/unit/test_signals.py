"""Signals: the word to leave arrives, whatever else breaks."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from fetcher.cli import signals
from fetcher.cli.signals import stopping
from fetcher.clock import Clock, Stop

if TYPE_CHECKING:
    import pytest


def test_a_broken_stderr_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends `tee` as well: we leave in time all the same, and a second signal is still heard."""
    due: list[float] = []
    left: list[int] = []

    def broken(*_told: object, **_more: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("fetcher.cli.signals.typer.echo", broken)
    monkeypatch.setattr(signals, "_leave_after", due.append)
    monkeypatch.setattr(signals, "_leave", left.append)
    monkeypatch.setattr(signals, "_told", [])
    stop = Stop(Clock())
    with stopping(stop, within=4.0):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.is_leaving
    assert due == [4.0]
    assert left == [signal.SIGTERM]
