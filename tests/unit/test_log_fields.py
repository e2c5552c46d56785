"""What a line of the log can hold: every key is documented, every event leaves a line with keys of its own."""

from __future__ import annotations

import json
import logging
import re
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, parse_utc
from fetcher.events import (
    STEP,
    Attempt,
    CrossChecked,
    JobEnded,
    PageStored,
    Planned,
    Pruned,
    Restated,
    RunBegan,
    RunEnded,
    SeriesLeft,
)
from fetcher.masking import hide
from fetcher.observe.factlog import FactLog
from fetcher.observe.lines import EVENTS, FIELDS, LOG, words_of
from fetcher.observe.logs import set_up
from tests.unit.test_observe_logs import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.events import Fact

ROOT = Path(__file__).resolve().parents[2]
NOON = Clock(parse_utc("2026-06-01T12:00:00Z"), 0.0)
HOUR = "BTC/USDT 1h"
LEFT = SeriesLeft(HOUR, 2, 1, 0, "timed out")
FACTS: list[Fact] = [
    RunBegan("3f2a9c", "run"),
    Attempt("binance", "binance http://a", "time", "ok", "", 0, 0.012),
    Attempt("binance", "binance http://a", "time", "BadPayload", "HTML", 0, 0.0),
    Planned(2, 300),
    PageStored(HOUR, "binance", 3, 2, ((0, 3_600_000),)),
    Restated(HOUR, "binance", 2, 0, 3_600_000),
    JobEnded(1, "gap", HOUR, 0, 1, "queued", "timed out"),
    JobEnded(1, "gap", HOUR, 0, 1, "done", None),
    CrossChecked(HOUR, "okx", (), ""),
    CrossChecked(HOUR, "okx", ("not_compared",), "it is away"),
    CrossChecked(HOUR, "okx", ("price",), "far apart"),
    Pruned((("jobs", 3), ("runs", 4))),
    RunEnded("run", "partial", 1, 2, 1.5, (LEFT, SeriesLeft("ETH/USDT 1h", 0, 0, 0, None))),
]


class Told:
    """What was logged so far."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._text = ""

    def objects(self) -> list[dict[str, object]]:
        """The lines as machines read them."""
        self._text += self._captured.readouterr().err
        return [json.loads(line) for line in self._text.splitlines()]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """What is logged as JSON while the test lasts; afterwards the log is as it was."""
    root = logging.getLogger()
    before = (LOG.handlers[:], LOG.level, LOG.propagate, root.handlers[:], threading.excepthook)
    set_up(config(logging={"format": "json"}), NOON, 1)
    yield Told(capsys)
    LOG.handlers[:], LOG.propagate, root.handlers[:], threading.excepthook = before[0], before[2], before[3], before[4]
    LOG.setLevel(before[1])
    logging.captureWarnings(capture=False)


def test_the_documentation_names_every_key_and_event() -> None:
    """docs/logs.md has a row for each, with the same meaning, and for nothing else."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", (ROOT / "docs/logs.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == {**FIELDS, **EVENTS}
    assert len(rows) == len(FIELDS) + len(EVENTS)


def test_every_fact_leaves_its_keys(told: Told) -> None:
    """Each event comes with documented keys, and the mark of its run."""
    listen = FactLog()
    for fact in FACTS:
        listen(fact)
    lines = told.objects()
    assert {key for line in lines for key in line} <= FIELDS.keys()
    assert {line["event"] for line in lines} == EVENTS.keys() - {"exposed"}
    assert {line["run"] for line in lines} == {"3f2a9c"}


def test_a_series_has_one_line_a_run_where_there_is_something_to_tell(told: Told) -> None:
    """What it got and what it lacks in keys of their own; a series with neither is silent, and the next run is new."""
    listen = FactLog()
    for fact in FACTS:
        listen(fact)
    [line] = [line for line in told.objects() if line["event"] == "series"]
    assert (
        line["message"]
        == f"{HOUR}: 3 candles from binance, 2 refused, 1 proven absent, 2 missing, 1 job waiting: timed out"
    )
    wanted = {"rows": 3, "refused": 2, "absent": 1, "restated": 2, "missing": 2, "waiting": 1, "failed": 0}
    assert wanted.items() <= line.items()
    listen(RunEnded("run", "ok", 0, 0, 1.0, (SeriesLeft(HOUR, 0, 0, 0, None),)))
    assert [each["event"] for each in told.objects()].count("series") == 1
    assert (told.objects()[-1]["event"], told.objects()[-1]["level"]) == ("run_ended", "debug")


def test_why_jobs_wait_is_told_once_an_outage(told: Told) -> None:
    """By a daemon, whatever the time until which they do; anew after a step that left nothing; all that is given up."""
    listen = FactLog()
    lacking, whole = RunEnded(STEP, "partial", 1, 2, 1.5, (LEFT,)), RunEnded(STEP, "ok", 0, 0, 1.0, ())
    for minute, ended in enumerate((lacking, lacking, whole, lacking)):
        listen(JobEnded(1, "tail", HOUR, 0, 1, "queued", f"binance rests until 2026-06-01T12:{minute:02}:00Z: 429"))
        listen(JobEnded(2, "gap", HOUR, 0, 1, "failed", "given up"))
        listen(ended)
    jobs = [(line["status"], line["level"]) for line in told.objects() if line["event"] == "job"]
    assert [level for status, level in jobs if status == "queued"] == ["info", "debug", "debug", "info"]
    assert [level for status, level in jobs if status == "failed"] == ["warning"] * 4


def test_how_a_step_went_the_daemon_tells(told: Told) -> None:
    """Here only of one that broke off: two lines for a step were one too many."""
    listen = FactLog()
    listen(RunEnded(STEP, "partial", 1, 2, 1.5, (LEFT,)))
    assert [line["event"] for line in told.objects()] == ["series"]
    listen(RunEnded(STEP, "failed", 1, None, 1.5, ()))
    assert told.objects()[-1]["message"] == "daemon ended: failed in 1.5 s"


def test_libraries_speak_as_we_do(told: Told) -> None:
    """One line with the library's name, without secrets, whatever it is that they log; Python's warnings too."""
    hide(["CG-key-of-ours"])
    logging.getLogger("ccxt.base.exchange").warning("sent %s\nand more", "CG-key-of-ours")
    logging.getLogger("alembic.runtime").info("not told")
    logging.getLogger("urllib3.connectionpool").warning("told by our own account of the request")
    logging.getLogger("apprise").error("wrong")
    try:
        raise OSError("http://me:CG-key-of-ours@host")
    except OSError:
        logging.getLogger("yfinance.x").exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old way", FutureWarning, stacklevel=1)
    lines = [(line["logger"], line["message"]) for line in told.objects()]
    assert lines[0] == ("ccxt.base.exchange", "sent ***\\nand more")
    assert lines[1][0] == "apprise"
    assert lines[2] == ("yfinance.x", "failed: OSError: http://me:***@host")
    assert lines[3][0] == "py.warnings"
    assert "old way" in str(lines[3][1])
    assert len(lines) == 4


def test_a_library_that_formats_wrongly_loses_nothing() -> None:
    """What it wanted to say is told as it stands."""
    wrong = logging.LogRecord("apprise", logging.ERROR, "", 1, "sent %s", ("two", "words"), None)
    assert words_of(wrong) == "sent %s ('two', 'words')"


def test_a_thread_that_dies_leaves_a_line(told: Told) -> None:
    """Not a traceback in the middle of the log."""
    hide(["CG-key-of-ours"])

    def die() -> None:
        raise RuntimeError("with CG-key-of-ours\n")

    thread = threading.Thread(target=die, name="fetch_0")
    thread.start()
    thread.join()
    [line] = told.objects()
    assert (line["level"], line["message"]) == (
        "error", "thread fetch_0 died of an unexpected RuntimeError: with ***\\n"
    )  # fmt: skip
