"""Looks at some databases from inside one process, again and again, once everything is imported and connected.

`python -m tests.bench.looking REPEATS CONFIG…` prints seconds of wall and of CPU for each database, by what was done,
as JSON. Imports and start-up are left out, because they would hide what is measured here: whether it costs more where
there are more rows.
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
    from collections.abc import Callable, Sequence

    from fetcher.app import App

    Acts = dict[str, Callable[[], None]]

GROUPED = "SELECT series_id, min(open_time), max(open_time), count(*) FROM candles GROUP BY series_id"
_CHEAP = 4  # times as many repetitions of what takes milliseconds


def main() -> int:
    """Look, and tell."""
    repeats, configs = int(sys.argv[1]), sys.argv[2:]
    apps = [build(load(Path(config)), Clock()) for config in configs]
    try:
        looks = [_looks(app, config) for app, config in zip(apps, configs, strict=True)]
        audits = [{"audit": _audit(app), "grouped": _group(app)} for app in apps]
        told = [
            cheap | dear
            for cheap, dear in zip(_in_turns(looks, _CHEAP * repeats), _in_turns(audits, repeats), strict=True)
        ]
    finally:
        for app in apps:
            app.close()
    print(json.dumps(told))
    return 0


def _looks(app: App, config: str) -> Acts:
    all_series = app.fetcher.sync()
    app.planning.prepare(all_series)

    def plan() -> None:
        planned = app.planning.queue_missing(all_series)
        if planned.jobs:
            raise RuntimeError(f"{planned.jobs} jobs were planned where nothing was to be due")

    return {
        "status": lambda: _command(config, "status"),
        "gaps": lambda: _command(config, "gaps"),
        "planning": plan,
    }


def _audit(app: App) -> Callable[[], None]:
    all_series = app.fetcher.sync()

    def examine() -> None:
        if findings := audit(app.engine, all_series).findings:
            raise RuntimeError(f"the audit was to find nothing, and found {findings[0]}")

    return examine


def _command(config: str, word: str) -> None:
    with redirect_stdout(io.StringIO()) as printed:
        code = cli.main(["--config", config, word])
    if code or not printed.getvalue():
        raise RuntimeError(f"{word} ended with {code}")


def _group(app: App) -> Callable[[], None]:
    def read() -> None:
        with reading(app.engine) as connection:
            connection.exec_driver_sql(GROUPED).fetchall()

    return read


def _in_turns(places: Sequence[Acts], repeats: int) -> list[dict[str, dict[str, list[float]]]]:
    """Wall and CPU of each act at each place, in turns: what disturbs the machine disturbs all alike.

    One act after the other: the first place after another act would pay for caches that this has emptied.
    """
    told: list[dict[str, dict[str, list[float]]]] = [
        {name: {"wall": [], "cpu": []} for name in acts} for acts in places
    ]
    for name in places[0]:
        for number in range(1 + repeats):
            pairs = list(zip(places, told, strict=True))
            for acts, heard in pairs if number % 2 else reversed(pairs):  # nobody is always the first
                wall, cpu = time.perf_counter(), time.process_time()
                acts[name]()
                if number:  # the first imports, connects and fills caches
                    heard[name]["wall"].append(time.perf_counter() - wall)
                    heard[name]["cpu"].append(time.process_time() - cpu)
    return told


if __name__ == "__main__":
    sys.exit(main())
