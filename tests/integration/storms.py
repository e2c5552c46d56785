"""A market behind an exchange where everything goes wrong at once, and what has to hold after a few runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.events import PageStored
from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.faults import TRANSIENT
from fetcher.sandbox.generated import GeneratedMarket, History
from fetcher.validation import CHECKS
from tests.integration.world import World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

OUTAGE = "2024-03-05T02:00/2024-03-05T04:30"
SYMBOLS = ("BTC/USDT", "ETH/USDT")
NOW = parse_utc("2024-04-01T00:00:20Z")
SPEED = 10  # of the exchange's clock and ours: a breaker's rest of a minute is six seconds
RUNS = 4
BETWEEN_RUNS = 10 * MINUTE


def weather(folder: Path, seed: int, days: int) -> None:
    """Run at most four times, ten minutes apart, through every transient fault at 3 % each."""
    asked = Window(start := parse_utc("2024-03-01"), start + days * DAY)
    faults = [part for name in (*TRANSIENT, "hang") for part in ("--fault", f"{name}=0.03")]
    with open_world(
        folder, *faults, "--fault-seed", str(seed), "--hang", "1.5s", "--retry-after", "1", "--outage", OUTAGE
    ) as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2024-03-01"), timeout="1s")
        for now in range(NOW, NOW + RUNS * BETWEEN_RUNS, BETWEEN_RUNS):
            world.sandbox.configure(clock=f"{format_utc(now)} x{SPEED}")
            if world.backfill(asked, Clock(now, SPEED)).outcome is Outcome.OK:
                break
        assert_right(world, asked)
        assert_refusals(world)
        seen = {entry["fault"] for entry in world.sandbox.log()} - {None}
        assert len(seen) > len(TRANSIENT) // 2, "too few requests for the faults to happen"


def assert_right(world: World, asked: Window) -> None:
    """Complete and true to the last bit, and nothing absent but the outage."""
    halt = window(*OUTAGE.split("/"))
    truth = GeneratedMarket(History(outages=(halt,)))
    waiting = world.query("SELECT status, start_ms, end_ms, last_error FROM jobs WHERE status <> 'done'")
    assert waiting == []
    for symbol in SYMBOLS:
        true = truth.oracle(symbol.replace("/", ""), Timeframe("1m"), asked, asked.end + MINUTE)
        assert same_candles(world.rows(symbol, "1m"), true)
        assert world.absent(symbol, "1m") == [halt]


def assert_refusals(world: World) -> None:
    """What was refused is all in quarantine, each with a reason we know and its payload."""
    told = sum(fact.refused for fact in world.facts if isinstance(fact, PageStored))
    held = world.query("SELECT reason, payload, seen FROM quarantine")
    assert sum(seen for _, _, seen in held) == told > 0
    assert {reason for reason, _, _ in held} <= {*CHECKS, "malformed"}
    for _, payload, _ in held:
        assert json.loads(payload) is not None
    assert world.query("SELECT count(*) FROM revisions") == [(0,)], "a wrong row was stored and replaced later"
