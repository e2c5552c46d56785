"""A configuration that changes under a daemon: bad files change nothing, good ones take over and lose no candle."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import parse_utc
from fetcher.model import MINUTE, Timeframe, Window
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import ON_SQLITE
from tests.integration.commands import CommandLine, until
from tests.integration.daemons import LEAVE_SECONDS, closes, is_whole, newest, running
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.daemons import Daemon

pytestmark = pytest.mark.usefixtures("database")

START = "2026-05-31T23:00:00Z"
BTC, ETH = (market(f"{base}/USDT", "1m", START) for base in ("BTC", "ETH"))
REFUSED = "the configuration is not taken, the one before stays: "
TAKEN = "the configuration was read anew: "


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A minute a second; one small series."""
    with spawn_sandbox("--clock", "2026-06-01T00:00:30Z x60") as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(BTC)
        yield made


def heard(daemon: Daemon, words: str, times: int) -> str:
    """The newest of so many lines that hold these words, when it is there."""
    until(lambda: len(daemon.lines(words)) >= times or daemon.child.poll() is not None)
    assert daemon.child.poll() is None, daemon.said
    return daemon.lines(words)[-1].partition(words)[2]


def owner(line: CommandLine) -> str:
    """Who holds the run lock."""
    [(name,)] = line.query("SELECT owner FROM locks")
    return str(name)


def bad_files(good: str) -> list[tuple[str, str]]:
    """Kinds of bad files, each with words of the sentence that refuses it."""
    return [
        ("", "holds no configuration"),
        (good[: len(good) // 2], "not valid YAML"),
        (good.replace("markets:", "market:"), "market: unknown key"),
        (good.replace("[1m]", "[7m]"), "timeframes"),
        (good.replace("sources: [binance]", "sources: [nobody]"), "no source is called 'nobody'"),
        (good.replace("database_url: ", "database_url: not-a-url "), "is not a database URL"),
        (good.replace("database_url: ", "database_url: sqlite:////proc/none/market.db #"), "/proc/none"),
    ]


def test_bad_files_change_nothing(line: CommandLine) -> None:
    """Each is refused with one sentence at SIGHUP; the old configuration goes on, under the same lock."""
    good = line.config_path.read_text(encoding="utf-8")
    with running(line) as daemon:
        closes(line, daemon, 1)
        mine, times = owner(line), 0
        for text, words in bad_files(good):
            line.config_path.write_text(text, encoding="utf-8")
            daemon.hangs_up()
            times += 1
            assert words in heard(daemon, REFUSED, times)
        line.config_path.unlink()
        daemon.hangs_up()
        assert "no such file" in heard(daemon, REFUSED, times + 1)
        line.config_path.mkdir()
        daemon.hangs_up()
        assert "cannot be read: Is a directory" in heard(daemon, REFUSED, times + 2)
        closes(line, daemon, 2)
        assert owner(line) == mine
        assert not daemon.says("Traceback")
        daemon.leaves()
    line.config_path.rmdir()
    line.configure(BTC)
    assert is_whole(line, "BTC/USDT", Timeframe("1m"), Window(parse_utc(START), newest(line) + MINUTE))


def test_a_changed_file_is_taken_by_itself(line: CommandLine) -> None:
    """A series more, then one less: what changed is told, and the others lose no candle. A broken one is refused."""
    with running(line) as daemon:
        closes(line, daemon, 1)
        line.configure(BTC, ETH)
        assert heard(daemon, TAKEN, 1) == "series added: ETH/USDT 1m"
        until(lambda: newest(line, "ETH/USDT") > 0)
        closes(line, daemon, 2, "ETH/USDT")
        with line.config_path.open("a", encoding="utf-8") as file:
            file.write("runn: {")
        assert "not valid YAML" in heard(daemon, REFUSED, 1)
        line.configure(ETH, workers=3)
        assert heard(daemon, TAKEN, 2) == "series removed: BTC/USDT 1m; run changed"
        seen = newest(line, "BTC/USDT")
        closes(line, daemon, 2, "ETH/USDT")
        assert newest(line, "BTC/USDT") - seen <= MINUTE
        assert daemon.leaves() < LEAVE_SECONDS
    assert len(daemon.lines(REFUSED)) == 1
    assert is_whole(line, "ETH/USDT", Timeframe("1m"), Window(parse_utc(START), newest(line, "ETH/USDT") + MINUTE))


@ON_SQLITE
def test_another_database_is_taken_with_its_lock(line: CommandLine, tmp_path: Path) -> None:
    """The old one is let go of; one that another run holds is refused, as is one that cannot be opened."""
    text = line.config_path.read_text(encoding="utf-8")
    (other := tmp_path / "other").mkdir()
    there = CommandLine(line.sandbox, other)
    with running(line) as daemon:
        closes(line, daemon, 1)
        there.configure(BTC)
        with running(there) as second:
            closes(there, second, 1)
            line.config_path.write_text(text.replace(line.database_url, there.database_url), encoding="utf-8")
            daemon.hangs_up()
            assert "another run is under way" in heard(daemon, REFUSED, 1)
            second.leaves()
        daemon.hangs_up()
        assert heard(daemon, TAKEN, 1) == f"database_url is {there.database_url}"
        closes(there, daemon, 2)
        assert line.query("SELECT * FROM locks") == []
        daemon.leaves()
    assert there.query("SELECT * FROM locks") == []
    assert is_whole(there, "BTC/USDT", Timeframe("1m"), Window(parse_utc(START), newest(there) + MINUTE))


@ON_SQLITE
def test_systemd_is_told(line: CommandLine, tmp_path: Path) -> None:
    """Ready, how it stands, that it lives, when it reloads, and that it stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        told: list[str] = []

        def comes(words: str) -> None:
            while not any(words in message for message in told):
                told.append(listening.recv(4096).decode())

        with running(line, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000000") as daemon:
            comes("READY=1")
            comes("WATCHDOG=1")
            comes("STATUS=1 series, 0 candles missing")
            told.clear()
            daemon.hangs_up()
            comes("RELOADING=1\nMONOTONIC_USEC=")
            comes("READY=1")
            daemon.leaves()
            comes("STOPPING=1")
