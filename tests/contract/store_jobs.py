"""The job queue: what any store must guarantee to those who work it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from db import jobs, pruning
from db.engine import reading, writing
from db.jobs import NewJob, Scope
from db.series import SeriesRow, WantedSeries, sync_series
from tests.contract.store_base import MINUTE, T0, StoreBase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LEASE = T0 + 60_000


def job(series: SeriesRow, number: int = 0, *, priority: int = 5, kind: str = "gap", not_before: int = 0) -> NewJob:
    """A job for hour `number` after T0."""
    start = T0 + number * 60 * MINUTE
    return NewJob(series.id, kind, start, start + 60 * MINUTE, priority, not_before)


class JobStore(StoreBase):
    """Jobs are claimed once, soonest first, and come back when their owner is gone."""

    def test_claiming_goes_by_priority_then_age(self, conn: Connection, btc: SeriesRow) -> None:
        """The smallest priority is first, then the oldest; a claimed job is not claimed again."""
        ids = jobs.add(conn, [job(btc, 0), job(btc, 1, priority=1), job(btc, 2)], T0)
        assert [row.id for row in jobs.claim(conn, "me", T0, LEASE, 2)] == [ids[1], ids[0]]
        [last] = jobs.claim(conn, "me", T0, LEASE, 9)
        assert (last.id, last.status, last.lease_owner, last.lease_until) == (ids[2], "leased", "me", LEASE)
        assert jobs.listing(conn, ids=[last.id]) == [last]
        assert jobs.claim(conn, "me", T0, LEASE, 9) == []

    def test_two_workers_never_hold_one_job(self, engine: Engine) -> None:
        """Workers that claim at the same time share the queue out without overlap."""
        with writing(engine) as conn:
            [btc] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, T0, ("binance",))], T0)
            jobs.add(conn, [job(btc, number) for number in range(40)], T0)
        claimed: list[int] = []

        def work(owner: str) -> None:
            for _ in range(10):
                with writing(engine) as conn:
                    claimed.extend(row.id for row in jobs.claim(conn, owner, T0, LEASE, 1))

        workers = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(claimed) == len(set(claimed)) == 40

    def test_a_lease_that_ran_out_is_claimed_by_another(self, conn: Connection, btc: SeriesRow) -> None:
        """After its end, not before, a lease protects nothing; renewing moves the end."""
        [job_id] = jobs.add(conn, [job(btc)], T0)
        jobs.claim(conn, "one", T0, LEASE, 1)
        assert jobs.claim(conn, "two", LEASE, LEASE + 9, 1) == []
        assert jobs.renew(conn, "one", LEASE + 100) == 1
        assert jobs.claim(conn, "two", LEASE + 100, LEASE + 999, 1) == []
        [taken] = jobs.claim(conn, "two", LEASE + 101, LEASE + 999, 1)
        assert (taken.id, taken.lease_owner, taken.attempts) == (job_id, "two", 0)

    def test_an_expired_lease_keeps_its_place_in_the_order(self, conn: Connection, btc: SeriesRow) -> None:
        """Among due jobs the priority decides, whether they are queued or left behind."""
        jobs.add(conn, [job(btc, 0, priority=1), job(btc, 1, priority=9)], T0)
        jobs.claim(conn, "gone", T0, T0 + 1, 2)
        jobs.add(conn, [job(btc, 2, priority=5)], T0)
        assert [row.priority for row in jobs.claim(conn, "me", T0 + 2, LEASE, 2)] == [1, 5]

    def test_dead_owners_are_taken_over_at_once(self, conn: Connection, btc: SeriesRow) -> None:
        """The jobs of named owners are free again without an attempt; others keep theirs."""
        jobs.add(conn, [job(btc, number) for number in range(3)], T0)
        jobs.claim(conn, "dead", T0, LEASE, 2)
        jobs.claim(conn, "alive", T0, LEASE, 1)
        assert sorted(jobs.owners(conn)) == ["alive", "dead"]
        assert jobs.take_over(conn, ["dead"]) == 2
        assert jobs.owners(conn) == ["alive"]
        assert [row.attempts for row in jobs.claim(conn, "me", T0, LEASE, 9)] == [0, 0]

    def test_a_requeued_job_waits_for_its_time(self, conn: Connection, btc: SeriesRow) -> None:
        """It has the attempts it is given, else as many as before, says why, and is due at `not_before`."""
        [job_id] = jobs.add(conn, [job(btc)], T0)
        jobs.claim(conn, "me", T0, LEASE, 1)
        jobs.requeue(conn, job_id, T0 + 500, "timed out", T0, attempts=1)
        assert jobs.next_due(conn) == T0 + 500
        assert jobs.claim(conn, "me", T0 + 499, LEASE, 1) == []
        [again] = jobs.claim(conn, "me", T0 + 500, LEASE, 1)
        assert (again.attempts, again.last_error) == (1, "timed out")
        assert jobs.next_due(conn) == LEASE
        jobs.requeue(conn, job_id, 0, "rate limited", T0)
        assert jobs.listing(conn)[0].attempts == 1

    def test_what_waits_is_due_when_its_source_may_be_asked(self, conn: Connection, btc: SeriesRow) -> None:
        """With its attempts, in a series that has the source; what was given up stays so."""
        waits, given_up = jobs.add(conn, [job(btc, 0), job(btc, 1)], T0)
        jobs.claim(conn, "me", T0, LEASE, 2)
        jobs.requeue(conn, waits, T0 + 500, "rests", T0, attempts=3)
        jobs.fail(conn, given_up, "no", T0)
        jobs.hasten(conn, "kraken", T0 + 10)
        assert jobs.next_due(conn) == T0 + 500
        jobs.hasten(conn, "okx", T0 + 10)
        assert [(row.id, row.status, row.attempts, row.not_before) for row in jobs.listing(conn, ids=[waits])] == [
            (waits, "queued", 3, T0 + 10)
        ]
        assert [row.status for row in jobs.listing(conn, ids=[given_up])] == ["failed"]

    def test_what_waits_moves_with_a_clock_that_was_set(self, conn: Connection, btc: SeriesRow) -> None:
        """By as much; what was due already stays so."""
        jobs.add(conn, [job(btc, 0, not_before=T0 + 500), job(btc, 1, not_before=T0 - 500)], T0)
        assert jobs.move(conn, T0, -200) == 1
        assert sorted(row.not_before for row in jobs.listing(conn)) == [T0 - 500, T0 + 300]

    def test_done_and_failed_are_final_until_someone_retries(self, conn: Connection, btc: SeriesRow) -> None:
        """Neither is claimed; a late failure does not reopen what is done; failed is open work, done is not."""
        done, failed = jobs.add(conn, [job(btc, 0), job(btc, 1)], T0)
        jobs.claim(conn, "me", T0, LEASE, 2)
        jobs.finish(conn, done, T0 + 1)
        jobs.fail(conn, failed, "unknown symbol", T0 + 1)
        jobs.fail(conn, done, "too late", T0 + 2)
        jobs.requeue(conn, done, 0, "too late", T0 + 2)
        assert jobs.claim(conn, "me", LEASE + 1, LEASE + 9, 9) == []
        assert jobs.next_due(conn) is None
        assert [(row.id, row.status, row.attempts) for row in jobs.open_windows(conn)] == [(failed, "failed", 1)]
        assert jobs.counts(conn) == {("done", "gap"): 1, ("failed", "gap"): 1}
        assert jobs.counts_by_series(conn) == {btc.id: {"done": 1, "failed": 1}}
        assert pruning.old_jobs(conn, T0 + 2, 9) == 1
        assert [row.id for row in jobs.listing(conn)] == [failed]

    def test_released_jobs_are_due_again_at_once(self, conn: Connection, btc: SeriesRow) -> None:
        """A program that leaves gives back what it holds without an attempt, and no one else's done work."""
        one, two = jobs.add(conn, [job(btc, 0), job(btc, 1)], T0)
        jobs.claim(conn, "me", T0, LEASE, 2)
        jobs.finish(conn, one, T0)
        assert jobs.release(conn, [one, two]) == 1
        assert [(row.id, row.attempts) for row in jobs.claim(conn, "you", T0, LEASE, 9)] == [(two, 0)]

    def test_a_scope_keeps_to_its_series_and_window(self, conn: Connection, btc: SeriesRow) -> None:
        """Only jobs of these series that overlap the half-open window are claimed, or waited for."""
        wanted = [WantedSeries(symbol, "1m", MINUTE, T0, ("binance",)) for symbol in ("BTC/USDT", "ETH/USDT")]
        eth = sync_series(conn, wanted, T0)[1]
        ids = jobs.add(conn, [job(btc, 0), job(btc, 1), job(btc, 2), job(eth, 1, not_before=T0 + 7)], T0)
        scope = Scope(frozenset({btc.id}), T0 + 60 * MINUTE, T0 + 120 * MINUTE)
        assert [row.id for row in jobs.claim(conn, "me", T0, LEASE, 9, scope)] == [ids[1]]
        assert jobs.next_due(conn, Scope(frozenset({eth.id}))) == T0 + 7
        assert jobs.next_due(conn, Scope(start=T0 + 999 * 60 * MINUTE)) is None
        assert [row.id for row in jobs.open_windows(conn, btc.id)] == ids[:3]

    def test_retry_brings_failed_and_delayed_jobs_forward(self, conn: Connection, btc: SeriesRow) -> None:
        """All of them, or those named; their attempts are forgotten, running and done ones are left alone."""
        failed, delayed, running = jobs.add(conn, [job(btc, number) for number in range(3)], T0)
        jobs.claim(conn, "me", T0, LEASE, 3)
        jobs.fail(conn, failed, "gave up", T0)
        jobs.requeue(conn, delayed, T0 + 9_000, "timed out", T0)
        assert jobs.retry(conn, [running], T0) == []
        assert [row.id for row in jobs.retry(conn, [failed], T0)] == [failed]
        assert len(jobs.retry(conn, None, T0)) == 1
        assert [(row.id, row.attempts) for row in jobs.claim(conn, "me", T0, LEASE, 9)] == [(failed, 0), (delayed, 0)]

    def test_cancel_deletes_only_what_is_queued(self, conn: Connection, btc: SeriesRow) -> None:
        """Named ones or all; a leased job stays with its owner."""
        ids = jobs.add(conn, [job(btc, number) for number in range(4)], T0)
        jobs.claim(conn, "me", T0, LEASE, 1)
        assert len(jobs.cancel(conn, ids[:2])) == 1
        assert len(jobs.cancel(conn, None)) == 2
        assert [row.id for row in jobs.listing(conn)] == ids[:1]

    def test_job_numbers_are_never_given_twice(self, conn: Connection, btc: SeriesRow) -> None:
        """A cancelled job's number does not come back as another job."""
        [old] = jobs.add(conn, [job(btc)], T0)
        jobs.cancel(conn, None)
        assert jobs.add(conn, [job(btc)], T0)[0] > old

    def test_a_listing_takes_the_time_before_it_away(self, conn: Connection, btc: SeriesRow) -> None:
        """Jobs wholly before it go, one across it begins there, leased ones are their owner's to shrink."""
        held, before, across, later = jobs.add(conn, [job(btc, number) for number in (0, 1, 2, 3)], T0)
        jobs.claim(conn, "me", T0, LEASE, 1)
        listed = T0 + 150 * MINUTE
        jobs.drop_before(conn, btc.id, listed)
        assert {row.id: row.start_ms for row in jobs.listing(conn)} == {
            held: T0,
            across: listed,
            later: T0 + 180 * MINUTE,
        }
        assert before not in {row.id for row in jobs.listing(conn)}
        jobs.resize(conn, held, T0 + MINUTE, T0 + 2 * MINUTE)
        assert jobs.listing(conn, ids=[held])[0].end_ms == T0 + 2 * MINUTE

    def test_listing_filters(self, conn: Connection, btc: SeriesRow) -> None:
        """Each filter narrows; the limit cuts."""
        jobs.add(conn, [job(btc, 0), job(btc, 1, kind="tail"), job(btc, 2)], T0)
        assert [row.kind for row in jobs.listing(conn, kind="tail")] == ["tail"]
        assert len(jobs.listing(conn, status="queued", series_id=btc.id, limit=2)) == 2
        assert jobs.listing(conn, series_id=btc.id + 1) == []

    @pytest.mark.parametrize("wrong", ["kind", "window", "series"])
    def test_nonsense_is_refused(self, engine: Engine, wrong: str) -> None:
        """The table itself refuses an unknown kind, an empty window, and a series that does not exist."""
        with writing(engine) as conn:
            [btc] = sync_series(conn, [WantedSeries("BTC/USDT", "1m", MINUTE, T0, ("binance",))], T0)
        bad = {
            "kind": NewJob(btc.id, "guess", T0, T0 + 1, 1),
            "window": NewJob(btc.id, "gap", T0, T0, 1),
            "series": NewJob(btc.id + 9, "gap", T0, T0 + 1, 1),
        }[wrong]
        with pytest.raises(IntegrityError), writing(engine) as conn:
            jobs.add(conn, [bad], T0)
        with reading(engine) as conn:
            assert jobs.listing(conn) == []
