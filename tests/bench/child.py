"""The program in a process of its own, backfilling one window of every configured series: figures from inside, as JSON.

`python -m tests.bench.child CONFIG START END`; what only the process itself can see: when the first request left, when
the last commit was done, and its own peak memory (the kernel's figure for children counts their parent's, too).
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from threading import Lock

from fetcher.app import build
from fetcher.clock import Clock, parse_utc
from fetcher.config import load
from fetcher.events import Attempt, Fact, PageStored
from fetcher.model import Window


class _Span:
    """From the first request sent to the last page committed, in seconds of `perf_counter`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.first = float("inf")
        self.last = 0.0
        self.rows = 0

    def hear(self, fact: Fact) -> None:
        """Listen to the program."""
        now = time.perf_counter()
        with self._lock:
            if isinstance(fact, Attempt):
                self.first = min(self.first, now - fact.seconds)
            elif isinstance(fact, PageStored):
                self.last, self.rows = now, self.rows + fact.rows


def main() -> int:
    """Backfill and tell; 1 when anything is missing afterwards."""
    config, start, end = sys.argv[1:4]
    app = build(load(Path(config)), Clock())
    span = _Span()
    app.hooks.add(span.hear)
    try:
        window = Window(parse_utc(start), parse_utc(end))
        result = app.fetcher.backfill([(series, window) for series in app.fetcher.sync()])
    finally:
        app.close()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    figures = {"seconds": span.last - span.first, "rows": span.rows, "peak_mb": int(peak[1]) / 1024 if peak else None}
    print(json.dumps(figures))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
