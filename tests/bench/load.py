"""`load`: two hundred series due at once, worked by one run alone and beside sixteen readers that never pause.

The exchange's clock goes a day on before each run, so that each finds as much to do. Runs alone and with readers take
turns.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from itertools import count
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY
from fetcher.sandbox.control import spawn_sandbox
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.places import KINDS, count_rows, opened
from tests.bench.size import COINS, LATENCY_SECONDS, UNLIMITED
from tests.bench.stage import command, market, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.sandbox.control import SandboxControl
    from tests.bench.size import Say, Size
    from tests.bench.stage import Stage

_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
_DAY_MINUTES = 1440
_ROWS_A_DAY = sum(_DAY_MINUTES // minutes for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720))
_PROCESSES, _THREADS = 2, 8
_FIRST = parse_utc("2026-06-01T00:00:30Z")
_WANTED = "2026-05-25"


def load(size: Size, say: Say) -> list[Figure]:
    """How long a run takes with much to do, and how long readers wait meanwhile."""
    figures = []
    with spawn_sandbox("--clock", format_utc(_FIRST), "--latency", f"{LATENCY_SECONDS}s", *UNLIMITED) as sandbox:
        for kind in KINDS:
            figures += _on(kind, sandbox, size, say)
    return figures


def _on(kind: str, sandbox: SandboxControl, size: Size, say: Say) -> list[Figure]:
    symbols = COINS[: size.load_symbols]
    number = len(symbols) * len(_TIMEFRAMES)
    say(f"load: {number} series due at once on {kind}, {size.repeats} times alone and with readers")
    alone: list[float] = []
    beside: list[float] = []
    heard: list[dict[str, Any]] = []
    with opened(kind) as place, stage(sandbox.url, place, [market(symbols, _TIMEFRAMES, _WANTED)]) as here:
        sandbox.configure(clock=format_utc(_FIRST))
        here.fetcher("-q")
        here.fetcher("-q")
        days = count(1)
        for _ in range(size.repeats):
            alone.append(_day(here, sandbox, next(days), len(symbols)))
            with _readers(here, heard):
                beside.append(_day(here, sandbox, next(days), len(symbols)))
    errors = [error for told in heard for error in told["errors"]]
    if errors:
        say(f"load: {len(errors)} errors of readers, such as: {errors[0]}")
    name = f"load on {kind}"
    limit = Limit("alone", alone)
    readers = _PROCESSES * _THREADS
    return [
        Figure(f"{name}: a run over {number} series, {readers} readers", "s", beside, (limit,)),
        *(figure for read in ("klines", "latest", "status") for figure in _latency(name, read, heard)),
        Figure(f"{name}: errors of readers", "", [len(errors)], goal=Goal(at_most=0)),
    ]


def _latency(name: str, read: str, heard: list[dict[str, Any]]) -> list[Figure]:
    """p50 and p95 of one kind of reading, by process of readers."""
    percents = [quantiles(told["took"][read], n=100) for told in heard]
    return [Figure(f"{name}: reading {read}, p{at}", "ms", [each[at - 1] for each in percents]) for at in (50, 95)]


def _day(here: Stage, sandbox: SandboxControl, day: int, symbols: int) -> float:
    """Let a day pass and fetch it; the seconds of the whole run. RuntimeError where anything failed or is missing."""
    before = count_rows(here.place)
    sandbox.configure(clock=format_utc(_FIRST + day * DAY))
    ran = here.fetcher("-q")
    if (came := count_rows(here.place) - before) != symbols * _ROWS_A_DAY:
        raise RuntimeError(f"{came:,} of {symbols * _ROWS_A_DAY:,} candles came")
    return ran.wall


@contextmanager
def _readers(here: Stage, heard: list[dict[str, Any]]) -> Iterator[None]:
    """Readers at work from here to the end of the block; what they tell is added to `heard`."""
    asked = command("-m", "tests.bench.readers", str(here.config), str(_THREADS))
    children = [
        subprocess.Popen(**asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(_PROCESSES)
    ]
    try:
        for child in children:
            if child.stdout is None or child.stdout.readline().strip() != "ready":
                raise RuntimeError("the readers did not start")
        yield
        heard += [json.loads(child.communicate()[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
