"""One answer about holes, and what it says of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from fetcher.model import CandleBatch, Window
from fetcher.page import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.model import Grid, Rows, Series, Slots
    from fetcher.page import Absent
    from fetcher.served import Served
    from fetcher.validation import Refused

_MISUNDERSTOOD = frozenset({"time_unit", "future", "inside_window"})  # rows that answer another question


class Question(Struct, frozen=True):
    """What is asked about holes: `span`, and the neighbours that must come back where they are farther away.

    `apart`: candles that are asked for one by one, by their open times. `before`, `after`: moments of which the newest
    candle before and the oldest from there on are asked for. All ms UTC.
    """

    span: Window | None = None
    apart: tuple[int, ...] = ()
    before: int | None = None
    after: int | None = None

    def with_more(self, other: Question) -> Question:
        """Both asked as one."""
        return replace(other, span=self.span or other.span)

    @property
    def between(self) -> Window:
        """The time that both open questions look into, from either end; empty where they look away from each other."""
        start = self.after or 0
        return Window(start, max(start, self.before or 0))

    def windows(self, grid: Grid) -> list[Window]:
        """What is asked for by its bounds, one after the other."""
        alone = [Window(ms, grid.next(ms)) for ms in self.apart]
        return alone if self.span is None else [self.span, *alone]

    def open_sides(self) -> list[tuple[int | None, int | None]]:
        """The open questions as (start, end): the newest candle before an end, the oldest from a start on."""
        sides = [] if self.before is None else [(None, self.before)]
        return [*sides, (self.after, None)] if self.after is not None else [*sides]

    def told(self) -> dict[str, object]:
        """As it is kept as evidence."""
        found: dict[str, object] = {"asked": None if self.span is None else [self.span.start, self.span.end]}
        if self.apart:
            found["one_by_one"] = list(self.apart)
        if self.before is not None or self.after is not None:
            found["newest_before"], found["oldest_from"] = self.before, self.after
        return found


class Look(Struct, frozen=True):
    """One answer about holes and what lies beside them: `rows` (dtype CANDLE) ascending."""

    series: Series
    served: Served
    rows: Rows
    refused: tuple[Refused, ...]
    question: Question = Question()

    @property
    def source(self) -> str:
        """Who gave it."""
        return self.served.source

    @property
    def times(self) -> Slots:
        """Open times of its candles: int64 ms UTC, ascending."""
        times: Slots = self.rows["open_time"]
        return times

    def with_more(self, other: Look) -> Look:
        """Two answers of one source as one, proven as of the earlier."""
        rows = np.concatenate([self.rows, other.rows])
        _, places = np.unique(rows["open_time"], return_index=True)
        proven = min((ms for ms in (self.served.proven_ms, other.served.proven_ms) if ms is not None), default=None)
        return Look(
            self.series, replace(self.served, proven_ms=proven), rows[places], (*self.refused, *other.refused),
            self.question.with_more(other.question),
        )  # fmt: skip

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

    def page(self, holes: Sequence[Window], absent: Sequence[Absent] = ()) -> Page:
        """What to store of it: candles inside the holes, refusals, and the proof where there is one."""
        inside = np.zeros(len(self.rows), dtype=np.bool_)
        for hole in holes:
            inside |= (self.times >= hole.start) & (self.times < hole.end)
        batch = CandleBatch(self.series, self.served.source, self.served.route, self.rows[inside])
        return Page(batch, self.refused, tuple(absent))

    def evidence(self) -> dict[str, object]:
        """The answer as it is kept: when (ms UTC, the source's clock), what was asked, which open times came back."""
        return {"at": self.served.proven_ms, **self.question.told(), "came_back": self.times.tolist()[:10]}
