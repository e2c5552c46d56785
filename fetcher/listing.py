"""When a market was listed: asked for directly, or searched day by day where a source answers no open question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from fetcher.errors import CannotServe, Contradicted, UnknownSymbol, Unproven
from fetcher.model import DAY, Timeframe, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.model import Series
    from fetcher.router import APIRouter
    from fetcher.served import Served

FIRST_MARKETS_MS = 1_230_768_000_000  # 2009-01-01: an earlier listing is a mistaken unit, not a market


class Listing(Struct, frozen=True):
    """A market's first candle: its slot (ms UTC), also the anchor of a grid that starts there, and the evidence."""

    listed_ms: int
    evidence: dict[str, object]


def find_listing(router: APIRouter, series: Series, sighted: Callable[[int], None]) -> Listing:
    """Find a market's first candle by two agreeing answers of its preferred source, since another's may be later.

    `sighted` is told its open time (ms UTC) as soon as a first answer names one.

    Raises Contradicted while the answers do not agree, Unproven while there is no candle, CannotServe where the source
    cannot tell, UnknownSymbol where no source lists the market, and what the router raises.
    """
    unknown: UnknownSymbol | None = None
    for line in router.lines_for(series):
        try:
            return _ask(router, series, line.source, sighted)
        except UnknownSymbol as error:
            unknown = unknown or error
        except CannotServe:
            return _search(router, series, line.source)
    raise unknown or CannotServe(f"no configured source offers {series.timeframe} candles of {series.symbol}")


def _ask(router: APIRouter, series: Series, source: str, sighted: Callable[[int], None]) -> Listing:
    first = router.candles(series, 0, None, 1, only=source)
    if not len(first.page) and not len(router.candles(series, 0, None, 1, only=source).page):
        raise Unproven(f"{source} knows {series}, but has no candle of it yet")
    opened = _plausible_first(series, first)
    sighted(opened)
    again = router.candles(series, 0, opened + 1, only=source)
    if again.page.spoiled or set(again.page.rows["open_time"].tolist()) != {opened}:
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
    """Find the first page of daily candles, then the first candle of its first day.

    A day without a trade is rare even where empty ones are left out; after its end a market has no pages any more.
    """
    daily = replace(series, timeframe=Timeframe("1d"), anchor_ms=None)
    if series.lacks_grid or source not in {line.source for line in router.lines_for(daily)}:
        raise CannotServe(f"{source} cannot tell when {series.symbol} was listed")
    now = router.server_now(daily) or router.guess_now(daily)  # a day that is not closed yet is asked for in vain
    span = router.page_slots(daily, source) * DAY
    pages = [Window(start, min(start + span, now)) for start in range(FIRST_MARKETS_MS, now - now % DAY, span)]

    def first_day(number: int) -> int | None:
        return _first(router, daily, pages[number], source)

    high = next((number for number in reversed(range(len(pages))) if first_day(number) is not None), None)
    if high is None:
        raise Unproven(f"{source} knows {series}, but has no daily candle of it yet")
    low, first = 0, high
    while low < first:
        middle = (low + first) // 2
        if first_day(middle) is None:
            low = middle + 1
        else:
            first = middle
    answers = {first_day(first) for _ in range(2)}
    if len(answers) != 1 or None in answers or (first and first_day(first - 1) is not None):
        raise Contradicted(f"{source} gave two different first days of {series.symbol}")
    day = next(ms for ms in answers if ms is not None)
    evidence: dict[str, object] = {"source": source, "first_day": day, "asked": [pages[first].start, pages[first].end]}
    return _first_of_day(router, series, source, Window(day, min(day + DAY, now)), evidence)


def _first_of_day(router: APIRouter, series: Series, source: str, day: Window, evidence: dict[str, object]) -> Listing:
    """The first candle of a market's first day by two agreeing answers; the day where it has none that short.

    Before it there is none that could come back as a neighbour, so that nothing there could ever be proven.
    """
    midnight = Listing(series.grid.floor(day.start), evidence)
    if series.timeframe.ms >= DAY:
        return midnight
    try:
        answers = [_first(router, series, day, source) for _ in range(2)]
    except CannotServe:  # so far back it has days alone
        return midnight
    if answers[0] != answers[1]:
        raise Contradicted(f"{source} gave two different first candles of {series}")
    if answers[0] is None:
        return midnight
    told = {"first": answers[0], "answers": len(answers), "asked": [day.start, day.end]}
    return Listing(series.grid.floor(answers[0]), {**evidence, "first_candle": told})


def _first(router: APIRouter, series: Series, window: Window, source: str) -> int | None:
    """The first open time of a window, ms UTC; None where it has none. Raises Contradicted where none can be told."""
    page = router.candles(series, window.start, window.end, only=source).page
    times = page.rows["open_time"]
    first = int(times.min()) if len(times) else None
    if any(each.open_time is None or first is None or each.open_time < first for each in page.spoiled):
        raise Contradicted(f"{source} sent rows of {series} that cannot be read")
    return first
