"""Endpoints hour by hour: what any store must add up, weigh and forget."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from db import endpoints, health
from db.breakers import Tally
from db.engine import reading, writing
from db.schema import endpoint_state
from tests.contract.store_base import T0, StoreBase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

HOUR = health.HOUR_MS
BUCKET_80, BUCKET_300 = health.bucket(80.0), health.bucket(300.0)


class HealthStore(StoreBase):
    """Requests, errors and latencies of each endpoint, by the hour."""

    def test_tallies_of_an_hour_add_up(self, conn: Connection) -> None:
        """Two runs of one hour are one row: counts are summed, histograms merged; percentiles are of both."""
        health.add(conn, "a", T0, Tally(90, 0, latency={BUCKET_80: 90}))
        health.add(conn, "a", T0, Tally(20, 10, latency={BUCKET_80: 0, BUCKET_300: 10}))
        health.add(conn, "b", T0, Tally(1, 1))
        found = health.read(conn, T0)
        assert (found["a"].requests, found["a"].errors, found["a"].success) == (110, 10, 1 - 10 / 110)
        assert found["a"].p50_ms == pytest.approx(80, rel=0.1)
        assert found["a"].p95_ms == pytest.approx(300, rel=0.1)
        assert found["b"] == health.Spell(1, 1, 0.0, None, None)

    def test_an_hour_that_is_partly_in_counts_by_its_share(self, conn: Connection) -> None:
        """Of what is older nothing counts, of the hour in which the while began its later part, of the others all."""
        for number, requests in enumerate((1000, 40, 7)):
            health.add(conn, "a", T0 + number * HOUR, Tally(requests, 0))
        assert health.read(conn, T0 + HOUR + HOUR // 4)["a"].requests == 30 + 7
        assert health.read(conn, T0 + HOUR)["a"].requests == 47
        assert health.read(conn, T0 + 3 * HOUR) == {}

    def test_hours_older_than_eight_days_are_forgotten(self, conn: Connection) -> None:
        """The account stays small for ever."""
        health.add(conn, "a", T0, Tally(1))
        health.add(conn, "a", T0 + HOUR, Tally(2))
        assert health.prune(conn, T0 + health.KEPT_MS) == 0
        assert health.prune(conn, T0 + health.KEPT_MS + 1) == 1
        assert health.read(conn, T0)["a"].requests == 2

    def test_processes_that_begin_an_hour_together_forget_nothing(self, engine: Engine) -> None:
        """Threads with connections of their own add to one row that was not there; every latency is counted."""

        def tell() -> None:
            for _ in range(10):
                with writing(engine) as conn:
                    health.add(conn, "a", T0, Tally(1, latency={BUCKET_80: 1}))

        tellers = [threading.Thread(target=tell) for _ in range(4)]
        for teller in tellers:
            teller.start()
        for teller in tellers:
            teller.join()
        with reading(engine) as conn:
            assert health.read(conn, T0)["a"].requests == 40
            assert conn.exec_driver_sql("SELECT latency FROM endpoint_hours").scalar() == f'{{"{BUCKET_80}":40}}'

    def test_the_span_of_a_budget_is_known_where_it_was_noted(self, conn: Connection) -> None:
        """An endpoint whose limit is counted by the minute, or not at all, has none."""
        endpoints.ensure(conn, "okx", "okx")
        endpoints.ensure(conn, "binance", "binance")
        conn.execute(endpoint_state.update().where(endpoint_state.c.endpoint == "okx").values(window_span_ms=2000))
        assert health.budget_spans(conn) == {"okx": 2000}
