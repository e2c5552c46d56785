"""Absences that are many pages long: proven and kept piece by piece, at a cost that grows with their length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fetcher.asking import PIECE_PAGES
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.gaps import union
from fetcher.model import DAY, MINUTE, Window
from fetcher.outcome import Outcome
from fetcher.router import MOST_REQUESTS
from tests.integration.world import market as entry
from tests.integration.world import open_world, window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from db.coverage import Interval

NOW = parse_utc("2026-06-01T00:00:30Z")
HALT = window("2026-03-20", "2026-05-20")
QUICK = 60  # so many times faster than real time: budgets are of minutes
NEVER_ENDS = 3600.0  # by a clock that runs so quick
EXACTLY = 10.0  # of requests that are asked in any case: listing, clock, the pages beside


def pages_of(span: Window, slots: int) -> float:
    """How many pages of so many minutes a span has."""
    return span.span / MINUTE / slots


def assert_proven(pieces: list[Interval], source: str, halt: Window) -> None:
    """Pieces that together are the halt, each with two answers in which the nearest candles of its sides came back."""
    assert union(Window(each.start_ms, each.end_ms) for each in pieces) == [halt]
    for each in pieces:
        assert (each.answers or 0) >= 3
        assert each.recheck_at is not None
        proof = json.loads(each.evidence or "")
        assert proof["source"] == source
        assert len(proof["answers"]) == 2
        for answer in proof["answers"]:
            assert {halt.start - MINUTE, halt.end} <= set(answer["came_back"])


def test_a_halt_of_months_costs_what_its_pages_cost(tmp_path: Path) -> None:
    """Two months of minutes at Binance: each page once, once more, and single candles to find the ends."""
    halt = f"{format_utc(HALT.start)}/{format_utc(HALT.end)}"
    with open_world(tmp_path, "--clock", f"{format_utc(NOW)} x{QUICK}", "--outage", halt) as world:
        world.configure(entry("BTC/USDT", "1m", "2026-03-18"))
        assert world.backfill(window("2026-03-18", "2026-05-22"), Clock(NOW, QUICK)).outcome is Outcome.OK
        found = [each for each in world.coverage("BTC/USDT", "1m") if each.state == "absent"]
        assert_proven(found, "binance", HALT)
        assert len(world.klines()) <= 3 * pages_of(HALT, 1000) + EXACTLY
        assert max(Window(each.start_ms, each.end_ms).span for each in found) <= PIECE_PAGES * 1000 * MINUTE


def test_a_run_that_ends_early_keeps_what_it_proved(tmp_path: Path) -> None:
    """With a slow exchange no run lasts long enough; each goes on where the last one ended, until all is proven."""
    halt = f"{format_utc(HALT.start)}/{format_utc(HALT.end)}"
    with open_world(tmp_path, "--clock", f"{format_utc(NOW)} x{QUICK}", "--outage", halt) as world:
        world.configure(entry("BTC/USDT", "1m", "2026-03-18"), workers=2)
        world.sandbox.configure(latency_seconds=0.02)
        proven = []
        for number in range(30):
            now = NOW + number * 2 * MINUTE
            world.sandbox.configure(clock=f"{format_utc(now)} x{QUICK}")
            world.run(50.0, Clock(now, QUICK))
            proven.append(sum(each.span for each in world.absent("BTC/USDT", "1m")))
            if proven[-1] == HALT.span:
                break
        assert proven[-1] == HALT.span
        assert len(proven) > 2, "else the exchange was not slow enough"
        assert len(world.klines()) <= 4 * pages_of(HALT, 1000) + EXACTLY * len(proven)


def test_a_market_that_is_gone_is_proven_so_piece_by_piece(tmp_path: Path) -> None:
    """Delisted two months ago: one way each candle, the other way none, as the exchange's list says."""
    gone = format_utc(HALT.start)
    with open_world(tmp_path, "--clock", f"{format_utc(NOW)} x{QUICK}", "--delisted", f"OLDUSDT={gone}") as world:
        world.configure(entry("OLD/USDT", "1m", "2026-03-18"))
        assert world.run(NEVER_ENDS, Clock(NOW, QUICK)).outcome is Outcome.OK
        found = [each for each in world.coverage("OLD/USDT", "1m") if each.state == "absent"]
        [silence] = union(Window(each.start_ms, each.end_ms) for each in found)
        assert silence.start == HALT.start
        assert {json.loads(each.evidence or "")["market"] for each in found} == {"no longer trades"}
        assert len(world.klines()) <= 3 * pages_of(silence, 1000) + EXACTLY
        for number in range(1, 5):
            now = NOW + number * 2 * DAY
            world.sandbox.configure(clock=f"{format_utc(now)} x{QUICK}")
            world.change("UPDATE coverage SET recheck_at = NULL")
            world.sandbox.clear_log()
            assert world.run(NEVER_ENDS, Clock(now, QUICK)).outcome is Outcome.OK
            assert len(world.klines()) <= 3 * 4 + EXACTLY, "two days, not the silence before them again"


@pytest.fixture
def venues(tmp_path: Path) -> Iterator[SourceWorld]:
    """A sandbox of venues that set no limit."""
    with open_sources(tmp_path, "--venue-limit=*=1000000/60s") as opened:
        yield opened


def test_a_source_that_answers_no_open_question(venues: SourceWorld) -> None:
    """OKX away for a week: its own stored candles beside it are asked for one by one, however far they are."""
    halt = window("2026-05-22", "2026-05-29")
    venues.sandbox.configure(venues={"okx": {"outages": [f"{format_utc(halt.start)}/{format_utc(halt.end)}"]}})
    more = {"okx": ", weight_per_minute: 60000"}
    venues.configure_sources(market_of("BTC/USDT", "1m", "2026-05-21", "okx"), more=more)
    assert venues.backfill(window("2026-05-21", "2026-05-31"), venues.set_clock(NOW, 20)).outcome is Outcome.OK
    found = [each for each in venues.coverage("BTC/USDT", "1m") if each.state == "absent"]
    assert_proven(found, "okx", halt)
    asked = [each for each in venues.sandbox.log(venue="okx") if each["path"].endswith("candles")]
    beside = pages_of(window("2026-05-21", "2026-05-31"), 298) - pages_of(halt, 298)
    assert len(asked) - beside <= 4 * pages_of(halt, 298) + EXACTLY, (
        "a page, twice more, and two candles for each piece"
    )


def test_a_long_page_of_small_ones_keeps_what_came(venues: SourceWorld) -> None:
    """A page of Yahoo's is 34 of OKX's: some are asked for at once, and what came before a failure stays."""
    venues.configure_sources(market_of("BTC/USDT", "1m", "2026-05-20", "yahoo", "okx"), timeout="1s")
    venues.down("yahoo")
    start = parse_utc("2026-05-25")
    with venues.app(venues.set_clock(NOW, 20)) as app:
        [series] = app.fetcher.sync()
        page = Window(start, series.grid.advance(start, app.router.page_slots(series)))
        part = app.router.page_slots(series, "okx") * MINUTE
        served = app.router.candles(series, page.start, page.end, partly=True)
        assert served.window == Window(start, start + MOST_REQUESTS * part)
        venues.sandbox.script("none", 7, venue="okx")
        venues.sandbox.script("status:500", 5, venue="okx")
        served = app.router.candles(series, page.start, page.end, partly=True)
        assert served.window == Window(start, start + 7 * part)
        assert len(served.page.rows) == 7 * part // MINUTE
    venues.sandbox.clear_log()
    venues.sandbox.script("none", 7, venue="okx")
    venues.sandbox.script("status:500", 5, venue="okx")
    result = venues.backfill(Window(page.start, page.end), venues.set_clock(NOW, 20))
    assert result.outcome is Outcome.OK
    asked = [each for each in venues.sandbox.log(venue="okx") if each["path"].endswith("candles")]
    assert len(asked) <= 34 + 5 + 12
