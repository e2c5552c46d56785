"""A source that cannot be reached: runs end in time, the breaker holds for every process, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import HOUR, MINUTE, SECOND, Timeframe
from fetcher.outcome import Outcome
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.generated import GeneratedMarket
from tests.contract.wire import unused_url
from tests.integration.world import World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-03-01T12:00:20Z")
BUDGET = 50.0
DAYS = window("2026-02-20", "2026-03-01")


def world_without_exchange(folder: Path) -> World:
    """A configuration for an exchange that is not there yet; it can be started at the same address."""
    world = World(None, folder)  # type: ignore[arg-type]  # nobody asks it before it is there
    world.configure(market("BTC/USDT", "1m", "2026-02-20"), url=unused_url())
    return world


def address(world: World) -> str:
    """The port that the configuration names."""
    return world.config_path.read_text(encoding="utf-8").partition("['http://127.0.0.1:")[2].partition("'")[0]


def breaker(world: World) -> str:
    """The breaker of the one endpoint, as every process sees it."""
    [(state,)] = world.query("SELECT breaker FROM endpoint_state WHERE endpoint LIKE '%http%'")
    return str(state)


def test_server_is_down(tmp_path: Path) -> None:
    """The run ends early, all is queued; nobody asks while the breaker rests; one probe, and then everything comes."""
    world = world_without_exchange(tmp_path)
    clock = Clock(NOW, 20)
    result = world.run(BUDGET, clock)
    assert clock.elapsed() < BUDGET
    assert (result.outcome, result.exit_code) == (Outcome.PARTIAL, 1)
    assert world.jobs().keys() == {"queued"}
    assert breaker(world) == "open"
    [(opened,)] = world.query("SELECT opened_ms FROM endpoint_state WHERE breaker = 'open'")

    later = format_utc(opened + 10 * SECOND)
    with open_world(tmp_path, "--port", address(world), "--clock", later, "--latency", "200ms") as back:
        world.sandbox = back.sandbox
        assert world.run(BUDGET, Clock(opened + 10 * SECOND)).exit_code == 1
        assert world.sandbox.log() == []

        rested = opened + 70 * SECOND
        world.sandbox.configure(clock=f"{format_utc(rested)} x1")
        children = [world.child(DAYS, format_utc(rested)) for _ in range(2)]
        assert 0 in [child.wait(60.0) for child in children]
        assert_one_probe(world.sandbox)
        assert breaker(world) == "closed"
        assert world.run(BUDGET, Clock(rested + 10 * SECOND)).outcome is Outcome.OK
    true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1m"), DAYS, DAYS.end + HOUR)
    stored = world.rows("BTC/USDT", "1m")
    assert same_candles(stored[stored["open_time"] < DAYS.end], true)


def assert_one_probe(sandbox: SandboxControl) -> None:
    """The first request was answered before any other was sent."""
    moments = [entry["real_ms"] for entry in sandbox.log()]
    assert moments[1] - moments[0] >= 200


def test_server_is_lost_after_a_complete_run(tmp_path: Path) -> None:
    """A run that reaches nobody is not OK, though all that was known before is stored: what is new since then waits."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1m", "2026-03-01"))
        assert world.run(BUDGET, Clock(NOW)).outcome is Outcome.OK
    result = world.run(BUDGET, Clock(NOW + HOUR, 20))
    assert result.exit_code == 1
    assert world.query("SELECT kind, status FROM jobs WHERE status <> 'done'") == [("tail", "queued")]


def test_server_hangs(tmp_path: Path) -> None:
    """An exchange that accepts and never answers costs a run no more than its time budget and one timeout."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--hang", "30s") as world:
        world.sandbox.configure(faults={"hang": 1.0}, paths=[KLINES, "/api/v3/time", "/api/v3/exchangeInfo"])
        world.configure(market("BTC/USDT", "1m", "2026-02-20"), timeout="0.5s")
        real = Clock()
        assert world.run(3.0, Clock(NOW)).exit_code == 1
        assert real.elapsed() < 6.0
        assert "leased" not in world.jobs()


def test_breaker_opens_and_closes_within_a_backfill(tmp_path: Path) -> None:
    """Errors in a row open the breaker; the queue keeps what is left, and the next run after the rest ends it."""
    with open_world(tmp_path, "--clock", f"{format_utc(NOW)} x20") as world:
        world.configure(market("BTC/USDT ETH/USDT", "1m", "2026-02-20"))
        world.sandbox.script("none", 10)
        world.sandbox.configure(faults={"status:503": 1.0})
        first = Clock(NOW, 20)
        assert world.backfill(DAYS, first).exit_code == 1
        assert breaker(world) == "open"
        failed = [entry["at_ms"] for entry in world.sandbox.log() if entry["status"] == 503]
        assert len(failed) <= 5 + 3 * 8, "the breaker let more through than were in flight while it tripped"
        cleared = first.now_ms() + 2 * MINUTE
        world.sandbox.configure(clock=f"{format_utc(cleared)} x20", faults={})
        assert world.backfill(DAYS, Clock(cleared, 20)).outcome is Outcome.OK
        assert breaker(world) == "closed"
        assert world.jobs().keys() == {"done"}
