"""A daemon that is watched: scraped while it works, its file after each step, another address without a restart."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine
from fetcher.clock import parse_utc
from fetcher.config import load
from fetcher.sandbox.control import spawn_sandbox
from fetcher.vitals import read_vitals
from tests.integration.commands import NOW, CommandLine, Said, ended, until
from tests.integration.world import market

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A folder with a market that a daemon can keep."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1h", "2026-05-30"))
        yield made


def configure(line: CommandLine, section: str) -> None:
    """Write the metrics' section, in the place of the one before, all at once."""
    kept = [each for each in line.config_path.read_text().splitlines() if not each.startswith("metrics:")]
    new = line.folder / "new.yaml"
    new.write_text("\n".join([*kept, f"metrics: {section}", ""]))
    new.replace(line.config_path)


@contextmanager
def daemon(line: CommandLine) -> Iterator[subprocess.Popen[str]]:
    """A daemon that is ended with the block."""
    child = line.start("--daemon")
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def said(child: subprocess.Popen[str], words: str) -> str:
    """The first line of its log with these words."""
    assert child.stderr is not None
    for text in child.stderr:
        if words in text:
            return text
    raise AssertionError(f"the daemon ended, and never said {words!r}")


def address(child: subprocess.Popen[str]) -> str:
    """Where it says that its metrics are."""
    return said(child, "metrics are at").split()[-1]


def scrape(url: str) -> str:
    """What it answers."""
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 (our own address)
        text: str = answer.read().decode()
        return text


def is_up(line: CommandLine) -> bool:
    """Whether the database knows of a daemon at work."""
    engine = open_engine(line.database_url)
    try:
        return read_vitals(engine, load(line.config_path, {}), parse_utc(NOW)).up_since_ms is not None
    finally:
        engine.dispose()


def told_to_end(child: subprocess.Popen[str]) -> Said:
    """How it ends when it is asked to."""
    child.send_signal(signal.SIGTERM)
    return ended(child)


def test_a_daemon_is_watched_while_it_works(line: CommandLine) -> None:
    """Each step is seen by who scrapes, in the file, and by `status`; when it is gone, that is seen too."""
    configure(line, "{listen: '127.0.0.1:0', textfile: candles.prom}")
    with daemon(line) as child:
        url = address(child)
        until(lambda: 'fetcher_run_outcome{kind="daemon",outcome="ok"} 1.0' in scrape(url))
        until(lambda: "fetcher_uptime_seconds" in scrape(url))
        until((line.folder / "candles.prom").exists)
        assert "The daemon has been up since 2026-06-01T00:" in line.command("status").out
        assert is_up(line)
        assert told_to_end(child).code == 0
    with pytest.raises(urllib.error.URLError):
        scrape(url)
    assert not is_up(line)


def test_a_daemon_that_cannot_listen_does_not_begin(line: CommandLine) -> None:
    """One sentence with the key, and exit code 2: whoever starts it is there to mend it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        configure(line, f"{{listen: '127.0.0.1:{other.getsockname()[1]}'}}")
        ended_so = line.command("--daemon")
    assert ended_so.code == 2, ended_so
    assert "fetcher: metrics.listen: 127.0.0.1:" in ended_so.err
    assert "cannot be listened on: Address already in use" in ended_so.err
    assert line.query("SELECT count(*) FROM runs") == [(0,)]
    assert line.query("SELECT * FROM locks") == []


def test_beside_a_daemon_that_listens_another_one_leaves_the_work_to_it(line: CommandLine) -> None:
    """75, as without metrics: that the address is taken is no mistake in the configuration."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    configure(line, f"{{listen: '127.0.0.1:{port}'}}")
    with daemon(line) as child:
        address(child)
        second = line.command("--daemon")
        assert second.code == 75, second
        assert "another run is under way" in second.err
        assert told_to_end(child).code == 0


def test_a_daemon_listens_elsewhere_when_it_is_told_to(line: CommandLine) -> None:
    """A changed address is taken without a restart; one that is taken by others is refused, and the old one stays."""
    configure(line, "{listen: '127.0.0.1:0'}")
    with daemon(line) as child:
        first = address(child)
        scrape(first)
        configure(line, "{listen: 'localhost:0'}")
        child.send_signal(signal.SIGHUP)
        second = address(child)
        assert second != first
        assert "fetcher_database_up 1.0" in scrape(second)
        until(lambda: not answers(first))
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            configure(line, f"{{listen: '127.0.0.1:{other.getsockname()[1]}'}}")
            child.send_signal(signal.SIGHUP)
            assert "cannot be listened on" in said(child, "error: metrics.listen: 127.0.0.1:")
        assert "fetcher_database_up 1.0" in scrape(second)
        configure(line, "{listen: null}")
        child.send_signal(signal.SIGHUP)
        until(lambda: not answers(second))
        assert told_to_end(child).code == 0


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        scrape(url)
    except OSError:
        return False
    return True
