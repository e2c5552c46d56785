"""What one task of a job asks: a page of candles, the proof that a window is empty, or when a market was listed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fetcher.clock import format_utc
from fetcher.errors import CannotServe, Contradicted, Unproven
from fetcher.lacking import together, with_neighbours
from fetcher.listing import Listing, find_listing
from fetcher.model import CandleBatch, Window
from fetcher.page import Absent, Page
from fetcher.validation import snap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fetcher.model import Rows, Series, Slots
    from fetcher.router import APIRouter, Served
    from fetcher.storage import Storage
    from fetcher.validation import DataValidator, Refused

T = TypeVar("T")

LOOKS = 5  # at a source that contradicts itself, before its word is left for later
_MISUNDERSTOOD = frozenset({"time_unit", "future", "inside_window"})  # rows that answer another question
CONFIRMATIONS = 2  # agreeing answers after the page that lacked the candles; one alone can be the same fault twice


class Asker:
    """Turns a window into a `Page` ready to store, through router and validator; holds no state of its own."""

    def __init__(self, router: APIRouter, validator: DataValidator, storage: Storage) -> None:
        self._router = router
        self._validator = validator
        self._storage = storage

    def page(self, series: Series, window: Window, above: int | None = None) -> Page:
        """The candles of a window of at most one page, judged; raises what the router raises.

        With `above`, only sources before that rank are asked. What lies beyond a source's reach is not in the page.
        """
        served = self._router.candles(series, window.start, window.end, above=above)
        asked = served.window or window
        rows, refused = self._judge(series, asked, served)
        closed = None if served.proven_ms is None else series.grid.floor(served.proven_ms)
        batch = CandleBatch(series, served.source, served.route, rows)
        return Page(batch, refused, asked=asked, closed_until=closed)

    def questions(self, series: Series, holes: Sequence[Window], source: str) -> list[tuple[Window, ...]]:
        """The holes that a source left, ascending, as `absence` is to ask about them.

        One by one, but for a source that leaves out candles without trades: there holes are many and close together,
        and those that fit one answer with their neighbours are asked about at once.
        """
        if not self._router.omits_empty(source):
            return [(hole,) for hole in holes]
        return together(holes, series.grid, self._router.page_slots(series, source))

    def absence(
        self, series: Series, holes: Sequence[Window], answers: int, *, only: str | None = None,
        above: int | None = None,
    ) -> Page:  # fmt: skip
        """Ask again for just the missing slots and one neighbour on each side of a hole, which must come back.

        Brings the candles that do come, or the holes as absent with their evidence (`answers` agreed before). Asks
        the source `only`, or those before the rank `above`. Raises Unproven where there is no neighbour on the newest
        edge yet, Contradicted, and what the router raises.
        """
        return _patiently(lambda: self._absence(series, holes, answers, only, above))

    def listing(self, series: Series) -> Listing:
        """Find a market's first candle by two agreeing answers; raises Contradicted while there are none."""
        return _patiently(lambda: find_listing(self._router, series))

    def _absence(
        self, series: Series, holes: Sequence[Window], answers: int, only: str | None, above: int | None
    ) -> Page:
        grid, hull = series.grid, Window(holes[0].start, holes[-1].end)
        span = with_neighbours(holes, grid)
        first = self._look(series, span, only, above)
        silent = first.silent(holes)
        flanked = [hole for hole in silent if None not in first.beside(hole)]
        sides: tuple[int | None, int | None] | None = None  # where they had to be looked for farther away
        if silent and not flanked:
            before, after, refused = self._neighbours(series, hull, first.source)
            if refused:
                return replace(first, refused=(*first.refused, *refused)).page(holes)
            sides = before, after
            span = Window(span.start if before is None else before, hull.end if after is None else grid.next(after))
            first = self._look(series, span, first.source)
            flanked = silent = first.silent(holes)
        if not silent:
            return first.page(holes)
        looks = [first, *(self._look(series, span, first.source) for _ in range(CONFIRMATIONS - 1))]
        stored = self._storage.open_times(series, span, first.source) if len(holes) > 1 else first.times[:0]
        understood = sides is None or all(look.beside(hull) == sides for look in looks)
        proven = [hole for hole in flanked if understood and all(look.agrees(hole, first, stored) for look in looks)]
        telling = next((look for look in looks if len(look.silent(holes)) < len(holes)), looks[-1])
        if not proven and len(telling.silent(holes)) == len(holes):
            raise Contradicted(f"{first.source} left out candles that it has beside {format_utc(hull.start)}")
        if self._router.omits_empty(first.source):
            return telling.page(holes, traded_not=proven)
        proof: dict[str, object] = {"source": first.source, "answers": [look.evidence(span) for look in looks]}
        if sides is not None and sides[1] is None:
            proof["market"] = "no longer trades"
        return telling.page(holes, [Absent(hole, answers + len(looks), proof) for hole in proven])

    def _judge(self, series: Series, window: Window, served: Served) -> tuple[Rows, tuple[Refused, ...]]:
        verdict = self._validator.check(served.page, series.grid, window, served.proven_ms)
        if len(verdict.off_grid) == 0:
            return verdict.rows, verdict.refused
        again = self._router.candles(series, window.start, window.end, only=served.source)
        second = self._validator.check(again.page, series.grid, window, again.proven_ms)
        snapped, refused = snap(verdict.off_grid, second.off_grid, series.grid, verdict.rows["open_time"])
        rows = np.concatenate([verdict.rows, snapped])
        return rows[np.argsort(rows["open_time"], kind="stable")], (*verdict.refused, *second.refused, *refused)

    def _look(self, series: Series, span: Window, source: str | None = None, above: int | None = None) -> Look:
        served = self._router.candles(series, span.start, span.end, only=source, above=above)
        if served.window is not None and served.window != span:
            raise CannotServe(f"{served.source} does not reach back to {format_utc(span.start)}")
        rows, refused = self._judge(series, span, served)
        return Look(series, served, rows, refused)

    def _neighbours(
        self, series: Series, hole: Window, source: str
    ) -> tuple[int | None, int | None, tuple[Refused, ...]]:
        """The source's own nearest candles on both sides of a hole whose adjacent slots are empty too.

        Where a candle of these answers had to be refused, that is all they say.
        """
        if self._router.omits_empty(source):  # quiet hours are long there, and it may not answer an open question
            before, after = self._storage.nearest(series, hole, source, self._router.page_slots(series, source))
            if before is not None and after is not None:
                return before, after, ()
        left, bad_left = self._edge(series, source, None, hole.start, -1)
        right, bad_right = self._edge(series, source, hole.end, None, 0)
        if bad_left or bad_right:
            return None, None, (*bad_left, *bad_right)
        if left is None:
            raise Contradicted(f"{source} has no candle before {format_utc(hole.start)}, though it lists the market")
        if right is None and self._storage.has_after(series, hole.end):
            raise Contradicted(f"{source} does not give the candles that it gave after {format_utc(hole.end)}")
        if right is None and self._router.market_trades(series, source):
            raise Unproven(f"{source} has no closed candle after {format_utc(hole.start)} yet")
        return left, right, ()

    def _edge(
        self, series: Series, source: str, start: int | None, end: int | None, place: int
    ) -> tuple[int | None, tuple[Refused, ...]]:
        served = self._router.candles(series, start, end, 1, only=source)
        anywhere = Window(start or 0, max(start or 0, end or served.proven_ms or 0))
        verdict = self._validator.check(served.page, series.grid, anywhere, served.proven_ms)
        times = np.sort(series.grid.floor_all(np.concatenate([verdict.rows, verdict.off_grid])["open_time"]))
        return (int(times[place]) if len(times) else None), verdict.refused


@dataclass(frozen=True, slots=True)
class Look:
    """One answer about holes and what lies beside them."""

    series: Series
    served: Served
    rows: Rows
    refused: tuple[Refused, ...]

    @property
    def source(self) -> str:
        """Who gave it."""
        return self.served.source

    @property
    def times(self) -> Slots:
        """Open times of its candles: int64 ms UTC, ascending."""
        times: Slots = self.rows["open_time"]
        return times

    def silent(self, holes: Sequence[Window]) -> list[Window]:
        """Those of some holes of which the answer has nothing."""
        return [hole for hole in holes if not self.settles(hole)]

    def settles(self, hole: Window) -> bool:
        """Whether nothing can be concluded about absence: there are candles, or some that had to be refused."""
        inside = (self.times >= hole.start) & (self.times < hole.end)
        return bool(inside.any()) or any(self._is_about(hole, each) for each in self.refused)

    def _is_about(self, hole: Window, refused: Refused) -> bool:
        """Whether a refused row may be a candle of a hole, or is the neighbour that should have come back."""
        at = refused.open_time
        if at is None or refused.reason in _MISUNDERSTOOD:
            return True
        if refused.reason == "off_grid":  # in quarantine as it came, and at its slot: real after the halt of 2018-02-08
            return hole.start <= at < hole.end
        before, after = self.beside(hole)
        return (before is None or at >= before) and (after is None or at <= after)

    def beside(self, hole: Window) -> tuple[int | None, int | None]:
        """The nearest candles of the answer before and after the hole."""
        before, after = self.times[self.times < hole.start], self.times[self.times >= hole.end]
        return (int(before[-1]) if len(before) else None), (int(after[0]) if len(after) else None)

    def agrees(self, hole: Window, other: Look, stored: Slots) -> bool:
        """Whether it too has nothing of a hole, between the same neighbours, and those that are `stored` came back."""
        beside = [*stored[stored < hole.start][-1:], *stored[stored >= hole.end][:1]]
        return (
            not self.settles(hole)
            and self.beside(hole) == other.beside(hole)
            and bool(np.isin(np.array(beside, dtype=np.int64), self.times).all())
        )

    def page(
        self, holes: Sequence[Window], absent: Sequence[Absent] = (), *, traded_not: Sequence[Window] = ()
    ) -> Page:
        """What to store of it: candles inside the holes, refusals, and the proof where there is one."""
        inside = np.zeros(len(self.rows), dtype=np.bool_)
        for hole in holes:
            inside |= (self.times >= hole.start) & (self.times < hole.end)
        batch = CandleBatch(self.series, self.served.source, self.served.route, self.rows[inside])
        return Page(batch, self.refused, tuple(absent), tuple(traded_not))

    def evidence(self, span: Window) -> dict[str, object]:
        """The answer as it is kept: when (ms UTC, the source's clock), what was asked, which open times came back."""
        came_back = self.times.tolist()[:10]
        return {"at": self.served.proven_ms, "asked": [span.start, span.end], "came_back": came_back}


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again at once when a source contradicts itself; after LOOKS times its word is not worth more today."""
    for _ in range(LOOKS - 1):
        try:
            return ask()
        except Contradicted:
            continue
    return ask()
