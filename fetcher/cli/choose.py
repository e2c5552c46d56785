"""What the arguments name: configured series, dates, ids. What is unknown is a ConfigError that says what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import LAST_MS, TIMEFRAMES
from fetcher.wording import few

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fetcher.model import Series

_LARGEST_ID = 2**63 - 1  # that a database can hold


def chosen(
    all_series: Sequence[Series],
    symbols: Sequence[str] | None = None,
    timeframes: Sequence[str] | None = None,
    known: str = "configured",
) -> list[Series]:
    """The series with one of these symbols and one of these timeframes (none given: any); `known`: what all are."""
    wanted_symbols = [symbol.strip().upper() for symbol in symbols or ()]
    for timeframe in timeframes or ():
        if timeframe not in TIMEFRAMES:
            raise ConfigError(f"--timeframe {timeframe!r} is none; one of {' '.join(TIMEFRAMES)}")
    if not all_series:
        raise ConfigError(f"no series is {known} yet")
    _all_known("--symbol", wanted_symbols, [series.symbol for series in all_series], known)
    _all_known("--timeframe", timeframes or (), [series.timeframe.name for series in all_series], known)
    found = [
        series
        for series in all_series
        if (not wanted_symbols or series.symbol in wanted_symbols)
        and (not timeframes or series.timeframe.name in timeframes)
    ]
    if not found:
        asked = f"{', '.join(wanted_symbols)} at {', '.join(timeframes or ())}"
        raise ConfigError(f"{asked} is not {known}; {known}: {few([str(series) for series in all_series])}")
    return found


def moment(option: str, text: str) -> int:
    """A date or time of an option as ms UTC; one beyond the year 2200 means that: `--to 9999-12-31` is for ever."""
    try:
        return min(parse_utc(text), LAST_MS)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text!r} is no date; write it like 2024-01-01 or 2024-01-01T12:00:00Z (UTC)"
        ) from None


def storable(what: str, asked: Collection[int]) -> None:
    """Refuse ids that no database can hold, before it is asked for them."""
    all_there(what, asked, [each for each in asked if 0 < each <= _LARGEST_ID])


def all_there(what: str, asked: Collection[int], there: Collection[int]) -> None:
    """Refuse ids that do not exist."""
    missing = [str(each) for each in asked if each not in there]
    if missing:
        raise ConfigError(f"there is no {what} {', '.join(missing)}")


def _all_known(option: str, asked: Sequence[str], there: Sequence[str], known: str) -> None:
    for each in asked:
        if each not in there:
            raise ConfigError(f"{option} {each!r} is not {known}; {known}: {few(list(dict.fromkeys(there)))}")
