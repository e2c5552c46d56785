"""Cross-source validation: what is stored of one source against what another one answers now. Nothing is stored of it.

`cross` looks at a few pages of every series, for `audit --cross`; `sample` at one page of one series, in every run.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from sqlalchemy import select

from db import candles, state
from db.engine import reading, writing
from db.schema import cache
from db.series import source_ids
from fetcher.clock import format_utc
from fetcher.cross_pages import pages_of, two_awake, two_best
from fetcher.crosscheck import ENOUGH, STALE, compare, in_common
from fetcher.errors import CannotServe, SourceError, Stopped
from fetcher.events import CrossChecked
from fetcher.model import CANDLE, HOUR, Window
from fetcher.resilience.retry import TRIES
from fetcher.validation import DataValidator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from fetcher.clock import Clock
    from fetcher.cross_pages import Page
    from fetcher.model import Rows, Series
    from fetcher.router import APIRouter
    from fetcher.served import Served

NOT_COMPARED = "not_compared"  # the other source could not be asked, or has too few of these candles

PAGE_ROWS = 500  # of one comparison of `cross`
SAMPLE_ROWS = 100
SAMPLE_EVERY_MS = HOUR


class CrossFinding(Struct, frozen=True):
    """What `other` disagrees about with the candles stored of `source`, in `[start_ms, end_ms)` (ms UTC).

    `kind` is one of crosscheck.KINDS, or NOT_COMPARED with the reason as `message`.
    """

    series: Series
    source: str
    other: str
    kind: str
    start_ms: int
    end_ms: int
    rows: int
    message: str
    repaired: bool = False  # never: which of two sources is right is not for us to say

    @property
    def disagrees(self) -> bool:
        """Whether two sources were compared and differ."""
        return self.kind != NOT_COMPARED


class CrossReport(Struct, frozen=True):
    """What a comparison found, and how many pages were really compared."""

    findings: tuple[CrossFinding, ...]
    compared: int

    @property
    def agrees(self) -> bool | None:
        """Whether sources agree wherever they were compared; None where that was nowhere."""
        return not any(finding.disagrees for finding in self.findings) if self.compared else None


def cross(router: APIRouter, engine: Engine, all_series: Sequence[Series], *, windows: int, seed: int) -> CrossReport:
    """Compare the newest page and `windows` older ones (chosen by `seed`) of every series with a second source.

    Series of which no two sources offer the timeframe, or of which nothing is stored, are passed over. A source that
    cannot be reached is asked once. Raises Stopped.
    """
    rng, unreachable = Random(seed), dict[str, str]()
    found: list[CrossFinding] = []
    compared = 0
    for series in all_series:
        told: set[str] = set()
        for page in pages_of(engine, series, two_best(router, series), PAGE_ROWS, windows, rng):
            other = page.other.source
            if other in unreachable:
                if other not in told:
                    found.append(_not_compared(page, unreachable[other]))
                told.add(other)
                continue
            try:
                here = _compared(router, engine, page)
                found += here
                compared += not any(each.kind == NOT_COMPARED for each in here)
            except SourceError as error:
                found.append(_not_compared(page, str(error)))
                if not isinstance(error, CannotServe):
                    unreachable[other] = str(error)
                    told.add(other)
    return CrossReport(tuple(found), compared)


def sample(
    router: APIRouter, engine: Engine, all_series: Sequence[Series], clock: Clock, now_ms: int,
    seconds: float = math.inf,
) -> CrossChecked | None:  # fmt: skip
    """Compare the newest candles of the series that was compared the longest ago; None when none is due, or stopped.

    A series is due when `now_ms` is SAMPLE_EVERY_MS after its last time, whatever that brought. One question to one
    source, tried once, of which an answer may be expected within `seconds`; no library is loaded before a series is
    due, nor of a source that rests, nor more than once a day of one that turns out not to offer the timeframe.
    """
    due = _due(engine, all_series, now_ms)
    resting = router.resting(0.0) if due else set()
    for series in due:
        pair = two_awake(router, engine, series, resting, clock.now_ms())
        page = next(pages_of(engine, series, pair, SAMPLE_ROWS, 0, Random(0)), None)
        if page is None:
            _remember(engine, series, None, clock.now_ms())
            continue
        if sum(page.other.client.timeout) > seconds:
            continue
        try:
            found = _compared(router, engine, page, tries=1)
        except SourceError as error:
            found = [_not_compared(page, str(error))]
        except Stopped:
            return None
        kinds = tuple(dict.fromkeys(each.kind for each in found))
        message = "; ".join(each.message for each in found)
        fact = CrossChecked(str(series), page.other.source, kinds, message)
        _remember(engine, series, fact, clock.now_ms())
        return fact
    return None


def _due(engine: Engine, all_series: Sequence[Series], now_ms: int) -> list[Series]:
    """The series with a second source that are due, the longest waiting first."""
    with_two = [series for series in all_series if len(series.sources) > 1]
    if not with_two:
        return []
    with reading(engine) as connection:
        rows = connection.execute(select(cache.c.key, cache.c.fetched_ms).where(cache.c.key.like("cross:%")))
        asked: dict[str, int] = {key: ms for key, ms in rows}  # noqa: C416 - Row is no tuple to the type checker
    # a time after now is left from a clock that was ahead: it must not silence a series
    last = {series.id: min(asked.get(_key(series), 0), now_ms) for series in with_two}
    due = [
        series
        for series in with_two
        if now_ms - last[series.id] >= SAMPLE_EVERY_MS or asked.get(_key(series), 0) > now_ms
    ]
    return sorted(due, key=lambda series: last[series.id])


def _remember(engine: Engine, series: Series, fact: CrossChecked | None, now_ms: int) -> None:
    said = {} if fact is None else {"source": fact.source, "kinds": fact.kinds, "message": fact.message}
    with writing(engine) as connection:
        state.cache_put(connection, _key(series), json.dumps(said), now_ms)


def _key(series: Series) -> str:
    return f"cross:{series.id}"


def _compared(router: APIRouter, engine: Engine, page: Page, *, tries: int = TRIES) -> list[CrossFinding]:
    """Ask the other source about a page; raises SourceError and Stopped as the router does."""
    series, other = page.series, page.other.source
    served = router.candles(series, page.window.start, page.window.end, only=other, partly=True, tries=tries)
    verdict = DataValidator().check(served.page, series.grid, page.window, served.proven_ms)
    theirs = verdict.rows
    with reading(engine) as connection:
        ours = _stored(connection, page, _comparable(page, served))
    refused = Counter([each.reason for each in verdict.refused])
    refused.update({"off_grid": len(verdict.off_grid)} if len(verdict.off_grid) else {})
    found = [
        CrossFinding(
            series, page.source, other, each.kind, each.start_ms, each.end_ms, each.rows, _where(page, each.message)
        )
        for each in compare(ours, theirs, series.timeframe, *page.kinds, names=(page.source, other), newest=page.newest)
        if each.kind != STALE or not refused  # what was sent and refused is not missing
    ]
    common = in_common(ours, theirs)
    if common < ENOUGH and not found:
        text = f"{other} has {common} of these {len(ours)} candles, too few to compare"
        if served.proven_ms is None:
            text = f"{other} does not tell its time, so that none of its candles is known to be closed"
        if refused:
            text += f"; refused: {', '.join(f'{count} {reason}' for reason, count in sorted(refused.items()))}"
        return [_not_compared(page, text)]
    return found


def _comparable(page: Page, served: Served) -> Window:
    """What the other source was asked of the page and can have closed candles of."""
    asked = page.window if served.window is None else page.window.intersect(served.window)
    if served.proven_ms is None:
        return asked
    return Window(asked.start, max(asked.start, min(asked.end, page.series.grid.floor(served.proven_ms))))


def _stored(connection: Connection, page: Page, window: Window) -> Rows:
    """What is stored of the page's own source: shape (n,), dtype CANDLE."""
    rows = candles.read(connection, page.series.id, window.start, window.end)
    rows = rows[rows["source_id"] == source_ids(connection).get(page.source, -1)]
    ours = np.empty(len(rows), dtype=CANDLE)
    for name in CANDLE.names or ():
        ours[name] = rows[name]
    return ours


def _not_compared(page: Page, reason: str) -> CrossFinding:
    window = page.window
    return CrossFinding(
        page.series, page.source, page.other.source, NOT_COMPARED, window.start, window.end,
        page.series.grid.count(window), _where(page, f"not compared with {page.other.source}: {reason}"),
    )  # fmt: skip


def _where(page: Page, text: str) -> str:
    return f"{page.series} {format_utc(page.window.start)} … {format_utc(page.window.end)}: {text}"
