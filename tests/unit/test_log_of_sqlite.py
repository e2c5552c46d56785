"""SQLite's log is copied into the file beside the commits, not by whoever waits for the end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import pytest

from db import candles
from db.engine import bring_in_log, reading, writing
from db.jobs import JobRow, NewJob, add, listing
from db.series import WantedSeries, sync_series
from fetcher import writer as writers
from fetcher.clock import Clock
from fetcher.jobqueue import as_series
from fetcher.model import CANDLE, MINUTE, CandleBatch
from fetcher.page import Page
from fetcher.storage import Storage
from fetcher.writer import Committed, OpenJob, Writer

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from fetcher.model import Series

ROWS = 500


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "market.db"


@pytest.fixture
def btc(engine: Engine) -> Series:
    """A series of minutes, in a store whose tables are in the file."""
    bring_in_log(engine)
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, 0, ("binance",))], 0)
    return as_series(row)


def page(series: Series, number: int) -> Page:
    """So many minutes from `number` times as many on."""
    rows = np.ones(ROWS, dtype=CANDLE)
    rows["open_time"] = MINUTE * (number * ROWS + np.arange(ROWS))
    return Page(CandleBatch(series, "binance", "archive", rows))


def job_of(engine: Engine, series: Series) -> JobRow:
    """A job for all of it."""
    with writing(engine) as conn:
        add(conn, [NewJob(series.id, "backfill", 0, 100 * ROWS * MINUTE, 40)], 0)
        [job] = listing(conn)
    return job


def in_file(path: Path) -> int:
    """How many candles the file holds for who does not look into the log."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        [(found,)] = connection.execute("SELECT count(*) FROM candles").fetchall()
    return int(found)


def test_the_log_is_copied_beside_a_writer_and_a_reader(engine: Engine, path: Path, btc: Series) -> None:
    """Whatever was committed is in the file then, though a transaction is under way; neither waits for the other."""
    Storage(engine).commit([page(btc, 0)], [], 0)
    assert in_file(path) == 0
    with writing(engine) as conn:
        candles.insert(conn, btc.id, 1, page(btc, 1).batch.rows)
        bring_in_log(engine)
        assert in_file(path) == ROWS
    with reading(engine) as conn:
        assert candles.count(conn, btc.id, 0, 2**62) == 2 * ROWS


def test_the_writer_has_it_copied_while_more_waits(
    engine: Engine, path: Path, btc: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind as many rows as are worth it, but not behind the last commit: the database does so when it closes."""
    copied: list[int] = []
    at_first = Event()

    class Slow(Storage):
        def commit(self, *given: object) -> object:  # type: ignore[override]  # only to wait in the first one
            at_first.wait(30)
            return super().commit(*given)  # type: ignore[arg-type]  # as they came

        def bring_in_log(self) -> None:
            super().bring_in_log()
            copied.append(in_file(path))

    monkeypatch.setattr(writers, "COMMIT_ROWS", 1)
    monkeypatch.setattr(writers, "LOG_ROWS", 2 * ROWS)
    happened: SimpleQueue[Committed | Exception] = SimpleQueue()
    writer = Writer(Slow(engine), Clock(), happened.put)
    writer.start()
    job = OpenJob(job_of(engine, btc), btc)
    job.expect(4)
    for number in range(4):
        writer.put(job, page(btc, number))
    at_first.set()
    assert [type(happened.get(timeout=30)) for _ in range(4)] == [Committed] * 4
    writer.close()
    assert len(copied) == 1
    assert copied[0] >= 2 * ROWS
