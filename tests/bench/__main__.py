"""`make bench`: what the program costs, beside what this machine can do at most, measured in the same run.

Everything is the real thing: the program in processes of its own, the sandbox in another, SQLite on the disk, and a
PostgreSQL server that loses nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from tests.bench.figures import table
from tests.bench.kept import keep, read_medians
from tests.bench.size import QUICK, Size
from tests.bench.stage import ROOT

if TYPE_CHECKING:
    from tests.bench.figures import Figure

_PARTS = ("archive", "rest", "sustained", "memory", "scale", "idle", "load")
"""Each is a module here, with a function of its name."""


def main() -> int:
    """Measure, print the table and keep the medians for the next time."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, goals not judged")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(_PARTS)}")
    told = parser.parse_args()
    unknown = [part for part in told.parts if part not in _PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; choose from {', '.join(_PARTS)}")
    began = time.perf_counter()
    size = QUICK if told.quick else Size()
    kept = ROOT / "build" / ("bench-results-quick.json" if told.quick else "bench-results.json")
    before = read_medians(kept)
    figures: list[Figure] = []
    for name in told.parts or _PARTS:
        measured = getattr(import_module(f"tests.bench.{name}"), name)(size, _say)
        keep(kept, measured)  # at once: what follows may fail after half an hour
        figures += measured
    print(table(figures, before, judged=not told.quick))
    missed = [] if told.quick else [sentence for figure in figures for sentence in figure.missed]
    for sentence in missed:
        print(sentence)
    _say(f"{time.perf_counter() - began:.0f} s; medians kept in {kept.relative_to(ROOT)}")
    return 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
