"""Candles made of stored ones: coarser ones added up, slots without a trade filled. Pure, vectorised.

Nothing made here is ever stored. What cannot be told is left out rather than guessed: a coarser candle of which one
candle is missing, and a slot behind a missing one, since nobody knows at what price that one closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from fetcher.gaps import union
from fetcher.model import UNKNOWN_COUNT, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fetcher.model import Grid, Rows, Slots

    Marks = np.ndarray[tuple[int], np.dtype[np.bool_]]

NOBODY = 0
"""The source_id of a filled slot: no source served it."""
MIXED = -1
"""The source_id of a candle made of several sources' candles."""

_PRICES = ("open", "high", "low")
_SUMMED = ("volume", "quote_volume", "taker_base", "taker_quote")


class Filled(Struct, frozen=True):
    """Rows with the filled ones among them (`filled`, shape (n,)), and the last candle where a next part may go on."""

    rows: Rows
    filled: Marks
    last: Rows | None


def resample(rows: Rows, grid: Grid, window: Window, holes: Sequence[Window]) -> tuple[Rows, Slots]:
    """The candles of a coarser grid that `rows` add up to, and of how many each is made: shapes (m,).

    `rows`: stored candles (any columns of them, `open_time` first) of `window`, ascending; `window` begins and ends on
    slots of `grid`. A slot that touches one of `holes` (windows of missing candles) is left out, and so is one without
    any candle. Sums are unknown where one of their parts is; flags are all that any candle has.
    """
    opens = grid.slots(window)
    parent = np.searchsorted(opens, rows["open_time"], side="right") - 1
    if holes:
        whole = ~_touched(opens, holes)[parent]
        rows, parent = rows[whole], parent[whole]
    if len(rows) == 0:
        return rows[:0], np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.diff(parent, prepend=-1))
    last = np.append(first[1:], len(rows)) - 1
    made = rows[first].copy()
    made["open_time"] = opens[parent[first]]
    for name in rows.dtype.names or ():
        if name == "close":
            made[name] = rows[name][last]
        elif name in _REDUCED:
            made[name] = _REDUCED[name](rows[name], first)
    return made, last - first + 1


def _counted(column: Slots, first: Slots) -> Slots:
    unknown = np.logical_or.reduceat(column == UNKNOWN_COUNT, first)
    return np.where(unknown, UNKNOWN_COUNT, np.add.reduceat(column, first))


def _owners(column: Slots, first: Slots) -> Slots:
    alike = np.minimum.reduceat(column, first) == np.maximum.reduceat(column, first)
    return np.where(alike, column[first], MIXED)


_REDUCED: dict[str, Callable[[Any, Slots], Any]] = {
    "high": np.maximum.reduceat,
    "low": np.minimum.reduceat,
    **dict.fromkeys(_SUMMED, np.add.reduceat),
    "trades": _counted,
    "flags": np.bitwise_or.reduceat,
    "source_id": _owners,
}
"""How a column becomes that of coarser candles, whose first rows are given; open is the first's, close the last's."""


def spoiled(grid: Grid, holes: Sequence[Window]) -> list[Window]:
    """The slots of a coarser grid that touch a hole, as windows."""
    return union(Window(grid.floor(hole.start), grid.next(hole.end - 1)) for hole in holes)


def fill(rows: Rows, grid: Grid, window: Window, holes: Sequence[Window], last: Rows | None) -> Filled:
    """The rows with the empty slots of `window` among them: at the last close, without volume.

    `holes` are the missing slots, which stay empty, as do those after them up to the next candle. `last` is the candle
    (shape (1,)) before the window, where nothing between is missing. What the last candle does not tell stays unknown.
    """
    slots = grid.slots(window)
    places = np.arange(len(slots))
    before = np.searchsorted(rows["open_time"], slots, side="right") - 1  # the last candle at or before each slot
    there = np.zeros(len(slots), dtype=np.bool_)
    there[before >= 0] = rows["open_time"][before[before >= 0]] == slots[before >= 0]
    missing = _touched(slots, holes)
    priced = np.maximum.accumulate(np.where(there, places, -1 if last is not None else -3))
    broken = np.maximum.accumulate(np.where(missing, places, -2))
    empty = ~there & ~missing & (priced > broken)
    goes_on = len(slots) == 0 or bool(priced[-1] > broken[-1])
    last_row = rows[-1:] if len(rows) else last
    made = _flat(rows, before[empty], slots[empty], last)
    order = np.argsort(np.concatenate((rows["open_time"], made["open_time"])), kind="stable")
    filled = np.concatenate((np.zeros(len(rows), dtype=np.bool_), np.ones(len(made), dtype=np.bool_)))
    return Filled(np.concatenate((rows, made))[order], filled[order], last_row if goes_on else None)


def _flat(rows: Rows, before: Slots, slots: Slots, last: Rows | None) -> Rows:
    """Rows at `slots` that repeat the close of the rows at the places `before`; −1 stands for `last`."""
    source = rows if last is None else np.concatenate((last, rows))
    made = source[before if last is None else before + 1]
    made["open_time"] = slots
    for name in rows.dtype.names or ():
        if name in _PRICES:
            made[name] = made["close"]
        elif name in _SUMMED:
            made[name] *= 0  # NaN stays NaN
        elif name == "trades":
            made[name] = np.where(made[name] == UNKNOWN_COUNT, UNKNOWN_COUNT, 0)
        elif name == "flags":
            made[name] = 0
        elif name == "source_id":
            made[name] = NOBODY
    return made


def _touched(slots: Slots, windows: Sequence[Window]) -> Marks:
    """Which slots of an unbroken grid lie at least partly in one of the windows, each ending where the next begins."""
    change = np.zeros(len(slots) + 1, dtype=np.int64)
    for each in windows:
        begins = max(0, int(np.searchsorted(slots, each.start, side="right")) - 1)
        change[begins] += 1
        change[max(begins, int(np.searchsorted(slots, each.end, side="left")))] -= 1
    return np.cumsum(change[:-1]) > 0
