"""A run that hangs is ended, with where it stood; one that is well never notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, threading
from fetcher.cli.hung import ending_what_hangs
with ending_what_hangs(float(sys.argv[1])):
    if sys.argv[2] == "hangs":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
print("well")
"""


def ran(seconds: str, how: str) -> subprocess.CompletedProcess[str]:
    """A process that hangs in a lock, or does not."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, seconds, how], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_what_hangs_is_ended_and_tells_where() -> None:
    """Exit code 1, the traceback of each thread on stderr; the next run takes over the lock of a dead one."""
    ended = ran("0.3", "hangs")
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "<module>" in ended.stderr
    assert "well" not in ended.stdout


def test_what_is_well_goes_on() -> None:
    """Nothing is said, and nothing ends it later."""
    ended = ran("60", "is well")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "well\n", "")
