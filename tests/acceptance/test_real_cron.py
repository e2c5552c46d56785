"""Debian's own cron starts the installed line each minute, in its bare environment, and mails nothing that is noise.

It takes six minutes. As root it installs cron by itself where there is none; the user's crontab is put back at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from fetcher.cli import crontab
from fetcher.clock import Clock, format_utc
from fetcher.model import DAY, MINUTE
from fetcher.sandbox.control import spawn_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SENDMAIL = Path("/usr/sbin/sendmail")
SYSLOG = Path("/dev/log")
RUNS = 5
PATIENCE = 8 * 60.0
CONFIG = """
database_url: sqlite:///market.db
sources:
  binance: {{client: binance, base_urls: ['{url}'], archive_url: null, weight_per_minute: 60}}
markets:
  - {{symbols: [BTC/USDT], timeframes: [1m], start: {start}, sources: [binance]}}
run: {{time_budget: 100s}}  # longer than a minute: the second start finds the first at work
"""
MINE = "MAILTO=root\nHOME=/\n* * * * * echo mine\n"


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[tuple[list[str], Path]]:
    """A cron daemon with nothing in its environment: what it logs, and the file that its mail goes to."""
    if os.geteuid() != 0:
        pytest.skip("a cron daemon that reads crontabs of users has to be started by root")
    if crontab.runs_here() or SENDMAIL.exists() or SYSLOG.exists():
        pytest.skip(f"a cron daemon, {SENDMAIL} or {SYSLOG} is here already; run it in a container without them")
    if shutil.which("cron") is None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        got = subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "cron"],  # noqa: S607 (wherever it is)
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert got.returncode == 0, f"Debian's package cron is needed: {got.stderr}"
    mail = tmp_path / "mail"
    SENDMAIL.write_text(f"#!/bin/sh\ncat >>'{mail}'\n", encoding="utf-8")
    SENDMAIL.chmod(0o755)
    before = crontab.read()
    crontab.write(MINE)
    Event().wait(1.1)  # cron sees a change by the file's second alone: what comes next must not be in the same one
    program = shutil.which("cron") or "/usr/sbin/cron"
    try:
        with logging() as said:
            daemon = subprocess.Popen([program, "-f", "-L", "15"], cwd="/", env={}, stdin=subprocess.DEVNULL)
            try:
                yield said, mail
            finally:
                daemon.terminate()
                daemon.wait(timeout=10)
    finally:
        SENDMAIL.unlink()
        if before:
            crontab.write(before)
        else:
            subprocess.run(["crontab", "-r"], check=False)  # noqa: S607 (wherever it is)


@contextmanager
def logging() -> Iterator[list[str]]:
    """What is logged meanwhile: nobody else listens to the system's log here."""
    said: list[str] = []
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind(str(SYSLOG))

        def listen() -> None:
            while words := heard.recv(4096):
                said.append(words.decode(errors="replace"))

        listener = Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield said
        finally:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as last:
                last.sendto(b"", str(SYSLOG))
            listener.join()
            SYSLOG.unlink()


def fetcher(config: Path, *words: str) -> str:
    """What a command of the program says, as a user calls it."""
    command = [sys.executable, "-m", "fetcher", "--config", str(config), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def runs(config: Path) -> list[tuple[int, int | None, int | None]]:
    """When each run of the database began and ended, and its exit code."""
    path = config.parent / "market.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as conn:
        try:
            return conn.execute("SELECT started_ms, ended_ms, exit_code FROM runs ORDER BY id").fetchall()
        except sqlite3.OperationalError:  # being made just now
            return []


@pytest.mark.timeout(900)
def test_a_real_cron_runs_it_each_minute(cron: tuple[list[str], Path], tmp_path: Path) -> None:
    """Five runs, one start that finds another at work and leaves with 75, every candle, and mail of others alone."""
    said, mail = cron
    config = tmp_path / "a b%c & 'é" / "config.yaml"
    config.parent.mkdir()
    clock, never = Clock(), Event()
    start = format_utc(clock.now_ms() - 42 * DAY)  # three minutes of the weight that the configuration allows
    with spawn_sandbox() as sandbox:
        config.write_text(CONFIG.format(url=sandbox.url, start=start), encoding="utf-8")
        print(fetcher(config, "cron", "install"), end="")
        while len([run for run in runs(config) if run[1] is not None]) < RUNS:
            assert clock.elapsed() < PATIENCE, (runs(config), said)
            clock.wait(never, 1)
        status = json.loads(fetcher(config, "--json", "status"))
    print(fetcher(config, "cron", "remove"), end="")
    failed = [line for line in said if "failed with exit status" in line]
    print(*(f"{format_utc(began)}  exit code {code}" for began, _ended, code in runs(config)), *failed, sep="\n")
    log = (config.parent / "logs/cron.log").read_text(encoding="utf-8")
    mails = re.findall(r"^Subject: (.*)$", mail.read_text(encoding="utf-8"), re.MULTILINE)
    print(f"{len(mails)} mails, of {set(mails)}")
    assert [code for _began, _ended, code in runs(config)] == [1, *[0] * (RUNS - 1)]
    assert all(began % MINUTE < 20_000 for began, _ended, _code in runs(config)), "each at the beginning of a minute"
    assert [re.findall(r"exit status (\d+)", line) for line in failed if "75" in line] == [["75"]]
    assert log.count("another run") == 1
    assert len(mails) >= RUNS
    assert all(subject.endswith(" echo mine") for subject in mails), mails
    assert status["total"]["missing"] == 0
    assert crontab.read() == MINE
