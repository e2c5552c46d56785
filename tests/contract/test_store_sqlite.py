"""SQLite keeps the store contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from db import candles
from tests.contract.store_base import MINUTE, T0, candles_at
from tests.contract.store_contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from db.series import SeriesRow


class TestSQLiteStore(StoreContract):
    """A file in WAL mode."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        """A file that does not exist yet."""
        return f"sqlite:///{tmp_path}/market.db"

    def test_times_are_text_that_sorts(self, conn: Connection, btc: SeriesRow) -> None:
        """`open_time` reads as a UTC time, with milliseconds only where there are any."""
        rows = candles_at(0, 1)
        rows["open_time"][1] += 789
        candles.insert(conn, btc.id, 1, rows)
        seen = conn.execute(text("SELECT open_time FROM klines ORDER BY open_time")).scalars().all()
        assert seen == ["2024-01-01 00:00:00", "2024-01-01 00:01:00.789"]

    def test_latest_seeks_and_gaps_leave_the_candles_alone(self, conn: Connection, btc: SeriesRow) -> None:
        """The plan of `latest` searches the candles by key and scans none; that of `gaps` does not name them."""
        candles.insert(conn, btc.id, 1, candles_at(0))
        plans = {
            view: [row[-1] for row in conn.execute(text(f"EXPLAIN QUERY PLAN SELECT * FROM {view}"))]  # noqa: S608 - names of ours
            for view in ("latest", "gaps")
        }
        touching = [step for step in plans["latest"] if " c " in f"{step} " or " n " in f"{step} "]
        assert len(touching) == 2
        assert all(step.startswith("SEARCH") and "PRIMARY KEY" in step for step in touching)
        assert not any("candles" in step for step in plans["gaps"])

    def test_claiming_walks_its_index(self, conn: Connection, btc: SeriesRow) -> None:
        """The queue is read in order from an index: a long one is not sorted for each claim."""
        assert btc.wanted_start_ms + MINUTE > T0
        plan = conn.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE status = 'queued' AND not_before <= 9 "
                "ORDER BY priority, id LIMIT 5"
            )
        )
        steps = [row[-1] for row in plan]
        assert [step for step in steps if "ix_jobs_status_priority_id" in step] == steps
