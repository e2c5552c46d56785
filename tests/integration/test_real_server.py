"""A PostgreSQL server that restarts, crashes, cuts connections or stays away while a run is at work."""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from db.errors import DatabaseLost
from fetcher.clock import Clock, parse_utc
from fetcher.events import PageStored
from fetcher.model import MINUTE, Window
from fetcher.owners import own_name
from tests.databases import ON_POSTGRESQL
from tests.integration.kills import OUTAGE, SYMBOLS, assert_not_asked_again, assert_right, assert_sound, covered
from tests.integration.world import World, market, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from db.series import SeriesRow
    from fetcher.app import App
    from fetcher.model import Series
    from fetcher.page import Page
    from fetcher.steps import Task
    from tests.databases import PostgreSQLServer
    from tests.postgresql import Server

pytestmark = [pytest.mark.usefixtures("database"), ON_POSTGRESQL]

START = parse_utc("2024-02-01")
ASKED = Window(START, START + 60 * 1440 * MINUTE)
PATIENCE = 60.0


@contextmanager
def backfilling(folder: Path) -> Iterator[World]:
    """A world where a backfill takes a few seconds."""
    with open_world(folder, "--latency", "20ms", "--outage", OUTAGE) as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2024-02-01"), workers=2)
        yield world


def wait(seconds: float) -> None:
    """Let the run get on."""
    Event().wait(seconds)


def at_work(world: World) -> subprocess.Popen[bytes]:
    """A backfill in a process of its own that has begun to fetch."""
    child, clock = world.child(ASKED), Clock()
    while len(world.klines()) < 10:
        assert child.poll() is None
        assert clock.elapsed() < PATIENCE
        wait(0.01)
    return child


def cut_again_and_again(server: Server, name: str) -> None:
    """Every connection to the database, eight times."""
    for _ in range(8):
        server.cut(name)
        wait(0.1)


def restart(server: Server, _name: str) -> None:
    """In order, as an upgrade of the server does."""
    server.stop()
    wait(0.5)
    server.start()


def crash(server: Server, _name: str) -> None:
    """Without order; the server mends itself when it starts."""
    server.stop(signal.SIGQUIT)
    wait(0.5)
    server.start()


def stop_soon_after(server: Server, happened: Event) -> None:
    """For good."""
    happened.wait(PATIENCE)
    wait(0.3)
    server.stop()


@pytest.mark.parametrize("trouble", [cut_again_and_again, restart, crash])
def test_a_run_goes_on_when_the_server_is_back(
    tmp_path: Path, databases: PostgreSQLServer, trouble: Callable[[Server, str], None]
) -> None:
    """It ends well, with everything there once, bit for bit, though its transactions were cut in the middle."""
    with backfilling(tmp_path) as world:
        child = at_work(world)
        trouble(databases.server, databases.name_of(tmp_path))
        assert child.poll() is None, "it ended before the trouble did; make it longer"
        assert child.wait(PATIENCE) == 0
        assert_right(world, ASKED)
        assert world.query("SELECT outcome, exit_code FROM runs") == [("ok", 0)]


def test_a_run_ends_when_the_server_stays_away(
    tmp_path: Path, databases: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error that says so; what was committed is whole, and the next run fetches the rest and nothing twice."""
    monkeypatch.setattr("db.retrying.PAUSES", (0.0, 0.05, 0.1))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr("fetcher.app.own_name", lambda: own_name().replace(f" {os.getpid()} ", f" {ended.pid} "))
    server = databases.server
    with backfilling(tmp_path) as world:
        stored = Event()
        with world.app() as app:
            app.hooks.add(lambda fact: stored.set() if isinstance(fact, PageStored) else None)
            stopper = Thread(target=stop_soon_after, args=(server, stored))
            stopper.start()
            with pytest.raises(DatabaseLost, match=r"cannot be reached|broke the connection"):
                app.fetcher.backfill([(series, ASKED) for series in app.fetcher.sync()])
            stopper.join()
        server.start()
        monkeypatch.undo()  # the next run is another process
        assert_sound(world)
        before = covered(world)
        assert any(before.values())
        world.sandbox.clear_log()
        assert world.backfill(ASKED).exit_code == 0
        assert_not_asked_again(world, before)
        assert_right(world, ASKED)


def test_who_waited_in_vain_once_works_again_when_the_server_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program works many times: what one time met is told once."""
    with open_world(tmp_path) as world:
        world.configure(market("BTC/USDT", "1h", "2024-02-01"))
        with world.app() as app:
            asked = [(series, ASKED) for series in app.fetcher.sync()]

            def lost(_steps: object, _task: Task) -> Page:
                raise DatabaseLost("away")

            with monkeypatch.context() as patch:
                patch.setattr("fetcher.steps.JobSteps.ask", lost)
                with pytest.raises(DatabaseLost, match="away"):
                    app.fetcher.backfill(asked)
            app.stop.clear()
            assert app.fetcher.backfill(asked).exit_code == 0


@pytest.mark.parametrize(
    ("within", "look_up"),
    [
        ("db.series.read_series", lambda app, _: app.fetcher.sync()),
        ("db.series.read_series", lambda app, _: app.fetcher.work_queue(stay=False)),
        ("db.series.read_series", lambda app, series: app.fetcher._queue.series(series.id)),
        ("fetcher.healing.is_unserved", lambda app, series: app.fetcher._queue.healers(series)),
    ],
    ids=["all series", "what a worker works", "one series", "who heals"],
)
def test_what_is_cut_while_it_is_looked_up_is_looked_up_again(
    tmp_path: Path, databases: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, within: str,
    look_up: Callable[[App, Series], object],
) -> None:  # fmt: skip
    """No question to the database ends the run because its connection broke under it."""
    do, cuts = pkgutil.resolve_name(within), [1]

    def cut_once(connection: Connection, *words: object, **more: object) -> object:
        if cuts:
            cuts.pop()
            databases.server.cut(databases.name_of(tmp_path))
        return do(connection, *words, **more)

    with open_world(tmp_path) as world:
        world.configure(market("BTC/USDT", "1h", "2024-02-01"))
        with world.app() as app:
            [series] = app.fetcher.sync()
            app.fetcher._queue._series.clear()
            monkeypatch.setattr(within, cut_once)
            look_up(app, series)
            assert cuts == []


def test_a_worker_that_waited_in_vain_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done again is one look at the database, never a whole run."""
    monkeypatch.setattr("db.retrying.PAUSES", (0.0, 0.01, 0.01))
    tries = []

    def lost(_connection: Connection, *, enabled_only: bool = False) -> list[SeriesRow]:
        tries.append(enabled_only)
        raise DatabaseLost("away")

    with open_world(tmp_path) as world:
        world.configure(market("BTC/USDT", "1h", "2024-02-01"))
        with world.app() as app:
            monkeypatch.setattr("db.series.read_series", lost)
            with pytest.raises(DatabaseLost, match="away"):
                app.fetcher.work_queue(stay=False)
        assert len(tries) == 4
        assert world.query("SELECT kind, outcome FROM runs") == [("worker", "failed")]
