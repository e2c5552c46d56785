"""Runs that are to end before they know what is missing, while they close, or as another candle closes."""

from __future__ import annotations

import json
import os
import signal
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fetcher.app import App
from fetcher.cli import main
from fetcher.clock import Clock, parse_utc
from fetcher.sandbox.control import spawn_sandbox
from tests.integration.commands import CommandLine, until
from tests.integration.daemons import LEAVE_SECONDS, running
from tests.integration.world import market, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = "2026-06-01T00:00:30Z"
UNKNOWN = "It ended before it was known what is missing."


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A command line whose exchange answers nothing at all."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1m", "2026-05-31"), timeout="30s")
        sandbox.configure(hang_seconds=60.0)
        sandbox.script("hang", 1000, path="*")
        yield made


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [(("--daemon",), 0, []), (("--verbose",), 1, [f"{UNKNOWN}\n"]), (("backfill",), 1, [f"{UNKNOWN}\n"])],
    ids=["daemon", "run", "backfill"],
)
def test_a_source_that_does_not_even_tell_the_time_keeps_nobody(
    line: CommandLine, words: tuple[str, ...], code: int, out: list[str]
) -> None:
    """Told to leave while the first questions hang it ends in order, and claims nothing of what it could not ask."""
    with running(line, *words, speed="1") as child:
        until(lambda: len(line.sandbox.log()) >= 2)
        assert child.leaves() < LEAVE_SECONDS
    assert (child.child.returncode, child.out) == (code, out), child.said
    assert not child.says("leaving what does not come to an end")
    assert line.query("SELECT * FROM locks") == []


def test_machines_are_told_as_well_that_nothing_is_known(line: CommandLine) -> None:
    """As the outcome, and in the note of each series."""
    with running(line, "--json", speed="1") as child:
        until(lambda: len(line.sandbox.log()) >= 2)
        child.leaves()
    told = json.loads("".join(child.out))
    assert (told["outcome"], told["exit_code"], told["timed_out"]) == ("partial", 1, False)
    assert [(each["note"], each["complete_until"]) for each in told["series"]] == [(UNKNOWN, None)]


def test_a_run_whose_time_is_up_before_anything_is_known_says_so(line: CommandLine) -> None:
    """That is no success either."""
    line.config_path.write_text(line.config_path.read_text().replace("run: {", "run: {time_budget: 1s, "))
    said = line.command(FETCHER_CLOCK=f"{NOW} x1")
    assert (said.code, said.out) == (1, f"{UNKNOWN}\nThe time budget is used up; the next run goes on.\n"), said


def test_a_signal_while_the_program_closes_does_not_cut_it_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was done is told, and the exit code is that of what was done."""
    close = App.close

    def struck(app: App) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        Clock().wait(Event(), 0.2)
        close(app)

    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1h", "2026-05-31"))
        monkeypatch.setenv("FETCHER_CLOCK", NOW)
        monkeypatch.setattr(App, "close", struck)
        monkeypatch.setattr("fetcher.cli.signals._leave_after", lambda _seconds: None)  # it would end the tests
        assert main(["--config", str(world.config_path)]) == 0
        said = capsys.readouterr()
        assert "complete until" in said.out
        assert "interrupted" not in said.err
        assert "finishing what is in flight" in said.err


def test_a_candle_that_closes_during_a_run_is_fetched_by_it(tmp_path: Path) -> None:
    """The run sees it close in an answer's clock, and would end with one missing that nobody has asked for."""
    with open_world(tmp_path, "--clock", "2026-06-01T00:00:58.5Z x1", "--latency", "600ms") as world:
        world.configure(market("BTC/USDT", "1m", "2026-05-31T23:00:00Z"))
        result = world.run(clock=Clock(parse_utc("2026-06-01T00:00:58Z")))
        assert (result.exit_code, result.missing) == (0, 0)
        [(newest,)] = world.query("SELECT max(open_time) FROM candles")
        assert newest == parse_utc("2026-06-01T00:00:00Z")
