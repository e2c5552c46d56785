"""The stage of a measurement: a folder with a configuration, a database, and processes run there."""

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

from tests.bench.size import NO_LIMIT, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.places import Place

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    """One process from its start to its end: seconds on the wall, seconds of CPU (user and system), what it printed."""

    wall: float
    cpu: float
    printed: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A configuration and a place for candles; the tables come with the first process."""

    config: Path
    place: Place

    def backfill(self, start: str, end: str) -> tuple[dict[str, Any], Ran]:
        """Backfill `[start, end)` into an empty database: figures from inside (child.py), and of the whole process."""
        self.place.empty()
        self.place.settle()
        ran = run("-m", "tests.bench.child", str(self.config), start, end)
        return json.loads(ran.printed), ran

    def whole_backfill(self, start: str, end: str) -> Ran:
        """The same by the real command."""
        self.place.empty()
        self.place.settle()
        return self.fetcher("-q", "backfill", "--from", start, "--to", end)

    def bare(self, url: str, zips: Sequence[str]) -> Ran:
        """Fetch and insert these files into an empty database, without anything else: see bare.py."""
        self.place.empty()
        self.place.settle()
        return run("-m", "tests.bench.bare", url, self.place.url, ",".join(zips))

    def fetcher(self, *arguments: str) -> Ran:
        """Run the program as people do."""
        return run("-m", "fetcher", "--config", str(self.config), *arguments)


@contextmanager
def stage(
    url: str, place: Place, markets: Sequence[Mapping[str, object]], *, archive: bool = False, weight: int = NO_LIMIT
) -> Iterator[Stage]:
    """A stage whose configuration names these markets from the source at `url`; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fetcher-bench-"))
    source = {
        "client": "binance",
        "base_urls": [url],
        "archive_url": url if archive else None,
        "weight_per_minute": weight,
    }
    config = {
        "database_url": place.url,
        "sources": {"binance": source},
        "markets": [*markets],
        "run": {"workers": WORKERS},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    try:
        yield Stage(folder / "config.yaml", place)
    finally:
        shutil.rmtree(folder)


def market(symbols: Sequence[str], timeframes: Sequence[str], start: str) -> dict[str, object]:
    """One entry of `markets`."""
    return {"symbols": [*symbols], "timeframes": [*timeframes], "start": start, "sources": ["binance"]}


def command(*arguments: str) -> dict[str, Any]:
    """How Python is started with these arguments, by the names that `subprocess` gives them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FETCHER_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without .pyc files a start costs twice as much
    return {"args": [sys.executable, *arguments], "cwd": ROOT, "env": environment}


def run(*arguments: str) -> Ran:
    """Run Python with these arguments and measure it; RuntimeError with what it said when it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        began = time.perf_counter()
        child = subprocess.Popen(**command(*arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=complaints)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        complaints.seek(0)
        if child.returncode != 0:
            said = (complaints.read() + out.read()).strip()
            raise RuntimeError(f"python {' '.join(arguments)} ended with {child.returncode}: {said}")
        return Ran(wall, usage.ru_utime + usage.ru_stime, out.read())
