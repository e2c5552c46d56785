"""The stage of a measurement: a folder with a configuration and a new database, and processes run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 32
NO_LIMIT = 1_000_000  # weight a minute: here the machine is measured, not the exchange's patience


@dataclass(frozen=True, slots=True)
class Ran:
    """One process from its start to its end: seconds on the wall, seconds of CPU (user and system), what it printed."""

    wall: float
    cpu: float
    printed: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder with `config.yaml`; the database beside it comes with the first process."""

    folder: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "market.db"

    def forget(self) -> None:
        """Begin with an empty database again."""
        for left in self.folder.glob("market.db*"):
            left.unlink()

    def backfill(self, start: str, end: str) -> tuple[dict[str, Any], Ran]:
        """Backfill `[start, end)` into an empty database: figures from inside (child.py), and of the whole process."""
        self.forget()
        ran = run("-m", "tests.bench.child", str(self.folder / "config.yaml"), start, end)
        return json.loads(ran.printed), ran

    def fetcher(self, *arguments: str) -> Ran:
        """Run the program as people do."""
        return run("-m", "fetcher", "--config", str(self.folder / "config.yaml"), *arguments)


@contextmanager
def stage(url: str, symbols: Sequence[str], timeframes: Sequence[str], start: str) -> Iterator[Stage]:
    """A stage whose configuration names these series from the source at `url`; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fetcher-bench-"))
    config = {
        "database_url": "sqlite:///market.db",
        "sources": {
            "binance": {"client": "binance", "base_urls": [url], "archive_url": None, "weight_per_minute": NO_LIMIT}
        },
        "markets": [{"symbols": [*symbols], "timeframes": [*timeframes], "start": start, "sources": ["binance"]}],
        "run": {"workers": WORKERS},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    try:
        yield Stage(folder)
    finally:
        shutil.rmtree(folder)


def run(*arguments: str) -> Ran:
    """Run Python with these arguments and measure it; RuntimeError with what it said when it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FETCHER_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without .pyc files a start costs twice as much
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        began = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=complaints,
            env=environment,
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        complaints.seek(0)
        if child.returncode != 0:
            said = (complaints.read() + out.read()).strip()
            raise RuntimeError(f"python {' '.join(arguments)} ended with {child.returncode}: {said}")
        return Ran(wall, usage.ru_utime + usage.ru_stime, out.read())
