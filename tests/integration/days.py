"""Days of the daemon without anybody looking: outages, failures, a restart, a kill, a bad configuration, a set clock.

Program and sandbox are real processes whose clocks run `speed` times as fast. What waits on the wall (time-outs, Python
itself) takes `speed` times as long in simulated time: a lag of a minute here is a tenth of a second there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from threading import Event
from typing import TYPE_CHECKING

from fetcher.audit import audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.sandbox.generated import GeneratedMarket, History
from fetcher.sandbox.registry import VENUES
from tests.integration.service import Service
from tests.integration.webhooks import serving
from tests.integration.world import as_asked, same_candles, slots_of
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from fetcher.model import Rows
    from tests.integration.webhooks import Webhooks

SOURCES = ("binance", "okx", "coinbase")
MINUTES = ("BTC", "ETH")  # at 1m
OTHERS = ("BTC", "ETH", "SOL", "ADA", "XRP", "DOT")
SLOW = ("15m", "1h", "1d")  # each of OTHERS: 18 series; all three sources have them
KINDS = ("status:500", "status:503", "reset", "truncate", "html", "cut_json")
FAILING = 0.15
START = parse_utc("2026-06-01T00:00:00Z")
MOST = 1.35  # requests sent, of those that an all-knowing scheduler would need
CALM = 90 * MINUTE  # at the end: no failures any more, what is open gets done
PAGE = 1000


@dataclass(frozen=True)
class Script:
    """What happens, and when, in hours from the start; `outage` is of the exchange itself, in what has passed since."""

    hours: float
    speed: float
    binance_down: tuple[float, float]
    two_down: tuple[float, float]  # Binance and OKX
    outage: tuple[float, float]
    restart: float
    kill: float
    bad_configuration: float
    good_configuration: float
    jump: float
    jump_by: str = "+2h"

    def span(self, hours: tuple[float, float]) -> Window:
        """Hours from the start as a window."""
        return Window(START + round(hours[0] * HOUR), START + round(hours[1] * HOUR))

    @property
    def end(self) -> int:
        """When the calm begins, ms UTC."""
        return START + round(self.hours * HOUR)

    @property
    def judged(self) -> int:
        """Until when everything has to be explained when it is over, ms UTC: half way through the calm."""
        return self.end + CALM // 2


@dataclass
class Report:
    """What came of it; lags in simulated seconds."""

    simulated: float = 0.0
    candles: int = 0
    requests: int = 0
    needed: float = 0.0
    lags: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    revisions: int = 0
    alarms: list[str] = field(default_factory=list)
    absent: int = 0
    faults: Counter[str | None] = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """Requests sent, of those needed."""
        return self.requests / self.needed

    def __str__(self) -> str:
        lags = sorted(self.lags)
        return (
            f"{self.simulated / 24:.2f} simulated days, 20 series of {len(SOURCES)} sources: {self.candles:,} candles, "
            f"{self.absent} slots proven absent, {self.revisions:,} candles of others healed or restated; "
            f"{self.requests:,} requests of which {sum(n for name, n in self.faults.items() if name):,} failed, "
            f"{self.ratio:.2f} of what an all-knowing scheduler needs ({self.needed:,.0f}); "
            f"from close to answer {median(lags):.0f} s in the median, {lags[len(lags) * 95 // 100]:.0f} s for 95 of "
            f"100, {lags[-1]:.0f} s at most; memory {self.resident[0]:.0f} MB at first, "
            f"{self.resident[-1]:.0f} MB at last, {max(self.resident):.0f} MB at most; "
            f"alarms: {' | '.join(self.alarms)}"
        )


def live(folder: Path, script: Script, seed: int) -> Report:
    """Live through a script, look that everything holds that has to, and report."""
    halt = script.span(script.outage)
    told = ("--fault-seed", str(seed), "--outage", f"{format_utc(halt.start)}/{format_utc(halt.end)}")
    clock = f"{format_utc(START)} x{script.speed:g}"
    with open_sources(folder, *told, "--clock", clock) as world, serving() as hooks:
        service = Service(world.config_path, {"FETCHER_ALERTS": hooks.target})
        try:
            return _Life(world, service, hooks, script).live()
        finally:
            service.close()


class _Life:
    def __init__(self, world: SourceWorld, service: Service, hooks: Webhooks, script: Script) -> None:
        self._world, self._service, self._hooks, self._script = world, service, hooks, script
        self._report = Report()
        self._never = Event()

    def live(self) -> Report:
        """Everything, in the order of the clock."""
        script = self._script
        self._configure()
        self._weather(FAILING)
        self._start()
        for at, do in sorted(self._events(), key=lambda event: event[0]):
            self._wait_until(START + round(at * HOUR))
            do()
        self._wait_until(script.end)
        requests = self._world.sandbox.log()
        self._weather(0.0)
        self._wait_until(script.end + CALM)
        assert self._service.terminate() in {0, 1}, self._service.said()[-4000:]
        self._sum_up(requests)
        return self._report

    def _events(self) -> Iterator[tuple[float, Callable[[], None]]]:
        script = self._script
        yield script.binance_down[0], lambda: self._down("binance", until=script.binance_down[1])
        yield script.two_down[0], lambda: self._down("binance", "okx", until=script.two_down[1])
        yield script.restart, self._restart
        yield script.kill, self._kill
        yield script.bad_configuration, self._spoil_configuration
        yield script.good_configuration, self._mend_configuration

    def _configure(self, workers: int = 4) -> None:
        url = self._world.sandbox.url
        markets = (
            market_of(_symbols(MINUTES), "1m", format_utc(START - DAY), *SOURCES),
            market_of(_symbols(OTHERS), " ".join(SLOW), format_utc(START - 3 * DAY), *SOURCES),
        )
        self._world.config_path.write_text(
            f"database_url: {self._world.database_url}\nsources:\n"
            f"  binance: {{client: binance, base_urls: ['{url}'], archive_url: null, timeout: 2s}}\n"
            f"  okx: {{client: ccxt, exchange: okx, base_url: '{url}/okx', timeout: 2s}}\n"
            f"  coinbase: {{client: ccxt, exchange: coinbaseexchange, base_url: '{url}/coinbase', timeout: 2s}}\n"
            "markets:\n" + "".join(f"  {entry}\n" for entry in markets) + f"run: {{workers: {workers}}}\n",
            encoding="utf-8",
        )

    def _weather(self, failing: float) -> None:
        """Let so many requests of every venue fail, of mixed kinds."""
        spoiled = {"faults": dict.fromkeys(KINDS, failing / len(KINDS)), "paths": ["*"]}
        self._world.sandbox.configure(venues=dict.fromkeys(("binance", *VENUES), spoiled))

    def _down(self, *names: str, until: float) -> None:
        away = f"{format_utc(START)}/{format_utc(START + round(until * HOUR))}"
        self._world.sandbox.configure(venues={name: {"down": [away]} for name in names})

    def _start(self, jump: str = "") -> None:
        self._service.start(f"{format_utc(self._now())} x{self._script.speed:g}{jump}")

    def _restart(self) -> None:
        assert self._service.terminate() in {0, 1}, self._service.said()[-4000:]
        self._start()

    def _kill(self) -> None:
        """Kill it, and start it with a clock that somebody will set."""
        self._service.kill()
        after = self._script.jump - (self._now() - START) / HOUR
        self._start(f" jump {self._script.jump_by} at {after:.3f}h")

    def _spoil_configuration(self) -> None:
        self._world.config_path.write_text("sources: {binance: {client: bynance}}\n", encoding="utf-8")
        self._service.hang_up()

    def _mend_configuration(self) -> None:
        assert "the one before stays" in self._service.said()
        self._configure(workers=6)
        self._service.hang_up()

    def _now(self) -> int:
        now: int = self._world.sandbox.config()["now_ms"]
        return now

    def _wait_until(self, moment: int) -> None:
        """Wait, and look at the daemon's memory now and then; it may not end by itself."""
        while (left := moment - self._now()) > 0:
            assert self._service.process.poll() is None, self._service.said()[-4000:]
            self._report.resident.append(self._service.resident_mb())
            self._never.wait(min(left / 1000 / self._script.speed, 1.0))

    def _sum_up(self, requests: list[dict[str, Any]]) -> None:
        report, script, world = self._report, self._script, self._world
        report.simulated = (self._now() - START) / HOUR
        report.requests = len(requests)
        report.faults = Counter(entry["fault"] for entry in requests)
        report.needed = needed(script)
        report.alarms = [line for body in self._hooks.bodies() for line in body.splitlines() if line.strip()]
        for source in ("binance", "okx"):
            said = [line for line in report.alarms if f" {source} does not serve" in line or f" {source} rests" in line]
            assert len([line for line in said if line.startswith("OVER")]) >= 1, report.alarms
            assert len(said) <= 2 * 2 + 2, report.alarms  # told and over for each outage, and perhaps one that flaps
        healed = set(world.query("SELECT symbol, open_time FROM revisions r JOIN series s ON s.id = r.series_id"))
        report.lags = lags(requests, script, healed)
        for base, timeframe in all_series():
            rows, absent = self._complete(base, timeframe)
            report.candles += rows
            report.absent += absent
        assert world.query("SELECT * FROM gaps WHERE start_ms < :judged", judged=script.judged) == []
        assert world.jobs().keys() <= {"done", "queued"}, world.query("SELECT * FROM jobs WHERE status <> 'done'")
        [(report.revisions,)] = world.query("SELECT count(*) FROM revisions")
        assert [each for each in requests if each["status"] in {418, 429} and not each["fault"]] == [], "beyond a limit"
        with world.app(Clock(self._now())) as app:
            assert audit(app.engine, app.fetcher.sync()).findings == ()

    def _complete(self, base: str, timeframe: str) -> tuple[int, int]:
        """A series is, up to the calm, what Binance has, to the last bit, and the rest is proven absent."""
        world, script = self._world, self._script
        series = world.series(f"{base}/USDT", timeframe)
        span = Window(series.grid.ceil(series.wanted_start_ms), series.grid.floor(script.judged))
        slots = slots_of([span], timeframe)
        rows = _within(world.rows_of(f"{base}/USDT", timeframe, "binance"), span)
        assert same_candles(rows, truth(script, base, timeframe, span))
        stored = set(_within(world.rows(f"{base}/USDT", timeframe), span)["open_time"].tolist())
        absent = slots_of(world.absent(f"{base}/USDT", timeframe), timeframe)
        assert stored | absent == slots
        return len(stored), len(absent)


def all_series() -> list[tuple[str, str]]:
    """Every series by base and timeframe."""
    return [(base, "1m") for base in MINUTES] + [(base, timeframe) for base in OTHERS for timeframe in SLOW]


def truth(script: Script, base: str, timeframe: str, span: Window) -> Rows:
    """What Binance has for good: dtype CANDLE."""
    market = GeneratedMarket(History(outages=(script.span(script.outage),)))
    return market.oracle(f"{base}USDT", Timeframe(timeframe), span, span.end + MINUTE)


def needed(script: Script) -> float:
    """The requests of a scheduler that knows who is up and what is there, under the same failures.

    One page for each close of each series, and the first pages; the exchange's clock every five minutes, since nothing
    else proves a candle closed; once the symbol lists of three sources and two agreeing listings of each series; pages
    that heal what others stood in for; two more answers that prove the exchange's outage, for each series that it hits,
    and again when it comes due, four times; each series' newest day read again once a day, since exchanges restate. Of
    all these so many fail that 1 − FAILING come through.
    """
    hours, series = script.hours, all_series()
    closes = sum(int(hours * HOUR // Timeframe(timeframe).ms) for _, timeframe in series)
    first = sum(ceil(3 * DAY / Timeframe(timeframe).ms / PAGE) for _, timeframe in series)
    away = [script.span(script.binance_down).span, script.span(script.two_down).span]
    healing = sum(ceil(span / Timeframe(timeframe).ms / PAGE) for span in away for _, timeframe in series)
    halted = sum(Timeframe(timeframe).ms <= script.span(script.outage).span for _, timeframe in series)
    proofs = halted * (2 + 2 * 4)
    again = sum(ceil(DAY / Timeframe(timeframe).ms / PAGE) for _, timeframe in series) * int(hours // 24)
    once = 3 + 2 * len(series)
    return (closes + first + hours * 12 + healing + proofs + again + once) / (1 - FAILING)


def lags(requests: Sequence[Mapping[str, Any]], script: Script, healed: Collection[tuple[str, int]]) -> list[float]:
    """Simulated seconds from each close of a minute to the first good answer that had its candle.

    Closes while Binance was away or halted, or just before, are left out: that lag is the outage's. So are candles that
    another source stood in for (`healed`, by symbol and open time): they came sooner than Binance's.
    """
    found: list[float] = []
    spans = [script.span(hours) for hours in (script.binance_down, script.two_down, script.outage)]
    for base in MINUTES:
        best: dict[int, int] = {}
        for entry in requests:
            if entry["path"] != "/api/v3/klines" or entry["status"] != 200 or entry["fault"] or not entry["rows"]:
                continue
            asked = as_asked(entry)
            if (asked.symbol, asked.timeframe) != (f"{base}USDT", "1m") or asked.start is None:
                continue
            last = min(asked.start + entry["rows"] * MINUTE, entry["at_ms"] // MINUTE * MINUTE)
            for close in range(max(asked.start, START) // MINUTE * MINUTE + MINUTE, last + 1, MINUTE):
                best.setdefault(close, entry["at_ms"])
        found += [
            (at - close) / 1000
            for close, at in best.items()
            if (f"{base}/USDT", close - MINUTE) not in healed
            and not any(span.start - 10 * MINUTE <= close <= span.end + 10 * MINUTE for span in spans)
        ]
    return found


def _within(rows: Rows, span: Window) -> Rows:
    return rows[(rows["open_time"] >= span.start) & (rows["open_time"] < span.end)]


def _symbols(bases: tuple[str, ...]) -> str:
    return " ".join(f"{base}/USDT" for base in bases)
