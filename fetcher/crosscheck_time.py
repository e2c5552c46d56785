"""Whether two sources tell of the same moments: candles shifted in time, and prices that stand still. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.model import DAY, HOUR, MINUTE, MonthGrid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from fetcher.model import Rows, Slots, Timeframe

    Matrix: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    Mask: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"

PRICES = ("open", "high", "low", "close")
ENOUGH_TO_PLACE = 20  # candles with which a shift can be told from chance
_BLOCK = 48  # candles looked at together: a shift may begin within a page, when daylight saving does
_BETTER = 3.0  # times that the shifted candles have to fit better than those as they came
_FARTHEST_ZONE = 14 * HOUR  # UTC+14 is the farthest there is


class Shift(Struct, frozen=True):
    """Rows `[first, last)` of the other source that fit when taken `ms` earlier (negative: later)."""

    first: int
    last: int
    ms: int


def shifts(ours: Rows, theirs: Rows, timeframe: Timeframe) -> list[Shift]:
    """Where their candles (dtype CANDLE, ascending) are ours at another time: by a candle, or by hours of a time zone.

    Judged by the shape of all four prices, so that a constant factor between the two does not matter.
    """
    steps, mine = candidates(timeframe), (ours["open_time"], _logs(ours))
    blocks = np.array_split(np.arange(len(theirs)), max(1, len(theirs) // _BLOCK))
    misfits = [_misfits(theirs[block], timeframe, (0, *steps), mine) for block in blocks]
    chosen = [_best(each, steps) for each in misfits]
    for order in (range(1, len(blocks)), range(len(blocks) - 2, -1, -1)):
        step = order.step
        for place in order:  # a block that does not speak against the shift beside it shares it
            beside = chosen[place - step]
            if not chosen[place] and beside and _allows(misfits[place], beside):
                chosen[place] = beside
    found: list[Shift] = []
    for block, ms in zip(blocks, chosen, strict=True):
        if not ms:
            continue
        first, last = int(block[0]), int(block[-1]) + 1
        if found and found[-1].ms == ms and found[-1].last == first:
            found[-1] = Shift(found[-1].first, last, ms)
        else:
            found.append(Shift(first, last, ms))
    return found


def _misfits(theirs: Rows, timeframe: Timeframe, steps: Sequence[int], ours: tuple[Slots, Matrix]) -> dict[int, float]:
    """The misfit of these rows by how late they are taken to be; none where they stand still and would fit anywhere."""
    if len(theirs) < ENOUGH_TO_PLACE or 2 * int(repeated(theirs).sum()) > len(theirs):
        return {}
    times, logs = theirs["open_time"], _logs(theirs)
    found: dict[int, float] = {}
    for ms in steps:
        misfit, moves = _misfit(moved(times, timeframe, -ms) if ms else times, logs, *ours)
        found[ms] = float("inf") if ms and misfit >= moves else misfit  # where ours stand still everything fits
    return found


def _allows(misfits: Mapping[int, float], ms: int) -> bool:
    """Whether rows may be so late: they fit better then, or ours do not reach so far."""
    return not misfits or np.isinf(misfits[ms]) or misfits[ms] < misfits[0]


def _best(misfits: Mapping[int, float], steps: Sequence[int]) -> int:
    """The shift that fits far better than the times as they came; 0 where none does."""
    if not misfits:
        return 0
    best = min(steps, key=lambda ms: misfits[ms])
    as_they_came = misfits[0]
    return best if np.isfinite(as_they_came) and misfits[best] * _BETTER < as_they_came else 0


def candidates(timeframe: Timeframe) -> list[int]:
    """Shifts worth a look, in ms: a candle to either side, and the hours and half hours of time zones."""
    steps = {timeframe.ms, -timeframe.ms}
    if timeframe.ms < DAY:
        zones = range(30 * MINUTE, _FARTHEST_ZONE + 1, 30 * MINUTE)
        steps |= {sign * ms for ms in zones for sign in (1, -1) if ms % timeframe.ms == 0}
    return sorted(steps, key=lambda ms: (abs(ms), ms))


def moved(times: Slots, timeframe: Timeframe, ms: int) -> Slots:
    """Open times `ms` later; a month is one slot of the calendar, whatever its length."""
    grid = timeframe.grid()
    if not isinstance(grid, MonthGrid):
        return times + ms
    return grid.floor_all(times + 31 * DAY) if ms > 0 else grid.floor_all(times - 1)


def repeated(rows: Rows) -> Mask:
    """Which rows have all four prices of the row before: shape (n,)."""
    same = np.zeros(len(rows), dtype=np.bool_)
    if len(rows) > 1:
        same[1:] = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in PRICES])
    return same


def still_runs(rows: Rows, least: int) -> list[tuple[int, int]]:
    """Runs `[first, last)` of at least `least` rows that all have the same four prices."""
    if len(rows) == 0:
        return []
    edges = np.flatnonzero(np.concatenate(([True], ~repeated(rows)[1:], [True])))
    return [(int(first), int(last)) for first, last in pairwise(edges) if last - first >= least]


def _logs(rows: Rows) -> Matrix:
    logs: Matrix = np.log(np.stack([rows[name] for name in PRICES], axis=1))
    return logs


def _misfit(times: Slots, logs: Matrix, known: Slots, mine: Matrix) -> tuple[float, float]:
    """How far the prices are from ours at these times, a constant factor aside, and how far ours move meanwhile.

    Infinite where too few of ours lie at these times.
    """
    nothing = (float("inf"), 0.0)
    if len(known) == 0:
        return nothing
    places = np.minimum(np.searchsorted(known, times), len(known) - 1)
    there = known[places] == times
    if int(there.sum()) < max(ENOUGH_TO_PLACE, 0.6 * len(times)):
        return nothing
    matched = mine[places[there]]
    apart = logs[there] - matched
    misfit = float(np.median(np.abs(apart - np.median(apart)).mean(axis=1)))
    return misfit, float(np.median(np.abs(matched - np.median(matched))))
