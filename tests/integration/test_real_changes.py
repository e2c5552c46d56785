"""What an exchange changes of its own past, what it shifts, halts and ends, and what people take away by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, OFF_GRID, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.generated import GeneratedMarket, History, Shifted
from tests.integration.world import market, open_world, same_candles, slots_of, window

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2024-03-10T00:00:30Z")
DAYS = window("2024-03-01", "2024-03-04")


def test_removed_coverage_is_fetched_again(tmp_path: Path) -> None:
    """Coverage that was taken away is the whole work of the next run, slot for slot, and nothing is revised by it."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1m", "2024-03-01"))
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        before = world.rows("BTC/USDT", "1m")
        holes = [
            Window(DAYS.start + minute * MINUTE, DAYS.start + (minute + length) * MINUTE)
            for minute, length in ((7, 1), (700, 10), (2000, 1000))
        ]
        [stored] = world.coverage("BTC/USDT", "1m")
        world.change("DELETE FROM coverage")
        edges = [stored.start_ms, *(ms for hole in holes for ms in (hole.start, hole.end)), stored.end_ms]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            world.change(
                "INSERT INTO coverage (series_id, start_ms, end_ms, state, rows, source_id, route) "
                "VALUES (1, :start, :end, 'stored', :rows, :source, :route)",
                start=start, end=end, rows=(end - start) // MINUTE, source=stored.source_id, route=stored.route,
            )  # fmt: skip
        world.sandbox.clear_log()
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        asked = [Window(each.start, each.end) for each in world.klines() if each.start and each.end]
        assert slots_of(asked, "1m") == slots_of(holes, "1m")
        assert sum(each.span for each in asked) == sum(hole.span for hole in holes)
        assert same_candles(world.rows("BTC/USDT", "1m"), before)
        assert world.query("SELECT count(*) FROM revisions") == [(0,)]
        assert len(world.coverage("BTC/USDT", "1m")) == 1


def test_restated_candle(tmp_path: Path) -> None:
    """A candle that the exchange restates replaces ours when it is fetched again, and the old values are kept."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        world.backfill(DAYS, Clock(NOW))
        at = DAYS.start + 30 * HOUR
        old = next(row for row in world.rows("BTC/USDT", "1h") if row["open_time"] == at)
        world.sandbox.restate("BTCUSDT", "1h", at, "12345.67")
        assert world.backfill(DAYS, Clock(NOW)).outcome is Outcome.OK
        assert world.query("SELECT count(*) FROM revisions") == [(0,)]
        world.change("DELETE FROM coverage")
        assert world.backfill(DAYS, Clock(NOW)).outcome is Outcome.OK
        new = next(row for row in world.rows("BTC/USDT", "1h") if row["open_time"] == at)
        assert new["close"] == 12345.67
        kept = world.query("SELECT open_time, open, high, low, close, volume FROM revisions")
        assert kept == [tuple(old[name].item() for name in ("open_time", "open", "high", "low", "close", "volume"))]


def test_off_grid_stretch(tmp_path: Path) -> None:
    """Minutes whose times are late are stored at their slots with the flag, and quarantine keeps what was said."""
    late = window("2024-03-02T09:59", "2024-03-02T16:00")
    halt = window("2024-03-02T04:00", "2024-03-02T09:59")
    history = History(off_grid=(Shifted(late, 14_789),), outages=(halt,))
    arguments = (
        "--off-grid",
        "2024-03-02T09:59/2024-03-02T16:00/14789",
        "--outage",
        "2024-03-02T04:00/2024-03-02T09:59",
    )
    with open_world(tmp_path, "--clock", format_utc(NOW), *arguments) as world:
        world.configure(market("BTC/USDT", "1m", "2024-03-01"))
        assert world.backfill(DAYS, Clock(NOW)).outcome is Outcome.OK
        true = GeneratedMarket(history).oracle("BTCUSDT", Timeframe("1m"), DAYS, DAYS.end + HOUR)
        stored = world.rows("BTC/USDT", "1m")
        assert same_candles(stored, true)
        flagged = stored["open_time"][(stored["flags"] & OFF_GRID) != 0]
        assert set(flagged.tolist()) == slots_of([late], "1m")
        assert world.absent("BTC/USDT", "1m") == [halt]
        held = world.query("SELECT open_time, reason, payload FROM quarantine ORDER BY open_time")
        assert {at - at % MINUTE for at, _, _ in held} == slots_of([late], "1m")
        assert {(at % MINUTE, reason) for at, reason, _ in held} == {(14_789, "off_grid")}
        assert all(json.loads(payload)["open_time"] == at for at, _, payload in held)


def test_outage_at_the_newest_edge(tmp_path: Path) -> None:
    """While a halt lasts its minutes are missing and wait; only when candles come again are they proven absent."""
    halt = "2024-03-10T00:00/2024-03-10T01:00"
    with open_world(tmp_path, "--clock", "2024-03-10T00:30:10Z", "--outage", halt) as world:
        world.configure(market("BTC/USDT", "1m", "2024-03-09"))
        for minute in (30, 40, 59):
            now = parse_utc(f"2024-03-10T00:{minute}:10Z")
            world.sandbox.configure(clock=format_utc(now))
            result = world.run(clock=Clock(now))
            assert (result.exit_code, result.missing) == (1, minute)
            assert world.absent("BTC/USDT", "1m") == []
            assert world.jobs()["queued"] >= 1
        now = parse_utc("2024-03-10T01:10:10Z")
        world.sandbox.configure(clock=format_utc(now))
        assert world.run(clock=Clock(now)).outcome is Outcome.OK
        assert world.absent("BTC/USDT", "1m") == [window(*halt.split("/"))]
        assert world.rows("BTC/USDT", "1m")["open_time"][-1] == parse_utc("2024-03-10T01:09")


def test_absence_is_asked_again_and_heals(tmp_path: Path) -> None:
    """An absence is asked again later and more and more rarely; candles that turn up after all are stored."""
    halt = window("2024-03-02T04:00", "2024-03-02T05:00")
    with open_world(tmp_path, "--clock", format_utc(NOW), "--outage", "2024-03-02T04:00/2024-03-02T05:00") as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        [(first, answers)] = world.query("SELECT recheck_at, answers FROM coverage WHERE state = 'absent'")
        again = first + MINUTE
        world.sandbox.configure(clock=format_utc(again))
        assert world.run(clock=Clock(again)).outcome is Outcome.OK
        [(second, more)] = world.query("SELECT recheck_at, answers FROM coverage WHERE state = 'absent'")
        assert more > answers
        assert second - again > first - NOW
        healed = second + MINUTE
        world.sandbox.configure(clock=format_utc(healed), outages=[])
        assert world.run(clock=Clock(healed)).outcome is Outcome.OK
        assert world.absent("BTC/USDT", "1h") == []
        assert halt.start in world.rows("BTC/USDT", "1h")["open_time"]


def test_delisted_market(tmp_path: Path) -> None:
    """The time after a market's end is proven absent, because the exchange says that it no longer trades."""
    end = parse_utc("2024-03-05T12:00")
    with open_world(tmp_path, "--clock", format_utc(NOW), "--delisted", "OLDUSDT=2024-03-05T12:00") as world:
        world.configure(market("OLD/USDT", "1m", "2024-03-01"))
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        tail = [each for each in world.coverage("OLD/USDT", "1m") if each.state == "absent"]
        assert tail[0].start_ms == end
        assert tail[-1].end_ms == NOW - NOW % MINUTE
        assert {json.loads(each.evidence or "")["market"] for each in tail} == {"no longer trades"}
        assert world.rows("OLD/USDT", "1m")["open_time"][-1] == end - MINUTE
        world.sandbox.clear_log()
        soon = NOW + 5 * MINUTE
        world.sandbox.configure(clock=format_utc(soon))
        assert world.run(clock=Clock(soon)).exit_code in {0, 1}
        assert len(world.klines()) <= 1, "a market that is gone is not asked at every run"


def test_market_listed_later(tmp_path: Path) -> None:
    """A market without a candle yet waits; once listed, it is complete from its first candle on."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--listed", f"NEWUSDT={format_utc(NOW + DAY)}") as world:
        world.configure(market("NEW/USDT", "1m", "2024-03-01"))
        result = world.run(clock=Clock(NOW, 30))
        assert result.exit_code == 1
        assert world.coverage("NEW/USDT", "1m") == []
        later = NOW + DAY + HOUR
        world.sandbox.configure(clock=format_utc(later))
        assert world.run(clock=Clock(later)).outcome is Outcome.OK
        first = (NOW + DAY) - (NOW + DAY) % MINUTE
        assert world.rows("NEW/USDT", "1m")["open_time"][[0, -1]].tolist() == [first, later - later % MINUTE - MINUTE]
