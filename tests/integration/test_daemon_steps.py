"""The daemon's steps in this process: a database that is away, sources that are late, memory, and what is learnt."""

from __future__ import annotations

import gc
import logging
import sqlite3
import sys
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine
from db.errors import DatabaseProblem
from fetcher.app import build
from fetcher.cli.daemon import in_words
from fetcher.cli.telling import Watch
from fetcher.clock import Clock, parse_utc
from fetcher.config import load
from fetcher.daemon import Daemon, StepResult, Tally
from fetcher.observe.lines import LOG
from fetcher.outcome import Outcome
from tests.databases import ON_POSTGRESQL, ON_SQLITE
from tests.integration.world import World, market, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import PostgreSQLServer

pytestmark = pytest.mark.usefixtures("database")

NOW = "2026-06-01T00:00:30Z"


@contextmanager
def daemon_of(world: World, clock: Clock) -> Iterator[Daemon]:
    """The daemon in this process; its steps are made by the test."""
    app = build(load(world.config_path, {}), clock, settle=True)
    daemon = Daemon(app, lambda: load(world.config_path, {}), world.config_path)
    try:
        yield daemon
    finally:
        daemon.app.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the program tells, whoever set its log up before."""
    LOG.propagate, before = True, (LOG.propagate, LOG.handlers[:])
    LOG.handlers.clear()
    caplog.set_level(logging.INFO, LOG.name)
    yield caplog
    LOG.propagate, LOG.handlers[:] = before


def test_a_step_that_ends_before_anything_is_known_says_so(tmp_path: Path) -> None:
    """What could not be asked does not count as there; the next step goes on."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"), timeout="30s")
        world.sandbox.configure(hang_seconds=4.0)
        world.sandbox.script("hang", 2, path="*")
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            daemon.app.fetcher.hold()
            result, worked = daemon.app.fetcher.step(0.0)
            assert (result.is_planned, result.outcome, worked) == (False, Outcome.PARTIAL, False)
            step = StepResult(0, 2.0, worked, Tally(), result)
            assert str(step) == "1 series, nobody knows yet what is missing"
            assert in_words(step) == "nothing came in 2.0 s; nobody knows yet what is missing"
            step = daemon.step()
            assert (str(step), step.worked) == ("1 series, 0 candles missing", True)


def away_and_back(daemon: Daemon, log: pytest.LogCaptureFixture, words: str) -> None:
    """Two steps without a database fail alike, and that is told once; `after` hears of each."""
    steps = [daemon.step(), daemon.step()]
    assert all(step.result is None and step.error is not None and words in step.error for step in steps), steps
    assert len([entry for entry in log.records if "tried again until it succeeds" in entry.getMessage()]) == 1


@ON_POSTGRESQL
def test_a_server_that_stays_away_is_waited_for(
    tmp_path: Path, databases: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """When it is back the next step goes on, and says so."""
    monkeypatch.setattr("db.retrying.PAUSES", (0.0, 0.05))
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert daemon.step().error is None
            databases.server.stop()
            try:
                away_and_back(daemon, log, "cannot be reached")
            finally:
                databases.server.start()
            world.sandbox.configure(clock="2026-06-01T00:05:30Z")
            daemon.app.fetcher.clock_was_set(0)
            step = daemon.step()
            assert step.error is None
            assert step.tally.rows == 5
            assert "it goes on after 2 steps that failed" in log.text


@ON_SQLITE
def test_a_locked_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Somebody who holds it for minutes stops nothing for good."""
    monkeypatch.setattr("fetcher.app.open_engine", partial(open_engine, busy_seconds=0.2))
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert daemon.step().error is None
            with closing(sqlite3.connect(tmp_path / "market.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                away_and_back(daemon, log, "is kept locked by another process")
            assert daemon.step().error is None
            assert "it goes on after 2 steps that failed" in log.text


@ON_SQLITE
def test_what_a_disk_did_not_take_is_fetched_by_the_next_step(tmp_path: Path) -> None:
    """A step whose writer fails in the middle of its work leaves nothing behind that hinders the next one."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-20"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            world.sandbox.configure(latency_seconds=0.02)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("fetcher.storage.Storage.commit", _full)
                assert daemon.step().error == "no space left on device"
            step = daemon.step()
            assert step.error is None
            assert step.result is not None
            assert step.result.missing == 0


def _full(*_told: object) -> None:
    raise OSError("no space left on device")


@ON_SQLITE
def test_another_database_is_taken_though_the_old_one_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That may be why there is another one: nobody misses the old one's lock."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert daemon.step().error is None
            monkeypatch.setattr(daemon.app.fetcher, "let_go", _gone)
            other = world.database_url.replace("market.db", "other.db")
            text = world.config_path.read_text(encoding="utf-8")
            world.config_path.write_text(text.replace(world.database_url, other), encoding="utf-8")
            assert daemon.reload()
            assert daemon.app.config.database_url == other
            assert daemon.step().tally.rows > 0


def _gone(*_told: object) -> None:
    raise DatabaseProblem("it is gone")


@ON_SQLITE
def test_reading_the_configuration_anew_reads_files_with_keys_anew(tmp_path: Path) -> None:
    """Whoever writes another key into one sends SIGHUP: the configuration itself is the same."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        with world.config_path.open("a", encoding="utf-8") as config:
            config.write("keep: {}\n")
        text = world.config_path.read_text(encoding="utf-8")
        gecko = f"sources:\n  coingecko: {{client: coingecko, plan: demo, api_key_file: {tmp_path / 'key'}}}\n"
        world.config_path.write_text(text.replace("sources:\n", gecko, 1), encoding="utf-8")
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert "key cannot be read" in str(daemon.app.lines[0].client.unusable)
            (tmp_path / "key").write_text("CG-key", encoding="utf-8")
            assert daemon.reload()
            assert daemon.app.lines[0].client.unusable is None


@ON_SQLITE
def test_a_clock_that_was_set_while_the_database_was_away_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits there waits as long as before, also where that could not be written at once."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            told: list[int] = []
            daemon._origin_ms += 7_200_000  # and so the clock was set back by two hours
            with monkeypatch.context() as patch:
                patch.setattr(daemon.app.fetcher, "clock_was_set", _gone)
                daemon._look_around()
            monkeypatch.setattr(daemon.app.fetcher, "clock_was_set", told.append)
            daemon._look_around()
            daemon._look_around()
            assert told == [-7_200_000]


@ON_SQLITE
def test_a_database_that_is_away_is_told_once_by_who_looks_after_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Not every half minute of an outage; the next outage is news again."""
    monkeypatch.setattr("fetcher.cli.telling.LOOK_SECONDS", 0.0)
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            watch, step = Watch(daemon, Clock()), daemon.step()
            for _outage in range(2):
                with monkeypatch.context() as patch:
                    patch.setattr("fetcher.observe.alerts.desk.read_vitals", _gone)
                    watch(step)
                    watch(step)
                watch(step)
    assert log.text.count("alerts could not be looked after: it is gone") == 2


@ON_SQLITE
def test_idle_steps_write_no_runs(tmp_path: Path) -> None:
    """Where there was nothing to do, no run is recorded, and the time is asked every five minutes at most."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert daemon.step().worked
            world.sandbox.clear_log()
            assert [daemon.step().worked for _ in range(3)] == [False] * 3
            assert 3500 < daemon.app.fetcher.seconds_to_close() < 3600
            assert world.sandbox.log() == []
            assert world.query("SELECT kind, outcome FROM runs") == [("daemon", "ok")]


@ON_SQLITE
def test_a_source_that_is_late_is_given_more_time(tmp_path: Path) -> None:
    """A candle that lacks when asked for and comes later teaches it; what was learnt is kept for the next start."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-31"))
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            daemon.step()
            assert daemon.app.settling.ms("binance") == 2_000
            world.sandbox.configure(clock="2026-06-01T00:01:08Z", outages=["2026-06-01T00:00:00Z/2026-06-01T00:01:00Z"])
            daemon.app.fetcher.clock_was_set(0)
            daemon.step()
            world.sandbox.configure(clock="2026-06-01T00:02:08Z", outages=[])
            daemon.app.fetcher.clock_was_set(0)
            daemon.step()
            assert world.rows("BTC/USDT", "1m")["open_time"][-1] == parse_utc("2026-06-01T00:01:00Z")
            learnt = daemon.app.settling.ms("binance")
            assert 8_000 <= learnt <= 45_000
            assert world.query("SELECT settle_ms FROM sources") == [(learnt,)]
        with daemon_of(world, Clock(parse_utc(NOW))) as daemon:
            assert daemon.app.settling.ms("binance") == learnt


@ON_SQLITE
def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps with a new candle each keep nothing; what is cached once may come late, but not again and again."""
    monkeypatch.setattr(LOG, "disabled", True)  # pytest keeps every line
    with open_world(tmp_path, "--clock", f"{NOW} x3000") as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-31T23:00:00Z"), workers=2)
        with daemon_of(world, Clock(world.sandbox.config()["now_ms"], 3000)) as daemon:
            blocks: list[int] = []
            for _ in range(4):
                assert all(daemon.step().error is None for _ in range(20))
                gc.collect()
                blocks.append(sys.getallocatedblocks())
            grown = [after - before for before, after in pairwise(blocks)]
            assert min(grown) < 20 * 10, grown  # what is told in one step alone is more than ten objects
            assert len(world.rows("BTC/USDT", "1m")) > 60 + 20
