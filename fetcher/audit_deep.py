"""Children against parents: whether the candles of a shorter timeframe add up to those of a longer one. Vectorised.

What disagrees is reported, never repaired: exchanges restate one timeframe and not the other (for Binance hours of
2021 are known whose minutes make 5–30 % less volume).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from db import candles
from fetcher.clock import format_utc
from fetcher.gaps import fits, pages, union
from fetcher.model import UNKNOWN_COUNT, FixedGrid, Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from db.candles import Rows
    from db.intervals import Interval
    from fetcher.model import Grid, Series, Slots

CHILD_ROWS = 50_000  # held in memory at once
_TOLERANCE = 1e-9  # of sums: venues round each candle by itself
_SUMMED = ("volume", "quote_volume", "trades", "taker_base", "taker_quote")


class Disagreement(Struct, frozen=True):
    """A parent candle whose `children` say something else: per column its value and theirs. Times are ms UTC."""

    parent: Series
    child: Series
    open_ms: int
    close_ms: int
    children: int
    columns: tuple[tuple[str, float, float], ...]

    def __str__(self) -> str:
        said = ", ".join(f"{name} is {ours:.12g}, they make {theirs:.12g}" for name, ours, theirs in self.columns)
        children = f"its {self.children} {self.child.timeframe} candles"
        return f"{self.parent} {format_utc(self.open_ms)} disagrees with {children}: {said}"


def disagreements(
    conn: Connection, all_series: Sequence[Series], covered: Mapping[int, Sequence[Interval]]
) -> Iterator[Disagreement]:
    """Every stored parent candle that its children contradict, where these are complete and of the same source.

    `covered` is the coverage by series id; a child proven absent is complete too: it adds nothing.
    """
    for parent, child in pairs(all_series):
        known = union(Window(each.start_ms, each.end_ms) for each in covered.get(child.id, ()))
        for window in union(Window(each.start_ms, each.end_ms) for each in covered.get(parent.id, ())):
            for part in pages(window, parent.grid, max(1, CHILD_ROWS * child.timeframe.ms // parent.timeframe.ms)):
                yield from _compare_part(conn, parent, child, part, known)


def pairs(all_series: Sequence[Series]) -> list[tuple[Series, Series]]:
    """Each series with the longest shorter one of its symbol whose candles fit into its own. Pure."""
    found = []
    ordered = sorted(all_series, key=lambda series: (series.symbol, series.timeframe.ms))
    for _, group in groupby(ordered, key=lambda series: series.symbol):
        shorter: list[Series] = []
        for parent in group:
            fitting = [child for child in shorter if fits(child.grid, parent.grid)]
            found += [(parent, child) for child in fitting[-1:]]
            shorter.append(parent)
    return found


def _compare_part(
    conn: Connection, parent: Series, child: Series, part: Window, known: Sequence[Window]
) -> Iterator[Disagreement]:
    parents = candles.read(conn, parent.id, part.start, part.end)
    closes = _closes(parents["open_time"], parent.grid)
    whole = _inside(parents["open_time"], closes, known)
    parents, closes = parents[whole], closes[whole]
    if len(parents) == 0:
        return
    children = candles.read(conn, child.id, int(parents["open_time"][0]), int(closes[-1]))
    for place, number, columns in compare(parents, closes, children):
        yield Disagreement(parent, child, int(parents["open_time"][place]), int(closes[place]), number, columns)


def compare(
    parents: Rows, closes: Slots, children: Rows
) -> list[tuple[int, int, tuple[tuple[str, float, float], ...]]]:
    """Which parents their children contradict: (place in `parents`, number of children, columns that differ).

    Both dtype candles.STORED_DTYPE, ascending; `closes` (int64, ms UTC) ends each parent. Unknown values and children
    of other sources are not compared. Pure.
    """
    bucket = np.searchsorted(parents["open_time"], children["open_time"], side="right") - 1
    inside = (bucket >= 0) & (children["open_time"] < closes[bucket])
    children, bucket = children[inside], bucket[inside]
    places, first, numbers = np.unique(bucket, return_index=True, return_counts=True)
    if len(places) == 0:
        return []
    last, ours = first + numbers - 1, parents[places]
    made: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {
        "open": children["open"][first],
        "high": np.maximum.reduceat(children["high"], first),
        "low": np.minimum.reduceat(children["low"], first),
        "close": children["close"][last],
        **{name: np.add.reduceat(_known(children, name), first) for name in _SUMMED},
    }
    owners = [reduce.reduceat(children["source_id"], first) for reduce in (np.minimum, np.maximum)]
    alike = (owners[0] == ours["source_id"]) & (owners[1] == ours["source_id"])
    differs = {name: alike & _differ(_known(ours, name), sums, name) for name, sums in made.items()}
    return [
        (
            int(places[at]),
            int(numbers[at]),
            tuple((name, float(ours[name][at]), float(made[name][at])) for name in made if differs[name][at]),
        )
        for at in np.flatnonzero(np.logical_or.reduce(list(differs.values())))
    ]


def _differ(
    ours: np.ndarray[tuple[int], np.dtype[np.float64]], theirs: np.ndarray[tuple[int], np.dtype[np.float64]], name: str
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    allowed = _TOLERANCE * np.maximum(np.abs(ours), np.abs(theirs)) if name in _SUMMED else 0.0
    far: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.abs(ours - theirs) > allowed  # False where either is NaN
    return far


def _known(rows: Rows, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A column with NaN for what is unknown."""
    values = rows[name].astype(np.float64)
    if name == "trades":
        values[rows[name] == UNKNOWN_COUNT] = np.nan
    return values


def _closes(opens: Slots, grid: Grid) -> Slots:
    if isinstance(grid, FixedGrid):
        return opens + grid.step
    return np.array([grid.next(int(each)) for each in opens], dtype=np.int64)


def _inside(opens: Slots, closes: Slots, known: Sequence[Window]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of `[opens, closes)` lie within one of the known windows, which do not touch."""
    if not known:
        return np.zeros(len(opens), dtype=np.bool_)
    starts = np.array([window.start for window in known], dtype=np.int64)
    ends = np.array([window.end for window in known], dtype=np.int64)
    place = np.searchsorted(starts, opens, side="right") - 1
    whole: np.ndarray[tuple[int], np.dtype[np.bool_]] = (place >= 0) & (closes <= ends[place])
    return whole
