"""Several sources that fail in eight ways, the best of them away for a third of the time, and what has to hold then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.registry import VENUES
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = ("binance", "okx", "coinbase")
KINDS = ("status:500", "status:503", "status:429", "reset", "truncate", "html", "cut_json", "hang")
FAILING = 0.15
START = parse_utc("2026-06-01T00:00:30Z")
HISTORY_MS = 2 * DAY  # that the first run finds missing
OUTAGE = "2026-05-30T02:00/2026-05-30T03:30"  # minutes that Binance never had
SPEED = 20  # of every clock
PAGE = {"binance": 1000, "okx": 298}
M1 = Timeframe("1m")


@dataclass
class Storm:
    """A storm over `hours`, with a run every `every` ms; Binance is away in its second third."""

    bases: tuple[str, ...]
    hours: int
    every: int
    needed: int = 0
    waited: dict[str, int] = field(default_factory=Counter)

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
        total, last = 0, START - HISTORY_MS
        for now in self.moments:
            source = "okx" if self.away.start <= now < self.away.end else "binance"
            total += 1 + len(self.bases) * ceil((now - last) / MINUTE / PAGE[source])
            last = now
        stood_in = ceil(self.away.span / MINUTE / PAGE["binance"])
        return (total + len(self.bases) * (2 + 2 + stood_in) + 2) / (1 - FAILING)


def blow(folder: Path, storm: Storm, seed: int) -> float:
    """Live through a storm, look that everything holds, and return requests sent / requests needed."""
    with open_sources(folder, "--fault-seed", str(seed), "--hang", "0.6s", "--outage", OUTAGE) as world:
        world.configure_sources(
            market_of(" ".join(f"{base}/USDT" for base in storm.bases), "1m", format_utc(START - HISTORY_MS), *SOURCES),
            timeout="0.4s",
        )  # fmt: skip
        chances = dict.fromkeys(KINDS, FAILING / len(KINDS))
        calm = {"faults": chances, "paths": ["*"], "hang_seconds": 0.6, "retry_after": 1}
        world.sandbox.configure(venues=dict.fromkeys(("binance", *VENUES), calm))
        away = f"{format_utc(storm.away.start)}/{format_utc(storm.away.end)}"
        world.sandbox.configure(venues={"binance": {"down": [away]}})
        gaps = 0
        for now in storm.moments:
            world.compared(now)
            result = world.run(clock=world.set_clock(now, SPEED))
            gaps += result.missing
        rounds = 0
        while result.outcome is not Outcome.OK and (rounds := rounds + 1) < 4:
            result = world.run(clock=world.set_clock(now + rounds * 5 * MINUTE, SPEED))
        assert result.outcome is Outcome.OK, world.query("SELECT * FROM jobs WHERE status <> 'done'")
        assert_right(world, storm)
        log = world.sandbox.log()
        assert [e for e in log if e["status"] in {418, 429} and not e["fault"]] == [], "beyond a documented limit"
        seen = Counter(entry["fault"] for entry in log)
        assert len(set(KINDS) & set(seen)) >= 5, seen
        print(
            len(log), storm.need(), Counter((e["venue"], e["path"].rpartition("/")[2], e["fault"] or "") for e in log)
        )
        return len(log) / storm.need()


def assert_right(world: SourceWorld, storm: Storm) -> None:
    pass
