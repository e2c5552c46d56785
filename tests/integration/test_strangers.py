"""What a source answers may end in a table, a log or a terminal, but steers none of them, and names no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from fetcher.clock import parse_utc
from fetcher.model import HOUR
from fetcher.sandbox.control import SandboxControl
from tests.integration.commands import NOW, CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORGED = "2026-06-01T00:00:00Z ffffff error: forged"
EVIL = f"\x1b[2J\x9b31m\u202e[bold]x[/bold]\r\n{FORGED}\n`touch owned`$(touch owned)../../owned\x07"
START = parse_utc("2026-05-31")
NOW_MS = parse_utc(NOW)


class EvilExchange(ThreadingHTTPServer):
    """Binance's format with words that want to be more: in cells, in refusals, in the list of markets."""

    refuses = False
    daemon_threads = True

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, object]:
        """Status and body."""
        if path == "/api/v3/time":
            return 200, {"serverTime": NOW_MS}
        if path == "/api/v3/exchangeInfo":
            names = ("BTCUSDT", f"BTC{EVIL}", "../../../owned")
            markets = [{"symbol": n, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"} for n in names]
            return 200, {"symbols": markets}
        if self.refuses:
            return 400, {"code": -1100, "msg": EVIL}
        good = ["1.0", "2.0", "0.5", "1.5", "9.0"]
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", NOW_MS))
        rows: list[list[Any]] = [
            [at, *good, at + HOUR - 1, "9.0", 3, "1.0", "1.0", "0"]
            for at in range(START, NOW_MS - NOW_MS % HOUR, HOUR)
            if start <= at <= end
        ][: int(query.get("limit", 500))]
        for row in rows:
            if row[0] == START + 5 * HOUR:
                row[1] = EVIL
            if row[0] == START + 7 * HOUR:
                row[0] = EVIL
        return 200, rows


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as told."""
        assert isinstance(self.server, EvilExchange)
        path, _, query = self.path.partition("?")
        status, body = self.server.answer(path, dict(parse_qsl(query)))
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def evil_exchange() -> Iterator[EvilExchange]:
    """One on loopback."""
    server = EvilExchange(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A database that keeps what it said: rows in quarantine, jobs and endpoints with its refusals."""
    folder = tmp_path_factory.mktemp("evil")
    with evil_exchange() as exchange:
        made = CommandLine(SandboxControl(f"http://127.0.0.1:{exchange.server_port}"), folder)
        made.configure("- {symbols: [BTC/USDT], timeframes: [1h], start: 2026-05-31, sources: [binance]}")
        text = made.config_path.read_text(encoding="utf-8")
        made.config_path.write_text(text.replace("workers: 8", "workers: 8, time_budget: 2s"), encoding="utf-8")
        said = [made.command("-v", HOME=str(folder))]
        exchange.refuses = True
        made.change("UPDATE jobs SET not_before = 0")
        made.change("DELETE FROM coverage WHERE start_ms < :ms", ms=START + 3 * HOUR)
        said.append(made.command("-v", HOME=str(folder)))
        for each in said:
            assert each.code == 1
            assert_harmless(each.out + each.err)
        yield made


def assert_harmless(text: str) -> None:
    """Nothing that a terminal obeys, no line that we did not write."""
    assert text
    assert "".join(c for c in text if not c.isprintable() and c != "\n") == ""
    assert not any(each.startswith(FORGED) for each in text.splitlines())


@pytest.mark.parametrize(
    "words",
    ["", "status", "gaps", "jobs", "sources", "quarantine", "quarantine show 1 2", "doctor"],
)
@pytest.mark.parametrize("more", ["", "--json"])
def test_no_command_lets_them_speak(line: CommandLine, words: str, more: str) -> None:
    """Also where it repeats what was said, for people and for machines."""
    said = line.command(*more.split(), *words.split(), HOME=str(line.folder))
    assert said.code in {0, 1}
    assert_harmless(said.out + said.err)
    if more:
        json.loads(said.out)


def test_what_was_said_is_there_to_be_read(line: CommandLine) -> None:
    """Escaped, not left out: a person can see what came."""
    assert "u001b[2J" in line.command("quarantine", "show", "1").out
    assert "\\x1b[2J" in line.command("jobs").out


def test_json_lines_hold_them_in_one_value(line: CommandLine) -> None:
    """Each line of the log is one object, whatever it tells."""
    config = line.config_path.read_text(encoding="utf-8")
    other = line.folder / "json.yaml"
    other.write_text(f"{config}logging: {{format: json, level: debug}}\n", encoding="utf-8")
    said = line.command("--config", str(other), HOME=str(line.folder))
    assert_harmless(said.err)
    told = [json.loads(each) for each in said.err.splitlines()]
    other.unlink()
    assert any("forged" in str(each.get("error")) for each in told)


@pytest.mark.parametrize("words", ["", "status", "jobs", "sources", "quarantine"])
def test_nor_on_a_terminal(line: CommandLine, words: str) -> None:
    """Where bars and tables are drawn there are escapes of ours, and none of theirs."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "fetcher", *words.split()],
        cwd=line.folder, env=line.environment(HOME=str(line.folder), TERM="xterm"), stdin=subprocess.DEVNULL,
        stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65_536):
            said += part
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert child.wait(30) in {0, 1}
    text = said.decode("utf-8")
    assert text.strip()
    assert not any(trick in text for trick in ("\x1b[2J", "\x9b", "\u202e", "\x07"))
    assert not any(each.startswith(FORGED) for each in text.splitlines())


def test_they_wrote_no_file(line: CommandLine) -> None:
    """Neither in the folder of the configuration, nor at home, which is the same here."""
    assert {path.name.partition("-")[0] for path in line.folder.iterdir()} <= {"config.yaml", "market.db", "json.yaml"}
    assert not (line.folder.parent / "owned").exists()
