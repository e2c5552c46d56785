"""`export` of ten years of minutes holds a part of them in memory at a time, whatever the format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from db import candles, coverage
from db.engine import open_engine, writing
from db.intervals import STORED, Interval
from db.manager import DatabaseManager
from db.schema import series
from db.series import WantedSeries, sync_series
from fetcher.clock import parse_utc
from fetcher.model import CANDLE, MINUTE
from tests.integration.commands import CommandLine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Databases

FROM, TO = parse_utc("2016-01-01"), parse_utc("2026-01-01")
SLOTS = (TO - FROM) // MINUTE
QUIET = 10  # every so many slots one without a trade
AT_ONCE = 100_000
MOST_MB = 250
CONFIG = """\
database_url: {url}
sources: {{binance: {{client: binance, archive_url: null}}}}
markets: [{{symbols: [BTC/USDT], timeframes: [1m], start: 2016-01-01, sources: [binance]}}]
"""
# The kernel's figure for children counts their parent's, too: the program tells its own, as its last word.
MEASURED = """
import re, sys
from pathlib import Path
from fetcher.__main__ import main

code = main()
print(re.search(r"VmHWM:.*", Path("/proc/self/status").read_text())[0], file=sys.stderr)
sys.exit(code)
"""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Path:
    """A configuration whose database holds ten years of minutes, a tenth of them quiet."""
    made = tmp_path_factory.mktemp("ten years")
    url = databases.url(made)
    (made / "config.yaml").write_text(CONFIG.format(url=url), encoding="utf-8")
    engine = open_engine(url)
    DatabaseManager(engine, url).prepare()
    random = np.random.default_rng(1)
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, FROM, ("binance",))], FROM)
        conn.execute(series.update().values(closed_until_ms=TO, listed_ms=FROM))
        for first in range(0, SLOTS, AT_ONCE):
            numbers = np.arange(first, min(first + AT_ONCE, SLOTS))
            numbers = numbers[numbers % QUIET != 0]
            rows = np.zeros(len(numbers), dtype=CANDLE)
            rows["open_time"] = FROM + numbers * MINUTE
            for name in (name for name in CANDLE.names or () if CANDLE[name].kind == "f"):
                rows[name] = random.random(len(rows))  # which no format makes smaller
            rows["trades"] = numbers
            candles.insert(conn, row.id, 1, rows, fresh=True)
        stored = Interval(FROM, TO, STORED, SLOTS - SLOTS // QUIET, 1, "rest")
        coverage.cover(conn, row.id, [stored], lambda start, end: (end - start) // MINUTE)
    engine.dispose()
    return made


@pytest.mark.parametrize("words", [["csv"], ["parquet"], ["feather"], ["parquet", "--fill"]], ids=" ".join)
def test_ten_years_of_minutes_fit(folder: Path, words: list[str]) -> None:
    """Every row is written, by a process that never has more than MOST_MB."""
    form, *more = words
    out = folder / f"btc.{form}"
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, "--json", "export", "--out", str(out), *more],
        cwd=folder, env=CommandLine.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended
    [told] = json.loads(ended.stdout)["files"]
    assert (told["rows"], told["missing"]) == (SLOTS - (0 if more else SLOTS // QUIET) - bool(more), 0)
    assert told["bytes"] == out.stat().st_size
    out.unlink()
    found = re.search(r"VmHWM:\s+(\d+) kB", ended.stderr)
    assert found is not None
    peak = int(found[1]) / 1024
    print(f"{' '.join(words)}: {peak:.0f} MB")
    assert peak <= MOST_MB
