"""Series, clocks, cache, locks, runs, endpoints and quarantine: what any store must remember."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from db import breakers, endpoints, pruning, quarantine, series, state
from db.engine import reading, writing
from db.quarantine import QuarantineRow
from db.series import SeriesRow, SourceClock, WantedSeries
from tests.contract.store_base import MINUTE, T0, StoreBase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

WINDOW = T0
NEXT = T0 + MINUTE


class StateStore(StoreBase):
    """Small facts that outlive a process."""

    def test_series_follow_the_configuration(self, conn: Connection, btc: SeriesRow) -> None:
        """New ones appear, changed ones change, unwanted ones are disabled but kept, and come back as they were."""
        eth = WantedSeries("ETH/USDT", "1h", 60 * MINUTE, T0, ("okx", "binance"))
        off, on = series.sync_series(conn, [eth], T0 + 1)
        assert (off.enabled, on.enabled, on.sources) == (False, True, ("okx", "binance"))
        assert replace(off, enabled=True) == btc
        again = WantedSeries("BTC/USDT", "1m", MINUTE, T0 + 5, ("okx",))
        back, _ = series.sync_series(conn, [again, replace(eth, sources=("binance", "okx"))], T0 + 2)
        assert (back.id, back.enabled, back.wanted_start_ms, back.sources) == (btc.id, True, T0 + 5, ("okx",))
        assert [row.sources for row in series.read_series(conn)] == [("okx",), ("binance", "okx")]
        assert series.read_series(conn, enabled_only=True) == series.read_series(conn)
        assert series.source_ids(conn) == {"binance": 1, "okx": 2}

    def test_listing_and_closed_until(self, conn: Connection, btc: SeriesRow) -> None:
        """The listing is remembered with its evidence; what is proven closed only grows."""
        series.set_listing(conn, btc.id, T0 + 60, T0 + 60, "first candle, confirmed")
        series.set_closed_until(conn, {btc.id: T0 + 500})
        series.set_closed_until(conn, {btc.id: T0 + 400})
        series.set_closed_until(conn, {})
        [row] = series.read_series(conn)
        assert (row.listed_ms, row.anchor_ms, row.listed_evidence) == (T0 + 60, T0 + 60, "first candle, confirmed")
        assert row.closed_until_ms == T0 + 500

    def test_a_source_clock_never_goes_back(self, conn: Connection, btc: SeriesRow) -> None:
        """Only a newer proven clock replaces the known one."""
        assert series.source_clock(conn, btc.sources[0]) is None
        series.set_source_clock(conn, "binance", T0 + 10, T0)
        series.set_source_clock(conn, "binance", T0 + 5, T0 + 1)
        assert series.source_clock(conn, "binance") == SourceClock(T0 + 10, T0)
        assert series.source_clock(conn, "nobody") is None

    def test_rests_move_with_a_clock_that_was_set(self, conn: Connection) -> None:
        """By as much, where they are not over."""
        for name, until in (("one", T0 + 500), ("two", T0 - 500)):
            endpoints.ensure(conn, name, "binance")
            endpoints.stop(conn, name, until, "429")
        endpoints.move_stops(conn, T0, -200)
        assert {row.endpoint: row.stop_until for row in endpoints.read_all(conn)} == {"one": T0 + 300, "two": T0 - 500}

    def test_the_cache_keeps_the_last_text_and_its_age(self, conn: Connection) -> None:
        """A text comes back with the time it was fetched; a newer one replaces it."""
        assert state.cache_get(conn, "binance symbols") is None
        state.cache_put(conn, "binance symbols", "[1]", T0)
        state.cache_put(conn, "binance symbols", "[2]", T0 + 9)
        assert state.cache_get(conn, "binance symbols") == ("[2]", T0 + 9)

    def test_a_lock_has_one_holder(self, conn: Connection) -> None:
        """Another gets it only when given back or run out; its holder renews it; a stranger cannot give it back."""
        assert state.lock_acquire(conn, "run", "one", T0, T0 + 100)
        assert not state.lock_acquire(conn, "run", "two", T0 + 99, T0 + 500)
        assert state.lock_acquire(conn, "run", "one", T0 + 50, T0 + 200)
        assert not state.lock_acquire(conn, "run", "two", T0 + 199, T0 + 500)
        assert not state.lock_release(conn, "run", "two")
        assert state.lock_holder(conn, "run") == state.LockHolder("one", T0 + 200)
        assert state.lock_acquire(conn, "run", "two", T0 + 200, T0 + 500)
        assert state.lock_release(conn, "run", "two")
        assert state.lock_holder(conn, "run") is None

    def test_runs_are_recorded(self, conn: Connection) -> None:
        """A run that goes on has no end; a finished one has its outcome and summary; the newest is first."""
        one = state.run_start(conn, "run", "host", 42, T0)
        two = state.run_start(conn, "backfill", "host", 43, T0 + 1)
        state.run_finish(conn, one, "partial", 1, {"rows": 5, "series": ["BTC/USDT 1m"]}, T0 + 9)
        newest, older = state.recent_runs(conn)
        assert (newest.id, newest.ended_ms, newest.summary) == (two, None, None)
        assert (older.outcome, older.exit_code, older.ended_ms) == ("partial", 1, T0 + 9)
        assert older.summary == {"rows": 5, "series": ["BTC/USDT 1m"]}
        assert len(state.recent_runs(conn, limit=1)) == 1
        assert pruning.old_runs(conn, T0 + 1, 9) == 1


class EndpointStore(StoreBase):
    """Budget, rest, breaker and health of an endpoint, as all processes see them."""

    @pytest.fixture
    def endpoint(self, conn: Connection) -> str:
        """An endpoint with its row."""
        endpoints.ensure(conn, "binance", "binance")
        endpoints.ensure(conn, "binance", "binance")
        return "binance"

    def test_a_budget_is_granted_until_it_is_full(self, conn: Connection, endpoint: str) -> None:
        """The last grant is what is left; then nothing, until the next window starts anew."""
        grants = [endpoints.reserve(conn, endpoint, WINDOW, 40, 100) for _ in range(4)]
        assert grants == [40, 40, 20, 0]
        assert endpoints.reserve(conn, endpoint, NEXT, 40, 100) == 40
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.window_ms, row.used, row.weight_limit) == (NEXT, 40, 100)

    def test_the_venues_own_count_wins_when_higher(self, conn: Connection, endpoint: str) -> None:
        """Weight used behind our back is not granted again; a lower count is not believed."""
        assert endpoints.reserve(conn, endpoint, WINDOW, 10, 100, floor_used=60) == 10
        assert endpoints.reserve(conn, endpoint, WINDOW, 99, 90) == 20
        assert endpoints.reserve(conn, endpoint, WINDOW, 10, 100, floor_used=95) == 5
        assert endpoints.reserve(conn, endpoint, WINDOW, 10, 200, floor_used=20) == 10

    def test_a_process_behind_is_charged_to_the_newest_window(self, conn: Connection, endpoint: str) -> None:
        """Asking for the window before neither resets nor empties the count of the newest."""
        endpoints.reserve(conn, endpoint, NEXT, 90, 100)
        assert endpoints.reserve(conn, endpoint, WINDOW, 40, 100, floor_used=100) == 10
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.window_ms, row.used) == (NEXT, 100)

    def test_a_clock_that_was_set_back_does_not_block_for_ever(self, conn: Connection, endpoint: str) -> None:
        """A window far in the future was counted by a wrong clock and gives way."""
        endpoints.reserve(conn, endpoint, WINDOW + 90 * 86_400_000, 100, 100)
        assert endpoints.reserve(conn, endpoint, WINDOW, 40, 100) == 40

    def test_processes_together_never_exceed_the_budget(self, engine: Engine) -> None:
        """Threads with connections of their own are granted the limit between them, to the unit."""
        with writing(engine) as conn:
            endpoints.ensure(conn, "binance", "binance")
        granted: list[int] = []

        def spend() -> None:
            for _ in range(10):
                with writing(engine) as conn:
                    granted.append(endpoints.reserve(conn, "binance", WINDOW, 7, 200))

        spenders = [threading.Thread(target=spend) for _ in range(4)]
        for spender in spenders:
            spender.start()
        for spender in spenders:
            spender.join()
        assert sum(granted) == 200

    def test_the_longest_rest_holds(self, conn: Connection, endpoint: str) -> None:
        """A shorter rest does not end a longer one; reset does, by source, endpoint or for all."""
        endpoints.stop(conn, endpoint, T0 + 500, "banned")
        endpoints.stop(conn, endpoint, T0 + 100, "slow down")
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.stop_until, row.stop_reason) == (T0 + 500, "banned")
        assert endpoints.reset(conn, "okx") == 0
        assert endpoints.reset(conn, "binance") == 1
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.stop_until, row.stop_reason) == (None, None)

    def test_one_prober_at_a_time(self, conn: Connection, endpoint: str) -> None:
        """A closed breaker needs no probe; an open one is probed by one, or by the next when that one is silent."""
        assert not breakers.claim_probe(conn, endpoint, "one", T0, T0 + 30, None)
        breakers.set_breaker(conn, endpoint, breakers.OPEN, 5, 0, T0)
        assert breakers.claim_probe(conn, endpoint, "one", T0, T0 + 30, T0)
        assert not breakers.claim_probe(conn, endpoint, "two", T0 + 29, T0 + 90, T0)
        assert not breakers.claim_probe(conn, endpoint, "one", T0 + 29, T0 + 90, T0)
        assert breakers.claim_probe(conn, endpoint, "two", T0 + 30, T0 + 90, T0)
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.breaker, row.probe_owner, row.opened_ms, row.failures) == ("half-open", "two", T0, 5)
        breakers.set_breaker(conn, endpoint, breakers.CLOSED, 0, 1, None)
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.breaker, row.probe_owner, row.opened_ms, row.failures, row.successes) == (
            "closed",
            None,
            None,
            0,
            1,
        )

    def test_a_probe_given_back_may_be_claimed_at_once(self, conn: Connection, endpoint: str) -> None:
        """A prober that learned nothing does not make the next one wait for the end of its claim."""
        breakers.set_breaker(conn, endpoint, breakers.OPEN, 5, 0, T0)
        assert breakers.claim_probe(conn, endpoint, "one", T0, T0 + 30, T0)
        breakers.release_probe(conn, endpoint, "one")
        assert breakers.claim_probe(conn, endpoint, "two", T0 + 1, T0 + 30, T0)

    def test_nobody_gives_back_the_probe_of_another(self, conn: Connection, endpoint: str) -> None:
        """A prober whose claim ran out meanwhile does not free the one that followed it."""
        breakers.set_breaker(conn, endpoint, breakers.OPEN, 5, 0, T0)
        assert breakers.claim_probe(conn, endpoint, "one", T0, T0 + 30, T0)
        assert breakers.claim_probe(conn, endpoint, "two", T0 + 30, T0 + 90, T0)
        breakers.release_probe(conn, endpoint, "one")
        assert not breakers.claim_probe(conn, endpoint, "three", T0 + 31, T0 + 90, T0)

    def test_a_breaker_that_opened_again_is_not_probed_by_an_older_look(self, conn: Connection, endpoint: str) -> None:
        """Who looked before another's probe failed must not probe at once what now rests anew."""
        breakers.set_breaker(conn, endpoint, breakers.OPEN, 5, 0, T0)
        assert breakers.claim_probe(conn, endpoint, "one", T0, T0 + 30, T0)
        breakers.set_breaker(conn, endpoint, breakers.OPEN, 6, 0, T0 + 5)
        assert not breakers.claim_probe(conn, endpoint, "two", T0 + 6, T0 + 30, T0)
        assert breakers.claim_probe(conn, endpoint, "two", T0 + 6, T0 + 30, T0 + 5)

    def test_health_is_a_moving_average_and_the_last_words(self, conn: Connection, endpoint: str) -> None:
        """Requests and errors add up; latency follows slowly; the last error stays readable after a success."""
        breakers.add_outcomes(conn, endpoint, breakers.Tally(1, 0, 100.0, last_ok_ms=T0))
        breakers.add_outcomes(conn, endpoint, breakers.Tally(1, 1, last_error="timed out", last_error_ms=T0 + 1))
        breakers.add_outcomes(conn, endpoint, breakers.Tally(8, 1, 200.0, last_ok_ms=T0 + 2))
        row = endpoints.read(conn, endpoint)
        assert row is not None
        assert (row.requests, row.errors, row.last_ok_ms) == (10, 2, T0 + 2)
        assert (row.last_error, row.last_error_ms) == ("timed out", T0 + 1)
        assert row.latency_ms == pytest.approx(120.0)
        assert endpoints.read_all(conn) == [row]


class QuarantineStore(StoreBase):
    """What was refused is kept once, however often it comes."""

    def test_the_same_row_again_is_counted_not_kept_twice(self, conn: Connection, btc: SeriesRow) -> None:
        """In one call or in two, now or later: one row, seen that often, first and last time known."""
        bad = QuarantineRow(btc.id, 1, "rest", T0, "ohlc_order", "[1,2]")
        quarantine.add(conn, [bad, bad, replace(bad, payload="[1,3]")], T0)
        quarantine.add(conn, [bad], T0 + 9)
        quarantine.add(conn, [], T0 + 9)
        other, kept = quarantine.listing(conn)
        assert (kept.seen, kept.received_ms, kept.last_seen_ms, kept.payload) == (3, T0, T0 + 9, "[1,2]")
        assert (other.seen, other.payload) == (1, "[1,3]")
        assert quarantine.get(conn, kept.id) == kept
        assert quarantine.get(conn, 999) is None

    def test_an_answer_that_is_no_row_has_no_series_or_time(self, conn: Connection, btc: SeriesRow) -> None:
        """A body refused whole is kept too, hostile characters and all."""
        body = "<html>\x01 \N{BOM}'; DROP TABLE candles"
        quarantine.add(conn, [QuarantineRow(None, 1, "rest", None, "not_json", body)], T0)
        [kept] = quarantine.listing(conn)
        assert (kept.series_id, kept.open_time, kept.payload) == (None, None, body)
        assert btc in series.read_series(conn)

    def test_released_rows_are_no_longer_counted(self, conn: Connection, btc: SeriesRow) -> None:
        """Counts are of what is held; a release is noted once; filters narrow the list."""
        quarantine.add(conn, [QuarantineRow(btc.id, 1, "rest", T0 + n, "future", str(n)) for n in range(3)], T0)
        quarantine.add(conn, [QuarantineRow(btc.id, 1, "rest", T0, "off_grid", "9")], T0)
        first = quarantine.listing(conn, reason="future")[-1]
        assert quarantine.mark_released(conn, [first.id], T0 + 5) == 1
        assert quarantine.mark_released(conn, [first.id], T0 + 6) == 0
        assert quarantine.counts(conn) == {"future": 2, "off_grid": 1}
        assert [row.released_ms for row in quarantine.listing(conn, released=True)] == [T0 + 5]
        assert len(quarantine.listing(conn, series_id=btc.id, released=False, limit=2)) == 2


class TransactionStore(StoreBase):
    """A transaction is all or nothing, and readers see only what was committed."""

    def test_an_error_takes_everything_back(self, engine: Engine) -> None:
        """What was written before an error in the same transaction is not there."""
        with contextlib.suppress(RuntimeError), writing(engine) as conn:
            state.cache_put(conn, "key", "value", T0)
            raise RuntimeError
        with reading(engine) as conn:
            assert state.cache_get(conn, "key") is None

    def test_readers_do_not_wait_for_the_writer(self, engine: Engine) -> None:
        """A reader beside an open writer sees the last commit, at once."""
        with writing(engine) as writer:
            state.cache_put(writer, "key", "value", T0)
            with reading(engine) as reader:
                assert state.cache_get(reader, "key") is None
        with reading(engine) as reader:
            assert state.cache_get(reader, "key") == ("value", T0)
