"""Several at once on one database: on SQLite writers take turns, on PostgreSQL they do not, and nothing may show it."""

from __future__ import annotations

import pkgutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from db import candles, coverage, endpoints, jobs, quarantine
from db.breakers import Tally
from db.engine import open_engine, reading, writing
from db.quarantine import QuarantineRow
from db.series import WantedSeries, ensure_sources, read_series, set_closed_until, set_listing, sync_series
from fetcher.audit import audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.gaps import union
from fetcher.jobqueue import as_series
from fetcher.lacking import Lack
from fetcher.model import CANDLE, HOUR, CandleBatch, Window, empty_rows
from fetcher.page import Absent, Closing, Page
from fetcher.release import release
from fetcher.resilience.gate import Gate
from fetcher.resilience.health import HourOf
from fetcher.runbook import _write_health
from fetcher.storage import Storage
from tests.integration.world import market, open_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from fetcher.model import Rows, Series

T = TypeVar("T")

T0 = 1_704_067_200_000  # 2024-01-01
HOURS = 240
NOW = T0 + 999 * HOUR
ROUNDS = 8


def together(*tasks: Callable[[], T]) -> list[T]:
    """Do all of this at the same moment, each in a thread with connections of its own; raises what any of them met."""
    ready = Barrier(len(tasks), timeout=20)

    def begin(task: Callable[[], T]) -> T:
        ready.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [ended.result() for ended in [pool.submit(begin, task) for task in tasks]]


def fetched(start: int, end: int) -> Rows:
    """Candles of these hours: dtype CANDLE."""
    rows = np.zeros(end - start, dtype=CANDLE)
    rows["open_time"] = T0 + np.arange(start, end) * HOUR
    rows["open"], rows["high"], rows["low"], rows["close"], rows["volume"], rows["trades"] = 10, 12, 9, 11, 5, 3
    return rows


def page(series: Series, start: int, end: int, source: str = "binance", *, absent: bool = False) -> Page:
    """A page of these hours, or the proof that they have no candles."""
    window = Window(T0 + start * HOUR, T0 + end * HOUR)
    parts = (Absent(window, 3, {"why": "said twice"}),) if absent else ()
    return Page(CandleBatch(series, source, "rest", empty_rows() if absent else fetched(start, end)), (), parts)


@pytest.fixture
def pair(engine: Engine) -> list[Series]:
    """BTC/USDT and ETH/USDT 1h from binance, then okx; listed at T0."""
    wanted = [WantedSeries(f"{base}/USDT", "1h", HOUR, T0, ("binance", "okx")) for base in ("BTC", "ETH")]
    with writing(engine) as conn:
        for row in sync_series(conn, wanted, T0):
            set_listing(conn, row.id, T0, T0, "{}")
            set_closed_until(conn, {row.id: T0 + HOURS * HOUR})
        return [as_series(row) for row in read_series(conn)]


def test_pages_of_one_series_are_committed_by_four(engine: Engine, pair: list[Series]) -> None:
    """Overlapping pages of two sources in any order: every candle counted once, coverage true and without seams."""
    rng = np.random.default_rng(1)
    starts = [int(start) for start in rng.permutation(range(0, HOURS, 5))]

    def commit(number: int) -> int:
        storage, new = Storage(engine), 0
        for start in starts[number::2]:
            source = "binance" if number < 2 else "okx"
            pages = [page(series, start, min(HOURS, start + 8), source) for series in pair[:: 1 - 2 * (number % 2)]]
            new += storage.commit(pages, [], NOW).new
        return new

    new = together(*(lambda number=number: commit(number) for number in range(4)))
    assert sum(new) == HOURS * len(pair)
    assert audit(engine, pair).findings == ()
    with reading(engine) as conn:
        for intervals in coverage.read_all(conn).values():
            assert [(i.start_ms, i.end_ms, i.rows) for i in intervals] == [(T0, T0 + HOURS * HOUR, HOURS)]


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_job_whose_last_pages_come_to_two(engine: Engine, pair: list[Series], round_: int) -> None:
    """Each commits half of its window; whoever is second finds nothing missing and ends it."""
    btc = pair[0]
    window = Window(T0, T0 + 10 * HOUR)
    with writing(engine) as conn:
        [job] = jobs.add(conn, [jobs.NewJob(btc.id, "gap", window.start, window.end, 1)], NOW + round_)
    closing = [Closing(job, btc, window)]
    left = together(
        lambda: Storage(engine).commit([page(btc, 0, 5)], closing, NOW).missing[job],
        lambda: Storage(engine).commit([page(btc, 5, 10)], closing, NOW).missing[job],
    )
    assert [] in left
    with reading(engine) as conn:
        assert jobs.counts(conn) == {("done", "gap"): 1}


def test_an_audit_that_repairs_beside_commits(engine: Engine, pair: list[Series]) -> None:
    """It looks again when nobody else writes: what a commit brings meanwhile is not taken back, nor counted twice."""
    btc = pair[0]
    Storage(engine).commit([page(btc, 0, HOURS)], [], NOW)

    def damage_and_repair() -> None:
        for hour in range(0, HOURS, 24):
            with writing(engine) as conn:
                candles.erase(conn, btc.id, T0 + hour * HOUR, T0 + hour * HOUR + 1)
            audit(engine, [btc], repair=True)

    def fetch() -> None:
        storage = Storage(engine)
        for _ in range(3):
            for start in range(0, HOURS, 12):
                storage.commit([page(btc, start, start + 12)], [], NOW)

    together(damage_and_repair, fetch, fetch)
    audit(engine, [btc], repair=True)
    Storage(engine).commit([page(btc, 0, HOURS)], [], NOW)
    assert audit(engine, pair).findings == ()


def test_absence_and_candles_at_the_same_time(engine: Engine, pair: list[Series]) -> None:
    """One proves that there is nothing while another stores what is there: the candles stay, and are covered."""
    btc = pair[0]
    for start in range(0, HOURS, 8):
        both = (page(btc, start, start + 8, absent=True), page(btc, start + 2, start + 5, "okx"))
        together(*(partial(Storage(engine).commit, [each], [], NOW) for each in both))
    assert audit(engine, pair).findings == ()
    with reading(engine) as conn:
        covered = coverage.read_all(conn)[btc.id]
    assert union(Window(i.start_ms, i.end_ms) for i in covered) == [Window(T0, T0 + HOURS * HOUR)]


def dawdle(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a function wait a little before it begins, so that what could happen between two steps does."""
    do = pkgutil.resolve_name(name)

    def later(*words: object) -> object:
        Event().wait(0.05)
        return do(*words)

    monkeypatch.setattr(name, later)


def test_two_plan_the_same(tmp_path: Path, database: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that start together queue each missing window once, and know each series and source once."""
    now = parse_utc("2024-03-01T00:00:20Z")
    with open_world(tmp_path, "--clock", format_utc(now)) as world, ExitStack() as stack:
        assert database
        world.configure(market("BTC/USDT ETH/USDT", "1m 1h", "2024-02-01"))
        with world.app(Clock(now)):
            pass  # its tables are made
        apps = [stack.enter_context(world.app(Clock(now))) for _ in range(3)]
        for app in apps:
            app.router.server_now(app.fetcher.sync()[0])
        dawdle(monkeypatch, "db.jobs.add")
        together(*(lambda app=app: app.planning.queue_missing(app.fetcher.sync()) for app in apps))
        assert world.query("SELECT count(*), count(DISTINCT symbol || timeframe) FROM series") == [(4, 4)]
        queued = world.query("SELECT series_id, start_ms, end_ms FROM jobs ORDER BY 1, 2")
        assert len(queued) >= 4
        for (one, _, end), (other, start, _) in pairwise(queued):
            assert one != other or end <= start, "a window was queued twice"


def test_series_and_sources_that_are_new_to_all(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins first makes them; no name has two numbers, in whatever order the names come."""
    dawdle(monkeypatch, "db.series._sync_one")
    names = [f"source {number}" for number in range(4)]
    wanted = [WantedSeries(f"C{n}/USDT", "1h", HOUR, T0, (names[n], names[-1 - n])) for n in range(4)]

    def begin(turn: int) -> list[int]:
        with writing(engine) as conn:
            ensure_sources(conn, names[:: 1 - 2 * (turn % 2)])
        with writing(engine) as conn:
            return [row.id for row in sync_series(conn, wanted[:: 1 - 2 * (turn % 2)], T0)]

    found = together(*(lambda turn=turn: begin(turn) for turn in range(4)))
    assert all(sorted(each) == sorted(found[0]) for each in found)
    with reading(engine) as conn:
        assert all(len(row.sources) == 2 for row in read_series(conn))


def test_a_listing_is_learnt_once(engine: Engine) -> None:
    """A grid has one anchor: the second word, even if another, changes nothing."""
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "3d", 72 * HOUR, T0, ("binance",))], T0)

    def learn(ms: int) -> bool:
        with writing(engine) as conn:
            return set_listing(conn, row.id, ms, ms, "{}")

    assert sorted(together(lambda: learn(T0), lambda: learn(T0 + 24 * HOUR))) == [False, True]


def test_each_failure_is_counted_by_a_breaker(engine: Engine) -> None:
    """Processes that report at once do not overwrite each other."""
    with writing(engine) as conn:
        endpoints.ensure(conn, "host", "binance")
        endpoints.ensure(conn, "pool", "binance")
    gates = [Gate(engine, Clock(NOW), "host", "pool", f"owner {number}", 10.0) for number in range(4)]
    together(*(lambda gate=gate: (gate.failed("reset"), gate.failed("reset")) for gate in gates))
    with reading(engine) as conn:
        row = endpoints.read(conn, "host")
    assert row is not None
    assert row.failures == 8


def test_what_sources_lacked_is_remembered_of_all(engine: Engine, pair: list[Series]) -> None:
    """Each adds to what is kept of a series: nobody's word is lost."""
    windows = [Window(T0 + n * HOUR, T0 + (n + 1) * HOUR) for n in range(0, 16, 2)]
    storages = [Storage(engine) for _ in windows]
    together(
        *(
            lambda storage=storage, window=window: storage.remember_lacks(pair[0], [Lack(window, "binance")], NOW)
            for storage, window in zip(storages, windows, strict=True)
        )
    )
    assert sorted(lack.window for lack in Storage(engine).lacks(pair[0], Window(T0, T0 + 24 * HOUR), NOW)) == windows


def test_a_row_is_released_once(engine: Engine, pair: list[Series]) -> None:
    """Two people release the same row, while its page comes in again: one is told that it was done, none waits."""
    row = fetched(3, 4)[0]
    payload = "{" + ", ".join(f'"{name}": {row[name]}' for name in CANDLE.names or ()) + "}"
    with writing(engine) as conn:
        quarantine.add(conn, [QuarantineRow(pair[0].id, 1, "rest", T0 + 3 * HOUR, "future", payload)], NOW)
        [held] = quarantine.listing(conn)

    def accept() -> bool:
        return release(engine, pair, [held.id], NOW)[0].ok

    assert sorted(together(accept, accept, accept)) == [False, False, True]
    assert audit(engine, pair).findings == ()


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_job_is_claimed_or_cancelled_or_retried(engine: Engine, pair: list[Series], round_: int) -> None:
    """Never two of it: what a person changes and what a process takes exclude each other."""
    with writing(engine) as conn:
        made = jobs.add(conn, [jobs.NewJob(pair[0].id, "gap", T0, T0 + 1, 1, n % 2) for n in range(20)], NOW + round_)

    def within(do: Callable[..., Any], *words: object) -> Any:
        with writing(engine) as conn:
            return do(conn, *words)

    one, two, cancelled, _ = together(
        lambda: within(jobs.claim, "one", 5, NOW, 8),
        lambda: within(jobs.claim, "two", 5, NOW, 8),
        lambda: within(jobs.cancel, made[::2]),
        lambda: within(jobs.retry, None, 5),
    )
    taken = [job.id for job in (*one, *two)]
    assert len(taken) == len(set(taken))
    with reading(engine) as conn:
        left = {job.id: job.status for job in jobs.listing(conn)}
    assert len(left) == len(made) - len(cancelled)
    assert all(left[number] == "leased" for number in taken)


def test_leases_are_renewed_while_jobs_end(engine: Engine, pair: list[Series]) -> None:
    """The threads of one process do not wait for each other's rows in opposite orders."""
    with writing(engine) as conn:
        made = jobs.add(conn, [jobs.NewJob(pair[0].id, "gap", T0 + n, T0 + n + 1, 1) for n in range(200)], NOW)
        jobs.claim(conn, "me", NOW, NOW + 9, 200)

    def end() -> None:
        for first in range(len(made), 0, -20):
            with writing(engine) as conn:
                for number in reversed(made[first - 20 : first]):
                    jobs.finish(conn, number, NOW)

    def renew() -> None:
        for until in range(30):
            with writing(engine) as conn:
                jobs.renew(conn, "me", NOW + 100 + until)

    together(end, renew)
    with reading(engine) as conn:
        assert jobs.counts(conn) == {("done", "gap"): 200}


def test_health_of_many_endpoints_is_written_by_many(engine: Engine) -> None:
    """Whatever the order in which each process met them, nobody waits in a circle, and every request counts."""
    names = [f"host {number}" for number in range(12)]
    with writing(engine) as conn:
        for name in names:
            endpoints.ensure(conn, name, "binance")

    def tell(turn: int) -> None:
        for _ in range(3):
            met = names[:: 1 - 2 * (turn % 2)]
            _write_health(engine, {HourOf(T0, name): Tally(1, latency={3: 1}) for name in met}, {}, T0)

    together(*(lambda turn=turn: tell(turn) for turn in range(4)))
    with reading(engine) as conn:
        assert {row.requests for row in endpoints.read_all(conn)} == {12}


def test_engines_of_their_own_see_the_same(engine: Engine, pair: list[Series]) -> None:
    """A second program, with its own connections, finds what the first committed, at once."""
    Storage(engine).commit([page(pair[0], 0, 5)], [], NOW)
    other = open_engine(engine.url.render_as_string(hide_password=False))
    assert Storage(other).missing(pair[0], Window(T0, T0 + 6 * HOUR)) == [Window(T0 + 5 * HOUR, T0 + 6 * HOUR)]
    other.dispose()
