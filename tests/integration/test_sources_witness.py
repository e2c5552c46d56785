"""Who confirms that candles are missing: the source whose page lacked them, also when it goes before it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import format_utc, parse_utc
from fetcher.events import Attempt, PageStored
from fetcher.model import DAY, HOUR, MINUTE, Window
from fetcher.outcome import Outcome
from tests.integration.world import slots_of, window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fetcher.events import Fact

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20  # of every clock: the pauses between tries shrink with it
HALT = "2026-05-31T22:00/2026-05-31T22:30"
HALTED = window(*HALT.split("/"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """A sandbox whose Binance never had half an hour that the other venues have."""
    with open_sources(tmp_path) as opened:
        opened.sandbox.configure(outages=[HALT])
        yield opened


def run_until(
    world: SourceWorld, moment: Callable[[Fact], bool], then: Callable[[], None], asked: Window | None = None
) -> None:
    """One run, or a backfill of `asked`, in which `then` happens right after the first fact that is the `moment`."""
    told: list[Fact] = []

    def listen(fact: Fact) -> None:
        if not told and moment(fact):
            told.append(fact)
            then()

    with world.app(world.set_clock(NOW, SPEED)) as app:
        app.hooks.add(listen)
        if asked is None:
            app.fetcher.run(50.0)
        else:
            app.fetcher.backfill([(series, asked) for series in app.fetcher.sync()])
    assert told, "the moment never came"


def is_page_of_binance(fact: Fact) -> bool:
    """Whether a page of Binance's was stored: what it lacks is confirmed next."""
    return isinstance(fact, PageStored) and fact.source == "binance"


def waiting(world: SourceWorld) -> list[Window]:
    """The windows of jobs in the queue."""
    return [Window(*row) for row in world.query("SELECT start_ms, end_ms FROM jobs WHERE status = 'queued'")]


def gaps(world: SourceWorld) -> list[Window]:
    """What nothing explains yet."""
    return [Window(*row) for row in world.query("SELECT start_ms, end_ms FROM gaps ORDER BY start_ms")]


def stored_in_halt(world: SourceWorld) -> int:
    """How many candles are stored of the time in which Binance had none."""
    times = world.rows("BTC/USDT", "1m")["open_time"]
    return int(((times >= HALTED.start) & (times < HALTED.end)).sum())


def test_no_other_fills_what_the_primary_lacked_before_it_went(world: SourceWorld) -> None:
    """It waits in the queue through runs of new processes, OKX is not asked about it, and Binance confirms it."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    run_until(world, is_page_of_binance, lambda: world.down("binance"))
    assert waiting(world) == [HALTED]
    for minutes in (3, 6):
        world.compared(NOW + minutes * MINUTE)
        world.run(clock=world.set_clock(NOW + minutes * MINUTE, SPEED))
        assert HALTED in waiting(world)
        assert stored_in_halt(world) == 0
        assert world.absent("BTC/USDT", "1m") == []
    assert world.served("BTC/USDT", "1m").keys() == {"binance", "okx"}, "what closed meanwhile is OKX's"
    world.down()
    world.compared(NOW + 10 * MINUTE)
    assert world.run(clock=world.set_clock(NOW + 10 * MINUTE, SPEED)).outcome is Outcome.OK
    assert world.absent("BTC/USDT", "1m") == [HALTED]
    assert world.served("BTC/USDT", "1m").keys() == {"binance"}


def test_a_run_that_ends_before_the_confirmation_is_no_forgetting(world: SourceWorld) -> None:
    """A stop between page and confirmation, then the primary gone: the next run does not fill its hole either."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    with world.app(world.set_clock(NOW, SPEED)) as app:
        app.hooks.add(lambda fact: app.stop.set() if is_page_of_binance(fact) else None)
        app.fetcher.run(50.0)
    assert world.absent("BTC/USDT", "1m") == []
    world.down("binance")
    world.run(clock=world.set_clock(NOW + 3 * MINUTE, SPEED))
    assert stored_in_halt(world) == 0
    assert HALTED in waiting(world)


def test_a_source_that_stays_away_is_waited_for_a_day(world: SourceWorld) -> None:
    """What one page lacked is no proof for ever: after a day another source may fill it."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    run_until(world, is_page_of_binance, lambda: world.down("binance"))
    assert stored_in_halt(world) == 0
    later = NOW + DAY + HOUR
    world.compared(later)
    world.run(clock=world.set_clock(later, SPEED))
    assert stored_in_halt(world) == HALTED.span // MINUTE


def test_attempts_in_vain_do_not_prolong_the_day(world: SourceWorld) -> None:
    """Runs that could not ask the source again know no more than before: the day counts from its page."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    run_until(world, is_page_of_binance, lambda: world.down("binance"))
    for hours in (8, 16):
        world.compared(NOW + hours * HOUR)
        world.run(clock=world.set_clock(NOW + hours * HOUR, SPEED))
        assert stored_in_halt(world) == 0
    world.compared(NOW + DAY + HOUR)
    world.run(clock=world.set_clock(NOW + DAY + HOUR, SPEED))
    assert stored_in_halt(world) == HALTED.span // MINUTE


def test_pages_of_one_job_from_two_sources(world: SourceWorld) -> None:
    """In one backfill job the first page is Binance's and the second OKX's; each hole is judged by its own page."""
    first, second = window("2026-05-30T02:00", "2026-05-30T02:20"), window("2026-05-30T22:00", "2026-05-30T22:20")
    both = [f"{format_utc(each.start)}/{format_utc(each.end)}" for each in (first, second)]
    world.sandbox.configure(outages=both[:1], venues={"okx": {"outages": both[1:]}})
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-30T00:00:00Z", "binance", "okx"), workers=1)
    asked = window("2026-05-30T00:00", "2026-05-31T00:00")
    answers: list[Fact] = []

    def is_first_page(fact: Fact) -> bool:
        if isinstance(fact, Attempt) and fact.source == "binance" and fact.purpose.endswith("candles"):
            answers.append(fact)
        return len(answers) == 3  # after the two of the listing

    run_until(world, is_first_page, lambda: world.down("binance"), asked=asked)
    assert world.query("SELECT count(*) FROM jobs") == [(1,)]
    assert world.served("BTC/USDT", "1m") == {"binance": 1000 - 20, "okx": 440 - 20}
    assert waiting(world) == [first]
    left = [hole for each in gaps(world) if (hole := each.intersect(asked))]
    assert left == [first], "quiet minutes on OKX are none: it leaves out candles without trades"


def test_a_fallbacks_own_hole_is_confirmed_with_it(world: SourceWorld) -> None:
    """With Binance away from the beginning, what OKX lacks is settled by OKX's word; Binance, back, fills it."""
    halt = window("2026-05-31T21:00", "2026-05-31T21:20")
    world.sandbox.configure(
        outages=[], venues={"okx": {"outages": [f"{format_utc(halt.start)}/{format_utc(halt.end)}"]}}
    )
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    world.down("binance")
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    assert gaps(world) == []
    assert not slots_of([halt], "1m") & set(world.rows("BTC/USDT", "1m")["open_time"].tolist())
    world.down()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK
    assert slots_of([halt], "1m") <= set(world.rows_of("BTC/USDT", "1m", "binance")["open_time"].tolist())


def test_a_newest_hole_delays_nothing_newer(world: SourceWorld) -> None:
    """Binance lacks the newest minutes and is then banned for an hour: OKX serves what closes after them at once."""
    edge = window("2026-05-31T23:50", "2026-06-01T00:00")
    world.sandbox.configure(outages=[f"{format_utc(edge.start)}/{format_utc(edge.end)}"], retry_after=3600)
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    run_until(world, is_page_of_binance, lambda: world.sandbox.script("status:418", 1))
    for minutes in (3, 6):
        world.compared(NOW + minutes * MINUTE)
        world.run(clock=world.set_clock(NOW + minutes * MINUTE, SPEED))
        times = set(world.rows_of("BTC/USDT", "1m", "okx")["open_time"].tolist())
        assert times >= slots_of([Window(edge.end, edge.end + minutes * MINUTE)], "1m")
        assert not times & slots_of([edge], "1m")
