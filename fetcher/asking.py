"""What one task of a job asks: a page of candles, the proof that a window is empty, or when a market was listed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fetcher.clock import format_utc
from fetcher.errors import CannotServe, Contradicted, Unproven
from fetcher.listing import Listing, find_listing
from fetcher.model import CandleBatch, Window
from fetcher.storage import Absent, Page
from fetcher.validation import snap

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.model import Rows, Series
    from fetcher.router import APIRouter, Served
    from fetcher.storage import Storage
    from fetcher.validation import DataValidator, Refused

T = TypeVar("T")

LOOKS = 5  # at a source that contradicts itself, before its word is left for later
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
        rows, refused = self._judge(series, served.window or window, served)
        closed = None if served.proven_ms is None else series.grid.floor(served.proven_ms)
        return Page(CandleBatch(series, served.source, served.route, rows), refused, closed_until=closed)

    def absence(self, series: Series, hole: Window, answers: int, above: int | None = None) -> Page:
        """Ask again for just the missing slots and one neighbour on each side, which must come back.

        Brings the candles that do come, or the hole as absent with its evidence (`answers` agreed before). Raises
        Unproven where there is no neighbour on the newest edge yet, Contradicted, and what the router raises.
        """
        return _patiently(lambda: self._absence(series, hole, answers, above))

    def listing(self, series: Series) -> Listing:
        """Find a market's first candle by two agreeing answers; raises Contradicted while there are none."""
        return _patiently(lambda: find_listing(self._router, series))

    def _absence(self, series: Series, hole: Window, answers: int, above: int | None) -> Page:
        grid = series.grid
        span = Window(grid.advance(grid.floor(hole.start), -1), grid.next(hole.end))
        first = self._look(series, span, above=above)
        if first.settles(hole):
            return first.page(hole)
        before, after = first.beside(hole)
        if before is None or after is None:
            before, after, refused = self._neighbours(series, hole, first.source)
            if refused:
                return replace(first, refused=(*first.refused, *refused)).page(hole)
            span = Window(span.start if before is None else before, hole.end if after is None else grid.next(after))
            first = self._look(series, span, first.source)
            if first.settles(hole):
                return first.page(hole)
        looks = [first, *(self._look(series, span, first.source) for _ in range(CONFIRMATIONS - 1))]
        for look in looks:
            if look.settles(hole):
                return look.page(hole)
            if look.beside(hole) != (before, after):
                raise Contradicted(f"{look.source} left out candles that it has beside {format_utc(hole.start)}")
        if self._router.omits_empty(first.source):
            return looks[-1].page(hole, traded_not=hole)
        proof: dict[str, object] = {"source": first.source, "answers": [look.evidence(span) for look in looks]}
        if after is None:
            proof["market"] = "no longer trades"
        return looks[-1].page(hole, Absent(hole, answers + len(looks), proof))

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
            before, after = self._storage.nearest(series, hole)
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
    """One answer about a hole and what lies beside it."""

    series: Series
    served: Served
    rows: Rows
    refused: tuple[Refused, ...]

    @property
    def source(self) -> str:
        """Who gave it."""
        return self.served.source

    def settles(self, hole: Window) -> bool:
        """Whether nothing can be concluded about absence: there are candles, or some that had to be refused."""
        times = self.rows["open_time"]
        # a neighbour off the grid is in quarantine as it came and stands at its slot: real after the halt of 2018-02-08
        neighbours = (each.reason == "off_grid" and not _is_in(hole, each.open_time) for each in self.refused)
        return not all(neighbours) or bool(((times >= hole.start) & (times < hole.end)).any())

    def beside(self, hole: Window) -> tuple[int | None, int | None]:
        """The nearest candles of the answer before and after the hole."""
        times = self.rows["open_time"]
        before, after = times[times < hole.start], times[times >= hole.end]
        return (int(before[-1]) if len(before) else None), (int(after[0]) if len(after) else None)

    def page(self, hole: Window, *absent: Absent, traded_not: Window | None = None) -> Page:
        """What to store of it: candles inside the hole, refusals, and the proof where there is one."""
        times = self.rows["open_time"]
        inside = self.rows[(times >= hole.start) & (times < hole.end)]
        batch = CandleBatch(self.series, self.served.source, self.served.route, inside)
        return Page(batch, self.refused, absent, (traded_not,) if traded_not else ())

    def evidence(self, span: Window) -> dict[str, object]:
        """The answer as it is kept: when (ms UTC, the source's clock), what was asked, which open times came back."""
        came_back = self.rows["open_time"].tolist()[:10]
        return {"at": self.served.proven_ms, "asked": [span.start, span.end], "came_back": came_back}


def _is_in(hole: Window, ms: int | None) -> bool:
    return ms is None or hole.start <= ms < hole.end


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again at once when a source contradicts itself; after LOOKS times its word is not worth more today."""
    for _ in range(LOOKS - 1):
        try:
            return ask()
        except Contradicted:
            continue
    return ask()
