"""What an audit counts: candles of windows, how many of them are off their series' grid, how many another source's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from db.counting import Cell, count_cells
from fetcher.gaps import pages
from fetcher.model import FixedGrid, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from fetcher.model import Grid, Series

_CELL_SLOTS = 200_000  # at once: on PostgreSQL several processes share what many cells hold
_MOST_SLOTS = 100_000_000  # two centuries of minutes


class Counted(Struct, frozen=True):
    """Candles of a window; how many are off the grid (None where SQL cannot tell: months), how many another's."""

    rows: int
    strays: int | None
    others: int = 0


Asked: TypeAlias = "tuple[Series, Window, int | None]"
"""A window to count, and the id of the source that its candles are to be of (None: any, which is quicker)."""


def count(conn: Connection, windows: Iterable[Asked]) -> dict[tuple[int, Window], Counted]:
    """The candles of some windows, by series id and window; each row is read once."""
    cut = [
        (series, window, _cell(series, part, source))
        for series, window, source in dict.fromkeys(windows)
        for part in _pieces(window, series.grid)
    ]
    numbers = count_cells(conn, [cell for *_, cell in cut])
    found: dict[tuple[int, Window], Counted] = {}
    for (series, window, _), (rows, strays, others) in zip(cut, numbers, strict=True):
        before = found.get((series.id, window), Counted(0, 0 if isinstance(series.grid, FixedGrid) else None))
        told = None if before.strays is None else before.strays + strays
        found[series.id, window] = Counted(before.rows + rows, told, before.others + others)
    return found


def chunks(window: Window, grid: Grid, slots: int) -> list[Window]:
    """A window cut into parts of so many slots, without a gap: what lies before its first slot is in the first."""
    ends = [page.end for page in pages(window, grid, slots)] or [window.end]
    return [Window(start, end) for start, end in zip([window.start, *ends], ends, strict=False)]


def _pieces(window: Window, grid: Grid) -> list[Window]:
    """A window cut where it can hold many candles; months never do, nor what lies outside all calendars."""
    few = not isinstance(grid, FixedGrid) or grid.count(window) > _MOST_SLOTS
    return [window] if few else chunks(window, grid, _CELL_SLOTS)


def _cell(series: Series, window: Window, source_id: int | None) -> Cell:
    grid = series.grid
    step, anchor = (grid.step, grid.anchor) if isinstance(grid, FixedGrid) else (1, 0)
    return Cell(series.id, window.start, window.end, step, anchor, source_id)
