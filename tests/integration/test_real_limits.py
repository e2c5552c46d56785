"""Request limits hold across processes: the budget is never exceeded, and a 429 or 418 stops everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import MINUTE, SECOND
from fetcher.sandbox.binance import KLINES
from tests.integration.world import World, market, open_world, window

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

LATE_MS = 1_000  # real ms in which what was on its way may still arrive, on a busy machine
NOW = parse_utc("2026-03-01T12:00:30Z")


def two_processes(world: World, days: str, clock: str = "") -> list[int]:
    """The exit codes of two backfills that run at once."""
    children = [world.child(window("2026-01-01", days), clock) for _ in range(2)]
    return [child.wait(90.0) for child in children]


def test_two_processes_share_a_budget(tmp_path: Path) -> None:
    """Two backfills at once under 600 weight a minute use several minutes of it and never see a 429."""
    bases = ("BTC", "ETH", "BNB", "ADA", "XRP", "SOL", "DOT", "LTC", "LINK", "DOGE", "AVAX", "ATOM")
    symbols = " ".join(f"{base}/USDT" for base in bases)
    with open_world(
        tmp_path, "--clock", f"{format_utc(NOW)} x6", "--weight-limit", "600", "--latency", "20ms"
    ) as world:
        world.configure(market(symbols, "1m", "2026-01-01"), weight=600)
        two_processes(world, "2026-01-31", f"{format_utc(NOW)} x6")
        log = world.sandbox.log()
        assert {entry["status"] for entry in log} == {200}
        by_minute = [entry["weight_used"] for entry in log]
        assert len({entry["at_ms"] // MINUTE for entry in log}) >= 2
        assert 500 < max(by_minute) <= 600
        assert world.jobs().keys() == {"done"}


@pytest.mark.parametrize("status", [429, 418])
def test_a_refusal_stops_every_process(tmp_path: Path, status: int) -> None:
    """After a 429 or 418 that nobody expected, two processes send nothing until the rest is over, then finish."""
    with open_world(tmp_path, "--latency", "20ms", "--retry-after", "3") as world:
        world.configure(market("BTC/USDT ETH/USDT", "1m", "2026-01-01"), workers=3)
        world.sandbox.script("none", 30)
        world.sandbox.script(f"status:{status}")
        two_processes(world, "2026-02-15")
        log = world.sandbox.log()
        refused = [entry for entry in log if entry["status"] == status]
        assert len(refused) == 1
        start = refused[0]["real_ms"]
        rested = [e for e in log if start + LATE_MS < e["real_ms"] < start + 3 * SECOND - 20]
        assert rested == []
        assert any(entry["real_ms"] >= start + 3 * SECOND for entry in log)
        assert world.jobs().keys() == {"done"}


def test_a_ban_reaches_those_who_wait_for_budget(tmp_path: Path) -> None:
    """Fetchers that wait for the next minute's weight obey a ban that comes while they wait."""
    speed = 10
    with open_world(
        tmp_path, "--clock", f"{format_utc(NOW)} x{speed}", "--latency", "300ms", "--retry-after", "100"
    ) as world:
        world.configure(market("BTC/USDT", "1m", "2026-01-01"), weight=40)
        world.sandbox.script("none", 6)
        world.sandbox.script("status:418")
        world.run(50.0, Clock(world.sandbox.config()["now_ms"], speed))
        log = world.sandbox.log()
        ban = next(entry for entry in log if entry["status"] == 418)
        later = [e for e in log if e["at_ms"] > ban["at_ms"] + LATE_MS * speed]
        assert all(entry["at_ms"] >= ban["at_ms"] + 100 * SECOND for entry in later)


def test_a_refused_time_request_stops_candles_too(tmp_path: Path) -> None:
    """A 429 on any question is a rest for all of them."""
    with open_world(tmp_path, "--fault-path", "/api/v3/time", "--retry-after", "40") as world:
        world.configure(market("BTC/USDT", "1m", "2026-02-14"))
        world.sandbox.script("status:429", path="/api/v3/time")
        assert world.backfill(window("2026-02-14", "2026-02-15")).exit_code == 1
        assert world.sandbox.log(KLINES) == []
        assert world.jobs() == {"queued": 1}
