"""Interval arithmetic over windows and slots: what is wanted, what is covered, what is missing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fetcher.model import DAY, FixedGrid, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fetcher.model import Grid, Slots


def union(windows: Iterable[Window]) -> list[Window]:
    """The same time as disjoint, ascending windows that do not touch."""
    merged: list[Window] = []
    for window in sorted(w for w in windows if w):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract(wanted: Window, taken: Iterable[Window]) -> list[Window]:
    """The parts of `wanted` that no window of `taken` covers, ascending."""
    left: list[Window] = []
    at = wanted.start
    for window in union(taken):
        if window.end <= at:
            continue
        if window.start >= wanted.end:
            break
        if window.start > at:
            left.append(Window(at, window.start))
        at = window.end
    if at < wanted.end:
        left.append(Window(at, wanted.end))
    return left


def pages(window: Window, grid: Grid, slots: int) -> list[Window]:
    """Cut a window into consecutive ones of at most `slots` slots each; the last ends where the window does."""
    cut: list[Window] = []
    start = grid.ceil(window.start)
    while start < window.end:
        end = min(grid.advance(start, slots), window.end)
        cut.append(Window(start, end))
        start = end
    return cut


def fits(child: Grid, parent: Grid) -> bool:
    """Whether every slot of the parent's grid begins and ends on one of the child's."""
    if not isinstance(child, FixedGrid):
        return False
    if isinstance(parent, FixedGrid):
        return parent.step % child.step == 0 and (parent.anchor - child.anchor) % child.step == 0
    return DAY % child.step == 0 and child.anchor % child.step == 0


class GapDetector:
    """Compares the slots of one grid with what is there; answers are windows that start and end on slots."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def missing(self, wanted: Window, covered: Sequence[Window]) -> list[Window]:
        """Windows of `wanted` without coverage that hold at least one slot, trimmed to whole slots."""
        return [trimmed for part in subtract(wanted, covered) if (trimmed := self.trim(part))]

    def trim(self, window: Window) -> Window:
        """The same slots in the tightest window: from the first slot to the close of the last."""
        start, end = self._grid.ceil(window.start), self._grid.ceil(window.end)
        return Window(start, max(start, end))

    def runs(self, slots: Slots) -> list[Window]:
        """Slots (shape (n,), int64 ms UTC, ascending) as windows of consecutive candles."""
        if len(slots) == 0:
            return []
        expected_next = self._closes(slots[:-1])
        breaks = np.flatnonzero(slots[1:] != expected_next)
        starts = slots[np.concatenate(([0], breaks + 1))]
        ends = slots[np.concatenate((breaks, [len(slots) - 1]))]
        return [Window(int(a), self._grid.next(int(b))) for a, b in zip(starts, ends, strict=True)]

    def holes(self, window: Window, present: Slots) -> list[Window]:
        """Windows of consecutive slots inside `window` that `present` (int64 ms UTC) lacks."""
        return self.runs(np.setdiff1d(self._grid.slots(window), present, assume_unique=True))

    def _closes(self, slots: Slots) -> Slots:
        if isinstance(self._grid, FixedGrid):
            return slots + self._grid.step
        if len(slots) == 0:
            return slots
        first, last = int(slots[0]), int(slots[-1])
        axis = self._grid.slots(Window(first, self._grid.advance(last, 2)))
        return axis[np.searchsorted(axis, slots) + 1]
