"""Runs as crontab starts them: idle, locked, without a network, interrupted; and backfills with and without --plan."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import ON_SQLITE
from tests.integration.commands import NOW, CommandLine, ended, until
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

_SAY_MODULES = "import sys; from fetcher.cli import main; code = main(['-q']); print(*sys.modules); sys.exit(code)"
TOO_HEAVY = {"rich", "alembic", "aiohttp", "pandas", "ccxt", "pybreaker", "backoff", "fetcher.sandbox", "fetcher.audit"}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """An empty folder with a configuration of two small series."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1h 1d", "2026-05-01"))
        yield made


def test_an_idle_run_asks_the_time_once_and_loads_nothing_heavy(line: CommandLine) -> None:
    """With everything stored a run makes one request, for the time, and imports only what it needs."""
    assert line.command().code == 0
    line.sandbox.clear_log()
    child = subprocess.run(
        [sys.executable, "-c", _SAY_MODULES],
        cwd=line.folder, env=line.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [entry["path"] for entry in line.sandbox.log()] == ["/api/v3/time"]
    assert TOO_HEAVY & set(child.stdout.split()) == set()
    assert child.stderr == ""


def test_a_second_run_leaves_the_work_to_the_first(line: CommandLine) -> None:
    """While a run is at work another one ends with 75 and one sentence; backfill works beside it."""
    line.configure(market("BTC/USDT", "1m", "2026-01-01"), workers=1)
    line.sandbox.configure(latency_seconds=0.1)
    first = line.start()
    until(lambda: len(line.klines()) > 2)
    second = line.command()
    assert second.code == 75
    assert second.err.startswith("fetcher: another run is under way (")
    assert second.err.count("\n") == 1
    assert json.loads(line.command("--json").out)["exit_code"] == 75
    beside = line.command("backfill", "--from", "2026-05-31T23:00", "-q")
    assert beside.code == 0, beside
    first.terminate()
    assert ended(first).code == 1


def test_sigterm_ends_a_backfill_in_order(line: CommandLine) -> None:
    """What is in flight is committed, nothing stays leased, and the next backfill goes on from there."""
    line.configure(market("BTC/USDT", "1m", "2026-05-01"), workers=2)
    line.sandbox.configure(latency_seconds=0.1)
    child = line.start("backfill")
    until(lambda: len(line.klines()) > 6)
    child.send_signal(signal.SIGTERM)
    said = ended(child)
    assert said.code == 1, said
    assert "finishing what is in flight" in said.err
    assert "missing" in said.out
    assert "leased" not in line.jobs()
    [(stored,)] = line.query("SELECT count(*) FROM candles")
    [(covered,)] = line.query("SELECT sum(rows) FROM coverage")
    assert stored == covered > 0
    line.sandbox.configure(latency_seconds=0.0)
    assert line.command("backfill").code == 0
    assert line.query("SELECT count(*) FROM candles") == [(31 * 1440,)]


def test_a_second_signal_ends_at_once_and_blocks_nobody(line: CommandLine) -> None:
    """Two SIGINTs leave with 130 in the middle of a request; the next command takes the dead one's jobs over."""
    line.sandbox.configure(latency_seconds=0.0)
    line.configure(market("BTC/USDT", "1h", "2026-05-01"), timeout="20s")
    assert line.command().code == 0
    line.change("DELETE FROM coverage")
    line.sandbox.configure(latency_seconds=15.0)
    child = line.start("backfill")
    until(
        lambda: bool(line.jobs().get("leased")) or child.poll() is not None or len(line.sandbox.log("/api/v3/time")) > 1
    )
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert "a second signal leaves at once" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert ended(child).code == 130
    line.sandbox.configure(latency_seconds=0.0)
    assert line.command().code == 0
    assert "leased" not in line.jobs()


def test_without_a_network_a_run_ends_with_one_sentence_per_source(line: CommandLine) -> None:
    """Exit code 1, no traceback, the jobs wait; the run after that does not even ask."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    line.configure(market("BTC/USDT", "1h 1d", "2026-05-01"), url=url)
    for _ in range(2):
        said = line.command()
        assert said.code == 1
        assert sum(words.startswith("binance ") for words in said.out.splitlines()) == 1
        assert "refused the connection" in said.out
        assert "Traceback" not in said.err
    assert line.jobs().keys() == {"queued"}
    doctor = line.command("doctor")
    assert doctor.code == 1
    assert "BAD  binance http://127.0.0.1" in doctor.out
    plan = line.command("backfill", "--plan")
    assert plan.code == 0, plan


def test_a_run_answers_machines_with_one_object(line: CommandLine) -> None:
    """With --json stdout is one object, and progress stays on stderr."""
    said = line.command("--json")
    answer = json.loads(said.out)
    assert (answer["outcome"], answer["exit_code"], answer["missing"]) == ("ok", 0, 0)
    assert [each["complete_until"] for each in answer["series"]] == ["2026-06-01T00:00Z"] * 2
    assert "candles in" in said.err


def test_plan_tells_the_cost_and_writes_nothing(line: CommandLine) -> None:
    """--plan counts requests, weight and rows; no series, job, candle or coverage is written, no kline asked for."""
    line.configure(market("BTC/USDT", "1h 1m", "2026-05-01"))
    answer = line.answer("backfill", "--symbol", "BTC/USDT", "--timeframe", "1m", "--to", "2026-05-11", "--plan")
    [series] = answer["series"]
    assert (series["slots"], series["requests"], series["weight"]) == (14_400, 15 + 2, 34)
    assert (series["bytes"], series["listing_known"]) == (14_400 * 170, False)
    assert "Not known yet when these were listed" in line.command("backfill", "--plan").out
    for table in ("series", "jobs", "candles", "coverage", "runs"):
        assert line.query(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 (names of ours)
    assert line.klines() == []


def test_backfill_fetches_just_what_was_asked_for(line: CommandLine) -> None:
    """--from is inclusive, --to exclusive; other series and times stay as they are."""
    words = ("backfill", "--symbol", "BTC/USDT", "--timeframe", "1h", "--from", "2026-05-03", "--to", "2026-05-04")
    said = line.command(*words)
    assert said.code == 0, said
    assert said.out == "BTC/USDT 1h  complete from 2026-05-03T00:00Z to 2026-05-04T00:00Z\n"
    assert len(line.rows("BTC/USDT", "1h")) == 24
    line.sandbox.clear_log()
    assert line.command(*words).code == 0
    assert line.klines() == []


def test_a_range_that_holds_nothing_says_why(line: CommandLine) -> None:
    """What lies after the last close is not called complete."""
    said = line.command("backfill", "--timeframe", "1h", "--from", "2026-07-01", "--to", "9999-12-31")
    assert said.code == 0, said
    assert said.out == (
        "BTC/USDT 1h  nothing to do: candles are closed until 2026-06-01T00:00Z, what was asked for begins "
        "2026-07-01T00:00Z\n"
    )


@ON_SQLITE  # it is about a line of progress, and waits for most of a minute
def test_the_wait_for_request_weight_is_told(line: CommandLine) -> None:
    """While a minute's weight is used up a line says so; a second signal need not wait for the next minute."""
    line.configure(market("BTC/USDT", "1m", "2026-01-01"), weight=40)
    child = line.start()
    assert child.stderr is not None
    while "waiting for request weight of binance (" not in (words := child.stderr.readline()):
        assert words, "it ended without a word"
    assert re.search(r"\(40 of 40 used this minute, more in \d+ s\)|\(3\d of 40", words), words
    child.terminate()
    assert ended(child).code == 1


def test_an_interrupt_while_loading_is_no_traceback(line: CommandLine) -> None:
    """Ctrl-C before the program is loaded ends it by the signal; nothing is written."""
    for seconds in (0.05, 0.15, 0.3):
        child = line.start("status")
        Clock().wait(Event(), seconds)
        child.send_signal(signal.SIGINT)
        said = ended(child)
        assert "Traceback" not in said.err or "/fetcher/" not in said.err, said  # else it met Python's own start


def test_logs_can_be_json_lines(line: CommandLine) -> None:
    """logging.format json makes every line on stderr an object; the mark of its run leads to the table of runs."""
    with line.config_path.open("a", encoding="utf-8") as file:
        file.write("logging: {format: json}\n")
    said = line.command("-v")
    lines = [json.loads(words) for words in said.err.splitlines()]
    assert all({"time", "time_ms", "level", "run", "message"} <= set(entry) for entry in lines)
    assert [(mark,) for mark in {entry["run"] for entry in lines}] == line.query("SELECT log_id FROM runs")
    assert any(entry["level"] == "debug" and "answered" in entry["message"] for entry in lines)


def test_the_sandbox_command_serves(line: CommandLine) -> None:
    """`sandbox` says where it listens and ends at SIGTERM."""
    child = line.start("sandbox", "--port", "0", "--clock", NOW, PYTHONUNBUFFERED="1")
    assert child.stdout is not None
    assert child.stdout.readline().startswith("sandbox listening on http://127.0.0.1:")
    child.terminate()
    assert ended(child).code == 0
