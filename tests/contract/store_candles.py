"""Candles in and out: what any store must do with rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db import candles, revisions
from db.counting import Cell, count_cells
from tests.contract.store_base import MINUTE, ONE_FOR_ALL, T0, StoreBase, as_fetched, candles_at

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from db.series import SeriesRow

FOREVER = 2**62


class CandleStore(StoreBase):
    """Rows go in as columns and come back bit for bit."""

    def test_rows_come_back_bit_for_bit(self, conn: Connection, btc: SeriesRow) -> None:
        """More rows than one statement or a whole number of them holds are read back equal, with their source."""
        rows = candles_at(*range(257))
        rows["close"] = np.random.default_rng(1).random(257) * 1e5
        candles.insert(conn, btc.id, 2, rows)
        back = candles.read(conn, btc.id, T0, FOREVER)
        assert as_fetched(back).tobytes() == rows.tobytes()
        assert set(back["source_id"].tolist()) == {2}

    @settings(max_examples=25, deadline=None, suppress_health_check=ONE_FOR_ALL)
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0), min_size=4, max_size=4))
    def test_any_double_survives(self, conn: Connection, btc: SeriesRow, values: list[float]) -> None:
        """Every finite double but −0 comes back as the same double."""
        rows = candles_at(0)
        for name, value in zip(("open", "high", "low", "close"), values, strict=True):
            rows[name] = value
        candles.insert(conn, btc.id, 1, rows)
        assert as_fetched(candles.read(conn, btc.id, T0, FOREVER)).tobytes() == rows.tobytes()

    def test_some_columns_are_read_alone(self, conn: Connection, btc: SeriesRow) -> None:
        """The columns asked for, as they are in whole rows; of an empty window none."""
        rows = candles_at(*range(5))
        candles.insert(conn, btc.id, 1, rows)
        asked = ("open_time", "close", "trades")
        back = candles.read(conn, btc.id, T0, FOREVER, asked)
        assert back.dtype.names == asked
        assert back.tolist() == rows[list(asked)].tolist()
        assert len(candles.read(conn, btc.id, 0, 0, asked)) == 0

    def test_unknown_values_are_null(self, conn: Connection, btc: SeriesRow) -> None:
        """NaN and trades −1 are NULL for whoever queries, and NaN and −1 again when read."""
        rows = candles_at(0)
        rows["trades"] = -1
        for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
            rows[name] = np.nan
        candles.insert(conn, btc.id, 1, rows)
        stored = conn.execute(text("SELECT volume, quote_volume, trades, taker_base, taker_quote FROM candles")).one()
        assert tuple(stored) == (None,) * 5
        [back] = candles.read(conn, btc.id, T0, FOREVER)
        assert back["trades"] == -1
        assert np.isnan(back["volume"])

    def test_cells_are_counted_together(self, conn: Connection, btc: SeriesRow) -> None:
        """More cells than one statement takes: each has its own rows, and exactly its strays are off its grid."""
        rows = candles_at(*range(1000))
        rows["open_time"][[3, 500, 501]] += 7
        candles.insert(conn, btc.id, 1, rows)
        minutes = [Cell(btc.id, T0 + n * MINUTE, T0 + (n + 1) * MINUTE, MINUTE, T0 % MINUTE) for n in range(1000)]
        found = count_cells(conn, minutes)
        assert [place for place, counted in enumerate(found) if counted != (1, 0, 0)] == [3, 500, 501]
        assert found[3] == (1, 1, 0)
        ever = (-FOREVER, FOREVER)
        wide = [Cell(btc.id, *ever, MINUTE, T0), Cell(btc.id, *ever), Cell(btc.id + 1, *ever), Cell(btc.id, T0, T0)]
        assert count_cells(conn, wide) == [(1000, 3, 0), (1000, 0, 0), (0, 0, 0), (0, 0, 0)]
        whose = [Cell(btc.id, *ever, source_id=1), Cell(btc.id, *ever, source_id=2)]
        assert count_cells(conn, whose) == [(1000, 0, 0), (1000, 0, 1000)]
        assert count_cells(conn, []) == []

    def test_a_price_that_is_not_a_number_is_refused(self, conn: Connection, btc: SeriesRow) -> None:
        """A NaN close cannot be stored, whatever the validator let through."""
        rows = candles_at(0)
        rows["close"] = np.nan
        with pytest.raises(Exception, match=r"(?i)not.null"), conn.begin_nested():
            candles.insert(conn, btc.id, 1, rows)

    def test_storing_again_replaces(self, conn: Connection, btc: SeriesRow) -> None:
        """The later of two rows at one open time wins with all its columns and its source."""
        candles.insert(conn, btc.id, 1, candles_at(0, 1))
        candles.insert(conn, btc.id, 2, candles_at(1, price=7))
        back = candles.read(conn, btc.id, T0, FOREVER)
        assert back["source_id"].tolist() == [1, 2]
        assert back["open"].tolist() == [100.0, 8.0]

    def test_windows_are_half_open(self, conn: Connection, btc: SeriesRow) -> None:
        """Reading, counting and erasing take the start and leave the end."""
        candles.insert(conn, btc.id, 1, candles_at(*range(10)))
        start, end = T0 + 2 * MINUTE, T0 + 5 * MINUTE
        assert candles.open_times(conn, btc.id, start, end).tolist() == [T0 + n * MINUTE for n in (2, 3, 4)]
        assert candles.count(conn, btc.id, start, end) == 3
        assert candles.erase(conn, btc.id, start, end) == 3
        assert candles.count(conn, btc.id, 0, FOREVER) == 7

    def test_nothing_stored_reads_as_nothing(self, conn: Connection, btc: SeriesRow) -> None:
        """An empty series has an empty array of the right type, no neighbours and no extent."""
        back = candles.read(conn, btc.id, 0, FOREVER)
        assert (back.shape, back.dtype) == ((0,), candles.STORED_DTYPE)
        assert candles.open_times(conn, btc.id, 0, FOREVER).dtype == np.int64
        assert candles.before(conn, btc.id, FOREVER) is None
        candles.insert(conn, btc.id, 1, back)
        assert candles.count(conn, btc.id, 0, FOREVER) == 0

    def test_neighbours_and_extents(self, conn: Connection, btc: SeriesRow) -> None:
        """`before` is strict, `after` includes the moment itself, and the extent names both ends and the count."""
        candles.insert(conn, btc.id, 1, candles_at(0, 5, 9))
        assert candles.before(conn, btc.id, T0 + 5 * MINUTE) == T0
        assert candles.after(conn, btc.id, T0 + 5 * MINUTE) == T0 + 5 * MINUTE
        assert candles.after(conn, btc.id, T0 + 10 * MINUTE) is None

    def test_replaced_values_are_kept(self, conn: Connection, btc: SeriesRow) -> None:
        """A revision holds the old row with its source, who replaced it and when; unknown stays unknown."""
        rows = candles_at(0, 1)
        rows["quote_volume"][0] = np.nan
        rows["trades"][0] = -1
        candles.insert(conn, btc.id, 1, rows)
        revisions.keep_revisions(conn, btc.id, candles.read(conn, btc.id, T0, T0 + MINUTE), T0 + 99, 2)
        [kept] = revisions.read_revisions(conn, btc.id, T0, FOREVER)
        assert (kept.open_time, kept.open, kept.volume) == (T0, 100.0, 100.5)
        assert (kept.quote_volume, kept.trades, kept.source_id) == (None, None, 1)
        assert (kept.replaced_ms, kept.replaced_by) == (T0 + 99, 2)

    def test_a_revision_of_no_known_source_is_refused(self, conn: Connection, btc: SeriesRow) -> None:
        """Foreign keys hold: nothing can be replaced by a source that does not exist."""
        candles.insert(conn, btc.id, 1, candles_at(0))
        rows = candles.read(conn, btc.id, T0, FOREVER)
        with pytest.raises(IntegrityError), conn.begin_nested():
            revisions.keep_revisions(conn, btc.id, rows, T0, 99)
