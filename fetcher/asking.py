"""What one task of a job asks: a page of candles, the proof that a window is empty, or when a market was listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fetcher.clock import format_utc
from fetcher.errors import RetryableError, Unproven
from fetcher.model import DAY, CandleBatch, Window
from fetcher.storage import Absent, Page
from fetcher.validation import snap

if TYPE_CHECKING:
    from fetcher.model import Rows, Series
    from fetcher.router import APIRouter, Served
    from fetcher.storage import Storage
    from fetcher.validation import DataValidator, Refused

CONFIRMATIONS = 2  # agreeing answers after the page that lacked the candles; one alone can be the same fault twice
_FIRST_MARKETS_MS = 1_230_768_000_000  # 2009-01-01: an earlier listing is a mistaken unit, not a market


@dataclass(frozen=True, slots=True)
class Listing:
    """A market's first candle: its slot (ms UTC), also the anchor of a grid that starts there, and the evidence."""

    listed_ms: int
    evidence: dict[str, object]


class Asker:
    """Turns a window into a `Page` ready to store, through router and validator; holds no state of its own."""

    def __init__(self, router: APIRouter, validator: DataValidator, storage: Storage) -> None:
        self._router = router
        self._validator = validator
        self._storage = storage

    def page(self, series: Series, window: Window) -> Page:
        """The candles of a window of at most one request, judged; raises what the router raises."""
        served = self._router.candles(series, window.start, window.end)
        rows, refused = self._judge(series, window, served)
        closed = None if served.proven_ms is None else series.grid.floor(served.proven_ms)
        return Page(CandleBatch(series, served.source, served.route, rows), refused, closed_until=closed)

    def absence(self, series: Series, hole: Window, answers: int) -> Page:
        """Ask again for just the missing slots and one neighbour on each side, which must come back.

        Brings the candles that do come, or the hole as absent with its evidence (`answers` agreed before). Raises
        Unproven where no neighbour can be had yet, and what the router raises.
        """
        grid = series.grid
        span = Window(grid.advance(grid.floor(hole.start), -1), grid.next(hole.end))
        evidence: list[dict[str, object]] = []
        source: str | None = None
        route = ""
        refused: list[Refused] = []
        neighbours: tuple[int | None, int | None] | None = None
        while len(evidence) < CONFIRMATIONS:
            served = self._router.candles(series, span.start, span.end, only=source)
            source, route = served.source, served.route
            rows, faults = self._judge(series, span, served)
            refused += faults
            times = rows["open_time"]
            found = rows[(times >= hole.start) & (times < hole.end)]
            if len(found) or faults:
                return Page(CandleBatch(series, source, route, found), tuple(refused))
            before, after = times[times < hole.start], times[times >= hole.end]
            if neighbours is None and not (len(before) and len(after)):
                neighbours = self._neighbours(series, hole, source)
                left, right = neighbours
                span = Window(span.start if left is None else left, span.end if right is None else grid.next(right))
                continue
            expected = neighbours or (int(before[-1]), int(after[0]))
            if not _came_back(expected, times):
                raise RetryableError(f"{source} left out candles that it has beside {format_utc(hole.start)}")
            evidence.append(_answer(served, span, times))
        proof: dict[str, object] = {"source": source, "answers": evidence}
        if neighbours is not None and neighbours[1] is None:
            proof["market"] = "no longer trades"
        absent = Absent(hole, answers + len(evidence), proof)
        return Page(CandleBatch(series, source or "", route, rows[:0]), tuple(refused), (absent,))

    def listing(self, series: Series) -> Listing:
        """Find a market's first candle by two agreeing answers; raises Unproven where they differ, or none is there."""
        first = self._router.candles(series, 0, None, 1)
        opened = self._plausible_first(series, first)
        again = self._router.candles(series, 0, opened + 1, only=first.source)
        times = np.unique(again.page.rows["open_time"])
        if again.page.spoiled or times.tolist() != [opened]:
            raise Unproven(f"{first.source} gave two different first candles of {series}")
        evidence: dict[str, object] = {
            "source": first.source,
            "answers": [{"at": served.proven_ms, "asked": [0, end], "first": opened} for served, end in
                        ((first, None), (again, opened + 1))],
        }  # fmt: skip
        if series.timeframe.anchored_by_series:
            return Listing(opened - opened % DAY, evidence)
        return Listing(series.grid.floor(opened), evidence)

    def _plausible_first(self, series: Series, served: Served) -> int:
        times = served.page.rows["open_time"]
        if len(times) == 0:
            raise Unproven(f"{served.source} has no candle of {series} yet")
        opened = int(times[0])
        if not _FIRST_MARKETS_MS <= opened <= (served.proven_ms or opened):
            raise Unproven(f"{served.source} gave an impossible first candle of {series}: {opened}")
        return opened

    def _judge(self, series: Series, window: Window, served: Served) -> tuple[Rows, tuple[Refused, ...]]:
        verdict = self._validator.check(served.page, series.grid, window, served.proven_ms)
        if len(verdict.off_grid) == 0:
            return verdict.rows, verdict.refused
        again = self._router.candles(series, window.start, window.end, only=served.source)
        second = self._validator.check(again.page, series.grid, window, again.proven_ms)
        snapped, refused = snap(verdict.off_grid, second.off_grid, series.grid, verdict.rows["open_time"])
        rows = np.concatenate([verdict.rows, snapped])
        return rows[np.argsort(rows["open_time"], kind="stable")], (*verdict.refused, *refused)

    def _neighbours(self, series: Series, hole: Window, source: str) -> tuple[int | None, int | None]:
        """The source's own nearest candles on both sides of a hole whose adjacent slots are empty too."""
        left = self._edge(series, source, None, hole.start, -1)
        right = self._edge(series, source, hole.end, None, 0)
        if left is None:
            raise Unproven(f"{source} has no candle before {format_utc(hole.start)}")
        if right is None and self._router.market_trades(series, source):
            raise Unproven(f"{source} has no closed candle after {format_utc(hole.start)} yet")
        return left, right

    def _edge(self, series: Series, source: str, start: int | None, end: int | None, place: int) -> int | None:
        served = self._router.candles(series, start, end, 1, only=source)
        anywhere = Window(start or 0, max(start or 0, end or served.proven_ms or 0))
        rows, _ = self._judge_edge(series, anywhere, served)
        return int(rows["open_time"][place]) if len(rows) else None

    def _judge_edge(self, series: Series, window: Window, served: Served) -> tuple[Rows, tuple[Refused, ...]]:
        verdict = self._validator.check(served.page, series.grid, window, served.proven_ms)
        off_grid = verdict.off_grid.copy()
        off_grid["open_time"] = series.grid.floor_all(off_grid["open_time"])
        rows = np.concatenate([verdict.rows, off_grid])
        return rows[np.argsort(rows["open_time"], kind="stable")], verdict.refused


def _came_back(expected: tuple[int | None, int | None], times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    return all(slot is None or slot in times for slot in expected)


def _answer(served: Served, span: Window, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, object]:
    return {"at": served.proven_ms, "asked": [span.start, span.end], "came_back": times.tolist()[:10]}
