"""A backfill as a process of its own, to be killed: CONFIG START_MS END_MS; the clock is FETCHER_CLOCK's."""

from __future__ import annotations

import sys
from pathlib import Path

from fetcher.app import build
from fetcher.clock import Clock
from fetcher.config import load
from fetcher.model import Window


def main(config: str, start_ms: str, end_ms: str) -> int:
    """Backfill every configured series; the run's exit code."""
    app = build(load(Path(config)), Clock.from_environment())
    try:
        asked = Window(int(start_ms), int(end_ms))
        return app.fetcher.backfill([(series, asked) for series in app.fetcher.sync()]).exit_code
    finally:
        app.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
