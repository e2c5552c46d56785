"""New markets: what is asked, and what waits, until it is known when they were listed."""

from __future__ import annotations

from threading import Event, current_thread
from typing import TYPE_CHECKING, Any

import pytest

from db.errors import DatabaseLost
from fetcher import asking
from fetcher.clock import Clock, parse_utc
from fetcher.errors import Contradicted, SourceDown
from fetcher.events import PageStored
from fetcher.jobqueue import JobQueue
from fetcher.listing import Listing, find_listing
from fetcher.model import Timeframe, Window
from fetcher.openjobs import OpenJobs
from fetcher.outcome import Outcome
from fetcher.resilience.retry import TRIES
from fetcher.sandbox.generated import GeneratedMarket, History
from fetcher.writer import OpenJob
from tests.integration.world import market, open_world, same_candles
from tests.integration.world_of_sources import market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fetcher.model import Series
    from fetcher.router import APIRouter
    from fetcher.steps import Task

pytestmark = pytest.mark.usefixtures("database")

NOW = "2024-03-10T00:00:30Z"
LISTED = parse_utc("2024-01-20T12:00:00Z")
MANY_JOBS = market("NEW/USDT", "1m", "2024-01-01")
LONG = 10.0


def test_what_opens_behind_a_first_answer_does_not_wait_for_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candles are stored before the listing is proven, also of jobs claimed since; none is asked for before it."""
    stored, pages = Event(), list[object]()
    before_proof: list[int] = []

    def count(fact: object) -> None:
        pages.extend([fact] if isinstance(fact, PageStored) else [])
        if len(pages) > 30:  # of 21 that the jobs have which are claimed at first
            stored.set()

    def held(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
        def until_stored(opened: int) -> None:
            sighted(opened)
            assert stored.wait(LONG), "nothing comes before the proof"
            before_proof.append(len(world.klines()))

        return find_listing(router, series, until_stored)

    monkeypatch.setattr(asking, "find_listing", held)
    with open_world(tmp_path, "--clock", NOW, "--listed", "NEWUSDT=2024-01-20T12:00") as world:
        world.configure(MANY_JOBS, workers=2)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.hooks.add(count)
            result = app.fetcher.run(50.0)
        assert (result.outcome, result.missing) == (Outcome.OK, 0)
        assert world.series("NEW/USDT", "1m").listed_ms == LISTED
        [asked_before] = before_proof
        asked = [each.start for each in world.klines()]
        assert asked_before > 1
        assert asked.count(0) == 2, "the two questions that prove it"
        assert len(asked) == len(set(asked)) + 1, "and each page once"
        assert min(start for start in asked if start) >= LISTED
        true = GeneratedMarket(History(listed={"NEWUSDT": LISTED})).oracle(
            "NEWUSDT", Timeframe("1m"), Window(LISTED, parse_utc(NOW)), parse_utc(NOW)
        )
        assert same_candles(world.rows("NEW/USDT", "1m"), true)
        assert world.jobs().keys() == {"done"}


def test_a_job_that_begins_before_the_first_candle_waits_for_the_proof(tmp_path: Path) -> None:
    """Then it asks for what there is, with one request."""
    with open_world(tmp_path, "--clock", NOW, "--listed", "NEWUSDT=2024-01-20T12:00") as world:
        world.configure(market("NEW/USDT", "1d", "2024-01-01"))
        assert world.run(50.0, Clock(parse_utc(NOW))).outcome is Outcome.OK
        first = parse_utc("2024-01-20T00:00:00Z")
        assert [(each.start, each.end) for each in world.klines()] == [
            (0, None), (0, first + 1), (first, parse_utc("2024-03-10")),
        ]  # fmt: skip


def test_a_listing_that_cannot_be_had_is_asked_for_once_for_all_jobs(tmp_path: Path) -> None:
    """Every job that waited for it is put back with the reason, and none asks by itself."""
    with open_world(tmp_path, "--clock", f"{NOW} x60") as world:
        world.configure(market("BTC/USDT", "1m", "2024-01-01"))
        world.sandbox.script("status:500", 1000)
        world.run(600.0, clock=Clock(parse_utc(NOW), 60))
        waiting = world.query("SELECT status, attempts, last_error FROM jobs")
        assert len(waiting) >= 5
        assert {status for status, _, _ in waiting} == {"queued"}
        assert all("500" in str(error) for _, _, error in waiting)
        assert len(world.klines()) == TRIES * max(attempts for _, attempts, _ in waiting)


def test_a_listing_that_is_not_proven_is_told_though_nothing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All candles came while it was asked for: the job that asked is put back with the reason, and asks later again."""

    def contradicted(*asked: Any) -> Listing:
        find_listing(*asked)
        raise Contradicted("two different first candles")

    with open_world(tmp_path, "--clock", f"{NOW} x60") as world:
        world.configure(market("BTC/USDT", "1d", "2024-02-01"))
        with monkeypatch.context() as patch:
            patch.setattr(asking, "find_listing", contradicted)
            result = world.run(600.0, Clock(parse_utc(NOW), 60))
        assert (result.exit_code, result.missing) == (1, 0)
        assert result.series[0].last_error == "two different first candles"
        assert world.query("SELECT status, last_error FROM jobs WHERE status <> 'done'") == [
            ("queued", "two different first candles")
        ]
        assert world.series("BTC/USDT", "1d").listed_ms is None
        stored = len(world.rows("BTC/USDT", "1d"))
        world.change("UPDATE jobs SET not_before = 0")
        assert world.run(600.0, Clock(parse_utc(NOW), 60)).outcome is Outcome.OK
        assert world.series("BTC/USDT", "1d").listed_ms is not None
        assert len(world.rows("BTC/USDT", "1d")) == stored
        assert world.jobs().keys() == {"done"}


def test_others_are_fetched_while_a_listing_is_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs there are that need it: only a few of them are claimed, and wait."""
    stored, all_of_it = Event(), 120
    pages: list[str] = []
    claimed: list[int] = []

    def count(fact: object) -> None:
        if isinstance(fact, PageStored) and fact.series == "OLD/USDT 1m":
            pages.append(fact.series)
            if len(pages) >= all_of_it:
                stored.set()

    leased = "SELECT count(CASE status WHEN 'leased' THEN 1 END) FROM jobs"

    def held(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
        if series.symbol == "NEW/USDT":
            assert stored.wait(LONG), f"{len(pages)} pages of the other came"
            claimed.extend(count for (count,) in world.query(f"{leased} WHERE series_id = {series.id}"))
        return find_listing(router, series, sighted)

    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("OLD/USDT", "1m", "2024-03-09"), workers=2)
        assert world.run(50.0, Clock(parse_utc(NOW))).outcome is Outcome.OK
        monkeypatch.setattr(asking, "find_listing", held)
        world.configure(market("NEW/USDT OLD/USDT", "1m", "2023-12-15"), workers=2)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.hooks.add(count)
            assert app.fetcher.run(50.0).outcome is Outcome.OK
        [waiting], jobs = claimed, world.jobs()
        assert waiting <= 3
        assert jobs.keys() == {"done"}
        assert jobs["done"] >= 14


def test_the_newest_candles_of_a_market_come_first_once_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not behind the pages of another one's history that were to be asked meanwhile."""
    some, asked_before = Event(), list[int]()

    def held(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
        if series.symbol == "LATE/USDT":
            assert some.wait(LONG)
            asked_before.append(len(world.klines()))
        return find_listing(router, series, sighted)

    monkeypatch.setattr(asking, "find_listing", held)
    with open_world(tmp_path, "--clock", NOW, "--latency", "20ms") as world:
        world.configure(market("SOON/USDT LATE/USDT", "1m", "2024-01-01"), workers=3)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.hooks.add(lambda fact: some.set() if isinstance(fact, PageStored) else None)
            assert app.fetcher.run(50.0).outcome is Outcome.OK
        order = [each.symbol for each in world.klines() if each.start]
        assert order.index("LATEUSDT") <= asked_before[0] + 6


def test_what_was_ready_when_a_step_ended_is_worked_once_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given back, and is claimed anew: nothing is asked twice, and no job stays open."""
    first = OpenJobs.first
    begun: list[int] = []

    def interrupted(jobs: OpenJobs, job: OpenJob) -> list[Task]:
        begun.append(job.id)
        if len(begun) == 1:
            app.stop.set()
        return first(jobs, job)

    monkeypatch.setattr(OpenJobs, "first", interrupted)
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("BTC/USDT", "1m", "2024-01-01"), workers=4)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.fetcher.step(app.clock.elapsed() + 50.0)
            assert len(begun) == 1
            result, _ = app.fetcher.step(app.clock.elapsed() + 50.0)
            assert (result.outcome, result.missing) == (Outcome.OK, 0)
        assert world.jobs().keys() == {"done"}
        asked = [(each.start, each.end) for each in world.klines()]
        assert len(asked) == len(set(asked))


def test_a_step_begins_anew_after_one_that_lost_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job waits for an answer that the lost one was to ask for."""
    clock = Clock(parse_utc(NOW))

    def down(*_: object) -> None:
        clock.wait(Event(), 0.3)
        raise SourceDown("binance does not answer")

    def lost(*_: object, **__: object) -> None:
        raise DatabaseLost("the database is gone")

    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("A/USDT B/USDT C/USDT D/USDT", "1h", "2024-03-09"))
        with world.app(clock) as app:
            with monkeypatch.context() as patch:
                patch.setattr(asking, "find_listing", down)
                patch.setattr(JobQueue, "end", lost)
                with pytest.raises(DatabaseLost):
                    app.fetcher.step(app.clock.elapsed() + 50.0)
            began = app.clock.elapsed()
            result, _ = app.fetcher.step(began + LONG)
            assert (result.outcome, result.missing) == (Outcome.OK, 0)
            assert app.clock.elapsed() < began + LONG


def test_a_market_that_nobody_lists_is_asked_for_once(tmp_path: Path) -> None:
    """Its list cannot be had, so that only the answer about candles tells; the jobs that are claimed later know it."""
    with open_world(tmp_path, "--clock", NOW) as world:
        world.configure(market("NOPE/ABC", "1m", "2024-01-01"), workers=1)
        world.sandbox.script("status:500", 100, path="/api/v3/exchangeInfo")
        world.run(50.0, Clock(parse_utc(NOW)))
        assert len(world.klines()) == 1
        assert sum(world.jobs().values()) > 2


def test_a_listing_that_cannot_be_told_is_asked_for_once_where_another_source_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs that are claimed later go on without."""
    asked: list[str] = []

    def down(_router: APIRouter, series: Series, _sighted: object) -> Listing:
        asked.append(series.symbol)
        raise SourceDown("binance does not answer")

    monkeypatch.setattr(asking, "find_listing", down)
    with open_sources(tmp_path, "--clock", NOW) as world:
        world.configure_sources(market_of("BTC/USDT", "1m", "2024-01-01", "binance", "okx"), workers=1)
        result = world.run(50.0, Clock(parse_utc(NOW)))
        assert (result.outcome, asked) == (Outcome.OK, ["BTC/USDT"])
        assert world.jobs()["done"] > 2


def test_a_proof_that_comes_with_the_last_page_is_no_end_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is told, and what it lacks is confirmed, once the program has heard of its commit."""
    settled, committed = OpenJob.settled, Event()

    def slowly(job: OpenJob, pages: int = 1, error: Exception | None = None) -> bool:
        was_last = settled(job, pages, error)
        if current_thread().name == "writer":
            committed.set()
            Clock().wait(Event(), 0.2)
        return was_last

    def held(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
        listing = find_listing(router, series, sighted)
        assert committed.wait(LONG)
        return listing

    monkeypatch.setattr(OpenJob, "settled", slowly)
    monkeypatch.setattr(asking, "find_listing", held)
    with open_world(tmp_path, "--clock", NOW, "--outage", "2024-03-05T02:00/2024-03-05T04:00") as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        assert world.run(50.0, Clock(parse_utc(NOW))).outcome is Outcome.OK
        told = [fact for fact in world.facts if isinstance(fact, PageStored) or getattr(fact, "vital", False)]
        assert [isinstance(fact, PageStored) for fact in told][:5] == [False, False, False, True, False]
        assert len(world.absent("BTC/USDT", "1h")) == 1
