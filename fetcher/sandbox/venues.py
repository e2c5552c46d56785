"""The venues of one sandbox as they run: what each can be told, and what it answers before the network has its way.

Binance lives at the root, every other venue below its own name: `/kraken/0/public/OHLC`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fetcher.clock import format_utc
from fetcher.errors import ConfigError
from fetcher.sandbox.answer import Answer
from fetcher.sandbox.fault_plan import FaultPlan, check_chances
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.options import ALWAYS, read_limit, read_spell, read_window
from fetcher.sandbox.registry import BINANCE, VENUES
from fetcher.sandbox.venue import VenueExchange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.model import Window
    from fetcher.sandbox.answer import Exchange
    from fetcher.sandbox.faults import Severity
    from fetcher.sandbox.market import Market
    from fetcher.sandbox.options import VenueOptions


@dataclass(slots=True)
class Venue:
    """One venue as it runs: its exchange, faults, spells of being down, own latency, and how far its clock is ahead."""

    name: str
    exchange: Exchange
    faults: FaultPlan
    down: tuple[Window, ...] = ()
    ahead_ms: int = 0
    latency_seconds: float = 0.0

    @classmethod
    def opened(cls, name: str, market: Market, told: VenueOptions, severity: Severity, seed: int) -> Venue:
        """The venue of that name over its own view of the market."""
        exchange = VENUES[name](market, told.limit)
        venue = cls(
            name, exchange, plan(exchange, check_chances(told.faults), severity, seed), told.down, told.ahead_ms
        )
        if told.outages:
            venue._set_outages([span(halt) for halt in told.outages])
        return venue

    @property
    def prefix(self) -> str:
        """What its paths start with."""
        return "" if self.name == BINANCE else f"/{self.name}"

    def answer(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], real_ms: int
    ) -> tuple[Answer, str | None, int]:
        """The answer to a GET, the fault it got, and the venue's time (ms UTC); `real_ms` is the sandbox's clock."""
        now = real_ms + self.ahead_ms
        if self.is_down(real_ms):
            return Answer(503, b"", delivery="reset"), "down", now
        given = self.exchange.answer(path.removeprefix(self.prefix), query, headers, now)
        spoiled, fault = self.faults.spoil(path, given, now, self.exchange.complain)
        return replace(spoiled, delay=spoiled.delay + self.latency_seconds), fault or given.fault, now

    def is_down(self, real_ms: int) -> bool:
        """Whether nobody is answered at that time of the sandbox's clock."""
        return any(spell.start <= real_ms < spell.end for spell in self.down)

    def config(self) -> dict[str, object]:
        """What can be configured, as it stands; `configure` takes it back."""
        market = self.exchange.market
        told: dict[str, object] = {
            "faults": self.faults.chances,
            "paths": list(self.faults.paths),
            "hang_seconds": self.faults.severity.hang_seconds,
            "retry_after": self.faults.severity.retry_after,
            "latency_seconds": self.latency_seconds,
            "down": [span(spell) for spell in self.down],
            "ahead_ms": self.ahead_ms,
        }
        if isinstance(self.exchange, VenueExchange):
            told["limit"] = str(self.exchange.limit)
            halts = market.history.outages if isinstance(market, GeneratedMarket) else ()
            told["outages"] = [span(halt) for halt in halts]
        return told

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the settings named; ConfigError says which one cannot be."""
        apply(settings, self.settings(), f"sandbox's {self.name}")

    def settings(self) -> dict[str, Callable[[Any], None]]:
        """What sets each setting."""
        known: dict[str, Callable[[Any], None]] = {
            "faults": lambda chances: setattr(self.faults, "chances", check_chances(chances)),
            "paths": lambda paths: setattr(self.faults, "paths", tuple(paths)),
            "hang_seconds": lambda seconds: self._set_severity(hang_seconds=float(seconds)),
            "retry_after": lambda seconds: self._set_severity(retry_after=int(seconds)),
            "latency_seconds": lambda seconds: setattr(self, "latency_seconds", float(seconds)),
            "down": lambda texts: setattr(self, "down", tuple(read_spell(text) for text in texts)),
            "ahead_ms": lambda ms: setattr(self, "ahead_ms", int(ms)),
        }
        if isinstance(self.exchange, VenueExchange):
            known |= {"limit": self._set_limit, "outages": self._set_outages}
        return known

    def _set_severity(self, **changes: Any) -> None:
        self.faults.severity = replace(self.faults.severity, **changes)

    def _set_limit(self, text: str) -> None:
        if isinstance(self.exchange, VenueExchange) and text != str(self.exchange.limit):
            self.exchange.limit, self.exchange.limit_was_told = read_limit(text), True

    def _set_outages(self, texts: list[str]) -> None:
        market = self.exchange.market
        if isinstance(market, GeneratedMarket):
            market.rewrite(replace(market.history, outages=tuple(read_window(text) for text in texts)))
            self.exchange.forget_pages()
        elif texts:
            raise ConfigError("recordings keep the outages they have; start the sandbox without --data to set some")


def plan(exchange: Exchange, chances: dict[str, float], severity: Severity, seed: int) -> FaultPlan:
    """The faults of one exchange, in its format."""
    return FaultPlan(chances, (exchange.candle_path,), severity, Random(seed), layout=exchange.layout)


def apply(settings: Mapping[str, Any], known: Mapping[str, Callable[[Any], None]], owner: str) -> None:
    """Set each setting named; ConfigError for an unknown one and for a value of the wrong kind."""
    for name, value in settings.items():
        setting = known.get(name)
        if setting is None:
            raise ConfigError(f"the {owner} has no setting {name!r}; one of {', '.join(known)}")
        try:
            setting(value)
        except (TypeError, ValueError, AttributeError):
            raise ConfigError(f"{value!r} is nothing the {owner}'s {name} can be set to") from None


def span(window: Window) -> str:
    """A window as `START/END` in UTC, or `always`."""
    if window == ALWAYS:
        return "always"
    return f"{format_utc(window.start)}/{format_utc(window.end)}"
