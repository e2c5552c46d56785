"""Signals: the word to leave arrives, whatever else breaks."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fetcher.cli import main, signals
from fetcher.cli.signals import ended_by_sigterm, stopping
from fetcher.clock import Clock, Stop

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def test_sigterm_ends_a_command_as_ctrl_c_does() -> None:
    """What cleans up at Ctrl-C does so at SIGTERM: a backup that a service's stop ends leaves no half file."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_backup_that_is_ended_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As README says: 130 for who has nothing to finish."""

    def struck(connection: sqlite3.Connection) -> closing[sqlite3.Connection]:
        os.kill(os.getpid(), signal.SIGTERM)
        return closing(connection)

    monkeypatch.setattr("db.backups.closing", struck)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FETCHER_DATABASE_URL", f"sqlite:///{tmp_path}/market.db")
    (tmp_path / "config.yaml").write_text(
        "sources: {binance: {client: binance}}\n"
        "markets: [{symbols: [BTC/USDT], timeframes: [1h], start: 2026-05-01, sources: [binance]}]\n"
    )
    assert main(["--config", "config.yaml", "db", "upgrade"]) == 0
    assert main(["--config", "config.yaml", "db", "backup", "copy.db"]) == 130
    assert capsys.readouterr().err == "fetcher: interrupted\n"
    assert not list(tmp_path.glob("copy.db*"))


def test_a_broken_stderr_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends `tee` as well: we leave in time all the same, and a second signal is still heard."""
    due: list[float] = []
    left: list[int] = []

    def broken(*_told: object, **_more: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("fetcher.cli.signals.typer.echo", broken)
    monkeypatch.setattr(signals, "_leave_after", due.append)
    monkeypatch.setattr(signals, "_leave", left.append)
    stop = Stop(Clock())
    with stopping(stop, within=4.0):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.is_leaving
    assert due == [4.0]
    assert left == [signal.SIGTERM]
