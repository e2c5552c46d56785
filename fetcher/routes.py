"""Which route is cheapest for what is missing: monthly files, daily files, pages of the API. Pure.

Costs are request weight. A file costs none, but two requests (with its checksum), which count like a page here: else a
day's file would be fetched for a single candle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from fetcher.gaps import union
from fetcher.model import DAY, Window
from fetcher.periods import Period, days, inside, months

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fetcher.model import Grid

FILE_COST = 2.0


class Offer(Struct, frozen=True):
    """What an archive has for a series at a moment (ms UTC), beside an API of `page_slots` candles for `page_cost`.

    It has a file for each month, and one for each day where `daily`. `spent`: files that were asked for and did not
    bring what is missing now.
    """

    daily: bool
    now_ms: int
    page_slots: int
    page_cost: float
    spent: Collection[Period] = ()

    def has(self, period: Period) -> bool:
        """Whether a file can be expected that is worth asking for."""
        return period.expected_ms <= self.now_ms and period not in self.spent


class Mix(Struct, frozen=True):
    """The cheapest way to missing windows: files with what each is to bring, and windows to page through the API."""

    files: tuple[tuple[Period, tuple[Window, ...]], ...] = ()
    pages: tuple[Window, ...] = ()


class _Choice(Struct):
    cost: float = 0.0
    files: list[tuple[Period, tuple[Window, ...]]] = field(default_factory=list)
    pages: list[Window] = field(default_factory=list)

    def add(self, other: _Choice) -> None:
        self.cost += other.cost
        self.files += other.files
        self.pages += other.pages


def cheapest(missing: Sequence[Window], grid: Grid, offer: Offer) -> Mix:
    """Cover missing windows (ascending, disjoint) by the mix of routes that costs the least weight."""
    whole = _Choice()
    for month in months_of(missing):
        parts = inside(month, missing)
        best = _by_days(parts, grid, offer) if offer.daily else _by_pages(parts, grid, offer)
        if offer.has(month) and best.cost > FILE_COST:
            best = _Choice(FILE_COST, [(month, parts)])
        whole.add(best)
    return Mix(tuple(whole.files), tuple(union(whole.pages)))


def months_of(windows: Sequence[Window]) -> list[Period]:
    """The months that some ascending windows touch, each once."""
    return list(dict.fromkeys(month for window in windows for month in months(window)))


def is_worth_a_month(grid: Grid, month: Period, offer: Offer) -> bool:
    """Whether a month that is missing whole comes cheaper as its file."""
    return _by_pages((month.window,), grid, offer).cost > FILE_COST


def is_worth_a_day(grid: Grid, offer: Offer) -> bool:
    """Whether a day that is missing whole comes cheaper as its file."""
    return offer.daily and grid.count(Window(0, DAY)) / offer.page_slots * offer.page_cost > FILE_COST


def _by_days(parts: Sequence[Window], grid: Grid, offer: Offer) -> _Choice:
    chosen = _Choice()
    rest: list[Window] = []
    for day in dict.fromkeys(day for part in parts for day in days(part)):
        mine = inside(day, parts)
        share = sum(map(grid.count, mine)) / offer.page_slots  # of pages that it may have in common with its neighbours
        if offer.has(day) and share * offer.page_cost > FILE_COST:
            chosen.add(_Choice(FILE_COST, [(day, mine)]))
        else:
            rest += mine
    chosen.add(_by_pages(rest, grid, offer))
    return chosen


def _by_pages(parts: Sequence[Window], grid: Grid, offer: Offer) -> _Choice:
    runs = union(parts)
    pages = sum(max(1.0, grid.count(run) / offer.page_slots) for run in runs)
    return _Choice(pages * offer.page_cost, [], runs)
