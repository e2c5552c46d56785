"""Healing: which windows a worse source stands for, and which better one may give its candles for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from db import state
from db.coverage import ABSENT
from fetcher.model import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from db.intervals import Interval
    from fetcher.model import Series


class Healer(Struct, frozen=True):
    """A source that may heal a series: its place in the series' order, and the oldest open time that it serves now."""

    source: str
    rank: int
    oldest_ms: int = 0


def healers(connection: Connection, series: Series, offers: Iterable[tuple[str, int]], now_ms: int) -> list[Healer]:
    """Those of some sources (the best first, each with its oldest open time) that may heal a series.

    Without those that do not list its market. One that serves all its history is the last that is ever needed: while
    it is merely away no worse one takes its place, since everything would be healed twice.
    """
    found: list[Healer] = []
    for source, oldest in offers:
        if not is_unserved(connection, series, source, now_ms):
            found.append(Healer(source, series.sources.index(source), oldest))
            if not oldest:
                break
    return found


def unhealed(
    covered: Iterable[Interval], ranks: Mapping[int, int], by: Sequence[Healer], now_ms: int
) -> list[tuple[Window, Healer]]:
    """What each healer (the best first) is to be asked for, ascending: windows of worse sources that it reaches.

    Of each window the best that reaches it; none where better ones are proven to lack it, until that is due to be asked
    again. `ranks` are those of sources by id; one that the series no longer names is worse than all others. Pure.
    """
    found: list[tuple[Window, Healer]] = []
    for each in covered:
        if each.state != ABSENT and each.recheck_at is not None and each.recheck_at > now_ms:
            continue
        left = Window(each.start_ms, each.end_ms)
        for healer in by:
            if healer.rank >= ranks.get(each.source_id, len(ranks)) or not left:
                break
            part = left.intersect(Window(healer.oldest_ms, 2**62))
            if part:
                found.append((part, healer))
                left = Window(left.start, part.start)
    return sorted(found, key=lambda entry: entry[0])


def mark_unserved(connection: Connection, series: Series, source: str, now_ms: int) -> None:
    """Remember that a source does not list a market: nothing of that series is healed from there for a day."""
    state.cache_put(connection, _key(series, source), "", now_ms)


def forget_unserved(connection: Connection, source: str | None = None) -> None:
    """Let every series be healed from a source (None: from all) again."""
    state.cache_drop(connection, "unserved:", "" if source is None else f":{source}")


def is_unserved(connection: Connection, series: Series, source: str, now_ms: int) -> bool:
    """Whether a source was found not to list the market of a series within the last day."""
    found = state.cache_get(connection, _key(series, source))
    return found is not None and abs(now_ms - found[1]) < DAY


def _key(series: Series, source: str) -> str:
    return f"unserved:{series.id}:{source}"
