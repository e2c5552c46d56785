"""Each kind of alert, end to end: the real program against the sandbox, a real webhook; it fires, and it clears."""

from __future__ import annotations

import logging
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from db import state
from db.engine import open_engine, writing
from fetcher.clock import parse_utc
from fetcher.observe.lines import LOG
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.databases import current
from tests.integration.alerting import AlertWorld
from tests.integration.webhooks import TOKEN, Webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases

DOWN = {"venues": {"binance": {"down": ["always"]}}}
UP: dict[str, Any] = {"venues": {"binance": {"down": []}}}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """One for all: each test has a database of its own."""
    with spawn_sandbox("--clock", "2026-06-01T12:00:00Z") as control:
        yield control


@pytest.fixture
def world(
    sandbox: SandboxControl, hooks: Webhooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], own_log: None,
) -> Iterator[AlertWorld]:  # fmt: skip
    """An empty folder; the sandbox is well again afterwards, and nothing ever said holds a secret."""
    del own_log
    made = AlertWorld(sandbox, hooks, tmp_path, monkeypatch, capfd)
    yield made
    sandbox.configure(faults={}, retry_after=1, **UP)
    assert not any(TOKEN in said for said in made.said)


def turn(line: str) -> str:
    """`PROBLEM` or `OVER after` of a line: how long it lasted depends on how busy this machine is."""
    return " ".join(line.partition(":")[0].split()[:2])


def test_a_source_that_is_down_and_the_series_behind_it(world: AlertWorld, database: Databases) -> None:
    """Both are told in one message when they have lasted; then both are over, in another."""
    del database
    world.configure()
    assert world.at("12:00") == 0
    world.sandbox.configure(**DOWN)
    assert world.at("12:05") == 1
    assert world.told() == []
    world.at("12:21")
    assert world.hooks.titles() == ["2 problems"]
    source, late = world.told()
    behind = r"PROBLEM: BTC/USDT 1m is 2\d min.* behind \(newest close: 2026-06-01T12:00Z\): .* reset the connection.*"
    assert re.fullmatch(behind, late)
    assert source.startswith("PROBLEM: binance rests until 2026-06-01T12:")
    assert source.endswith("(since 2026-06-01T12:05Z)")
    world.sandbox.configure(**UP)
    assert world.at("12:25") == 0
    assert world.told() == []
    assert world.at("12:37") == 0
    assert world.hooks.titles() == ["2 over"]
    over = sorted(re.sub("^OVER after .*?: ", "", line) for line in world.told())
    assert [words.partition(" is ")[0].partition(" rests ")[0] for words in over] == ["BTC/USDT 1m", "binance"]


def test_a_ban(world: AlertWorld) -> None:
    """418 is told at once, in quiet hours too; its end is not worth waking anybody."""
    world.configure("quiet_hours: '12:00-13:00'")
    assert world.at("11:59") == 0
    world.sandbox.configure(faults={"status:418": 1.0}, retry_after=600)
    assert world.at("12:05") == 1
    [line] = world.told()
    assert line.startswith("URGENT: binance has banned this address until 2026-06-01T12:15Z: binance answered 418")
    world.sandbox.configure(faults={})
    assert world.at("12:16") == 0
    assert world.at("12:30") == 0
    assert world.told() == []
    assert world.at("13:00") == 0
    assert [turn(line) for line in world.told()] == ["OVER after"]


def test_a_rest_after_429(world: AlertWorld) -> None:
    """One that is known to last longer than the patience is told at once."""
    world.configure()
    assert world.at("12:00") == 0
    world.sandbox.configure(faults={"status:429": 1.0}, retry_after=3600)
    world.at("12:05")
    assert world.told()[0].startswith("PROBLEM: binance rests until 2026-06-01T13:05Z: binance answered 429")


def test_a_refused_key_and_one_that_is_not_there(world: AlertWorld) -> None:
    """Both are told at once; with the right key both are over."""
    world.configure(timeframe="4h", source="coingecko", start="2026-05-28")
    world.monkeypatch.setenv("GECKO_KEY", "wrong-key")
    assert world.at("12:00") == 1
    assert world.told()[0].startswith("PROBLEM: coingecko refuses the key or password: coingecko answered 401")
    world.monkeypatch.delenv("GECKO_KEY")
    assert world.at("12:10") == 2
    host = socket.gethostname()
    missing = "the environment variable GECKO_KEY holds no key; set it where the program starts"
    assert f"PROBLEM: on {host}: coingecko: {missing}" in world.told()
    world.configure(timeframe="4h", source="coingecko", start="2026-05-28")
    world.at("13:11")
    world.told()
    world.at("13:22")
    assert sorted(re.sub(r"^OVER after .*?: ", "", line)[:30] for line in world.told()) == [
        "coingecko refuses the key or pass"[:30], f"on {host}: coingecko: the environment"[:30]
    ]  # fmt: skip


def test_a_key_file_that_is_not_there(world: AlertWorld) -> None:
    """A key may stand in a file as well as in a variable: who lacks it is told either way."""
    world.configure(timeframe="4h", source="coingecko", start="2026-05-28")
    path = world.folder / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("api_key_env: GECKO_KEY", "api_key_file: gone.key"))
    assert world.at("12:00") == 2
    told = f"PROBLEM: on {socket.gethostname()}: coingecko: the file {world.folder}/gone.key cannot be read"
    assert [line for line in world.told() if line.startswith(told)]


def test_a_burst_of_refused_rows(world: AlertWorld) -> None:
    """Counted over an hour; over when the hour is."""
    world.configure("quarantine_rows: 2")
    assert world.at("12:00") == 0
    world.sandbox.configure(faults={"bad_ohlc": 1.0})
    world.at("12:10")
    [burst] = [line for line in world.told() if "refused" in line]
    assert re.fullmatch(r"PROBLEM: \d+ rows refused within an hour \(.*\); see `quarantine`", burst)
    world.sandbox.configure(faults={})
    assert world.at("13:12") == 0
    assert world.at("13:23") == 0
    assert any(line.startswith("OVER after 1 h") and "rows refused" in line for line in world.told())


def test_runs_that_are_killed(world: AlertWorld) -> None:
    """The next run tells it before it begins, as it may be killed as well; one that gets through is the end of it."""
    world.configure()
    assert world.at("12:00") == 0
    engine = open_engine(current().url(world.folder))
    with writing(engine) as connection:  # as a run does that is killed before its end; the last may still be at work
        for minute in range(1, 5):
            state.run_start(connection, "run", "box", 1, parse_utc("2026-06-01T12:00:00Z") + minute * 60_000)
    engine.dispose()
    assert world.at("12:10") == 0
    assert world.told() == ["URGENT: the last 3 runs broke off or got killed; the log tells why"]
    assert world.at("12:22") == 0
    assert [turn(line) for line in world.told()] == ["OVER after"]


def test_a_run_that_breaks_off(world: AlertWorld) -> None:
    """What ends it is still the run's own sentence, and the alert is sent all the same."""
    world.configure("runs_failed: 1")

    def breaks(*_: object) -> None:
        raise RuntimeError("a bug")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fetcher.planning.Planning.prepare", breaks)
        assert world.at("12:00") == 1
    assert "unexpected RuntimeError: a bug" in world.said[-1]
    assert world.told() == ["URGENT: the last run broke off or got killed; the log tells why"]


def test_a_disk_nearly_full(world: AlertWorld) -> None:
    """Measured where the database lies."""
    world.configure("disk_free: 1000000TB")
    assert world.at("12:00") == 0
    [line] = world.told()
    what = rf"the disk of the database on {re.escape(socket.gethostname())} is nearly full: [\d,]+ MB are free"
    assert re.fullmatch(f"URGENT: {what}", line)
    world.configure()
    assert world.at("12:01") == 0
    assert world.at("12:13") == 0
    [line] = world.told()
    assert re.fullmatch(f"OVER after .*: {what}", line)


def test_what_was_given_up(world: AlertWorld) -> None:
    """Told with the job's last error, until somebody takes it away."""
    world.configure()
    assert world.at("12:00") == 0
    engine = open_engine(current().url(world.folder))
    with writing(engine) as connection:
        from sqlalchemy import text  # noqa: PLC0415 (tampering, here alone)

        gone = {"start": parse_utc("2026-05-31T03:00:00Z"), "end": parse_utc("2026-05-31T03:30:00Z")}
        gone["now"] = parse_utc("2026-06-01T12:00:00Z")
        connection.execute(
            text("INSERT INTO jobs (series_id, kind, start_ms, end_ms, priority, status, last_error, created_ms, "
                 "updated_ms) VALUES (1, 'gap', :start, :end, 1, 'failed', 'it never came', :now, :now)"), gone,
        )  # fmt: skip
    engine.dispose()
    world.configure(start="2026-05-31")
    assert world.at("12:01") == 1
    assert world.told() == ["PROBLEM: BTC/USDT 1m: 30 candles given up: it never came; see `jobs`, then `jobs retry`"]
    assert world.at("12:01", "jobs", "retry") == 0
    assert world.at("12:02") == 0
    assert world.at("12:14") == 0
    assert [turn(line) for line in world.told()] == ["OVER after"]


def test_a_webhook_that_refuses_fails_no_run(world: AlertWorld) -> None:
    """It is a line in the log, and the next run tries again."""
    world.configure("disk_free: 1000000TB")
    world.hooks.status = 500
    assert world.at("12:00") == 0
    assert "alerts could not be sent to FETCHER_ALERTS 1 (json)" in world.said[-1]
    world.hooks.status = 200
    assert world.at("12:02") == 0
    assert len(world.told()) == 1


def test_a_bug_in_here_fails_no_run(world: AlertWorld) -> None:
    """Whatever goes wrong while looking after alerts, the run's own result stands."""
    world.configure()

    def breaks(*_: object) -> None:
        raise RuntimeError("a bug")

    world.monkeypatch.setattr("fetcher.observe.alerts.desk.judge", breaks)
    assert world.at("12:00") == 0
    assert "alerts could not be looked after" in world.said[-1]
    assert logging.getLogger("fetcher") is LOG
