"""Healing: which windows a worse source stands for, and which better source does not list a market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import coverage, state
from fetcher.model import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from fetcher.model import Series


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


def unhealed(
    connection: Connection, series: Series, window: Window, ranks: Mapping[int, int], best: int, now_ms: int
) -> list[Window]:
    """What sources ranked worse than `best` stand for in `window`, unless it is proven that better ones lack it."""
    worst = len(ranks)
    known = coverage.read(connection, series.id, window.start, window.end)
    return [
        part
        for i in known
        if ranks.get(i.source_id, worst) > best
        and (i.state == coverage.ABSENT or i.recheck_at is None or i.recheck_at <= now_ms)
        and (part := Window(i.start_ms, i.end_ms).intersect(window))
    ]


def _key(series: Series, source: str) -> str:
    return f"unserved:{series.id}:{source}"
