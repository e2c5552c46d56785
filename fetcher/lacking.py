"""Whose word a missing candle is: the source whose page lacked it confirms that, and no worse one fills it meanwhile.

Kept in the database for a day, since a run may end, or the source may go, between a page and its confirmation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec import Struct

from db import state
from fetcher.gaps import subtract, union
from fetcher.model import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from fetcher.model import Grid, Series


QUIET_SLOTS = 20
"""More candles missing in a row are no quiet time, at a source that leaves those out, but an outage until it is asked
again. No answer tells one from the other: markets that are worth fetching are quiet for a few slots at a time."""


class Lack(Struct, frozen=True):
    """What is missing in `window` (ms UTC) was asked of `source`, whose page did not hold it."""

    window: Window
    source: str


def by_witness(
    missing: Iterable[Window], lacks: Sequence[Lack], sources: Sequence[str]
) -> list[tuple[Window, str | None]]:
    """Missing windows cut by who lacked them, ascending: the best of `sources` that did, None where none was asked."""
    left = list(missing)
    if not lacks:  # quiet markets have thousands of holes, and cutting them costs the square
        return [(window, None) for window in sorted(left)]
    parts: list[tuple[Window, str | None]] = []
    for source in sources:
        asked = [lack.window for lack in lacks if lack.source == source]
        rest = [part for window in left for part in subtract(window, asked)]
        parts += [(part, source) for window in left for part in subtract(window, rest)]
        left = rest
    return sorted([*parts, *((window, None) for window in left)], key=lambda part: part[0])


def merged(lacks: Iterable[Lack], within: Window, known: Iterable[Lack] = ()) -> list[Lack]:
    """The same lacks inside a window, those of one source that touch as one: pages of quiet markets have many holes.

    Without what was `known` before: an earlier word stays another's, and grows no younger.
    """
    earlier = [lack.window for lack in known]
    windows: dict[str, list[Window]] = {}
    for lack in lacks:
        windows.setdefault(lack.source, []).extend(subtract(lack.window.intersect(within), earlier))
    return [Lack(window, source) for source, some in windows.items() for window in union(some)]


def together(holes: Sequence[Window], grid: Grid, slots: int) -> list[tuple[Window, ...]]:
    """Ascending holes grouped so that each group, with one slot on each side, fits an answer of `slots` slots."""
    groups: list[tuple[Window, ...]] = []
    for hole in holes:
        if groups and grid.count(with_neighbours((*groups[-1], hole), grid)) <= slots:
            groups[-1] = (*groups[-1], hole)
        else:
            groups.append((hole,))
    return groups


def is_quiet(run: Window, grid: Grid) -> bool:
    """Whether candles missing in a row may be a time without trades: a few, and no more than a day of them."""
    return grid.count(run) <= QUIET_SLOTS and run.span <= DAY


def with_neighbours(holes: Sequence[Window], grid: Grid) -> Window:
    """From the slot before the first of some ascending holes to the end of the slot after the last."""
    return Window(grid.advance(grid.floor(holes[0].start), -1), grid.next(holes[-1].end))


def recall(connection: Connection, series: Series, now_ms: int) -> list[Lack]:
    """Which sources lacked what within the last day, and could not be asked to confirm it."""
    return [Lack(window, source) for window, source, _ in _read(connection, series, now_ms)]


def remember(connection: Connection, series: Series, lacks: Sequence[Lack], now_ms: int) -> None:
    """Keep who lacked what until it can be confirmed; what was known of these windows before is replaced."""
    new = [(lack.window, lack.source, now_ms) for lack in lacks]
    kept = _without(_read(connection, series, now_ms), [lack.window for lack in lacks])
    _write(connection, series, [*kept, *new], now_ms)


def forget(connection: Connection, series: Series, window: Window, now_ms: int) -> None:
    """Let any source fill `window`: those that lacked it turned out to be unable to say."""
    known = _read(connection, series, now_ms)
    kept = _without(known, [window])
    if kept != known:
        _write(connection, series, kept, now_ms)


_Entry = tuple[Window, str, int]


def _without(entries: Iterable[_Entry], windows: Sequence[Window]) -> list[_Entry]:
    return [(part, source, at) for window, source, at in entries for part in subtract(window, windows)]


def _read(connection: Connection, series: Series, now_ms: int) -> list[_Entry]:
    found = state.cache_get(connection, _key(series))
    entries = [(Window(start, end), source, at) for start, end, source, at in json.loads(found[0])] if found else []
    return [entry for entry in entries if abs(now_ms - entry[2]) < DAY]


def _write(connection: Connection, series: Series, entries: Iterable[_Entry], now_ms: int) -> None:
    rows = [[window.start, window.end, source, at] for window, source, at in entries]
    state.cache_put(connection, _key(series), json.dumps(rows), now_ms)


def _key(series: Series) -> str:
    return f"lacking:{series.id}"
