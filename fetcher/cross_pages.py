"""Which stored candles are compared with which other source: pages of what one served that another can be asked about.

A library is loaded where a source is looked at, so that as few are as the question needs.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from db import coverage, state
from db.engine import reading, writing
from db.series import source_ids
from fetcher.crosscheck import ENOUGH, INDEX, VENUE
from fetcher.model import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from random import Random

    from sqlalchemy import Engine

    from fetcher.line import SourceLine
    from fetcher.model import Series
    from fetcher.router import APIRouter

_EVER = 2**62


class Page(Struct, frozen=True):
    """A window of candles stored of `source` that `other` can be asked about; `newest`: nothing newer is stored."""

    series: Series
    source: str
    other: SourceLine
    window: Window
    kinds: tuple[str, str]
    newest: bool


class Two(Struct, frozen=True):
    """The sources of one series to compare, the best first; candles stored of those to `avoid` are passed over."""

    lines: tuple[SourceLine, SourceLine]
    line_of: Callable[[str], SourceLine | None]
    avoid: Collection[str] = ()


def two_best(router: APIRouter, series: Series) -> Two | None:
    """The two best sources that offer the timeframe of a series; None where there are no two."""
    best = [] if series.lacks_grid else list(islice(router.lines_for(series), 2))  # asking for more loads libraries
    return _two(router, series, best)


def two_awake(router: APIRouter, engine: Engine, series: Series, resting: Collection[str], now_ms: int) -> Two | None:
    """The same of those that do not rest; who does not offer the timeframe is remembered for a day (`now_ms`, UTC)."""
    if series.lacks_grid:
        return None
    with reading(engine) as connection:
        known = state.cache_get(connection, _key(series))
    fresh = known is not None and abs(now_ms - known[1]) < DAY
    unable: set[str] = set(json.loads(known[0])) if known is not None and fresh else set()
    since = known[1] if known is not None and fresh else now_ms  # of the first: else none would be looked at again
    candidates = [name for name in series.sources if name not in unable and name not in resting]
    awake: list[SourceLine] = []
    found: set[str] = set()
    while candidates and len(awake) < 2 and len(awake) + len(candidates) > 1:  # noqa: PLR2004 - one to compare with one
        name = candidates.pop(0)
        line = router.line_for(series, name)
        if line is None:
            found.add(name)
        else:
            awake.append(line)
    if found:
        with writing(engine) as connection:
            state.cache_put(connection, _key(series), json.dumps(sorted(unable | found)), since)
    return _two(router, series, awake, resting)


def _two(router: APIRouter, series: Series, lines: list[SourceLine], avoid: Collection[str] = ()) -> Two | None:
    def line_of(source: str) -> SourceLine | None:
        return router.line_for(series, source) if source in series.sources else None

    return Two((lines[0], lines[1]), line_of, avoid) if len(lines) > 1 else None


def _key(series: Series) -> str:
    return f"unable:{series.id}"


def pages_of(engine: Engine, series: Series, two: Two | None, rows: int, older: int, rng: Random) -> Iterator[Page]:
    """The newest page that can be compared, then so many older ones, at random, within the other source's reach."""
    if two is None:
        return
    every = _all_pages(engine, series, two, rows)
    newest = next(every, None)
    if newest is None:
        return
    yield newest
    if older:
        rest = list(every)
        yield from (rest[n] for n in sorted(rng.sample(range(len(rest)), min(older, len(rest)))))


def _all_pages(engine: Engine, series: Series, two: Two, rows: int) -> Iterator[Page]:
    """Everything stored in pages, the newest first, each with the best source that is not its own."""
    with reading(engine) as connection:
        names = {source_id: name for name, source_id in source_ids(connection).items()}
        known = coverage.read(connection, series.id, 0, _EVER)
    newest = True
    for each in reversed(known):
        if each.state != coverage.STORED or each.source_id is None:
            continue
        source = names[each.source_id]
        if source in two.avoid:
            newest = False
            continue
        other = next(line for line in two.lines if line.source != source)
        own = two.line_of(source)
        window = _within_reach(other, series, Window(each.start_ms, each.end_ms))
        size = min(rows, other.client.capabilities.rows_per_request, _longest(other, series, rows))
        for part in _cut_from_end(series, window, size):
            yield Page(series, source, other, part, (_kind(own), _kind(other)), newest)
            newest = False
        newest = False


def _kind(line: SourceLine | None) -> str:
    """What a source's prices are: one that counts no base volume trades nothing, but averages those that do."""
    return VENUE if line is None or line.client.capabilities.has_volume else INDEX


def _within_reach(line: SourceLine, series: Series, window: Window) -> Window:
    return Window(min(max(window.start, line.oldest(series)), window.end), window.end)


def _longest(line: SourceLine, series: Series, rows: int) -> int:
    span = line.client.capabilities.max_span.get(series.timeframe.name)
    return rows if span is None else max(1, span // series.timeframe.ms)


def _cut_from_end(series: Series, window: Window, rows: int) -> Iterator[Window]:
    """A window in pages, the newest first; an oldest one of too few candles is left out."""
    end = window.end
    while end > window.start:
        start = max(window.start, series.grid.advance(series.grid.ceil(end), -rows))
        if series.grid.count(Window(start, end)) >= ENOUGH:
            yield Window(start, end)
        end = start
