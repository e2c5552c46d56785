"""`make bench`: what the program costs, beside what this machine can do at most, measured in the same run.

Everything is the real thing: the program in processes of its own, the sandbox in another, SQLite on the disk.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.bench import measure
from tests.bench.figures import read_medians, table, write_medians
from tests.bench.stage import ROOT

_QUICK = measure.Size(minutes=60_000, many=120_000, few=60_000, repeats=3)
_PARTS = {"throughput": measure.throughput, "idle": measure.idle, "memory": measure.memory}


def main() -> int:
    """Measure, print the table and keep the medians for the next time."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, goals not judged")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(_PARTS)}")
    told = parser.parse_args()
    unknown = [part for part in told.parts if part not in _PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; choose from {', '.join(_PARTS)}")
    began = time.perf_counter()
    figures = []
    for name in told.parts or _PARTS:
        figures += _PARTS[name](_QUICK if told.quick else measure.Size(), _say)
    kept = ROOT / "build" / ("bench-results-quick.json" if told.quick else "bench-results.json")
    print(table(figures, read_medians(kept), judged=not told.quick))
    _say(f"{time.perf_counter() - began:.0f} s; medians kept in {kept.relative_to(ROOT)}")
    if not told.parts:
        write_medians(kept, figures)
    return 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
