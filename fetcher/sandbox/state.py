"""One running sandbox: its clock, market, venues and log, and what the admin requests may change of them."""

from __future__ import annotations

from collections import deque
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from fetcher.clock import Clock
from fetcher.errors import ConfigError
from fetcher.model import TIMEFRAMES, Timeframe, Window
from fetcher.sandbox.archive import ARCHIVE, FOLDER
from fetcher.sandbox.archive_venue import ArchiveVenue
from fetcher.sandbox.binance import BinanceExchange
from fetcher.sandbox.fault_plan import Script, check_chances
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.limits import WeightLimit
from fetcher.sandbox.market import UNIT
from fetcher.sandbox.options import VenueOptions, read_clock, read_window
from fetcher.sandbox.recorded import RecordedMarket
from fetcher.sandbox.registry import BINANCE, VENUES
from fetcher.sandbox.venue import VenueExchange
from fetcher.sandbox.venues import Venue, apply, plan, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.sandbox.answer import Answer
    from fetcher.sandbox.fault_plan import FaultPlan
    from fetcher.sandbox.market import Market
    from fetcher.sandbox.options import SandboxOptions

_LOGGED = 200_000  # requests remembered; older ones fall out, `n` goes on


class LogEntry(Struct, frozen=True):
    """One request as the sandbox saw it; `at_ms` on its own clock, `real_ms` on the machine's."""

    n: int
    at_ms: int
    real_ms: int
    path: str
    query: str
    status: int
    fault: str | None
    rows: int | None
    weight_used: int
    venue: str


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class Sandbox:
    """The venues and everything a test can turn on them; knows nothing of sockets.

    Settings without a venue are Binance's, whose market has outages and off-grid stretches of its own. Its archive
    serves the same market, and what happens on the wire to Binance's `paths` may happen to files.
    """

    def __init__(self, options: SandboxOptions) -> None:
        self.clock, self._clock_text = read_clock(options.clock), options.clock
        self.latency_seconds = options.latency_seconds
        recorded = RecordedMarket.load(options.data) if options.data else None
        market = recorded or GeneratedMarket(options.history)
        limit = WeightLimit(options.weight_limit, options.ban_after, options.ban_seconds)
        self.exchange = BinanceExchange(market, limit, options.kept_pages)
        told = options.venues.get(BINANCE, VenueOptions())
        faults = plan(self.exchange, check_chances(options.faults), options.severity, options.fault_seed)
        faults.paths = options.fault_paths
        self.venues = {BINANCE: Venue(BINANCE, self.exchange, faults, told.down, told.ahead_ms)}
        for number, name in enumerate(VENUES, 1):
            own = recorded.twin() if recorded else GeneratedMarket(replace(options.history, outages=(), off_grid=()))
            told = options.venues.get(name, VenueOptions())
            self.venues[name] = Venue.opened(name, own, told, options.severity, options.fault_seed + number)
        self.archive = ArchiveVenue.of(market, options.archive, faults, options.fault_seed)
        self._wall = Clock()
        self._log: deque[LogEntry] = deque(maxlen=_LOGGED)
        self._seen = 0
        self._settings: dict[str, Callable[[Any], None]] = {
            "clock": self._set_clock,
            "faults": self._set_faults,
            "paths": self._set_paths,
            "hang_seconds": lambda seconds: self._set_severity(hang_seconds=float(seconds)),
            "latency_seconds": self._set_latency,
            "retry_after": lambda seconds: self._set_severity(retry_after=int(seconds)),
            "weight_limit": self._set_weight_limit,
            "outages": self._set_outages,
            "venues": self._set_venues,
            "archive": self.archive.configure,
        }

    @property
    def faults(self) -> FaultPlan:
        """Binance's faults."""
        return self.venues[BINANCE].faults

    def answer(self, path: str, query: Mapping[str, str], query_text: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request as it leaves, faults included; logged."""
        clock = self.clock.now_ms()
        venue = self._at(path)
        given, fault, now = venue.answer(path, query, headers, clock)
        self._seen += 1
        self._log.append(
            LogEntry(
                self._seen, clock, self._wall.now_ms(), path, query_text, given.status, fault, given.rows,
                venue.exchange.used_weight, venue.name,
            )
        )  # fmt: skip
        # stamped when the answer was made: what comes after is the network's time
        return replace(
            given, headers={**given.headers, "Date": _date(now // 1000)}, delay=given.delay + self.latency_seconds
        )

    def preparation(self, path: str) -> Callable[[], None] | None:
        """What takes long enough to be done in a thread before `answer` is asked for that path; None for nothing."""
        return self.archive.preparation(path, self.clock.now_ms()) if path.startswith(FOLDER) else None

    def date(self) -> str:
        """The sandbox's clock as a Date header writes it."""
        return _date(self.clock.now_ms() // 1000)

    def log(self) -> list[dict[str, object]]:
        """Every request since the start or the last clearing, oldest first."""
        return [asdict(entry) for entry in self._log]

    def clear_log(self) -> None:
        """Forget the requests so far; numbers start again at 1."""
        self._log.clear()
        self._seen = 0

    def config(self) -> dict[str, object]:
        """What can be configured, as it stands."""
        market = self.exchange.market
        outages = market.history.outages if isinstance(market, GeneratedMarket) else ()
        return {
            "clock": self._clock_text,
            "now_ms": self.clock.now_ms(),
            "faults": self.faults.chances,
            "paths": list(self.faults.paths),
            "hang_seconds": self.faults.severity.hang_seconds,
            "retry_after": self.faults.severity.retry_after,
            "latency_seconds": self.latency_seconds,
            "weight_limit": self.exchange.limit.per_minute,
            "outages": [span(halt) for halt in outages],
            "scripts": [asdict(script) for venue in self.venues.values() for script in venue.faults.scripts],
            "venues": {name: venue.config() for name, venue in self.venues.items()},
            "archive": self.archive.config(),
        }

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the settings named; ConfigError says which one cannot be."""
        apply(settings, self._settings, "sandbox")

    def script(
        self, fault: str, count: int = 1, symbol: str | None = None, path: str | None = None, venue: str | None = None
    ) -> None:
        """Give the next `count` answers of the venue (Binance, where none is named; or `archive`) this fault."""
        chosen = self.archive if venue == ARCHIVE else self._venue(venue)
        chosen.faults.queue(Script(fault, count, symbol, path or chosen.exchange.candle_path))

    def restate(self, symbol: str, timeframe: str, open_time: int, close: str, venue: str | None = None) -> None:
        """Serve another close (decimal text) for one closed candle from now on; `symbol` is the true market's."""
        if timeframe not in TIMEFRAMES:
            raise ConfigError(f"unknown timeframe {timeframe!r}; one of {' '.join(TIMEFRAMES)}")
        market, units = self._venue(venue).exchange.market, round(float(close) * UNIT)
        market.restate(symbol, Timeframe(timeframe), open_time, units, self.clock.now_ms())
        self._forget(market)

    def _at(self, path: str) -> Venue:
        if path.startswith(FOLDER):
            return self.archive
        return self.venues.get(path.split("/", 2)[1], self.venues[BINANCE])

    def _forget(self, market: Market) -> None:
        """Let all that serve this market render it anew."""
        for venue in (*self.venues.values(), self.archive):
            if venue.exchange.market is market:
                venue.exchange.forget_pages()

    def _venue(self, name: str | None) -> Venue:
        if name is not None and name not in self.venues:
            raise ConfigError(f"the sandbox has no venue {name!r}; one of {', '.join(self.venues)}")
        return self.venues[name or BINANCE]

    def _set_venues(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        for name, settings in told.items():
            self._venue(name).configure(settings)

    def _set_clock(self, text: str) -> None:
        self.clock, self._clock_text = read_clock(text), text
        self.exchange.limit.pardon()
        self.archive.exchange.forget_pages()
        for venue in self.venues.values():
            venue.exchange.forget_pages()
            if isinstance(venue.exchange, VenueExchange):
                venue.exchange.limit.pardon()

    def _set_faults(self, chances: Mapping[str, float]) -> None:
        self.faults.chances = check_chances(chances)

    def _set_paths(self, paths: list[str]) -> None:
        self.faults.paths = tuple(paths)

    def _set_severity(self, **changes: Any) -> None:
        self.faults.severity = replace(self.faults.severity, **changes)

    def _set_latency(self, seconds: float) -> None:
        self.latency_seconds = float(seconds)

    def _set_weight_limit(self, weight: int) -> None:
        self.exchange.limit.per_minute = int(weight)

    def _set_outages(self, texts: list[str]) -> None:
        market = self.exchange.market
        if not isinstance(market, GeneratedMarket):
            raise ConfigError("recordings keep the outages they have; start the sandbox without --data to set some")
        outages: tuple[Window, ...] = tuple(read_window(text) for text in texts)
        market.rewrite(replace(market.history, outages=outages))
        self._forget(market)
