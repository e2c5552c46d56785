"""Errors of docs/errors.md that take some staging: damaged files, full disks, servers too old, sources at rest."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from db import checks, endpoints
from db.engine import open_engine, reading, writing
from db.errors import DatabaseProblem, DatabaseUnusable
from db.manager import DatabaseManager
from fetcher.app import build
from fetcher.attempts import Attempts, Effort
from fetcher.cli.choose import chosen
from fetcher.clients import ccxt_library
from fetcher.clock import Clock
from fetcher.config import load
from fetcher.errors import ConfigError, RateLimited, SourceDown
from fetcher.resilience.breaker import FAIL_MAX
from fetcher.resilience.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from fetcher.clients.base import Answer
    from tests.postgresql import Server

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
database_url: sqlite:///market.db
sources: {binance: {client: binance, base_urls: ['http://127.0.0.1:9'], archive_url: null}}
markets: [{symbols: [BTC/USDT], timeframes: [1h], start: 2026-05-01, sources: [binance]}]
"""


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Engine]:
    """A database whose table of series is overwritten."""
    url = f"sqlite:///{tmp_path}/market.db"
    engine = open_engine(url)
    DatabaseManager(engine, url).prepare()
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "market.db", isolation_level=None)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = conn.execute("PRAGMA page_size").fetchone()
        [page] = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'series'").fetchone()
    with (tmp_path / "market.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_a_damaged_file_is_told_by_whoever_reads_it(damaged: Engine) -> None:
    """Whatever is asked of it."""
    with pytest.raises(DatabaseProblem, match="is damaged; restore the last backup"), reading(damaged) as conn:
        conn.exec_driver_sql("SELECT * FROM series")


def test_a_backup_of_a_damaged_file_is_none(damaged: Engine, tmp_path: Path) -> None:
    """What would only be found when it is needed is refused when it is made, and no file is left."""
    with pytest.raises(DatabaseProblem, match=r"the backup is not sound \(.*\), so the database is damaged"):
        DatabaseManager(damaged, str(damaged.url)).backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A link that leads in a circle, like a file that this user may not read."""
    (tmp_path / "market.db").symlink_to(tmp_path / "market.db")
    engine = open_engine(f"sqlite:///{tmp_path}/market.db")
    with pytest.raises(DatabaseProblem, match="cannot be opened; check that the file and its folder"), reading(engine):
        pass


def test_a_folder_that_nobody_can_make() -> None:
    """Below the kernel's own files."""
    with pytest.raises(DatabaseProblem, match=r"^the database's folder /proc/candles cannot be created: ") as caught:
        open_engine("sqlite:////proc/candles/market.db")
    assert not isinstance(caught.value, DatabaseUnusable)


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """A file that may not grow, which SQLite takes for a broken disk: one sentence, exit code 1."""
    (tmp_path / "config.yaml").write_text(SMALL, encoding="utf-8")
    measured = "COVERAGE_PROCESS_CONFIG"  # coverage would write, too
    command = f"unset {measured}; ulimit -f 8; exec '{sys.executable}' -m fetcher status"
    said = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stderr.count("\n")) == (1, 1), said
    assert "cannot be read or written: the disk reports an error; check it" in said.stderr


def test_a_server_that_is_too_old(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made there; here the real server is too old for a program that wants a newer one."""
    monkeypatch.setattr(checks, "LEAST_POSTGRESQL", 99)
    name = postgresql.new_database()
    engine = open_engine(postgresql.url(name))
    with pytest.raises(DatabaseUnusable, match=r"is on PostgreSQL \d+; it has to be 99 or newer"):
        DatabaseManager(engine, postgresql.url(name)).prepare()
    engine.dispose()
    assert not postgresql.has_table(name, "series")
    postgresql.drop(name)


def test_without_ccxt_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that lacks packages."""
    monkeypatch.setattr(ccxt_library, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"^ccxt is not installed; run: pip install -r requirements\.txt$"):
        ccxt_library.check_exchange("okx")


@pytest.fixture
def gate(engine: Engine) -> Gate:
    """The way to one host, at 2026-06-01."""
    with writing(engine) as conn:
        for key in ("binance host", "binance"):
            endpoints.ensure(conn, key, "binance")
    return Gate(engine, Clock(1_780_272_000_000), "binance host", "binance", "one", 10.0)


def test_a_rest_that_was_asked_for_is_told_with_its_end(gate: Gate) -> None:
    """And with what the exchange said."""
    gate.rest(RateLimited("binance answered 429", 1_780_272_600_000))
    with pytest.raises(RateLimited, match=r"^binance host rests until 2026-06-01T00:10:00Z: binance answered 429$"):
        gate.admit()


def test_an_open_breaker_is_told_with_its_end(gate: Gate) -> None:
    """And with the last failure."""
    for _ in range(FAIL_MAX):
        gate.admit()
        gate.failed("connection refused")
    with pytest.raises(SourceDown, match=r"^binance host rests until 2026-06-01T00:01:.*Z after failing: connection"):
        gate.admit()


def test_a_source_that_only_fails_is_left_alone(tmp_path: Path) -> None:
    """Where others can be asked it is passed over without a request, and said why."""
    (tmp_path / "config.yaml").write_text(SMALL, encoding="utf-8")
    app = build(load(tmp_path / "config.yaml", {}), clock := Clock())
    [line] = app.lines
    line.failing.failed(clock.elapsed() - 25.0, "timed out", vital=True)
    asked: list[object] = []
    with pytest.raises(SourceDown, match=r"^binance is left alone after failing for 25 s: timed out$"):
        Attempts(clock, Event(), asked.append).ask(line, 1, "candles", _never, Effort(hurried=True))
    assert asked == []
    app.close()


def test_before_the_first_run_nothing_can_be_chosen() -> None:
    """Of a database that holds no series yet."""
    with pytest.raises(ConfigError, match=r"^no series is stored yet$"):
        chosen([], known="stored")


def _never(_: object) -> Answer[None]:
    raise AssertionError("nobody is to be asked")
