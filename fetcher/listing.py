"""When a market was listed: asked for directly, or searched day by day where a source answers no open question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fetcher.errors import CannotServe, Contradicted, UnknownSymbol, Unproven
from fetcher.model import DAY, Timeframe, Window

if TYPE_CHECKING:
    from fetcher.model import Series
    from fetcher.router import APIRouter, Served

FIRST_MARKETS_MS = 1_230_768_000_000  # 2009-01-01: an earlier listing is a mistaken unit, not a market


@dataclass(frozen=True, slots=True)
class Listing:
    """A market's first candle: its slot (ms UTC), also the anchor of a grid that starts there, and the evidence."""

    listed_ms: int
    evidence: dict[str, object]


def find_listing(router: APIRouter, series: Series) -> Listing:
    """Find a market's first candle by two agreeing answers of its preferred source, since another's may be later.

    Raises Contradicted while the answers do not agree, Unproven while there is no candle, CannotServe where the source
    cannot tell, UnknownSymbol where no source lists the market, and what the router raises.
    """
    unknown: UnknownSymbol | None = None
    for line in router.lines_for(series):
        try:
            return _ask(router, series, line.source)
        except UnknownSymbol as error:
            unknown = unknown or error
        except CannotServe:
            return _search(router, series, line.source)
    raise unknown or CannotServe(f"no configured source offers {series.timeframe} candles of {series.symbol}")


def _ask(router: APIRouter, series: Series, source: str) -> Listing:
    first = router.candles(series, 0, None, 1, only=source)
    if not len(first.page) and not len(router.candles(series, 0, None, 1, only=source).page):
        raise Unproven(f"{source} knows {series}, but has no candle of it yet")
    opened = _plausible_first(series, first)
    again = router.candles(series, 0, opened + 1, only=source)
    times = np.unique(again.page.rows["open_time"])
    if again.page.spoiled or times.tolist() != [opened]:
        raise Contradicted(f"{source} gave two different first candles of {series}")
    asked = ((first, None), (again, opened + 1))
    evidence: dict[str, object] = {
        "source": source,
        "answers": [{"at": served.proven_ms, "asked": [0, end], "first": opened} for served, end in asked],
    }
    if series.timeframe.anchored_by_series:
        return Listing(opened - opened % DAY, evidence)
    return Listing(series.grid.floor(opened), evidence)


def _plausible_first(series: Series, served: Served) -> int:
    times = served.page.rows["open_time"]
    if len(times) == 0:
        raise Contradicted(f"{served.source} gave no first candle of {series}")
    opened = int(times[0])
    if not FIRST_MARKETS_MS <= opened <= (served.proven_ms or opened):
        raise Contradicted(f"{served.source} gave an impossible first candle of {series}: {opened}")
    return opened


def _search(router: APIRouter, series: Series, source: str) -> Listing:
    """Bisect for the first page of daily candles: a day without a trade is rare even where empty ones are left out."""
    daily = replace(series, timeframe=Timeframe("1d"), anchor_ms=None)
    if series.lacks_grid or source not in {line.source for line in router.lines_for(daily)}:
        raise CannotServe(f"{source} cannot tell when {series.symbol} was listed")
    now = router.server_now(daily) or router.guess_now(daily)  # a day that is not closed yet is asked for in vain
    span = router.page_slots(daily, source) * DAY
    pages = [Window(start, min(start + span, now)) for start in range(FIRST_MARKETS_MS, now - now % DAY, span)]

    def first_day(number: int) -> int | None:
        times = router.candles(daily, pages[number].start, pages[number].end, only=source).page.rows["open_time"]
        return int(times.min()) if len(times) else None

    low, high = 0, len(pages) - 1
    if high < 0 or first_day(high) is None:
        raise Unproven(f"{source} knows {series}, but has no daily candle of it yet")
    while low < high:
        middle = (low + high) // 2
        if first_day(middle) is None:
            low = middle + 1
        else:
            high = middle
    answers = {first_day(low) for _ in range(2)}
    if len(answers) != 1 or None in answers:
        raise Contradicted(f"{source} gave two different first days of {series.symbol}")
    day = next(ms for ms in answers if ms is not None)
    evidence: dict[str, object] = {"source": source, "first_day": day, "asked": [pages[low].start, pages[low].end]}
    return Listing(series.grid.floor(day), evidence)
