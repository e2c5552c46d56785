"""What is measured: backfills of one symbol and of ten, a run with nothing to do, and peak memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fetcher.clock import format_utc, parse_utc
from fetcher.model import MINUTE
from fetcher.sandbox.control import spawn_sandbox
from fetcher.sandbox.symbols import WELL_KNOWN
from tests.bench import limits
from tests.bench.figures import Figure, Limit
from tests.bench.stage import NO_LIMIT, WORKERS, run, stage

LATENCY_SECONDS = 0.08
_UNLIMITED = ("--weight-limit", str(NO_LIMIT))
_COINS = tuple(f"{name.removesuffix('USDT')}/USDT" for name in WELL_KNOWN if name.endswith("USDT"))
_STAND_STILL = "2026-06-01T00:00:30Z"
_IMPORTS = "import numpy, pydantic, requests, sqlalchemy.dialects.sqlite, typer, yaml"


@dataclass(frozen=True, slots=True)
class Size:
    """How much to measure: minutes of one symbol (a tenth of it for each of ten), of the memory runs, and repeats."""

    minutes: int = 365 * 1440
    many: int = 3_000_000
    few: int = 300_000
    repeats: int = 5


Say = Callable[[str], None]


def throughput(size: Size, say: Say) -> list[Figure]:
    """Rows a second from the sandbox's page to the committed row, at 80 ms latency with 32 workers."""
    figures = []
    for label, symbols in (("one symbol", _COINS[:1]), ("ten symbols", _COINS[:10])):
        say(f"{label}: {size.minutes:,} minutes, {size.repeats} times")
        figures += _throughput_of(label, symbols, size)
    return figures


def _throughput_of(label: str, symbols: tuple[str, ...], size: Size) -> list[Figure]:
    start, minutes = "2023-01-01", size.minutes // len(symbols)
    end = format_utc(parse_utc(start) + minutes * MINUTE)
    kept = ("--kept-pages", str(2 * size.minutes // 1000 + 100))
    inside, outside, many, multi, slow, fast = [], [], [], [], [], []
    with (
        spawn_sandbox(*_UNLIMITED, *kept) as sandbox,
        stage(sandbox.url, symbols, ["1m"], start) as here,
        tempfile.TemporaryDirectory(prefix="fetcher-bench-") as folder,
    ):
        here.backfill(start, end)  # for the sandbox: it renders each page once, and has it ready from then on
        pages, rows = limits.pages_asked(sandbox), limits.stored_rows(here.database)
        for _ in range(size.repeats):
            sandbox.configure(latency_seconds=0)
            fast.append(len(rows) / limits.read_by_sockets(sandbox, pages, WORKERS))
            sandbox.configure(latency_seconds=LATENCY_SECONDS)
            slow.append(len(rows) / limits.read_by_sockets(sandbox, pages, WORKERS))
            many.append(limits.executemany(rows, Path(folder, "limit.db")))
            multi.append(limits.multi_row(rows, Path(folder, "limit.db")))
            told, _ = here.backfill(start, end)
            inside.append(told["rows"] / told["seconds"])
            here.forget()
            whole = here.fetcher("-q", "backfill", "--from", start, "--to", end)
            outside.append(len(rows) / whole.wall)
    beside = (
        Limit("sqlite3.executemany, the same rows and table", many),
        Limit("INSERTs of 100 rows, cells ready", multi),
        Limit("32 plain sockets, 80 ms latency", slow),
    )
    return [
        Figure(f"{label}, first request → last commit", "rows/s", inside, beside, at_least=100_000),
        Figure(f"{label}, whole process", "rows/s", outside, beside),
        Figure(f"{label}: the sandbox alone, plain sockets, no latency", "rows/s", fast),
    ]


def idle(size: Size, say: Say) -> list[Figure]:
    """The whole process of a run over 50 up-to-date series with nothing due."""
    say(f"a run with nothing due: 50 series, {size.repeats} times")
    with (
        spawn_sandbox("--clock", _STAND_STILL, *_UNLIMITED) as sandbox,
        stage(sandbox.url, _COINS[:25], ["1h", "1d"], "2026-05-01") as here,
    ):
        here.fetcher("-q")
        here.fetcher("-q")  # the first may have gone on learning; this one makes the .pyc files of all that follow
        sandbox.clear_log()
        runs = [here.fetcher("-q") for _ in range(size.repeats)]
        asked = sandbox.log()
    if [entry["path"] for entry in asked] != ["/api/v3/time"] * size.repeats:
        raise RuntimeError(f"a run with nothing due asked more than the time: {asked}")
    starts = [run("-c", _IMPORTS) for _ in range(size.repeats)]
    empty = [run("-c", "pass") for _ in range(size.repeats)]
    return [
        Figure(
            "nothing due, 50 series, whole process: CPU", "s", [ran.cpu for ran in runs],
            (
                Limit("importing its packages", [ran.cpu for ran in starts]),
                Limit("python -c pass", [ran.cpu for ran in empty]),
            ),
            at_most=0.7,
        ),
        Figure(
            "nothing due, 50 series, whole process: wall", "s", [ran.wall for ran in runs],
            (Limit("importing its packages", [ran.wall for ran in starts]),),
        ),
    ]  # fmt: skip


def memory(size: Size, say: Say) -> list[Figure]:
    """Peak memory of a large backfill beside that of one a tenth as large."""
    peaks = []
    start = "2018-01-01"
    with (
        spawn_sandbox(*_UNLIMITED, "--kept-pages", "64") as sandbox,
        stage(sandbox.url, _COINS[:1], ["1m"], start) as here,
    ):
        for minutes in (size.few, size.many):
            say(f"peak memory: {minutes:,} rows")
            told, _ = here.backfill(start, format_utc(parse_utc(start) + minutes * MINUTE))
            if told["rows"] != minutes:
                raise RuntimeError(f"{told['rows']:,} of {minutes:,} rows came")
            peaks.append(told["peak_mb"])
    few, many = peaks
    return [
        Figure(
            f"peak memory of {size.many:,} rows", "MB", [many], (Limit(f"of {size.few:,} rows", [few]),), at_most=200
        )
    ]
