"""A disk that is full: one sentence, exit code 1, a sound database, and the next run with room goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import parse_utc
from fetcher.model import Timeframe
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import ROOT, World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

NOW = "2026-06-01T00:00:30Z"
ASKED = window("2026-03-01", "2026-06-01")
DAYS = "--from 2026-03-01 --to 2026-06-01"
SMALL = """
mount -t tmpfs -o size=4m tmpfs "$DISK" || exit 99
$PROGRAM -q backfill {days}; echo "first=$?"
$PROGRAM db check; echo "check=$?"
$PROGRAM -q status > /dev/null; echo "status=$?"
mount -o remount,size=400m "$DISK"
$PROGRAM -q backfill {days}; echo "second=$?"
$PROGRAM db backup "$OUT"; echo "backup=$?"
"""
LIMITED = """
FULL_AFTER_PAGES=900 $LIMITED -q backfill {days}; echo "first=$?"
$PROGRAM db check; echo "check=$?"
$PROGRAM -q status > /dev/null; echo "status=$?"
$PROGRAM -q backfill {days}; echo "second=$?"
$PROGRAM db backup "$OUT"; echo "backup=$?"
"""


def may_mount() -> bool:
    """Whether a disk of our own can be made here: not in every container."""
    tool = shutil.which("unshare")
    command = [tool or "", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return tool is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0


def run(world: World, disk: Path, out: Path, *, small: bool) -> subprocess.CompletedProcess[str]:
    """Backfill onto a disk of a few MB, look at what is there, make room, and go on."""
    python = f"{sys.executable} -m"
    program = f"--config {world.config_path}"
    environment = {
        "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "FETCHER_CLOCK": NOW, "DISK": str(disk), "OUT": str(out),
        "PROGRAM": f"{python} fetcher {program}", "LIMITED": f"{python} tests.integration.run_limited {program}",
        "FETCHER_DATABASE_URL": f"sqlite:///{disk}/market.db",
    }  # fmt: skip
    command = ["unshare", "-rm", "sh", "-c", SMALL] if small else ["sh", "-c", LIMITED]
    command[-1] = command[-1].format(days=DAYS)
    return subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )  # fmt: skip


@pytest.mark.parametrize(
    "small", [True, False] if may_mount() else [False], ids=lambda small: "disk" if small else "file"
)
def test_a_full_disk_loses_nothing(tmp_path: Path, small: bool) -> None:
    """What was committed stays and is sound; with room the rest comes, equal to the oracle.

    A disk of a few MB where one can be made, and a file that may not grow: SQLite meets the end in other places.
    """
    disk, out = tmp_path / "disk", tmp_path / "out.db"
    disk.mkdir()
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2026-03-01"), workers=4)
        ran = run(world, disk, out, small=small)
    codes = dict(line.split("=") for line in ran.stdout.splitlines() if line.count("=") == 1)
    assert codes == {"first": "1", "check": "0", "status": "0", "second": "0", "backup": "0"}, ran
    said = [line for line in ran.stderr.splitlines() if "full" in line]
    assert len(said) == 1
    assert "cannot grow: the disk is full; make room and run again, nothing committed is lost" in said[0]
    assert "Traceback" not in ran.stderr
    (tmp_path / "market.db").write_bytes(out.read_bytes())
    true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1m"), ASKED, parse_utc(NOW))
    assert same_candles(world.rows("BTC/USDT", "1m"), true)
