"""Candles that an exchange changes after they closed: noticed, replaced, and the old values kept."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.events import PageStored, Restated
from fetcher.model import DAY, HOUR, MINUTE
from fetcher.outcome import Outcome
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.steps import KNOWN_SLOTS
from tests.integration.world import market, open_world
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.world import World

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2024-03-10T00:00:30Z")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Hours of one market, complete at NOW."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as opened:
        opened.configure(market("BTC/USDT", "1h", "2024-02-01"))
        assert opened.run(20, clock=at(opened, NOW)).outcome is Outcome.OK
        opened.facts.clear()
        opened.sandbox.clear_log()
        yield opened


def at(world: World, now: int) -> Clock:
    """The exchange's and the program's clock at the same moment."""
    world.sandbox.configure(clock=format_utc(now))
    return Clock(now)


def closes(world: World, slot: int) -> list[float]:
    """The close that is stored of an hour."""
    rows = world.rows("BTC/USDT", "1h")
    return [float(close) for close in rows["close"][rows["open_time"] == slot]]


def restated(world: World) -> list[tuple[str, int, int]]:
    """What the runs noticed."""
    return [(fact.source, fact.rows, fact.first_ms) for fact in world.facts if isinstance(fact, Restated)]


def test_the_next_candles_bring_what_changed_just_before_them(world: World) -> None:
    """A tail asks for the last few stored ones too, with the same request; what is counted as new is new."""
    slot = NOW - NOW % HOUR - KNOWN_SLOTS * HOUR
    [before] = closes(world, slot)
    world.sandbox.restate("BTCUSDT", "1h", slot, "12345")
    assert world.run(20, clock=at(world, NOW + HOUR)).outcome is Outcome.OK
    assert closes(world, slot) == [12345.0]
    assert restated(world) == [("binance", 1, slot)]
    assert world.query("SELECT open_time, close FROM revisions") == [(slot, before)]
    assert len(world.klines()) == 1
    assert [fact.rows for fact in world.facts if isinstance(fact, PageStored)] == [1]


def test_once_a_day_the_newest_candles_are_read_again(world: World) -> None:
    """As many as one page holds; once, not with each run, and what the source says then is what is stored."""
    slot = NOW - NOW % HOUR - 20 * DAY
    world.sandbox.restate("BTCUSDT", "1h", slot, "12345")
    for minutes in (0, 5, 10):
        assert world.run(20, clock=at(world, NOW + DAY + minutes * MINUTE)).outcome is Outcome.OK
    assert closes(world, slot) == [12345.0]
    assert restated(world) == [("binance", 1, slot)]
    assert len(world.klines()) == 2, "the day's candles, and one page again"


def test_an_exchange_that_is_away_is_asked_by_the_next_run(world: World) -> None:
    """What could not be read again is not put off by a day."""
    slot = NOW - NOW % HOUR - 10 * DAY
    assert world.run(20, clock=at(world, NOW + DAY - MINUTE)).outcome is Outcome.OK
    world.sandbox.restate("BTCUSDT", "1h", slot, "12345")
    world.sandbox.configure(retry_after=120)
    world.sandbox.script("status:429", 1)
    world.run(20, clock=at(world, NOW + DAY + 5 * MINUTE))
    assert closes(world, slot) != [12345.0]
    world.run(20, clock=at(world, NOW + DAY + 10 * MINUTE))
    assert closes(world, slot) == [12345.0]


def test_a_clock_that_was_ahead_puts_nothing_off(world: World) -> None:
    """A time after now is forgotten, and counting starts anew."""
    world.change("UPDATE series SET reread_ms = :ms", ms=NOW + 900 * DAY)
    world.run(20, clock=at(world, NOW + MINUTE))
    [(ms,)] = world.query("SELECT reread_ms FROM series")
    assert NOW + MINUTE <= ms < NOW + 10 * MINUTE


def test_a_market_that_is_gone_is_not_read_again(tmp_path: Path) -> None:
    """Where nothing is stored of the last day there is nothing that could have changed."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--delisted", "OLDUSDT=2024-03-08") as world:
        world.configure(market("OLD/USDT", "1h", "2024-03-01"))
        world.run(20, clock=at(world, NOW))
        world.run(20, clock=at(world, NOW + 2 * DAY))
        world.sandbox.clear_log()
        world.run(20, clock=at(world, NOW + 3 * DAY))
        world.change("UPDATE coverage SET recheck_at = NULL")
        asked = len(world.klines())
        world.run(20, clock=at(world, NOW + 3 * DAY + MINUTE))
        assert len(world.klines()) == asked


def test_a_worse_source_changes_nothing(tmp_path: Path) -> None:
    """While the better one is away its candles stay as they are, also those that come again beside new ones."""
    with open_sources(tmp_path, "--clock", format_utc(NOW)) as venues:
        assert isinstance(venues, SourceWorld)
        venues.configure_sources(market_of("BTC/USDT", "1h", "2024-03-01", "binance", "okx"))
        assert venues.run(20, clock=venues.set_clock(NOW)).outcome is Outcome.OK
        before = venues.rows("BTC/USDT", "1h")
        venues.down("binance")
        venues.run(20, clock=venues.set_clock(NOW + HOUR))
        after = venues.rows("BTC/USDT", "1h")
        assert len(after) == len(before) + 1
        assert after[:-1].tobytes() == before.tobytes()
        assert venues.query("SELECT count(*) FROM revisions") == [(0,)]


def test_an_absence_is_asked_about_ever_more_rarely_and_for_ever(tmp_path: Path) -> None:
    """Over years: each time the pause is longer, at most a year, and what is published at last is found."""
    gone = parse_utc("2024-03-05")
    halt = f"{format_utc(gone)}/{format_utc(gone + DAY)}"
    with open_world(tmp_path, "--clock", format_utc(NOW), "--outage", halt) as world:
        world.configure(market("BTC/USDT", "1d", "2024-03-01"))
        assert world.run(20, clock=at(world, NOW)).outcome is Outcome.OK
        moments = [NOW]
        while len(moments) < 10:
            [(due,)] = world.query("SELECT recheck_at FROM coverage WHERE state = 'absent'")
            moments.append(int(due) + 1)
            world.run(20, clock=at(world, moments[-1]))
        pauses = [after - before for before, after in pairwise(moments)]
        assert pauses == pytest.approx(sorted(pauses), abs=MINUTE)
        assert pauses[-1] == pytest.approx(365 * DAY, abs=MINUTE)
        assert moments[-1] - NOW > 3 * 365 * DAY
        world.sandbox.configure(outages=[])
        assert world.run(20, clock=at(world, moments[-1] + 366 * DAY)).outcome is Outcome.OK
        assert world.absent("BTC/USDT", "1d") == []
        assert gone in world.rows("BTC/USDT", "1d")["open_time"]
        assert GeneratedMarket().lifetime("BTCUSDT", world.series("BTC/USDT", "1d").timeframe).start < gone
