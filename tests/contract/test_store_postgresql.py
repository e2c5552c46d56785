"""PostgreSQL keeps the store contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from db import candles, quarantine
from db.quarantine import QuarantineRow
from tests.contract.store_base import T0, candles_at
from tests.contract.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from db.series import SeriesRow
    from tests.postgresql import Server


class TestPostgreSQLStore(StoreContract):
    """A database of its own on a throw-away server."""

    @pytest.fixture
    def url(self, postgresql: Server) -> Iterator[str]:
        """A copy of a database that the program has made."""
        name = postgresql.prepared()
        yield postgresql.url(name)
        postgresql.drop(name)

    def test_what_the_server_would_not_take_is_made_visible(self, conn: Connection, btc: SeriesRow) -> None:
        """A NUL and half a character in a payload do not lose the rest of it, or the page that it came with."""
        quarantine.add(conn, [QuarantineRow(btc.id, 1, "rest", None, "not_json", "a\0b\ud800c")], T0)
        [kept] = quarantine.listing(conn)
        assert kept.payload == "a\N{SYMBOL FOR NULL}b?c"

    def test_times_are_timestamps(self, conn: Connection, btc: SeriesRow) -> None:
        """`open_time` of the views is a point in time, to the millisecond, whatever zone its reader is in."""
        rows = candles_at(0)
        rows["open_time"] += 789
        candles.insert(conn, btc.id, 1, rows)
        conn.exec_driver_sql("SET LOCAL timezone = 'Asia/Tokyo'")
        seen = conn.exec_driver_sql("SELECT open_time FROM klines").scalar_one()
        assert seen.astimezone(UTC) == datetime(2024, 1, 1, 0, 0, 0, 789_000, tzinfo=UTC)

    def test_claiming_and_looking_walk_their_indexes(self, conn: Connection, btc: SeriesRow) -> None:
        """Neither the queue nor `latest` reads whole tables, however long they are."""
        assert btc.id
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        claiming = (
            "EXPLAIN SELECT * FROM jobs WHERE status = 'queued' AND not_before <= 9 ORDER BY priority, id LIMIT 5 "
            "FOR UPDATE SKIP LOCKED"
        )
        for query, index in ((claiming, "ix_jobs_status_priority_id"), ("EXPLAIN SELECT * FROM latest", "pk_candles")):
            plan = "\n".join(row[0] for row in conn.exec_driver_sql(query))
            assert index in plan
            assert "Sort" not in plan or query != claiming
