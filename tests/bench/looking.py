"""Looks at one database from inside one process, again and again, once everything is imported and connected.

`python -m tests.bench.looking CONFIG REPEATS` prints seconds of wall and of CPU, by what was done, as JSON. Imports and
start-up are left out, because they would hide what is measured here: whether it costs more where there are more rows.
"""

from __future__ import annotations

import io
import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from db.engine import reading
from fetcher import cli
from fetcher.app import build
from fetcher.audit import audit
from fetcher.clock import Clock
from fetcher.config import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.app import App

GROUPED = "SELECT series_id, min(open_time), max(open_time), count(*) FROM candles GROUP BY series_id"
_CHEAP = 4  # times as many repetitions of what takes milliseconds


def main() -> int:
    """Look, and tell."""
    config, repeats = sys.argv[1], int(sys.argv[2])
    app = build(load(Path(config)), Clock())
    try:
        all_series = app.fetcher.sync()
        app.planning.prepare(all_series)

        def plan() -> None:
            planned = app.planning.queue_missing(all_series)
            if planned.jobs:
                raise RuntimeError(f"{planned.jobs} jobs were planned where nothing was to be due")

        def examine() -> None:
            if findings := audit(app.engine, all_series).findings:
                raise RuntimeError(f"the audit was to find nothing, and found {findings[0]}")

        ways: dict[str, Callable[[], None]] = {
            "status": lambda: _command(config, "status"),
            "gaps": lambda: _command(config, "gaps"),
            "planning": plan,
        }
        told = {name: _timed(way, _CHEAP * repeats) for name, way in ways.items()}
        told |= _in_turns({"audit": examine, "grouped": lambda: _group(app)}, repeats)
    finally:
        app.close()
    print(json.dumps(told))
    return 0


def _command(config: str, word: str) -> None:
    with redirect_stdout(io.StringIO()) as printed:
        code = cli.main(["--config", config, word])
    if code or not printed.getvalue():
        raise RuntimeError(f"{word} ended with {code}")


def _group(app: App) -> None:
    with reading(app.engine) as connection:
        connection.exec_driver_sql(GROUPED).fetchall()


def _timed(act: Callable[[], None], repeats: int) -> dict[str, list[float]]:
    act()  # imports, connects, fills caches
    return _in_turns({"": act}, repeats)[""]


def _in_turns(acts: dict[str, Callable[[], None]], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU of each, in turns: what disturbs the machine disturbs all alike."""
    told: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in acts}
    for _ in range(repeats):
        for name, act in acts.items():
            wall, cpu = time.perf_counter(), time.process_time()
            act()
            told[name]["wall"].append(time.perf_counter() - wall)
            told[name]["cpu"].append(time.process_time() - cpu)
    return told


if __name__ == "__main__":
    sys.exit(main())
