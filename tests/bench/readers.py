"""Readers of one database, one a thread, that read without a pause until standard input closes.

`python -m tests.bench.readers CONFIG THREADS` prints `ready`, then the ms of every reading by its kind and every error,
as JSON. They use plain SQL over the views, with the driver alone, and what `status` reads, with the program's own code.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from db import coverage, jobs
from db import series as series_rows
from db.engine import open_engine, reading
from db.errors import DatabaseProblem
from fetcher.clock import Clock
from fetcher.config import load
from fetcher.standing import configured_series, standing
from tests.bench.size import COINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from fetcher.config import Config

_KLINES = (
    "SELECT open_time, open, high, low, close, volume FROM klines WHERE symbol = {0} AND timeframe = {0} "
    "ORDER BY open_time_ms DESC LIMIT 500"
)
_LATEST = "SELECT symbol, timeframe, open_time, close FROM latest"
_TIMEFRAMES = ("1m", "5m", "1h")


class Reader(Thread):
    """One thread with a connection of its own; takes turns between a chart, the newest candles, and a status."""

    def __init__(self, config: Config, number: int, stop: Event) -> None:
        super().__init__(name=f"reader {number}")
        self._config = config
        self._number = number
        self._stop_reading = stop
        self.took: dict[str, list[float]] = {"klines": [], "latest": [], "status": []}
        self.errors: list[str] = []

    def run(self) -> None:
        """Read until told to stop."""
        engine = open_engine(self._config.database_url)
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        symbol, timeframe = COINS[self._number % 5], _TIMEFRAMES[self._number % 3]
        sign = "?" if isinstance(connection, sqlite3.Connection) else "%s"
        ways: dict[str, Callable[[], object]] = {
            "klines": lambda: _all(connection, _KLINES.format(sign), (symbol, timeframe)),
            "latest": lambda: _all(connection, _LATEST, ()),
            "status": lambda: _status(engine, self._config),
        }
        while not self._stop_reading.is_set():
            for name, way in ways.items():
                began = time.perf_counter()
                try:
                    way()
                except Exception as error:  # noqa: BLE001 - whatever goes wrong for a reader counts
                    self.errors.append(f"{name}: {error}")
                self.took[name].append((time.perf_counter() - began) * 1000)
        pooled.close()
        engine.dispose()


def main() -> int:
    """Read until standard input closes, then tell."""
    config, stop = load(Path(sys.argv[1])), Event()
    readers = [Reader(config, number, stop) for number in range(int(sys.argv[2]))]
    for reader in readers:
        reader.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for reader in readers:
        reader.join()
    took = {name: [ms for reader in readers for ms in reader.took[name]] for name in readers[0].took}
    print(json.dumps({"took": took, "errors": [error for reader in readers for error in reader.errors]}))
    return 0


def _all(connection: Any, statement: str, parameters: tuple[str, ...]) -> object:
    found = connection.execute(statement, parameters).fetchall()
    connection.rollback()  # PostgreSQL began a transaction; SQLite none
    if not found:
        raise DatabaseProblem(f"nothing was found by {statement}")
    return found


def _status(engine: Engine, config: Config) -> object:
    """What `status` reads and makes of it, without its table."""
    now = Clock().now_ms()
    with reading(engine) as connection:
        covered = coverage.read_all(connection)
        waiting: dict[int, list[jobs.JobRow]] = {}
        for job in jobs.open_windows(connection):
            waiting.setdefault(job.series_id, []).append(job)
        names = {number: name for name, number in series_rows.source_ids(connection).items()}
        return [
            standing(series, covered.get(series.id, ()), waiting.get(series.id, ()), names, now)
            for series in configured_series(connection, config)
        ]


if __name__ == "__main__":
    sys.exit(main())
