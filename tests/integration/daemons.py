"""A daemon as users have it: `python -m fetcher --daemon` in a child process, and what it says while it lives."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from fetcher.clock import Clock, format_utc
from fetcher.model import MINUTE
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.commands import CommandLine, until
from tests.integration.world import same_candles

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from fetcher.model import Timeframe, Window

LEAVE_SECONDS = 5.0
"""Within which a daemon that was told to leave is gone."""


class Daemon:
    """A running daemon: `said` are its lines on stderr so far, `out` those on stdout."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.said: list[str] = []
        self.out: list[str] = []
        self._readers = [Thread(target=self._read_err, daemon=True), Thread(target=self._read_out, daemon=True)]
        for reader in self._readers:
            reader.start()

    def says(self, words: str) -> bool:
        """Whether a line so far holds these words."""
        return any(words in line for line in list(self.said))

    def lines(self, words: str) -> list[str]:
        """The lines so far that hold these words."""
        return [line for line in list(self.said) if words in line]

    def told(self) -> list[dict[str, Any]]:
        """What it told machines so far, an object a line."""
        return [json.loads(line) for line in list(self.out)]

    def hangs_up(self) -> None:
        """Have it read its configuration again."""
        self.child.send_signal(signal.SIGHUP)

    def leaves(self) -> float:
        """Tell it to leave: its seconds on the wall until it was gone. It must not have ended before."""
        assert self.child.poll() is None, self.said
        clock = Clock()
        self.child.terminate()
        self.child.wait(30)
        seconds = clock.elapsed()
        self.close()
        return seconds

    def dies(self) -> None:
        """Kill -9."""
        self.child.kill()
        self.child.wait()

    def close(self) -> None:
        """Hear the last of one that has ended."""
        for reader in self._readers:
            reader.join()
        for stream in (self.child.stdout, self.child.stderr):
            if stream is not None:
                stream.close()

    def _read_err(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.said.append(line.rstrip("\n"))

    def _read_out(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.out.append(line)


@contextmanager
def running(world: CommandLine, *words: str, jumps: str = "", **environment: str) -> Iterator[Daemon]:
    """A daemon, or another command by its words, by the sandbox's clock and speed; killed where it has not left."""
    config = world.sandbox.config()
    speed = str(config["clock"]).partition("x")[2] or "1"
    clock = f"{format_utc(config['now_ms'])} x{speed} {jumps}".strip()
    child = world.start(*(words or ("--daemon",)), FETCHER_CLOCK=clock, **environment)
    daemon = Daemon(child)
    try:
        yield daemon
    finally:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGCONT)
            daemon.dies()
        daemon.close()


def closes(world: CommandLine, daemon: Daemon, number: int, symbol: str = "BTC/USDT") -> None:
    """Wait until so many more minutes have closed at the exchange and are stored."""
    wanted = world.sandbox.config()["now_ms"] // MINUTE * MINUTE + (number - 1) * MINUTE
    until(lambda: daemon.child.poll() is not None or newest(world, symbol) >= wanted)
    assert daemon.child.poll() is None, daemon.said


def newest(world: CommandLine, symbol: str = "BTC/USDT", timeframe: str = "1m") -> int:
    """The newest stored open time; 0 where nothing is stored."""
    sql = (
        "SELECT max(open_time) FROM candles JOIN series ON series.id = series_id "
        "WHERE symbol = :symbol AND timeframe = :timeframe"
    )
    if not world.databases.exists(world.folder):
        return 0
    [(found,)] = world.query(sql, symbol=symbol, timeframe=timeframe)
    return found or 0


def is_whole(world: CommandLine, symbol: str, timeframe: Timeframe, asked: Window) -> bool:
    """Whether everything of a window is stored, bit for bit as the oracle has it, and nothing beyond."""
    rows = world.rows(symbol, timeframe.name)
    inside = rows[(rows["open_time"] >= asked.start) & (rows["open_time"] < asked.end)]
    true = GeneratedMarket().oracle(symbol.replace("/", ""), timeframe, asked, asked.end + MINUTE)
    return same_candles(inside, true)
