"""Several sources that fail in eight ways, the best of them away for a third of the time, and what has to hold then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from fetcher.audit import audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.resilience.retry import recheck_delay
from fetcher.sandbox.generated import GeneratedMarket, History
from fetcher.sandbox.registry import VENUES
from tests.integration.world import same_candles, slots_of, window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources, oracle

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.model import Rows

SOURCES = ("binance", "okx", "coinbase")
KINDS = ("status:500", "status:503", "status:429", "reset", "truncate", "html", "cut_json", "hang")
FAILING = 0.15
START = parse_utc("2026-06-01T00:00:30Z")
FIRST = START - START % MINUTE - 2 * DAY  # the first run finds two days missing
OUTAGE = "2026-05-30T02:00/2026-05-30T03:30"  # minutes that Binance never had
MOST = 1.35  # requests sent, of those needed
SPEED = 20  # of every clock
PAGE = {"binance": 1000, "okx": 298}
M1 = Timeframe("1m")


@dataclass
class Storm:
    """A storm over `hours`, with a run every `every` ms; Binance is away in its second third."""

    bases: tuple[str, ...]
    hours: int
    every: int

    @property
    def away(self) -> Window:
        """When Binance answers nobody."""
        return Window(START + self.hours * HOUR // 3, START + 2 * self.hours * HOUR // 3)

    @property
    def moments(self) -> range:
        """When the runs begin, ms UTC."""
        return range(START, START + self.hours * HOUR + 1, self.every)

    def need(self) -> float:
        """The requests of a router that knows who is up and asks nothing in vain, under the same failures.

        Each run: the source's clock, and the pages of what has closed since the last. Once: the symbol list of each of
        the two sources, two agreeing listings a series, two more answers that prove Binance's outage, and the pages
        that heal what OKX stood in for. Of all these so many fail that 1 − FAILING come through.
        """
        total, last = 0, FIRST
        for now in self.moments:
            source = "okx" if self.away.start <= now < self.away.end else "binance"
            total += 1 + len(self.bases) * ceil((now - last) / MINUTE / PAGE[source])
            last = now
        once = 2 + 2 + 2 * self._rechecks() + ceil(self.away.span / MINUTE / PAGE["binance"])
        return (total + len(self.bases) * once + 2) / (1 - FAILING)

    def _rechecks(self) -> int:
        """How often the outage comes due to be asked about again, by two answers each time."""
        due, answers, times = recheck_delay(3), 3, 0
        while due < self.hours * 3600:
            times, answers = times + 1, answers + 2
            due += recheck_delay(answers)
        return times


def blow(folder: Path, storm: Storm, seed: int) -> float:
    """Live through a storm, look that one calm run mends the rest, and return requests sent / requests needed.

    What runs compare with another source as a sample is left out: it is asked for its own sake.
    """
    with open_sources(folder, "--fault-seed", str(seed), "--outage", OUTAGE) as world:
        symbols = " ".join(f"{base}/USDT" for base in storm.bases)
        world.configure_sources(market_of(symbols, "1m", format_utc(FIRST), *SOURCES), timeout="0.5s")
        spoiled = {"faults": dict.fromkeys(KINDS, FAILING / len(KINDS)), "paths": ["*"], "hang_seconds": 0.8}
        world.sandbox.configure(venues=dict.fromkeys(("binance", *VENUES), spoiled))
        away = f"{format_utc(storm.away.start)}/{format_utc(storm.away.end)}"
        world.sandbox.configure(venues={"binance": {"down": [away]}})
        for now in storm.moments:
            world.compared(now)
            world.run(clock=world.set_clock(now, SPEED))
            assert_named_rightly(world, storm, now)
        log = world.sandbox.log()
        world.sandbox.configure(venues={name: {"faults": {}} for name in ("binance", *VENUES)})
        result = world.run(clock=world.set_clock(now + HOUR, SPEED))
        assert result.outcome is Outcome.OK, world.query("SELECT * FROM jobs WHERE status <> 'done'")
        assert_healed(world, storm)
        assert [each for each in log if each["status"] in {418, 429} and not each["fault"]] == [], "beyond a limit"
        faults = Counter(each["fault"] for each in log)
        assert len(faults.keys() & set(KINDS)) > len(KINDS) // 2, faults
        return len(log) / storm.need()


def assert_named_rightly(world: SourceWorld, storm: Storm, now: int) -> None:
    """Every stored candle is, to the last bit, what the source that it is said to be from has."""
    for base in storm.bases:
        for source in world.served(f"{base}/USDT", "1m"):
            rows = world.rows_of(f"{base}/USDT", "1m", source)
            span = Window(int(rows["open_time"][0]), int(rows["open_time"][-1]) + MINUTE)
            true = truth(source, base, span)
            assert span.end <= now + 10 * MINUTE
            assert same_candles(rows, true[np.isin(true["open_time"], rows["open_time"])])


def assert_healed(world: SourceWorld, storm: Storm) -> None:
    """Complete, all of it Binance's but what that never had; what others stood in for is kept in revisions."""
    halt = window(*OUTAGE.split("/"))
    assert world.jobs().keys() == {"done"}
    assert world.query("SELECT count(*) FROM gaps") == [(0,)]
    for base in storm.bases:
        rows = world.rows_of(f"{base}/USDT", "1m", "binance")
        span = Window(FIRST, int(rows["open_time"][-1]) + MINUTE)
        assert span.end >= START + storm.hours * HOUR - MINUTE
        assert same_candles(rows, truth("binance", base, span))
        rest = world.rows(f"{base}/USDT", "1m")
        others = set(rest["open_time"].tolist()) - set(rows["open_time"].tolist())
        assert others | slots_of(world.absent(f"{base}/USDT", "1m"), "1m") == slots_of([halt], "1m")
    [(kept,)] = world.query(
        "SELECT count(*) FROM revisions r JOIN sources o ON o.id = r.source_id WHERE o.name <> 'binance'"
    )
    assert kept >= len(storm.bases) * storm.away.span // MINUTE
    with world.app(Clock(START + storm.hours * HOUR + HOUR)) as app:
        assert audit(app.engine, app.fetcher.sync()).findings == ()


def truth(source: str, base: str, span: Window) -> Rows:
    """What a source has for good: dtype CANDLE."""
    if source == "binance":
        market = GeneratedMarket(History(outages=(window(*OUTAGE.split("/")),)))
        return market.oracle(f"{base}USDT", M1, span, span.end + MINUTE)
    return oracle(source, base, M1, span, span.end + MINUTE)
