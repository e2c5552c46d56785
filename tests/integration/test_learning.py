"""New markets: what is asked, and what waits, until it is known when they were listed."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest

from fetcher import asking
from fetcher.clock import Clock, parse_utc
from fetcher.events import PageStored
from fetcher.listing import Listing, find_listing
from fetcher.model import Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.resilience.retry import TRIES
from fetcher.sandbox.generated import GeneratedMarket, History
from tests.integration.world import market, open_world, same_candles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fetcher.model import Series
    from fetcher.router import APIRouter

pytestmark = pytest.mark.usefixtures("database")

NOW = "2024-03-10T00:00:30Z"
LISTED = parse_utc("2024-01-20T12:00:00Z")
MANY_JOBS = market("NEW/USDT", "1m", "2024-01-01")
LONG = 10.0


def test_what_opens_behind_a_first_answer_does_not_wait_for_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candles are stored before the listing is proven; of the time before it nothing is asked meanwhile, or later."""
    stored, find = Event(), find_listing
    before_proof: list[int] = []

    def held(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
        def until_stored(opened: int) -> None:
            sighted(opened)
            assert stored.wait(LONG), "nothing comes before the proof"
            before_proof.append(len(world.klines()))

        return find(router, series, until_stored)

    monkeypatch.setattr(asking, "find_listing", held)
    with open_world(tmp_path, "--clock", NOW, "--listed", "NEWUSDT=2024-01-20T12:00") as world:
        world.configure(MANY_JOBS)
        with world.app(Clock(parse_utc(NOW))) as app:
            app.hooks.add(lambda fact: stored.set() if isinstance(fact, PageStored) else None)
            result = app.fetcher.run(50.0)
        assert (result.outcome, result.missing) == (Outcome.OK, 0)
        assert world.series("NEW/USDT", "1m").listed_ms == LISTED
        [asked_before] = before_proof
        asked = [each.start for each in world.klines()]
        assert asked_before > 1
        assert asked.count(0) == 2, "the two questions that prove it"
        assert min(start for start in asked if start) >= LISTED
        true = GeneratedMarket(History(listed={"NEWUSDT": LISTED})).oracle(
            "NEWUSDT", Timeframe("1m"), Window(LISTED, parse_utc(NOW)), parse_utc(NOW)
        )
        assert same_candles(world.rows("NEW/USDT", "1m"), true)
        assert world.jobs().keys() == {"done"}


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
