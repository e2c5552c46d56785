"""A market with many quiet minutes, at a venue that leaves them out: confirmed cheaply, and as safely as one by one."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from fetcher.audit import audit
from fetcher.clock import format_utc, parse_utc
from fetcher.gaps import GapDetector
from fetcher.model import DAY, MINUTE, Timeframe
from fetcher.outcome import Outcome
from tests.integration.world import window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
FIRST = NOW - NOW % DAY - 3 * DAY
ASKED = window("2026-05-29T06:00", "2026-05-31T06:00")
EVERY = 24  # of so many minutes the last three are quiet: a dozen holes a page
BROKEN = parse_utc("2026-05-30T12:10")


def is_quiet(ms: int) -> bool:
    """Whether a minute has no trades."""
    return ms // MINUTE % EVERY >= EVERY - 3


def record(folder: Path) -> str:
    """Recordings of a quiet market, in which one candle, at BROKEN, has its high below its low; their folder."""
    folder.mkdir()
    with gzip.open(folder / "BTCUSDT-1m.csv.gz", "wt", encoding="ascii") as recording:
        recording.write(
            "open_time_ms,open,high,low,close,volume,close_time_ms,quote_volume,trades,taker_base,taker_quote\n"
        )
        for time in range(FIRST, NOW + DAY, MINUTE):
            amounts = ("0", "0", "0", "0", "0") if is_quiet(time) else ("50", "5000", "7", "20", "2000")
            volume, quote, trades, base, taken = amounts
            high = 90 if time == BROKEN else 110
            recording.write(f"{time},100,{high},95,100,{volume},{time + MINUTE - 1},{quote},{trades},{base},{taken}\n")
    return str(folder)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """Coinbase over that market, its newest pages stored."""
    with open_sources(
        tmp_path,
        "--data",
        record(tmp_path / "data"),
        "--venue-limit=coinbase=100000/60s",
        "--clock",
        format_utc(NOW),
        "--fault-seed",
        "1",
    ) as opened:
        opened.configure_sources(
            market_of("BTC/USDT", "1m", format_utc(NOW - DAY // 2), "coinbase"),
            more={"coinbase": ", weight_per_minute: 60000"},
        )
        opened.run(clock=opened.set_clock(NOW, 10))
        opened.sandbox.clear_log()
        yield opened


def questions(world: SourceWorld) -> int:
    """How many times candles were asked for."""
    return len([entry for entry in world.sandbox.log(venue="coinbase") if entry["path"].endswith("/candles")])


def pages(world: SourceWorld) -> int:
    """How many pages ASKED has."""
    with world.app() as app:
        [series] = app.fetcher.sync()
        return -(-ASKED.span // MINUTE // app.router.page_slots(series))


def assert_right(world: SourceWorld) -> None:
    """Every minute with trades is stored but the broken one, which alone is missing; coverage is true."""
    stored = world.rows("BTC/USDT", "1m")["open_time"]
    inside = stored[(stored >= ASKED.start) & (stored < ASKED.end)]
    holes = GapDetector(Timeframe("1m").grid()).holes(ASKED, inside)
    slots = [slot for hole in holes for slot in range(hole.start, hole.end, MINUTE)]
    assert [slot for slot in slots if not is_quiet(slot)] == [BROKEN]
    with world.app() as app:
        assert audit(app.engine, app.fetcher.sync()).findings == ()


def test_a_page_of_quiet_minutes_costs_two_more_questions(world: SourceWorld) -> None:
    """However many holes a page has; and one broken candle among them holds up nothing but itself."""
    result = world.backfill(ASKED, world.set_clock(NOW, 10))
    assert (result.missing, result.outcome) == (1, Outcome.PARTIAL)
    assert_right(world)
    assert questions(world) <= 3 * pages(world) + 2 * 6, "six rounds for the broken candle"


def test_candles_left_out_by_mistake_are_no_quiet_minutes(world: SourceWorld) -> None:
    """While answers lack rows, come short or are empty now and then, nothing that was traded is taken for quiet."""
    faults = {"left_out": 0.1, "short": 0.05, "empty": 0.05, "status:500": 0.05}
    world.sandbox.configure(venues={"coinbase": {"faults": faults, "paths": ["*/candles"]}})
    for _ in range(6):
        world.change("UPDATE jobs SET not_before = 0")
        missing = world.backfill(ASKED, world.set_clock(NOW, 10)).missing
        if missing == 1:
            break
    assert missing == 1
    assert {entry["fault"] for entry in world.sandbox.log(venue="coinbase")} >= {"left_out", "short", "empty"}
    assert_right(world)
