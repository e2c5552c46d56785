"""Commands that ask the sources, or tell of who else is at work, as users meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine, writing
from db.state import lock_acquire, lock_release
from fetcher.audit_archive import REPUBLISHED
from fetcher.clock import parse_utc
from fetcher.owners import own_name
from fetcher.sandbox.control import spawn_sandbox
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import ROOT, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "BTCUSDT-1m-2026-04.zip"
MONTH = 30 * 1440


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A folder with the minutes of an April that came from one file of the archive."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1m", "2026-04-01"), archive=f"'{sandbox.url}'")
        assert made.command("backfill", "--to", "2026-05-01").code == 0
        yield made


def test_an_audit_of_the_archive_tells_and_mends(line: CommandLine) -> None:
    """A file that is another now is named, taken back by --repair, and read anew by the next run."""
    said = line.command("audit", "--archive")
    assert (said.code, said.out.splitlines()[-1]) == (0, "Files of the archive that were read: 1; another now: 0.")
    line.sandbox.restate("BTCUSDT", "1m", parse_utc("2026-04-10T10:00:00Z"), "77.5")
    other = line.command("audit", "--archive")
    assert (other.code, other.out.splitlines()[-1]) == (1, "Files of the archive that were read: 1; another now: 1.")
    assert FILE in other.out
    told = line.command("--json", "audit", "--archive", "--repair")
    assert told.code == 0, told
    answer = json.loads(told.out)
    assert (answer["files"], answer["repaired"]) == (1, 1)
    assert [finding["kind"] for finding in answer["findings"]] == [REPUBLISHED]
    assert line.answer("status")["series"][0]["missing"] >= MONTH
    assert line.command("backfill", "--to", "2026-05-01").code == 0
    assert line.command("audit", "--archive").code == 0


def test_a_worker_counts_for_machines(line: CommandLine) -> None:
    """What it did of the queue, as one object; an empty queue is no failure."""
    nothing = {"done": 0, "put_back": 0, "given_up": 0, "waiting": 0, "exit_code": 0, "sources": []}
    assert line.answer("worker") == nothing
    assert line.command("worker").out == "Jobs done: 0; put back: 0; given up: 0; waiting now: 0.\n"


def test_doctor_tells_who_is_at_work(line: CommandLine) -> None:
    """Nobody, one that lives, and one that died, whose place the next run takes."""
    child = subprocess.run(
        [sys.executable, "-c", "from fetcher.owners import own_name; print(own_name())"],
        env=line.environment(), cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    died = child.stdout.strip()
    assert "run lock: no run is under way" in line.command("doctor").out
    engine = open_engine(line.database_url)
    try:
        for owner, words in (
            (own_name(), f"a run is under way ({own_name()}), until "),
            (died, f"held by a run that died ({died}); the next run takes it over"),
        ):
            with writing(engine) as connection:
                assert lock_acquire(connection, "run", owner, 0, 4_000_000_000_000)
            assert words in line.command("doctor").out
            with writing(engine) as connection:
                lock_release(connection, "run", owner)
    finally:
        engine.dispose()
