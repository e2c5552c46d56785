"""Months of the archive by a plain process with the same libraries and ways: what judging, planning and covering add.

It is no limit of the machine: another way to parse or to insert would make both faster.

`python -m tests.bench.bare URL DATABASE FILES`: the program's imports, four answers one after the other (its clock, its
markets, and the market's first candle twice), then each zip with its checksum, inflated, parsed and inserted as the
program does it; nothing is judged, planned, counted or covered. Prints how many rows are stored.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

import numpy as np
import requests

import fetcher.cli.backfill  # noqa: F401 (what the command itself loads)
from db import candles
from db.engine import open_engine, writing
from db.manager import DatabaseManager
from db.series import WantedSeries, ensure_sources, sync_series
from fetcher.archive import FILES_AT_ONCE
from fetcher.clients.binance_archive import parse_zip
from fetcher.model import CANDLE, MINUTE
from fetcher.wire import WIRE

if TYPE_CHECKING:
    from fetcher.model import Rows

_COLUMNS = [name for name in CANDLE.names or () if name in (WIRE.names or ())]
_ANSWERS = 4
_SECONDS = 30.0
_own = threading.local()
_reading = threading.Lock()  # one after the other, as the program: side by side all are ready late


def main() -> int:
    """Fetch and insert; 0."""
    url, database, paths = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
    engine = open_engine(database)
    DatabaseManager(engine, database).prepare()
    with writing(engine) as connection:
        [series] = sync_series(connection, [WantedSeries("BTC/USDT", "1m", MINUTE, 0, ("binance",))], 0)
        source = ensure_sources(connection, ["binance"])["binance"]
    for _ in range(_ANSWERS):
        _get(f"{url}/api/v3/time")
    stored = 0
    with ThreadPoolExecutor(FILES_AT_ONCE) as beside, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for done in as_completed([pool.submit(_month, url, path, beside) for path in paths]):
            rows = done.result()
            with writing(engine) as connection:
                candles.insert(connection, series.id, source, rows, fresh=True)
            stored += len(rows)
    engine.dispose()
    print(stored)
    return 0


def _month(url: str, path: str, beside: ThreadPoolExecutor) -> Rows:
    """The candles of one zip, its checksum fetched beside it."""
    checksum = beside.submit(_get, f"{url}{path}.CHECKSUM")
    body = _get(f"{url}{path}")
    checksum.result()
    with _reading:
        wire = parse_zip(body, path.rpartition("/")[2]).rows
    rows = np.zeros(len(wire), dtype=CANDLE)
    for name in _COLUMNS:
        rows[name] = wire[name]
    return rows


def _get(url: str) -> bytes:
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    answer = _own.session.get(url, timeout=_SECONDS)
    answer.raise_for_status()
    return bytes(answer.content)


if __name__ == "__main__":
    sys.exit(main())
