"""A breaker that one process opened holds for all: one probe after its rest, whoever comes, and none that sticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db import breakers, endpoints
from db.engine import writing
from fetcher.clock import parse_utc
from fetcher.model import HOUR, SECOND, Timeframe, Window
from fetcher.resilience.gate import REST_MS
from fetcher.sandbox.binance import KLINES
from tests.integration.commands import until
from tests.integration.world import same_candles
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources, oracle, written

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 4
PROBE_SECONDS = 3.0  # real; long enough for four processes to come up
PATIENCE = 60.0
PROBE_MS = 35_000 * SPEED + 5_000  # as long as one request may last on the wall: 5 s to connect, 3 x 10 s to read


def part(number: int) -> Window:
    """Some hours of minutes for one process to ask for."""
    end = NOW - NOW % HOUR - 12 * HOUR * number
    return Window(end - 6 * HOUR, end)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """Binance with OKX to fall back on, where a first process has found Binance away and opened its breaker."""
    with open_sources(tmp_path, "--clock", written(NOW, SPEED)) as opened:
        opened.configure_sources(market_of("BTC/USDT", "1m", "2026-05-01", "binance", "okx"))
        opened.down("binance")
        assert starts(opened, 0, NOW).wait(PATIENCE) == 0
        assert opened.served("BTC/USDT", "1m").keys() == {"okx"}
        assert opened.failures()["binance"] == ("open", 10)
        opened.sandbox.clear_log()
        yield opened


def starts(world: SourceWorld, number: int, now_ms: int) -> subprocess.Popen[bytes]:
    """A process that begins at a time, for a stretch of its own."""
    return world.child(part(number), written(now_ms, SPEED))


def opened_at(world: SourceWorld) -> int:
    """When the breaker opened, ms UTC."""
    [(ms,)] = world.query("SELECT opened_ms FROM endpoint_state WHERE breaker = 'open'")
    return int(ms)


def asked(world: SourceWorld) -> list[int]:
    """When Binance was asked, in real ms, oldest first."""
    return [entry["real_ms"] for entry in world.sandbox.log(venue="binance")]


def test_another_process_does_not_ask(world: SourceWorld) -> None:
    """While the breaker rests OKX is asked at once, and Binance, though it is back, for nothing."""
    world.down()
    assert starts(world, 1, opened_at(world) + 5 * SECOND).wait(PATIENCE) == 0
    assert asked(world) == []
    assert world.failures()["binance"][0] == "open"


def test_one_probe_of_four_processes_closes_it(world: SourceWorld) -> None:
    """The first to come asks for candles; until it is answered the others go to OKX, afterwards to Binance again."""
    world.down()
    world.sandbox.configure(hang_seconds=PROBE_SECONDS)
    world.sandbox.script("hang")
    after = opened_at(world) + REST_MS + SECOND
    children = [starts(world, number, after) for number in range(1, 5)]
    assert [child.wait(PATIENCE) for child in children] == [0] * 4
    assert world.sandbox.log(venue="binance")[0]["path"] == KLINES
    moments = asked(world)
    assert moments[1] - moments[0] >= PROBE_SECONDS * 1000 - 100
    assert world.failures()["binance"] == ("closed", 0)
    assert world.served("BTC/USDT", "1m").keys() == {"binance", "okx"}, "nobody came while it was being probed"
    true = oracle("binance", "BTC", Timeframe("1m"), Window(part(4).start, NOW), NOW)
    assert set(world.rows("BTC/USDT", "1m")["open_time"]) <= set(true["open_time"])


def test_one_failed_probe_of_four_processes_opens_it_again(world: SourceWorld) -> None:
    """With Binance still away four processes cost it one request together, and the rest begins anew."""
    opened = opened_at(world)
    after = opened + REST_MS + SECOND
    children = [starts(world, number, after) for number in range(1, 5)]
    assert [child.wait(PATIENCE) for child in children] == [0] * 4
    assert len(asked(world)) == 1
    assert opened_at(world) >= after
    assert world.served("BTC/USDT", "1m") == {"okx": 5 * 360}


def test_two_who_come_at_once(engine: Engine) -> None:
    """Who claims a probe a moment after another, having looked at the clock a moment before, comes too late."""
    now, name = NOW, "binance http://127.0.0.1"
    with writing(engine) as connection:
        endpoints.ensure(connection, name, "binance")
        breakers.set_breaker(connection, name, breakers.OPEN, 10, 0, now - REST_MS)
        assert breakers.claim_probe(connection, name, "first", now, now + PROBE_MS, now - REST_MS)
        assert not breakers.claim_probe(connection, name, "second", now - 1, now - 1 + PROBE_MS, now - REST_MS)
        assert breakers.claim_probe(connection, name, "third", now + PROBE_MS, now + 2 * PROBE_MS, now - REST_MS)


def test_a_prober_that_is_killed_blocks_nobody(world: SourceWorld) -> None:
    """Kill -9 during the probe: nobody asks until its claim has run out, then the next probe closes the breaker."""
    world.down()
    world.sandbox.configure(hang_seconds=30.0)
    world.sandbox.script("hang")
    after = opened_at(world) + REST_MS + SECOND
    child = starts(world, 1, after)
    until(lambda: len(asked(world)) == 1)
    child.kill()
    child.wait(PATIENCE)
    [(state, claimed)] = world.query("SELECT breaker, probe_until FROM endpoint_state WHERE probe_owner IS NOT NULL")
    assert state == "half-open"
    assert after < claimed - PROBE_MS < after + 30 * SECOND
    world.sandbox.configure(hang_seconds=0.1)

    assert starts(world, 2, claimed - 20 * SECOND).wait(PATIENCE) == 0
    assert len(asked(world)) == 1
    assert starts(world, 3, claimed + SECOND).wait(PATIENCE) == 0
    assert len(asked(world)) > 1
    assert world.failures()["binance"] == ("closed", 0)
    kept = world.rows("BTC/USDT", "1m")
    kept = kept[(kept["open_time"] >= part(3).start) & (kept["open_time"] < part(3).end)]
    assert same_candles(kept, oracle("binance", "BTC", Timeframe("1m"), part(3), NOW))
