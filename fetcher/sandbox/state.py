"""One running sandbox: its clock, market, exchange, faults and log, and what the admin requests may change of them."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

from fetcher.clock import Clock, format_utc
from fetcher.errors import ConfigError
from fetcher.model import TIMEFRAMES, Timeframe, Window
from fetcher.sandbox.binance import BinanceExchange
from fetcher.sandbox.fault_plan import FaultPlan, Script, check_chances
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.limits import WeightLimit
from fetcher.sandbox.market import UNIT
from fetcher.sandbox.options import read_clock, read_window
from fetcher.sandbox.recorded import RecordedMarket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.sandbox.answer import Answer
    from fetcher.sandbox.options import SandboxOptions

_LOGGED = 200_000  # requests remembered; older ones fall out, `n` goes on


@dataclass(frozen=True, slots=True)
class LogEntry:
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


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class Sandbox:
    """The exchange and everything a test can turn on it; knows nothing of sockets."""

    def __init__(self, options: SandboxOptions) -> None:
        self.clock, self._clock_text = read_clock(options.clock), options.clock
        self.latency_seconds = options.latency_seconds
        market = RecordedMarket.load(options.data) if options.data else GeneratedMarket(options.history)
        limit = WeightLimit(options.weight_limit, options.ban_after, options.ban_seconds)
        self.exchange = BinanceExchange(market, limit, options.kept_pages)
        self.faults = FaultPlan(
            check_chances(options.faults), options.fault_paths, options.severity, Random(options.fault_seed)
        )
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
        }

    def answer(self, path: str, query: Mapping[str, str], query_text: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request as it leaves, faults included; logged."""
        now = self.clock.now_ms()
        given, fault = self.faults.spoil(path, self.exchange.answer(path, query, headers, now), now)
        self._seen += 1
        self._log.append(
            LogEntry(
                self._seen, now, self._wall.now_ms(), path, query_text, given.status, fault, given.rows,
                self.exchange.used_weight,
            )
        )  # fmt: skip
        # stamped when the answer was made: what comes after is the network's time
        return replace(
            given, headers={**given.headers, "Date": _date(now // 1000)}, delay=given.delay + self.latency_seconds
        )

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
            "outages": [f"{format_utc(halt.start)}/{format_utc(halt.end)}" for halt in outages],
            "scripts": [asdict(script) for script in self.faults.scripts],
        }

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the settings named; ConfigError says which one cannot be."""
        for name, value in settings.items():
            setting = self._settings.get(name)
            if setting is None:
                raise ConfigError(f"the sandbox has no setting {name!r}; one of {', '.join(self._settings)}")
            try:
                setting(value)
            except (TypeError, ValueError, AttributeError):
                raise ConfigError(f"{value!r} is nothing the sandbox's {name} can be set to") from None

    def script(self, fault: str, count: int = 1, symbol: str | None = None, path: str | None = None) -> None:
        """Give the next `count` answers this fault."""
        self.faults.queue(Script(fault, count, symbol) if path is None else Script(fault, count, symbol, path))

    def restate(self, symbol: str, timeframe: str, open_time: int, close: str) -> None:
        """Serve another close (decimal text) for one closed candle from now on."""
        if timeframe not in TIMEFRAMES:
            raise ConfigError(f"unknown timeframe {timeframe!r}; one of {' '.join(TIMEFRAMES)}")
        units = round(float(close) * UNIT)
        self.exchange.market.restate(symbol, Timeframe(timeframe), open_time, units, self.clock.now_ms())
        self.exchange.forget_pages()

    def _set_clock(self, text: str) -> None:
        self.clock, self._clock_text = read_clock(text), text
        self.exchange.forget_pages()
        self.exchange.limit.pardon()

    def _set_faults(self, chances: Mapping[str, float]) -> None:
        self.faults.chances = check_chances(chances)

    def _set_paths(self, paths: list[str]) -> None:
        self.faults.paths = tuple(paths)

    def _set_severity(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of Severity
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
        self.exchange.forget_pages()
