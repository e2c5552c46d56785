"""What a sandbox can be told: read into values, or refused in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import Window
from fetcher.sandbox import options as read
from fetcher.sandbox.__main__ import main, parser
from fetcher.sandbox.generated import History, Shifted
from fetcher.sandbox.options import SandboxOptions
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = parse_utc("2024-03-01T02:00")


def test_well_written_arguments_become_values() -> None:
    """Durations in seconds, times in ms UTC."""
    assert read.read_seconds("80ms") == 0.08
    assert read.read_seconds("1.5s") == read.read_seconds("1.5") == 1.5
    assert [read.read_seconds(text) for text in ("90m", "1.5h", "12d")] == [5_400, 5_400, 1_036_800]
    assert read.read_window("2024-03-01T02:00/2024-03-01T03:00Z") == Window(START, START + 3_600_000)
    assert read.read_shifted("2024-03-01T02:00/2024-03-01T03:00/14789") == Shifted(
        Window(START, START + 3_600_000), 14_789
    )
    assert read.read_dates(["NEWUSDT=2024-03-01T02:00"]) == {"NEWUSDT": START}
    assert read.read_chances(["reset=0.03", "status:500=0.1"]) == {"reset": 0.03, "status:500": 0.1}


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (read.read_seconds, "80 ms"),
        (read.read_seconds, "soon"),
        (read.read_window, "2024-03-01"),
        (read.read_window, "2024-03-02/2024-03-01"),
        (read.read_shifted, "2024-03-01/2024-03-02"),
        (read.read_shifted, "2024-03-01/2024-03-02/60000"),
        (lambda text: read.read_dates([text]), "NEWUSDT"),
        (lambda text: read.read_chances([text]), "reset"),
        (lambda text: read.read_chances([text]), "reset=often"),
        (read.read_clock, "yesterday"),
        (read.read_clock, "2026-06-01 fast"),
        (read.read_clock, "x60"),
    ],
)
def test_badly_written_arguments_are_quoted_back(reader: Callable[[str], object], text: str) -> None:
    """With how to write them."""
    with pytest.raises(ConfigError) as refused:
        reader(text)
    assert repr(text) in str(refused.value)


def test_a_clock_stands_still_or_runs_from_a_time() -> None:
    """Without a speed it stands; with one it runs."""
    still = read.read_clock("2026-04-30T04:00:30Z")
    assert still.now_ms() == still.now_ms() == parse_utc("2026-04-30T04:00:30")
    running = read.read_clock("2026-04-30T04:00:30Z x3600")
    assert 0 <= running.now_ms() - parse_utc("2026-04-30T04:00:30") < 3_600_000
    assert running.real_seconds(3600) == 1


def test_recordings_cannot_be_given_other_outages(tmp_path: Path) -> None:
    """They keep their own."""
    with pytest.raises(ConfigError, match="--outage"):
        SandboxOptions(data=tmp_path, history=History(outages=(Window(0, 1),)))


@pytest.mark.parametrize(
    "arguments", [["--clock", "never"], ["--fault", "nope=0.1"], ["--data", "/nowhere/at/all"], ["--outage", "x"]]
)
def test_a_bad_argument_ends_with_2_and_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is served."""
    assert main(["--port", "0", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.strip().splitlines()) == 1


def test_the_defaults_of_the_command_are_those_of_the_options() -> None:
    """Only the port differs: a person wants the same one every time, a test a free one."""
    told, options = parser().parse_args([]), SandboxOptions()
    for name in ("host", "data", "clock", "fault_seed", "weight_limit", "ban_after", "ban_seconds", "kept_pages"):
        assert getattr(told, name) == getattr(options, name), name
    assert read.read_seconds(told.hang) == options.severity.hang_seconds
    assert told.retry_after == options.severity.retry_after
    assert told.kept_archive == options.archive.kept_mb


def test_settings_change_at_run_time_and_bad_ones_are_named() -> None:
    """What config() says can be given back to configure()."""
    sandbox = Sandbox(SandboxOptions(clock="2026-04-30T04:00:30Z"))
    sandbox.configure(
        {"clock": "2024-01-01 x1", "outages": ["2023-01-01/2023-01-02"], "faults": {"reset": 0.5}, "weight_limit": 9}
    )
    told = sandbox.config()
    assert (told["clock"], told["faults"], told["weight_limit"]) == ("2024-01-01 x1", {"reset": 0.5}, 9)
    assert told["outages"] == ["2023-01-01T00:00:00Z/2023-01-02T00:00:00Z"]
    sandbox.configure({name: told[name] for name in told if name not in {"now_ms", "scripts"}})
    assert {**sandbox.config(), "now_ms": 0} == {**told, "now_ms": 0}
    with pytest.raises(ConfigError, match="no setting 'speed'"):
        sandbox.configure({"speed": 3})
    with pytest.raises(ConfigError, match="latency_seconds"):
        sandbox.configure({"latency_seconds": "fast"})
