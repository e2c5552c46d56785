"""Coverage rows and the gaps that follow from them: what any store must prove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, text

from db import candles, coverage, schema
from db.coverage import ABSENT, STORED, Interval
from db.series import SeriesRow, WantedSeries, set_closed_until, set_listing, sync_series
from tests.contract.coverage_model import STEP, Model, Operation, operations, slots
from tests.contract.store_base import MINUTE, ONE_FOR_ALL, T0, StoreBase, candles_at, minutes

if TYPE_CHECKING:
    from sqlalchemy import Connection

DAY = 86_400_000


def stored(start: int, end: int) -> Interval:
    """Minutes `[start, end)` after T0, all stored, from source 1."""
    return Interval(T0 + start * MINUTE, T0 + end * MINUTE, STORED, end - start, 1, "rest")


def gaps(conn: Connection) -> list[tuple[object, ...]]:
    """What the view says is missing."""
    rows = conn.execute(text("SELECT symbol, timeframe, start_ms, end_ms, missing FROM gaps ORDER BY 1, 2, 3"))
    return [tuple(row) for row in rows]


class CoverageStore(StoreBase):
    """Intervals stay disjoint and merged; what they leave out is a gap."""

    @settings(max_examples=60, deadline=None, suppress_health_check=ONE_FOR_ALL)
    @given(todo=st.lists(operations(), max_size=8))
    def test_any_operations_agree_with_the_model(self, conn: Connection, btc: SeriesRow, todo: list[Operation]) -> None:
        """After random covers and erases the table equals a slot-by-slot model."""
        for table in (schema.coverage, schema.candles):
            conn.execute(delete(table))
        model = Model()
        for number, operation in enumerate(todo):
            model.apply(operation, number)
            if operation.kind == "erase":
                for start, end in operation.windows:
                    coverage.erase(conn, btc.id, start * STEP, end * STEP, slots)
                continue
            for start, end in operation.windows:
                candles.erase(conn, btc.id, start * STEP, end * STEP)
            rows = candles_at(*sorted(operation.present))
            rows["open_time"] -= T0
            candles.insert(conn, btc.id, operation.source_id, rows)
            coverage.cover(conn, btc.id, operation.intervals(number), slots)
        assert coverage.read_all(conn).get(btc.id, []) == model.expected()

    def test_reading_gives_what_touches_unclipped(self, conn: Connection, btc: SeriesRow) -> None:
        """Intervals that overlap or touch the window come back whole; those apart from it do not."""
        kept = [stored(0, 10), stored(20, 30), stored(30 + 1, 40), stored(50, 60)]
        coverage.cover(conn, btc.id, kept, minutes)
        assert coverage.read(conn, btc.id, T0 + 25 * MINUTE, T0 + 31 * MINUTE) == kept[1:3]
        assert coverage.read(conn, btc.id, T0 + 10 * MINUTE, T0 + 11 * MINUTE) == kept[:1]
        assert coverage.read(conn, btc.id, T0 + 12 * MINUTE, T0 + 13 * MINUTE) == []

    def test_taking_over_a_neighbour_merges_on_both_sides(self, conn: Connection, btc: SeriesRow) -> None:
        """Candles found where they were thought absent join the stored ones before and after, into one row."""
        absent = Interval(T0 + 10 * MINUTE, T0 + 20 * MINUTE, ABSENT, 0, 1, "rest", "two empty answers", 2)
        coverage.cover(conn, btc.id, [stored(0, 10), absent, stored(20, 30)], minutes)
        coverage.cover(conn, btc.id, [stored(10, 20)], minutes)
        assert coverage.read_all(conn) == {btc.id: [stored(0, 30)]}

    def test_series_are_apart(self, conn: Connection, btc: SeriesRow) -> None:
        """Covering one series neither merges with nor cuts another's."""
        wanted = [WantedSeries(symbol, "1m", MINUTE, T0, ("binance",)) for symbol in ("BTC/USDT", "ETH/USDT")]
        eth = sync_series(conn, wanted, T0)[1]
        coverage.cover(conn, btc.id, [stored(0, 10)], minutes)
        coverage.cover(conn, eth.id, [stored(10, 20)], minutes)
        coverage.erase(conn, eth.id, 0, T0 + DAY, minutes)
        assert coverage.read_all(conn) == {btc.id: [stored(0, 10)]}

    def test_rechecks_come_due_for_what_is_still_wanted(self, conn: Connection, btc: SeriesRow) -> None:
        """Absent intervals are offered from their time on, longest due first, and not once their series is disabled."""
        late = Interval(T0, T0 + MINUTE, ABSENT, 0, 1, "rest", "two empty answers", 2, T0, T0 + 500)
        soon = Interval(T0 + DAY, T0 + DAY + MINUTE, ABSENT, 0, 1, "rest", "two empty answers", 2, T0, T0 + 100)
        never = Interval(T0 + 2 * DAY, T0 + 2 * DAY + MINUTE, ABSENT, 0, 1, "rest", "before listing")
        coverage.cover(conn, btc.id, [late, soon, never], minutes)
        assert coverage.due_rechecks(conn, T0 + 99) == []
        assert coverage.due_rechecks(conn, T0 + 100) == [(btc.id, soon)]
        assert coverage.due_rechecks(conn, T0 + 900) == [(btc.id, soon), (btc.id, late)]
        sync_series(conn, [], T0)
        assert coverage.due_rechecks(conn, T0 + 900) == []

    def test_gaps_are_what_is_neither_stored_nor_absent(self, conn: Connection, btc: SeriesRow) -> None:
        """Before, between and after the intervals, up to what is proven closed, slots are counted as missing."""
        assert gaps(conn) == []
        set_closed_until(conn, {btc.id: T0 + 100 * MINUTE})
        assert gaps(conn) == [("BTC/USDT", "1m", T0, T0 + 100 * MINUTE, 100)]
        absent = Interval(T0 + 20 * MINUTE, T0 + 30 * MINUTE, ABSENT, 0, 1, "rest", "two empty answers", 2)
        before_start = Interval(T0 - 9 * MINUTE, T0 + 5 * MINUTE, STORED, 14, 1, "rest")
        coverage.cover(conn, btc.id, [before_start, stored(10, 20), absent, stored(90, 101)], minutes)
        assert gaps(conn) == [
            ("BTC/USDT", "1m", T0 + 5 * MINUTE, T0 + 10 * MINUTE, 5),
            ("BTC/USDT", "1m", T0 + 30 * MINUTE, T0 + 90 * MINUTE, 60),
        ]
        set_listing(conn, btc.id, T0 + 80 * MINUTE, None, "first candle")
        assert gaps(conn) == [("BTC/USDT", "1m", T0 + 80 * MINUTE, T0 + 90 * MINUTE, 10)]
        sync_series(conn, [], T0)
        assert gaps(conn) == []

    @pytest.mark.parametrize(
        ("timeframe", "timeframe_ms", "anchor", "first", "until", "missing"),
        [
            ("1d", DAY, None, T0 + DAY, T0 + 5 * DAY, 4),
            ("1w", 7 * DAY, None, T0 + 7 * DAY, T0 + 21 * DAY, 2),  # 2024-01-01 is a Monday
            ("3d", 3 * DAY, T0 - 2 * DAY, T0 + DAY, T0 + 7 * DAY, 2),
            ("1M", 2_629_746_000, None, T0 + 31 * DAY, T0 + 366 * DAY, 11),
        ],
    )
    def test_gaps_begin_on_the_grid(
        self,
        conn: Connection,
        timeframe: str,
        timeframe_ms: int,
        anchor: int | None,
        first: int,
        until: int,
        missing: int,
    ) -> None:
        """A start between two slots wants the next slot first, by days, Mondays, the series' own anchor or months."""
        wanted = [WantedSeries("BTC/USDT", timeframe, timeframe_ms, T0 + 1, ("binance",))]
        [row] = sync_series(conn, wanted, T0)
        set_listing(conn, row.id, None, anchor, None)
        set_closed_until(conn, {row.id: until})
        assert gaps(conn) == [("BTC/USDT", timeframe, first, until, missing)]

    def test_a_start_on_the_grid_is_the_first_slot(self, conn: Connection) -> None:
        """The first of a month, at midnight, is itself wanted."""
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1M", 2_629_746_000, T0, ("binance",))], T0)
        set_closed_until(conn, {row.id: T0 + 31 * DAY})
        assert gaps(conn) == [("BTC/USDT", "1M", T0, T0 + 31 * DAY, 1)]

    def test_klines_and_latest_show_candles_to_people(self, conn: Connection, btc: SeriesRow) -> None:
        """The views name symbol and source, give readable times, and `latest` has the newest row of each series."""
        candles.insert(conn, btc.id, 1, candles_at(0, 1))
        candles.insert(conn, btc.id, 2, candles_at(2))
        seen = conn.execute(
            text("SELECT symbol, timeframe, open_time_ms, close, trades, source, flags FROM klines ORDER BY open_time")
        ).all()
        assert [tuple(row) for row in seen][-1] == ("BTC/USDT", "1m", T0 + 2 * MINUTE, 102.375, 2, "okx", 0)
        newest = conn.execute(text("SELECT symbol, open_time_ms, close, source FROM latest")).all()
        assert [tuple(row) for row in newest] == [("BTC/USDT", T0 + 2 * MINUTE, 102.375, "okx")]
