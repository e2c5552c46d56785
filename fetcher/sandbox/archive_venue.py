"""The archive as one more venue of a sandbox: down on its own, but with Binance's market and faults on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fetcher.sandbox.archive import ARCHIVE, OCTETS, ZIP, ArchiveExchange
from fetcher.sandbox.archive_faults import FileFaults, check_patterns
from fetcher.sandbox.options import check_lateness
from fetcher.sandbox.venues import Venue, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.sandbox.answer import Answer
    from fetcher.sandbox.archive import ArchiveOptions
    from fetcher.sandbox.fault_plan import FaultPlan
    from fetcher.sandbox.market import Market

_OF_OBJECTS = {"ETag", "Last-Modified"}


@dataclass
class ArchiveVenue(Venue):
    """The archive of Binance's market; `faults` are Binance's own, so that its `paths` and scripts reach files too."""

    exchange: ArchiveExchange

    @classmethod
    def of(cls, market: Market, told: ArchiveOptions, faults: FaultPlan, seed: int) -> ArchiveVenue:
        """The archive of that market."""
        return cls(ARCHIVE, ArchiveExchange(market, told, seed), faults, told.down)

    @property
    def prefix(self) -> str:
        """Nothing: files have their full paths, as Binance has."""
        return ""

    def answer(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], real_ms: int
    ) -> tuple[Answer, str | None, int]:
        """As every venue; what a fault made another thing than an object carries no object's headers."""
        given, fault, now = super().answer(path, query, headers, real_ms)
        if given.content_type not in {ZIP, OCTETS}:
            kept = {name: value for name, value in given.headers.items() if name not in _OF_OBJECTS}
            given = replace(given, headers=kept)
        return given, fault, now

    def preparation(self, path: str, real_ms: int) -> Callable[[], None] | None:
        """What is worth doing in a thread before `answer` is asked for that path; None for nothing."""
        return None if self.is_down(real_ms) else self.exchange.preparation(path, real_ms)

    def config(self) -> dict[str, object]:
        """What can be configured, as it stands; `configure` takes it back."""
        return {
            "faults": {name: list(patterns) for name, patterns in self.exchange.faults.patterns.items()},
            "down": [span(spell) for spell in self.down],
            "latency_seconds": self.latency_seconds,
            "daily_late_ms": self.exchange.late.daily_ms,
            "monthly_late_ms": self.exchange.late.monthly_ms,
        }

    def settings(self) -> dict[str, Callable[[Any], None]]:
        """What sets each setting; new faults have hit nothing yet."""
        every = super().settings()
        return {
            "faults": lambda told: setattr(self.exchange, "faults", FileFaults(check_patterns(told))),
            "down": every["down"],
            "latency_seconds": every["latency_seconds"],
            "daily_late_ms": lambda ms: self._set_late(int(ms), self.exchange.late.monthly_ms),
            "monthly_late_ms": lambda ms: self._set_late(self.exchange.late.daily_ms, int(ms)),
        }

    def _set_late(self, daily_ms: int, monthly_ms: int) -> None:
        self.exchange.late = check_lateness(daily_ms, monthly_ms)
