"""What every part of the store contract starts from: a prepared database, and one series in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck
from numpy.lib.recfunctions import repack_fields

from db.candles import COLUMNS, STORED_DTYPE
from db.engine import open_engine, writing
from db.manager import DatabaseManager
from db.series import SeriesRow, WantedSeries, sync_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from db.candles import Rows

MINUTE = 60_000
# One property is looked at in several databases (executors), all examples of one in a single transaction (fixture).
ONE_FOR_ALL = [HealthCheck.differing_executors, HealthCheck.function_scoped_fixture]
T0 = 1_704_067_200_000  # 2024-01-01T00:00:00Z


def candles_at(*numbers: int, price: float = 100.0) -> Rows:
    """Candles at these minutes after T0, each with values of its own: shape (n,), fields as fetched."""
    rows = np.zeros(len(numbers), dtype=STORED_DTYPE)
    rows["open_time"] = [T0 + number * MINUTE for number in numbers]
    for place, name in enumerate(
        ("open", "high", "low", "close", "volume", "quote_volume", "taker_base", "taker_quote")
    ):
        rows[name] = price + np.array(numbers) + place / 8
    rows["trades"] = numbers
    return as_fetched(rows)


def as_fetched(rows: Rows) -> Rows:
    """The rows without their source, packed: equal bytes are equal rows."""
    return repack_fields(rows[list(COLUMNS)])


def minutes(start: int, end: int) -> int:
    """The slots of the 1m grid in `[start, end)` ms."""
    return (end - start) // MINUTE


class StoreBase:
    """Fixtures over a database of the subclass's choice."""

    @pytest.fixture
    def url(self) -> str:
        """The URL of an empty database."""
        raise NotImplementedError

    @pytest.fixture
    def engine(self, url: str) -> Iterator[Engine]:
        """An engine on a database that was just created."""
        engine = open_engine(url)
        DatabaseManager(engine, url).prepare()
        yield engine
        engine.dispose()

    @pytest.fixture
    def conn(self, engine: Engine) -> Iterator[Connection]:
        """A writing transaction."""
        with writing(engine) as conn:
            yield conn

    @pytest.fixture
    def btc(self, conn: Connection) -> SeriesRow:
        """BTC/USDT 1m from sources 1 (binance) and 2 (okx)."""
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, T0, ("binance", "okx"))], T0)
        return row
