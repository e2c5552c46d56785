"""The primary is away: the next source stands in under its own name, and what it gave is healed when that is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fetcher.audit import audit
from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from tests.integration.world import same_candles, window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources, oracle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20  # of every clock: the pauses between tries shrink with it
LATE = {"coinbase": 9, "coingecko": 2, "yahoo": 3}
"""Candles that may lack on the newest edge: quiet minutes, an answer from a cache, rows that are null."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """A sandbox whose venues are all well."""
    with open_sources(tmp_path) as opened:
        yield opened


def revisions(world: SourceWorld) -> list[tuple[str, str, int]]:
    """Whose values were replaced by whose, and how often."""
    return world.query(
        "SELECT o.name, n.name, count(*) FROM revisions r JOIN sources o ON o.id = r.source_id "
        "JOIN sources n ON n.id = r.replaced_by GROUP BY 1, 2"
    )


def assert_sound(world: SourceWorld) -> None:
    """Coverage tells the truth about the candles."""
    with world.app() as app:
        assert audit(app.engine, app.fetcher.sync()).findings == ()


@pytest.mark.parametrize(
    ("fallback", "timeframe", "start"),
    [
        ("okx", "1m", "2026-05-31T00:00:00Z"),
        ("okx", "1h", "2026-05-01"),
        ("okx", "1d", "2026-01-01"),
        ("coinbase", "1m", "2026-05-31T06:00:00Z"),
        ("kraken", "1h", "2026-05-10"),
        ("coingecko", "4h", "2026-05-10"),
        ("coingecko", "30m", "2026-05-31T03:00:00Z"),
        ("yahoo", "1h", "2026-05-01"),
        ("yahoo", "1d", "2026-01-01"),
    ],
)
def test_a_fallback_stands_in_and_is_healed(world: SourceWorld, fallback: str, timeframe: str, start: str) -> None:
    """Named as its own, closed candles only, no volume invented; then replaced to the last bit, its values kept."""
    frame = Timeframe(timeframe)
    world.configure_sources(market_of("BTC/USDT", timeframe, start, "binance", fallback))
    world.down("binance")
    world.run(clock=world.set_clock(NOW, SPEED))
    over = world.sandbox.config()["now_ms"]
    stored = world.rows("BTC/USDT", timeframe)
    told_until = int(stored["open_time"][-1]) + frame.ms
    assert frame.grid().floor(NOW) - LATE.get(fallback, 0) * frame.ms <= told_until <= over
    assert world.served("BTC/USDT", timeframe) == {fallback: len(stored)}
    assert same_candles(stored, oracle(fallback, "BTC", frame, Window(parse_utc(start), told_until), over))
    assert np.isnan(stored["volume"]).all() == (fallback in {"coingecko", "yahoo"})
    assert_sound(world)

    world.down()
    later = NOW + 5 * MINUTE
    assert world.run(clock=world.set_clock(later, SPEED)).outcome is Outcome.OK
    healed = world.rows("BTC/USDT", timeframe)
    closed = int(healed["open_time"][-1]) + frame.ms
    assert closed >= frame.grid().floor(later)
    assert same_candles(healed, oracle("binance", "BTC", frame, Window(parse_utc(start), closed), closed + MINUTE))
    assert world.served("BTC/USDT", timeframe) == {"binance": len(healed)}
    assert revisions(world) == [(fallback, "binance", len(stored))]
    kept = world.query("SELECT open_time, open, high, low, close FROM revisions ORDER BY open_time")
    assert kept == stored[["open_time", "open", "high", "low", "close"]].tolist()
    assert world.jobs().keys() == {"done"}
    assert_sound(world)


def test_no_such_candles_is_an_answer(world: SourceWorld) -> None:
    """What Binance never had is absent, and OKX, which has it, is not asked for anything."""
    outage = "2026-05-31T02:00/2026-05-31T04:30"
    world.sandbox.configure(outages=[outage])
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31", "binance", "okx"))
    world.compared(NOW)
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    assert world.absent("BTC/USDT", "1m") == [window(*outage.split("/"))]
    assert world.served("BTC/USDT", "1m").keys() == {"binance"}
    assert world.sandbox.log(venue="okx") == []


def test_an_outage_is_healed_to_an_absence(world: SourceWorld) -> None:
    """What OKX stood in for stays OKX's where Binance, back again, proves to have none; all else is healed."""
    outage = window("2026-05-31T02:00:00Z", "2026-05-31T04:30:00Z")
    world.sandbox.configure(outages=["2026-05-31T02:00/2026-05-31T04:30"])
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31", "binance", "okx"))
    world.compared(NOW)
    world.down("binance")
    world.run(clock=world.set_clock(NOW, SPEED))
    world.down()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK
    kept = world.rows_of("BTC/USDT", "1m", "okx")
    assert same_candles(kept, oracle("okx", "BTC", Timeframe("1m"), outage, NOW))
    assert_sound(world)
    world.sandbox.clear_log()
    assert world.run(clock=world.set_clock(NOW + 6 * MINUTE, SPEED)).outcome is Outcome.OK
    assert len(world.klines()) == 1, "what is proven absent at the better source is not asked for at each run"


def test_coinbase_leaves_out_quiet_minutes(world: SourceWorld) -> None:
    """Minutes without trades are no holes: covered, with fewer rows than slots, and nothing is called absent."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T06:00:00Z", "coinbase"))
    result = world.run(clock=world.set_clock(NOW, SPEED))
    stored, asked = world.rows("BTC/USDT", "1m"), Window(parse_utc("2026-05-31T06:00:00Z"), NOW)
    slots = Timeframe("1m").grid().count(asked)
    assert result.missing <= 9, "only a quiet newest edge may wait"
    assert 0 < slots - len(stored) < slots // 10
    assert world.absent("BTC/USDT", "1m") == []
    covered = world.coverage("BTC/USDT", "1m")
    assert sum(each.rows for each in covered) == len(stored)
    assert_sound(world)


def test_kraken_reaches_only_its_newest_720(world: SourceWorld) -> None:
    """Older minutes wait for the primary, said so, and come from it alone when it is back."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-30", "binance", "kraken"))
    world.down("binance")
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.PARTIAL
    stored = world.rows("BTC/USDT", "1m")
    assert world.served("BTC/USDT", "1m") == {"kraken": len(stored)}
    assert 600 < len(stored) <= 720
    assert int(stored["open_time"][0]) >= NOW - 12 * HOUR - MINUTE
    waiting = world.query("SELECT start_ms, end_ms, last_error FROM jobs WHERE status = 'queued'")
    assert min(start for start, _, _ in waiting) == NOW - 2 * DAY - 30_000
    assert any("binance" in str(error) or "127.0.0.1" in str(error) for _, _, error in waiting)

    world.down()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK
    healed = world.rows("BTC/USDT", "1m")
    asked = Window(NOW - 2 * DAY - 30_000, int(healed["open_time"][-1]) + MINUTE)
    assert same_candles(healed, oracle("binance", "BTC", Timeframe("1m"), asked, NOW + DAY))
    assert revisions(world) == [("kraken", "binance", len(stored))]


@pytest.mark.parametrize("ahead", [-90, 90])
def test_a_wrong_clock_of_ours_shortens_no_reach(world: SourceWorld, ahead: int) -> None:
    """Kraken's 720 minutes end where its own clock says: no page beyond is asked for, none within it refused."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31", "kraken", "binance"))
    world.compared(NOW)
    world.sandbox.configure(venues={"kraken": {"ahead_ms": ahead * 1000}})
    world.run(clock=world.set_clock(NOW, SPEED))
    assert 717 <= world.served("BTC/USDT", "1m")["kraken"] <= 721
    refused = [each.message for each in world.attempts() if each.outcome == "CannotServe"]
    assert len(refused) <= 1, "only when it was listed cannot be asked"


def test_who_is_back_serves_all_of_the_first_run(world: SourceWorld) -> None:
    """While the one probe of an open breaker is on its way the others wait for it, and nothing new is OKX's."""
    symbols = " ".join(f"{base}/USDT" for base in ("BTC", "ETH", "BNB", "ADA"))
    world.configure_sources(market_of(symbols, "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.compared(NOW)
    world.down("binance")
    world.run(clock=world.set_clock(NOW, SPEED))
    assert world.failures()["binance"][0] == "open"
    world.down()
    world.sandbox.configure(latency_seconds=0.05)
    world.sandbox.clear_log()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK
    assert [entry for entry in world.sandbox.log(venue="okx") if "candles" in entry["path"]] == []
    assert {name for base in ("BTC", "ETH", "BNB", "ADA") for name in world.served(f"{base}/USDT", "1m")} == {"binance"}


def test_two_fall_back_in_order(world: SourceWorld) -> None:
    """With the first two away the third serves; the second heals nothing of the third while the first is away."""
    world.configure_sources(market_of("BTC/USDT ETH/USDT", "1h", "2026-05-01", "binance", "okx", "yahoo"))
    world.down("binance", "okx")
    world.run(clock=world.set_clock(NOW, SPEED))
    assert {symbol: set(world.served(f"{symbol}/USDT", "1h")) for symbol in ("BTC", "ETH")} == {
        "BTC": {"yahoo"}, "ETH": {"yahoo"},
    }  # fmt: skip
    world.down()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK
    for base in ("BTC", "ETH"):
        true = oracle("binance", base, Timeframe("1h"), window("2026-05-01", "2026-06-01"), NOW)
        assert same_candles(world.rows(f"{base}/USDT", "1h"), true)


def test_the_clock_of_the_source_that_served_decides(world: SourceWorld) -> None:
    """OKX's clock is an hour behind ours: what it cannot know to be closed is not stored, though we think it is."""
    world.configure_sources(market_of("BTC/USDT", "1h", "2026-05-25", "binance", "okx"))
    world.down("binance")
    world.sandbox.configure(venues={"okx": {"ahead_ms": -2 * HOUR}})
    world.run(clock=world.set_clock(NOW, SPEED))
    newest = int(world.rows("BTC/USDT", "1h")["open_time"][-1])
    assert newest + HOUR == Timeframe("1h").grid().floor(NOW - 2 * HOUR), format_utc(newest)


def asked_about(world: SourceWorld, halt: Window) -> int:
    """How many candle requests to any source touched a window since the log was cleared; clears it."""
    touched = [e for e in world.klines() if e.start is not None and e.start < halt.end and (e.end or 0) > halt.start]
    others = [e for e in world.sandbox.log(venue="okx") if f"before={halt.start - MINUTE - 1}" in e["query"]]
    world.sandbox.clear_log()
    return len(touched) + len(others)


def test_an_outage_of_many_runs_is_healed_at_once(world: SourceWorld) -> None:
    """What cron's runs stored piece by piece is asked for in one piece when the primary is back."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T23:30:00Z", "binance", "okx"))
    world.compared(NOW + HOUR - MINUTE)
    world.down("binance")
    for minutes in range(0, 60, 10):
        world.run(clock=world.set_clock(NOW + minutes * MINUTE, SPEED))
    assert world.served("BTC/USDT", "1m") == {"okx": len(world.rows("BTC/USDT", "1m"))}
    world.down()
    world.sandbox.clear_log()
    assert world.run(clock=world.set_clock(NOW + HOUR, SPEED)).outcome is Outcome.OK
    assert world.served("BTC/USDT", "1m").keys() == {"binance"}
    assert len(world.klines()) <= 5, "two for the listing, one for the tail, one to heal"


def test_what_the_primary_lacks_is_asked_for_ever_more_rarely(world: SourceWorld) -> None:
    """A fallback's candles that the primary proves to lack are asked for again after hours, then most of a day."""
    outage = window("2026-05-31T22:00:00Z", "2026-05-31T22:30:00Z")
    world.sandbox.configure(outages=["2026-05-31T22:00/2026-05-31T22:30"])
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    world.down("binance")
    world.run(clock=world.set_clock(NOW, SPEED))
    world.down()
    asked = []
    for hours in (1, 3, 5, 7, 9):
        world.sandbox.clear_log()
        assert world.run(clock=world.set_clock(NOW + hours * HOUR, SPEED)).outcome is Outcome.OK
        asked.append(asked_about(world, outage) > 0)
    assert asked == [True, True, False, False, False]
    assert len(world.rows_of("BTC/USDT", "1m", "okx")) == 30


def test_an_absence_is_asked_about_at_its_own_source(world: SourceWorld) -> None:
    """When it is due again while Binance is away, OKX is not asked instead, and it stays an absence."""
    outage = window("2026-05-31T22:00:00Z", "2026-05-31T22:30:00Z")
    world.sandbox.configure(outages=["2026-05-31T22:00/2026-05-31T22:30"])
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T20:00:00Z", "binance", "okx"))
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    world.down("binance")
    world.sandbox.clear_log()
    world.run(clock=world.set_clock(NOW + 3 * HOUR, SPEED))
    assert world.served("BTC/USDT", "1m").keys() == {"binance", "okx"}
    assert world.absent("BTC/USDT", "1m") == [outage]
    assert world.query("SELECT status FROM jobs WHERE kind = 'recheck'") == [("queued",)]
