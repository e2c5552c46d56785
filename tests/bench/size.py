"""How much to measure: everything that `--quick` makes smaller, and what the parts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fetcher.sandbox.symbols import WELL_KNOWN

LATENCY_SECONDS = 0.08
WORKERS = 32
NO_LIMIT = 1_000_000  # weight a minute: here the machine is measured, not the exchange's patience
UNLIMITED = ("--weight-limit", str(NO_LIMIT))
COINS = tuple(f"{name.removesuffix('USDT')}/USDT" for name in WELL_KNOWN if name.endswith("USDT"))

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes of all parts; each is divided among ten symbols where there are ten."""

    repeats: int = 5
    year_months: int = 12
    long_months: int = 48
    ten_months: int = 2  # of each of ten symbols, beside ten times as many of one
    rest_minutes: int = 365 * 1440
    sustained_minutes: int = 5
    memory_months: int = 120
    memory_few_months: int = 48  # a year ends before as much is in memory as there ever is: 145 MB; 170 from here on
    memory_minutes: int = 3_000_000
    memory_few_minutes: int = 300_000
    scale_few: int = 100_000
    scale_many: int = 20_000_000
    load_symbols: int = 20


QUICK = Size(
    repeats=3,
    year_months=2,
    long_months=4,
    ten_months=1,
    rest_minutes=60_000,
    sustained_minutes=2,
    memory_months=6,
    memory_few_months=2,
    memory_minutes=120_000,
    memory_few_minutes=60_000,
    scale_few=20_000,
    scale_many=400_000,
    load_symbols=5,
)
