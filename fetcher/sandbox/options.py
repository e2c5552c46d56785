"""How a sandbox is set up: what `python -m fetcher.sandbox` and `fetcher sandbox` were told, checked."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fetcher.clock import Clock, parse_utc
from fetcher.errors import ConfigError
from fetcher.model import DAY, HOUR, MINUTE, SECOND, Window
from fetcher.sandbox.archive import KEPT_MB, ArchiveOptions
from fetcher.sandbox.archive_faults import check_patterns
from fetcher.sandbox.archive_names import PUBLISHED_AT, Lateness
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.fault_plan import check_chances
from fetcher.sandbox.faults import Severity
from fetcher.sandbox.generated import History, Shifted
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.registry import BINANCE, VENUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ALWAYS = Window(0, 1 << 50)
_EVERY = "*"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_UNITS = {"ms": 1, "s": SECOND, "": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


class VenueOptions(Struct, frozen=True):
    """What one venue can be told at the start: chances of faults, spells of being down, halts, limit, clock ahead (ms).

    `down`: nobody is answered then; `outages`: minutes that this venue never had, though the others did. Binance's
    faults, outages and limit are the sandbox's own options.
    """

    faults: Mapping[str, float] = field(default_factory=dict)
    down: tuple[Window, ...] = ()
    outages: tuple[Window, ...] = ()
    limit: WindowLimit | None = None
    ahead_ms: int = 0


class SandboxOptions(Struct, frozen=True):
    """Everything a sandbox can be told at its start; port 0 takes a free one, `data` replaces the generated market.

    `latency_seconds` is added to every answer. With `die_with_stdin` the sandbox ends when its stdin does. `faults`,
    `fault_paths`, `history.outages`, `history.off_grid` and the limits are Binance's; `venues` holds the others', and
    `archive` what only files have: for faults on the wire, and for its candles, the archive is Binance.
    """

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    history: History = field(default_factory=History)
    clock: str = "real"
    latency_seconds: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_paths: tuple[str, ...] = (KLINES,)
    fault_seed: int = 0
    severity: Severity = field(default_factory=Severity)
    weight_limit: int = 6_000
    ban_after: int = 10
    ban_seconds: int = 120
    kept_pages: int = 512
    die_with_stdin: bool = False
    venues: Mapping[str, VenueOptions] = field(default_factory=dict)
    archive: ArchiveOptions = field(default_factory=ArchiveOptions)

    def __post_init__(self) -> None:
        read_clock(self.clock)
        check_chances(self.faults)
        for venue in self.venues.values():
            check_chances(venue.faults)
            if self.data is not None and venue.outages:
                raise ConfigError("--venue-outage changes the generated market; recordings (--data) keep their own")
        if self.data is not None and self.history.outages + self.history.off_grid:
            raise ConfigError("--outage and --off-grid change the generated market; recordings (--data) keep their own")


def read_clock(text: str) -> Clock:
    """The sandbox's clock: `real`, a UTC time to stand still at, or a time and speed (`2026-06-01 x60`)."""
    if text.strip() == "real":
        return Clock()
    start, _, speed = text.strip().partition(" ")
    try:
        if speed and not re.fullmatch(r"x\d+(\.\d+)?", speed.strip()):
            raise ValueError(speed)
        return Clock(parse_utc(start), float(speed.strip()[1:]) if speed else 0.0)
    except ValueError:
        raise ConfigError(
            f"the sandbox's clock is {text!r}; write real, a UTC time to stand still at, or a time and a speed like "
            "'2026-06-01T00:00:00Z x60'"
        ) from None


def read_seconds(text: str) -> float:
    """A duration such as `80ms`, `1.5s` or `12d` (a bare number: seconds) in seconds; ConfigError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no duration; write it like 80ms, 1.5s, 6h or 12d")
    return float(match[1]) * _UNITS[match[2]] / 1000


def read_chances(texts: Iterable[str]) -> dict[str, float]:
    """`reset=0.03` and so on as chances; ConfigError for what is not NAME=CHANCE of a known fault."""
    chances = {}
    for text in texts:
        name, _, chance = text.rpartition("=")
        try:
            chances[name] = float(chance)
        except ValueError:
            raise ConfigError(f"{text!r} is no fault with a chance; write it like reset=0.03") from None
    return check_chances(chances)


def read_window(text: str) -> Window:
    """`START/END` in UTC as a window; ConfigError otherwise."""
    start, _, end = text.partition("/")
    try:
        return Window(parse_utc(start), parse_utc(end))
    except ValueError:
        raise ConfigError(
            f"{text!r} is no span of time; write START/END in UTC, like 2024-03-01T02:00/2024-03-01T04:30"
        ) from None


def read_shifted(text: str) -> Shifted:
    """`START/END/OFFSET_MS` as a stretch of shifted minutes; ConfigError otherwise."""
    window, _, offset = text.rpartition("/")
    if not re.fullmatch(r"\d{1,5}", offset) or not 0 < int(offset) < 60_000:  # noqa: PLR2004 - a minute's ms
        raise ConfigError(f"{text!r} is no off-grid stretch; write START/END/OFFSET_MS with less than 60000 ms")
    return Shifted(read_window(window), int(offset))


def read_dates(texts: Iterable[str]) -> dict[str, int]:
    """`SYMBOL=DATE` and so on as ms UTC; ConfigError otherwise."""
    dates = {}
    for text in texts:
        symbol, _, date = text.partition("=")
        try:
            dates[symbol] = parse_utc(date)
        except ValueError:
            raise ConfigError(f"{text!r} is no symbol with a date; write it like NEWUSDT=2024-02-01T12:00") from None
    return dates


def read_limit(text: str) -> WindowLimit:
    """`40/2s`: so many requests in each such span, which has to divide a day; ConfigError otherwise."""
    allowed, _, span = text.partition("/")
    ms = round(read_seconds(span or "60s") * 1000)
    if not re.fullmatch(r"\d{1,9}", allowed) or not int(allowed) or not ms or DAY % ms:
        raise ConfigError(
            f"{text!r} is no limit; write requests and the span they are counted in, like 40/2s or 60/60s"
        )
    return WindowLimit(int(allowed), ms)


def read_spell(text: str) -> Window:
    """`START/END` in UTC, or `always`, as a window; ConfigError otherwise."""
    return ALWAYS if text.strip() == "always" else read_window(text)


def of_venues(texts: Iterable[str], option: str, separator: str = "=") -> dict[str, list[str]]:
    """What each venue is told by texts such as `okx=40/2s`; `*` tells it to all. ConfigError for an unknown venue."""
    told: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        name, mark, rest = text.partition(separator)
        if not mark or (name not in VENUES and name not in {_EVERY, BINANCE}):
            known = ", ".join((BINANCE, *VENUES))
            raise ConfigError(f"{option} {text!r} names no venue; write VENUE{separator}… with one of {known}, or *")
        for venue in (BINANCE, *VENUES) if name == _EVERY else (name,):
            told[venue].append(rest)
    return told


def split_faults(texts: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Binance's own faults (`reset=0.03`) and those of a venue (`okx:reset=0.03`, `*:reset=0.03` for all)."""
    texts = list(texts)
    named = [text for text in texts if text.partition(":")[0] in {*VENUES, BINANCE, _EVERY}]
    told = of_venues(named, "--fault", ":")
    return [text for text in texts if text not in named] + told.pop(BINANCE, []), told


def read_venues(
    faults: Mapping[str, list[str]], down: Iterable[str], outages: Iterable[str], limits: Iterable[str],
    ahead: Iterable[str],
) -> dict[str, VenueOptions]:  # fmt: skip
    """The venues' options from their command-line texts; ConfigError with one sentence for what cannot be read."""
    spells, halts = of_venues(down, "--venue-down"), of_venues(outages, "--venue-outage")
    limited, clocks = of_venues(limits, "--venue-limit"), of_venues(ahead, "--venue-ahead")
    for told, instead in ((halts, "--outage"), (limited, "--weight-limit")):
        if told.pop(BINANCE, None) and not set(told) >= set(VENUES):
            raise ConfigError(f"Binance has an option of its own for that: {instead}")
    return {
        name: VenueOptions(
            read_chances(faults.get(name, ())),
            tuple(map(read_spell, spells.get(name, ()))),
            tuple(map(read_window, halts.get(name, ()))),
            read_limit(limited[name][-1]) if name in limited else None,
            _milliseconds(clocks[name][-1]) if name in clocks else 0,
        )
        for name in (BINANCE, *VENUES)
    }


def read_archive(
    faults: Iterable[str] = (), late: Iterable[str] = (), down: Iterable[str] = (), kept_mb: int = KEPT_MB
) -> ArchiveOptions:
    """The archive's options from their command-line texts; ConfigError with one sentence for what cannot be read.

    `truncated=*-2024-01-15.zip` (a fault may be given several times) and `daily=6h` or `monthly=12d`.
    """
    patterns: dict[str, tuple[str, ...]] = {}
    for text in faults:
        name, mark, pattern = text.partition("=")
        if not mark:
            raise ConfigError(f"{text!r} is no fault of files; write it like truncated=BTCUSDT-1m-2024-0?.zip")
        patterns[name] = (*patterns.get(name, ()), pattern)
    lateness = {"daily": 0, "monthly": 0}
    for text in late:
        period, _, duration = text.partition("=")
        if period not in lateness:
            raise ConfigError(f"{text!r} does not tell which files are late; write it like daily=6h or monthly=12d")
        lateness[period] = _milliseconds(duration)
    return ArchiveOptions(check_patterns(patterns), tuple(map(read_spell, down)), check_lateness(**lateness), kept_mb)


def check_lateness(daily: int, monthly: int) -> Lateness:
    """How late (ms) files of days and months are; ConfigError where one came before its last candle was closed."""
    if min(daily, monthly) < -PUBLISHED_AT:
        raise ConfigError("no file of the archive can be earlier than at midnight: at most 7.5h before its usual time")
    return Lateness(daily, monthly)


def _milliseconds(text: str) -> int:
    sign, size = (-1, text[1:]) if text.startswith("-") else (1, text)
    return sign * round(read_seconds(size) * 1000)
