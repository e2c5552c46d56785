"""The daemon at work: closes, the lock, JSON, a long backfill, suspension, kills, and the end it is asked for."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
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

    from tests.integration.daemons import Daemon

pytestmark = pytest.mark.usefixtures("database")

SPEED = 60
NOW = "2026-06-01T00:00:30Z"
START = "2026-05-31T22:00:00Z"
M1 = Timeframe("1m")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A minute a second; one small series."""
    with spawn_sandbox("--clock", f"{NOW} x{SPEED}") as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1m", START))
        yield made


def test_closes_are_fetched_as_they_come(line: CommandLine) -> None:
    """Each minute, none before it has closed; a line for each step that did something; 75 for others meanwhile."""
    with running(line) as daemon:
        closes(line, daemon, 3)
        other = line.command()
        assert other.code == 75, other
        assert "another run is under way" in other.err
        assert daemon.leaves() < LEAVE_SECONDS
        assert daemon.child.returncode == 0
    assert is_whole(line, "BTC/USDT", M1, Window(parse_utc(START), newest(line) + MINUTE))
    assert line.jobs().keys() <= {"done", "queued"}
    assert line.absent("BTC/USDT", "1m") == []
    steps = daemon.lines("nothing is missing")
    assert 0 < len(steps) <= len(line.query("SELECT 1 FROM runs WHERE kind = 'daemon' AND outcome = 'ok'"))
    assert daemon.lines("finishing what is in flight")
    assert line.query("SELECT * FROM locks") == []


@ON_SQLITE  # it is about the words
def test_a_file_with_secrets_that_others_can_read_is_told(line: CommandLine) -> None:
    """As runs do: once. Pytest's own folders let nobody in, so this one is another."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        targets = Path(folder, "targets")
        targets.write_text("", encoding="utf-8")
        targets.chmod(0o644)
        with line.config_path.open("a", encoding="utf-8") as config:
            config.write(f"alerts: {{to_file: {targets}}}\n")
        with running(line) as daemon:
            closes(line, daemon, 1)
            daemon.leaves()
    assert len(daemon.lines(f"{targets}, which holds secrets, can be read by others")) == 1


@ON_SQLITE  # it is about the words
def test_machines_get_an_object_a_line(line: CommandLine) -> None:
    """With --json each step that did something is one object on stdout, and -q leaves stderr empty."""
    with running(line, "--daemon", "--json", "-q") as daemon:
        closes(line, daemon, 2)
        daemon.leaves()
    told = daemon.told()
    whole = {"jobs_given_up": 0, "missing": 0, "error": None}.items()
    assert any(whole <= each.items() for each in told)  # on a busy machine a close may cut the first one short
    assert sum(each["rows"] for each in told) == line.query("SELECT count(*) FROM candles")[0][0]
    assert all(each["rows"] for each in told)
    assert [words for words in daemon.said if "finishing what is in flight" not in words] == []


def test_a_long_backfill_waits_for_the_closes(line: CommandLine) -> None:
    """While ten weeks of minutes come slowly, each minute that closes is stored before that is over; none is lost."""
    line.configure(market("BTC/USDT", "1m", "2026-03-20"), workers=1)
    line.sandbox.configure(latency_seconds=0.05)
    with running(line) as daemon:
        closes(line, daemon, 1)
        closes(line, daemon, 3)
        kinds = dict(line.query("SELECT kind, count(*) FROM jobs WHERE status <> 'done' GROUP BY kind"))
        assert kinds.get("backfill"), "the backfill was over; make it longer"
        assert daemon.leaves() < LEAVE_SECONDS
        assert daemon.child.returncode == 0
    assert "leased" not in line.jobs()
    [(stored,)] = line.query("SELECT count(*) FROM candles")
    [(covered,)] = line.query("SELECT sum(rows) FROM coverage")
    assert stored == covered > 0
    assert line.query("SELECT max(attempts) FROM jobs") == [(0,)], "what a close cut short is no attempt"


@pytest.mark.parametrize(("word", "code"), [("--daemon", 0), ("--verbose", 1)], ids=["daemon", "run"])
def test_a_source_that_hangs_keeps_nobody(line: CommandLine, word: str, code: int) -> None:
    """Told to leave while all requests hang, a daemon and a run are gone within seconds, and give the work back."""
    assert line.command(FETCHER_CLOCK="2026-06-01T00:00:30Z").code == 0
    line.sandbox.configure(hang_seconds=60.0)
    line.sandbox.script("hang", 1000)
    line.sandbox.clear_log()
    line.configure(market("BTC/USDT", "1m", "2026-05-01"), timeout="30s")
    with running(line, word, speed="1") as daemon:
        until(lambda: len(line.klines()) >= 4)
        assert daemon.leaves() < LEAVE_SECONDS
        assert daemon.child.returncode == code, daemon.said
        assert not daemon.says("leaving what does not come to an end")
    assert "leased" not in line.jobs()
    assert line.query("SELECT * FROM locks") == []


@ON_SQLITE
def test_a_database_that_hangs_keeps_nobody(line: CommandLine) -> None:
    """Told to leave while another process holds the file, it goes without what it could not write; nothing is lost."""
    with running(line) as daemon:
        closes(line, daemon, 1)
        with closing(sqlite3.connect(line.folder / "market.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert daemon.leaves() < LEAVE_SECONDS
        assert daemon.child.returncode == 1
        assert daemon.says("leaving what does not come to an end")
    assert line.command(FETCHER_CLOCK="2026-06-01T00:09:00Z").code == 0


def test_after_a_kill_the_next_one_goes_on(line: CommandLine) -> None:
    """Kill -9 in the middle of a backfill: another daemon takes lock and jobs over at once, and nothing lacks."""
    line.configure(market("BTC/USDT", "1m", "2026-05-25"))
    line.sandbox.configure(latency_seconds=0.05)
    with running(line) as daemon:
        until(lambda: newest(line) > 0)
        daemon.dies()
    line.sandbox.configure(latency_seconds=0.0)
    with running(line) as daemon:
        closes(line, daemon, 2)
        until(lambda: line.jobs().keys() == {"done"})
        daemon.leaves()
    assert is_whole(line, "BTC/USDT", M1, Window(parse_utc("2026-05-25"), newest(line) + MINUTE))


def suspend(line: CommandLine, daemon: Daemon) -> None:
    """Stop it between two transactions: within one it would hold SQLite's lock all the while."""
    for _ in range(100):
        daemon.child.send_signal(signal.SIGSTOP)
        if line.databases.name != "sqlite":
            return
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(line.folder / "market.db", timeout=0.2)) as own,
        ):
            own.execute("BEGIN IMMEDIATE")
            return
        daemon.child.send_signal(signal.SIGCONT)
        Event().wait(0.05)
    pytest.fail("it is always writing")


def test_after_a_suspension_it_catches_up_at_once(line: CommandLine) -> None:
    """Stopped for minutes it holds the lock against others, and fetches what closed meanwhile when it goes on."""
    with running(line) as daemon:
        closes(line, daemon, 1)
        suspend(line, daemon)
        line.sandbox.configure(clock=f"2026-06-01T02:00:30Z x{SPEED}")
        late = line.command(FETCHER_CLOCK="2026-06-01T02:00:30Z")
        assert late.code == 75, "its lock ran out an hour ago, but it lives"
        daemon.child.send_signal(signal.SIGCONT)
        until(lambda: newest(line) >= parse_utc("2026-06-01T02:00:00Z"))
        daemon.leaves()
    assert is_whole(line, "BTC/USDT", M1, Window(parse_utc(START), newest(line) + MINUTE))


@ON_SQLITE
@pytest.mark.parametrize("jump", ["+2h at 3m", "-2h at 3m"])
def test_a_clock_that_is_set_delays_nothing(line: CommandLine, jump: str) -> None:
    """Whichever way: the minutes after it are fetched as those before, without a storm of requests."""
    with running(line, jumps=f"jump {jump}") as daemon:
        until(lambda: daemon.says("the clock was set by") or daemon.child.poll() is not None)
        line.sandbox.clear_log()
        closes(line, daemon, 3)
        minutes = len({asked.at_ms // MINUTE for asked in line.klines()})
        assert len(line.klines()) <= minutes + 1
        daemon.leaves()
    assert is_whole(line, "BTC/USDT", M1, Window(parse_utc(START), newest(line) + MINUTE))
    assert len(daemon.lines("the clock was set by")) == 1


@ON_SQLITE
def test_it_goes_without_a_command(line: CommandLine) -> None:
    """`--daemon status` means nothing."""
    said = line.command("--daemon", "status")
    assert (said.code, said.err) == (2, "fetcher: --daemon goes without a command; leave out status\n")
