"""A small world for end-to-end tests: a sandbox exchange, a configuration in a folder, and the program against them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

import numpy as np
from sqlalchemy import text

from db import candles, coverage
from db.engine import open_engine, reading, writing
from db.series import read_series
from fetcher.app import App, build
from fetcher.clock import Clock, parse_utc
from fetcher.config import load
from fetcher.events import Attempt
from fetcher.jobqueue import as_series
from fetcher.model import ANOMALY, CANDLE, VALUE_COLUMNS, Timeframe, Window
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.databases import current

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from fetcher.model import Rows, Series, Slots
    from fetcher.results import RunResult

ROOT = Path(__file__).resolve().parents[2]


class Asked(NamedTuple):
    """One klines request of the sandbox's log; bounds in ms UTC as `[start, end)`, None where open."""

    symbol: str
    timeframe: str
    start: int | None
    end: int | None
    limit: int
    status: int
    at_ms: int
    real_ms: int


def window(start: str, end: str) -> Window:
    """A window by its UTC dates."""
    return Window(parse_utc(start), parse_utc(end))


def market(symbols: str, timeframes: str, start: str) -> str:
    """One entry of `markets`; several symbols or timeframes are separated by blanks."""
    listed = (", ".join(words.split()) for words in (symbols, timeframes))
    return "- {{symbols: [{}], timeframes: [{}], start: {}, sources: [binance]}}".format(*listed, start)


class World:
    """A sandbox and a folder with configuration and database; every method is one use of the program or one look."""

    def __init__(self, sandbox: SandboxControl, folder: Path) -> None:
        self.sandbox = sandbox
        self.config_path = folder / "config.yaml"
        self.folder = folder
        self.databases = current()
        self.facts: list[object] = []

    def configure(
        self, *markets: str, workers: int = 8, timeout: str = "10s", weight: int = 6000, url: str = "",
        archive: str = "null",
    ) -> None:  # fmt: skip
        """Write the configuration; without an archive unless its address is given."""
        self.config_path.write_text(
            f"database_url: {self.database_url}\n"
            "sources:\n"
            f"  binance: {{client: binance, base_urls: ['{url or self.sandbox.url}'], timeout: {timeout}, "
            f"weight_per_minute: {weight}, archive_url: {archive}}}\n"
            "markets:\n" + "".join(f"  {entry}\n" for entry in markets) + f"run: {{workers: {workers}}}\n",
            encoding="utf-8",
        )

    @property
    def database_url(self) -> str:
        """Where its candles are."""
        return self.databases.url(self.folder)

    @contextmanager
    def app(self, clock: Clock | None = None) -> Iterator[App]:
        """The program in this process, as one process of cron would have it."""
        app = build(load(self.config_path, {}), clock or Clock())
        app.hooks.add(self.facts.append)
        try:
            yield app
        finally:
            app.close()

    def run(self, seconds: float = 50.0, clock: Clock | None = None) -> RunResult:
        """One bare run."""
        with self.app(clock) as app:
            return app.fetcher.run(seconds)

    def backfill(self, asked: Window, clock: Clock | None = None) -> RunResult:
        """Backfill every configured series."""
        with self.app(clock) as app:
            return app.fetcher.backfill([(series, asked) for series in app.fetcher.sync()])

    def child(self, asked: Window, clock: str = "") -> subprocess.Popen[bytes]:
        """A process of its own that backfills every configured series; its exit code is the run's."""
        command = [
            sys.executable, "-m", "tests.integration.run_backfill",
            str(self.config_path), str(asked.start), str(asked.end),
        ]  # fmt: skip
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "FETCHER_CLOCK": clock}
        return subprocess.Popen(command, cwd=ROOT, env=environment)

    def series(self, symbol: str, timeframe: str) -> Series:
        """A series as the database knows it."""
        with self._reading() as connection:
            rows = read_series(connection)
        return next(as_series(row) for row in rows if (row.symbol, row.timeframe) == (symbol, timeframe))

    def rows(self, symbol: str, timeframe: str) -> Rows:
        """Everything stored of a series: shape (n,), the fields of CANDLE, packed."""
        with self._reading() as connection:
            return as_candles(candles.read(connection, self.series(symbol, timeframe).id, 0, 2**62))

    def coverage(self, symbol: str, timeframe: str) -> list[coverage.Interval]:
        """What is known of a series."""
        with self._reading() as connection:
            return coverage.read_all(connection).get(self.series(symbol, timeframe).id, [])

    def absent(self, symbol: str, timeframe: str) -> list[Window]:
        """What is proven absent of a series."""
        return [Window(i.start_ms, i.end_ms) for i in self.coverage(symbol, timeframe) if i.state == coverage.ABSENT]

    def query(self, sql: str, **values: int | str) -> list[tuple[Any, ...]]:
        """Rows of a query, for what no function reads."""
        with self._reading() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def change(self, sql: str, **values: int | str) -> int:
        """Tamper with the database by hand; how many rows it touched."""
        engine = open_engine(self.database_url)
        try:
            with writing(engine) as connection:
                return connection.execute(text(sql), values).rowcount
        finally:
            engine.dispose()

    def jobs(self) -> dict[str, int]:
        """How many jobs there are by status."""
        return dict(self.query("SELECT status, count(*) FROM jobs GROUP BY status"))

    def klines(self) -> list[Asked]:
        """Every klines request since the log was cleared."""
        return [as_asked(entry) for entry in self.sandbox.log(KLINES)]

    def klines_log(self) -> list[dict[str, Any]]:
        """The same as the sandbox logged them."""
        return self.sandbox.log(KLINES)

    def attempts(self) -> list[Attempt]:
        """Every request of the runs in this process, as the program told it."""
        return [fact for fact in self.facts if isinstance(fact, Attempt)]

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        engine = open_engine(self.database_url)
        try:
            with reading(engine) as connection:
                yield connection
        finally:
            engine.dispose()


@contextmanager
def open_world(folder: Path, *arguments: str) -> Iterator[World]:
    """A world whose sandbox was started with these arguments."""
    with spawn_sandbox(*arguments) as sandbox:
        yield World(sandbox, folder)


def as_asked(entry: Mapping[str, Any]) -> Asked:
    """One line of the sandbox's log."""
    query = {name: values[0] for name, values in parse_qs(entry["query"]).items()}
    start, end = query.get("startTime"), query.get("endTime")
    return Asked(
        query["symbol"], query["interval"], None if start is None else int(start),
        None if end is None else int(end) + 1, int(query.get("limit", 500)), entry["status"], entry["at_ms"],
        entry["real_ms"],
    )  # fmt: skip


def as_candles(rows: Rows) -> Rows:
    """The same rows without who served them: packed dtype CANDLE."""
    packed = np.empty(len(rows), dtype=CANDLE)
    for name in CANDLE.names or ():
        packed[name] = rows[name]
    return packed


def same_candles(stored: Rows, true: Rows, *, flags: bool = True) -> bool:
    """Whether two series hold the same candles bit for bit; says where not. The flag anomaly is our own judgement."""
    assert stored["open_time"].tolist() == true["open_time"].tolist(), _first_difference(stored, true)
    for name in VALUE_COLUMNS:
        wrong = np.flatnonzero(_bits(stored[name]) != _bits(true[name]))
        assert len(wrong) == 0, f"{name} differs in {len(wrong)} rows, first {stored[wrong[0]]} for {true[wrong[0]]}"
    if flags:
        wrong = np.flatnonzero((stored["flags"] | ANOMALY) != (true["flags"] | ANOMALY))
        assert len(wrong) == 0, f"flags differ in {len(wrong)} rows, first {stored[wrong[0]]} for {true[wrong[0]]}"
    return True


def _bits(column: Rows) -> Slots:
    return np.ascontiguousarray(column).view(np.int64)


def _first_difference(stored: Rows, true: Rows) -> str:
    lacking = np.setdiff1d(true["open_time"], stored["open_time"])
    excess = np.setdiff1d(stored["open_time"], true["open_time"])
    return f"{len(lacking)} candles lack (from {lacking[:1]}), {len(excess)} are too many (from {excess[:1]})"


def slots_of(windows: Sequence[Window], timeframe: str) -> set[int]:
    """Every slot of some windows."""
    grid = Timeframe(timeframe).grid()
    return {int(slot) for each in windows for slot in grid.slots(each)}
