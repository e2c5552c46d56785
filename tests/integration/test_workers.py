"""Several processes work one queue: each window is fetched once, and what a killed one held is taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, parse_utc
from fetcher.model import MINUTE, Timeframe
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import ROOT, World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.model import Window

pytestmark = pytest.mark.usefixtures("database")

NOW = "2026-06-01T00:00:30Z"
ASKED = window("2026-05-01", "2026-06-01")
SYMBOLS = ("BTC/USDT", "ETH/USDT")


def planned(world: World, asked: Window = ASKED) -> None:
    """Fill the queue as a run would, and work none of it."""
    with world.app(Clock(parse_utc(NOW))) as app:
        all_series = app.fetcher.sync()
        app.planning.queue_ranges([(series, asked) for series in all_series])


def start_worker(world: World, *arguments: str) -> subprocess.Popen[str]:
    """A worker in a process of its own."""
    return start(world, "worker", *arguments)


def start(world: World, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "fetcher", "--config", str(world.config_path), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "FETCHER_CLOCK": NOW}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def complete(world: World) -> None:
    """Everything asked for is there, right, once."""
    for symbol in SYMBOLS:
        true = GeneratedMarket().oracle(symbol.replace("/", ""), Timeframe("1m"), ASKED, parse_utc(NOW))
        assert same_candles(world.rows(symbol, "1m"), true)
    assert world.jobs().keys() == {"done"}


def asked_more_than_once(world: World) -> dict[tuple[str, int | None], int]:
    """Pages that were answered well more than once."""
    pages = Counter((each.symbol, each.start) for each in world.klines() if each.limit != 1 and each.status == 200)
    return {page: count for page, count in pages.items() if count > 1 and page[1]}


def test_four_workers_fetch_each_window_once(tmp_path: Path) -> None:
    """Jobs are claimed by one each, whoever comes first."""
    with open_world(tmp_path, "--clock", NOW, "--latency", "20ms") as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2026-05-01"), workers=2)
        planned(world)
        workers = [start_worker(world) for _ in range(4)]
        told = [worker.communicate(timeout=100) for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 4, told
        assert sum("Jobs done: 0;" not in out for out, _ in told) > 1, "one alone worked"
        complete(world)
        assert asked_more_than_once(world) == {}


def test_jobs_of_sources_that_are_not_configured_here_are_left_alone(tmp_path: Path) -> None:
    """A worker with another configuration neither puts them off nor counts an attempt; the next with the right does."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-01"), market("ETH/USDT", "1m", "2026-05-01"))
        planned(world)
        text = world.config_path.read_text(encoding="utf-8")
        world.config_path.write_text(
            text.replace("binance:", "other:").replace("[binance]", "[other]"), encoding="utf-8"
        )
        child = start_worker(world)
        said, _ = child.communicate(timeout=100)
        assert child.returncode == 0
        assert said.startswith("Jobs done: 0; put back: 0; given up: 0; waiting now: ")
        assert world.query("SELECT DISTINCT status, attempts, not_before, last_error FROM jobs") == [
            ("queued", 0, 0, None)
        ]
        world.config_path.write_text(text, encoding="utf-8")
        right = start_worker(world)
        right.communicate(timeout=100)
        assert right.returncode == 0
        complete(world)


def test_what_a_killed_worker_held_is_taken_over(tmp_path: Path) -> None:
    """At once on the same machine: whoever works beside it sees that it is dead."""
    with open_world(tmp_path, "--clock", NOW, "--latency", "50ms") as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2026-05-01"), workers=2)
        planned(world)
        first, second = start_worker(world), start_worker(world)
        never, real = Event(), Clock()
        while not world.query("SELECT 1 FROM jobs WHERE lease_owner LIKE :owner", owner=f"% {first.pid} %"):
            never.wait(0.02)
            assert real.elapsed() < 60
        first.kill()
        first.communicate()
        _, err = second.communicate(timeout=100)
        assert second.returncode == 0, err
        complete(world)


def test_a_backfill_waits_for_what_another_works_on(tmp_path: Path) -> None:
    """It promises to go to the end: it says what it waits for, takes nothing away, and ends when all is there."""
    with open_world(tmp_path, "--clock", NOW, "--latency", "50ms") as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-01"), workers=2)
        planned(world, window("2026-05-31", "2026-06-01"))
        world.sandbox.configure(latency_seconds=5.0)
        worker = start_worker(world)
        never, real = Event(), Clock()
        while world.jobs().keys() != {"leased"}:
            never.wait(0.01)
            assert real.elapsed() < 60
        never.wait(0.5)  # it waits for answers then: in the middle of a transaction it would hold everybody up
        worker.send_signal(signal.SIGSTOP)
        world.sandbox.configure(latency_seconds=0.05)
        backfill = start(world, "backfill", "--from", "2026-05-31")
        with pytest.raises(subprocess.TimeoutExpired):
            backfill.communicate(timeout=15)
        worker.send_signal(signal.SIGCONT)
        worker.communicate(timeout=100)
        assert worker.returncode == 0
        _, told = backfill.communicate(timeout=100)
        assert backfill.returncode == 0, told
        assert "waiting for jobs that another process works on" in told
        assert world.jobs().keys() == {"done"}
        assert asked_more_than_once(world) == {}


def test_a_worker_that_stays_takes_what_comes_later_and_leaves_when_told(tmp_path: Path) -> None:
    """It waits with an empty queue; SIGTERM ends it within seconds, with what it did on one line."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2026-05-01"), workers=4)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.fetcher.sync()
        worker = start_worker(world, "--stay")
        Event().wait(1.5)
        planned(world)
        never, real = Event(), Clock()
        while world.query("SELECT 1 FROM jobs WHERE status <> 'done'") or not world.jobs():
            never.wait(0.1)
            assert real.elapsed() < 60
        worker.send_signal(signal.SIGTERM)
        began = real.elapsed()
        out, err = worker.communicate(timeout=30)
        assert real.elapsed() - began < 10
        assert worker.returncode == 0, err
        assert "Jobs done: 6; put back: 0; given up: 0; waiting now: 0." in out
        complete(world)
        assert max(each.at_ms for each in world.klines()) <= parse_utc(NOW) + MINUTE
